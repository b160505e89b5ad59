"""asker: the function that answers a text with a model's own task, whichever that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeslm.errors import CardError
from edgeslm.models.model import Model
from edgeslm.results import Classification, Extraction, Tags

if TYPE_CHECKING:
    from pydantic import BaseModel

Result: TypeAlias = Extraction[Any] | Classification | Tags
Ask: TypeAlias = Callable[[str], Result]

#: options of a call that classifiers and taggers have as well
_OF_ALL = ("deadline_ms", "truncate")


def asker(
    model: Model,
    *,
    schema: type[BaseModel] | dict[str, Any] | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    untrained: bool = False,
    **options: Any,
) -> Ask:
    """The model's own extractor, classifier or tagger, as its card says; or one for what is given.

    Args:
        schema: makes it an extractor. ``labels`` make it a classifier, and ``untrained``
            lets either be another than the card's.
        options: of each call. Those of extraction alone are left out for other tasks.

    Raises:
        CardError: the model has no card, and neither a schema nor labels were given.
        SchemaError, LabelError: they cannot be kept.
    """
    task = "classify" if labels is not None else "extract" if schema is not None else model.task
    if task is None:
        raise CardError(
            "this model has no card, so it has no task; give a schema or labels, or write a card "
            "into it with `edgeslm pack`"
        )
    if task in ("extract", "generate"):
        # what the answers take from the text also says that a schema may lack fields of the card's
        extractor = model.extractor(
            schema,
            grounded=options.get("grounded"),
            untrained=untrained and schema is not None,
        )
        return partial(extractor, **options)
    call: Any = model.tagger() if task == "tag" else model.classifier(labels, untrained=untrained)
    return partial(call, **{name: value for name, value in options.items() if name in _OF_ALL})
