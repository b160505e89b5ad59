"""Model: a loaded model as people use it, whatever file it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from edgeslm import arguments
from edgeslm.errors import ArgumentError, CardError, ModelFileError
from edgeslm.formats.text import require_text

# Each kind of model needs little of what the others import: functions import what is theirs.
if TYPE_CHECKING:
    from pydantic import BaseModel

    from edgeslm.formats.card import Card, PromptSpec
    from edgeslm.tasks.classifier import Classifier
    from edgeslm.tasks.extraction.extractor import Extractor
    from edgeslm.tasks.extraction.grounding import Grounded
    from edgeslm.tasks.onnx import Tagger

M = TypeVar("M", bound="BaseModel")
#: what kinds of model there are: one that writes, one that reads, one that weighs words
Kind = Literal["language", "encoder", "linear"]

#: kinds of task that a card may promise
Task = Literal["extract", "classify", "tag", "generate"]

_A_KIND: Final = {
    "language": "a language model",
    "encoder": "an encoder specialist",
    "linear": "a linear specialist",
}


class Model(ABC):
    """A loaded model. Safe to share between threads. `edgeslm.load` gives one.

    A language model answers one call after the other; calls of an encoder and of a linear model
    run side by side. Use it in a ``with`` block, or call ``close``. A process that was forked after
    the loading cannot use it (ForkError): spawn children, and load models there.
    """

    #: the name that it was loaded by; None for a file by its path
    _called: str | None = None

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """``"language"`` writes answers; ``"encoder"`` and ``"linear"`` choose labels, or read the
        values of records out of the text, as their card says."""

    @property
    @abstractmethod
    def card(self) -> Card | None:
        """What the model promises; None for a model without a task of its own."""

    def __repr__(self) -> str:
        if self.task is None or self.card is None:
            return f"<Model without a card, {self.kind}>"
        return f"<Model {self.card.name} {self.card.version}, {self.kind}, {self.task}>"

    @property
    def task(self) -> Task | None:
        """The kind of task that the card promises; None without a card."""
        return None if self.card is None else self.card.task.kind

    @overload
    def extractor(
        self,
        schema: type[M],
        *,
        prompt: PromptSpec | None = None,
        grounded: Grounded | None = None,
        untrained: bool = False,
    ) -> Extractor[M]: ...
    @overload
    def extractor(
        self,
        schema: dict[str, Any] | None = None,
        *,
        prompt: PromptSpec | None = None,
        grounded: Grounded | None = None,
        untrained: bool = False,
    ) -> Extractor[Any]: ...
    def extractor(
        self,
        schema: type[BaseModel] | dict[str, Any] | None = None,
        *,
        prompt: PromptSpec | None = None,
        grounded: Grounded | None = None,
        untrained: bool = False,
    ) -> Extractor[Any]:
        """An Extractor for a pydantic class or a JSON Schema; default is the card's.

        Args:
            grounded: whether values must stand in the text: of all fields, of none, of the named
                ones at the top level, or ``"auto"``: dates, times and numbers where the text has
                some. Default is what the card says, else ``"auto"``.
            untrained: read values with a specialist that was trained for another task. The model
                then reads the schema from a general prompt, and what it answers is worth little.

        Raises:
            ArgumentError: ``untrained`` without a schema.
            SchemaError: the schema cannot be enforced in full; or the specialist was trained for
                another task; or it has other fields than the card's and lacks some that the card
                grounds, and ``grounded`` does not say what holds instead.
            CardError: no schema was given and the model has no card with one; or this kind of
                model writes no values.
        """
        if arguments.flag("untrained", untrained) and schema is None:
            raise ArgumentError("untrained must come with a schema")
        return self._extractor(schema, prompt, grounded, untrained)

    def classifier(
        self,
        labels: Sequence[str] | Mapping[str, str] | None = None,
        *,
        prompt: PromptSpec | None = None,
        untrained: bool = False,
    ) -> Classifier:
        """A Classifier for these labels, or labels with descriptions; default is the card's.

        Some labels of a specialist's own are chosen among as it was trained: with its prompt,
        what it says for them, and its temperature; their probabilities add up to 1. That of a
        text which belongs to none of them says nothing. The label of its card that is out of
        scope is answered only where it is among them.

        Args:
            prompt: how the labels are asked for, in place of the general prompt. A specialist
                keeps the prompt that it was trained with, unless ``untrained``.
            untrained: answer with labels that the card does not have, or in place of another
                task. The model then reads them from a general prompt, and its confidence is
                worth little.

        Raises:
            ArgumentError: ``untrained`` without labels; or a prompt in place of the one that a
                specialist was trained with, without ``untrained``.
            LabelError: fewer than two labels, doubled or empty ones, or labels that are not the
                specialist's own.
            CardError: no labels were given and the model has no card with some; or the card is
                for tagging, or takes no prompt.
        """
        if arguments.flag("untrained", untrained) and labels is None:
            raise ArgumentError("untrained must come with labels")
        return self._classifier(labels, prompt, untrained)

    def tagger(self) -> Tagger:
        """A Tagger for the label sets of the card.

        Raises:
            CardError: the card has no label sets to answer at once.
        """
        raise CardError(f"{self._name} has no tagger; use an encoder whose card is for tagging")

    def adapter(self, path: str | Path, *, unproven: bool = False) -> Model:
        """A model that answers with a LoRA adapter, on the weights that this one has loaded.

        It has the adapter's card. Calls of both, and of other adapters, may mix and come from
        many threads; ``close`` frees the adapter alone. It is no second layer on another
        adapter: each changes the base.

        Beside its base it works on weights that are rounded otherwise than those of the file
        that the two are made into, and answers otherwise. So a card must say that the adapter
        was proven in this way (``proven_as`` has "adapter").

        Args:
            path: an adapter's .gguf file.
            unproven: answer with an adapter whose card was proven in another way; its scores
                then say nothing of these answers.

        Raises:
            ModelNotFoundError: no such file.
            ModelFileError: no adapter, damaged, or made for another base; or this kind of model
                takes none.
            CardError: its card is malformed, made for another chat template, or was not proven
                beside its base.
            ResourceError: it does not fit into memory.
            EngineError: this model is closed.
        """
        named = path if isinstance(path, str | Path) else arguments.shown(path)
        raise ModelFileError(f"{named}: an adapter is for a language model; this is {self._name}")

    def knows(self, text: str) -> bool:
        """Whether the file itself remembers the labels that this text had in training.

        Raises:
            InputError: not text. EngineError: the model is closed.
        """
        require_text(text)
        self._check_open()
        return False

    def without_prefix_cache(self) -> Model:
        """A model on the same weights that evaluates its whole prompt for each text.

        For measuring what the cache of fixed prompts saves; closing it closes this model too.
        A model that has no prompt is its own.

        Raises:
            EngineError: this model is closed.
        """
        self._check_open()
        return self

    @abstractmethod
    def _check_open(self) -> None:
        """Raises EngineError after ``close``, ForkError where another process loaded the model."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop this model's calls that run or wait now, from any thread.

        They raise CancelledError; calls that begin later are not met. To stop a call of its own,
        give it a token: ``call(text, cancel=edgeslm.CancelToken())``.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop what runs and free the memory, of adapters too. Later calls raise EngineError.

        What ``adapter`` gave frees only the adapter, once the call under way is answered.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _name(self) -> str:
        return _A_KIND[self.kind]

    def _title(self, own: str) -> str:
        """What messages call it: as its caller does, else by the ``own`` name, of its card."""
        return self._called or own

    def _extractor(
        self,
        schema: type[BaseModel] | dict[str, Any] | None,
        prompt: PromptSpec | None,
        grounded: Grounded | None,
        untrained: bool,
    ) -> Extractor[Any]:
        raise CardError(
            f"this is {self._name}: it classifies, it cannot extract; use a language model such "
            "as smollm2-135m"
        )

    def _classifier(
        self,
        labels: Sequence[str] | Mapping[str, str] | None,
        prompt: PromptSpec | None,
        untrained: bool,
    ) -> Classifier:
        raise CardError(
            f"this is {self._name} that reads records, it cannot classify; use extractor()"
        )


def called(model: Model, name: str | None) -> Model:
    """A model whose messages call it by the name that its caller used; None keeps its card's."""
    model._called = name
    return model
