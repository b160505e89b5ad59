"""GgufModel: a language model of a .gguf file, with adapters on its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeslm import arguments
from edgeslm.decoding.sequences.prefix_files import (
    PrefixCache,
    Weights,
    prefix_folder,
    prefix_limit,
)
from edgeslm.decoding.session import Session
from edgeslm.engines.engine import Engine
from edgeslm.errors import ArgumentError, CardError, LabelError, ModelFileError
from edgeslm.formats.card import (
    Card,
    ClassifyTask,
    LabelSpec,
    PromptSpec,
)
from edgeslm.formats.card_facts import Bounds
from edgeslm.formats.gguf.adapter import AdapterInfo, read_adapter
from edgeslm.formats.gguf.pack import check_card, check_template
from edgeslm.models.model import Kind, Model
from edgeslm.store.store import Store
from edgeslm.tasks.classification import LanguageClassifier, default_prompt
from edgeslm.tasks.decision import Rule
from edgeslm.tasks.extraction.grounding import Grounded
from edgeslm.tasks.extraction.language import LanguageExtractor
from edgeslm.tasks.extraction.plan import ExtractionPlan
from edgeslm.tasks.own_labels import described, own_labels

if TYPE_CHECKING:
    from pydantic import BaseModel


def open_gguf(
    path: Path,
    sha256: str | None,
    *,
    max_context: int | None = None,
    gpu_layers: int | None = None,
    threads: int | None = None,
) -> GgufModel:
    """Check and load a .gguf file; ``sha256`` is the file's where it is known.

    Raises:
        ModelFileError, CardError: the file cannot be read, or its card is not kept.
        ResourceError: it does not fit into memory. MachineError: this processor cannot run it.
    """
    from edgeslm.engines.llama.engine import LlamaEngine  # loads llama.cpp

    limit = prefix_limit()
    weights = Weights(path, sha256)
    engine = LlamaEngine(path, max_context=max_context, gpu_layers=gpu_layers, threads=threads)
    try:
        check_card(engine.info)
        saved = PrefixCache(prefix_folder(), limit, weights, engine.identity) if limit else None
        return GgufModel(engine, engine.info.card, saved, weights)
    except BaseException:
        engine.close()
        raise


_UNTRAINED: Final = (
    "to answer with other labels all the same, say so: classifier(labels, untrained=True), or "
    "--untrained on the command line"
)


class GgufModel(Model):
    """A loaded language model; calls take turns."""

    def __init__(
        self,
        engine: Engine,
        card: Card | None = None,
        saved: PrefixCache | None = None,
        weights: Weights | None = None,
    ) -> None:
        self._card = card
        self._session = Session(engine, saved)
        self._weights = weights

    @property
    def kind(self) -> Kind:
        return "language"

    @property
    def card(self) -> Card | None:
        return self._card

    def adapter(self, path: str | Path, *, unproven: bool = False) -> GgufModel:
        arguments.flag("unproven", unproven)
        store = Store()
        path = store.resolve(path)
        file = Weights(path, store.sha256_of(path))
        info = read_adapter(path)
        self._check_base(info)
        if info.card is not None:
            template = self._session.engine.chat_template
            own = None if template is None else sha256(template.encode()).hexdigest()
            check_template(info.card, own, path)
            if not unproven:
                _require_proven(info.card, path)
        other = copy.copy(self)
        other._card, other._called = info.card, None
        other._session = self._session.with_adapter(file)
        return other

    def without_prefix_cache(self) -> GgufModel:
        other = copy.copy(self)
        other._session = self._session.without_prefixes()
        return other

    def _check_open(self) -> None:
        self._session.check_open()

    def _check_base(self, adapter: AdapterInfo) -> None:
        """Refuse an adapter that names another base; one that names none must fit by its shapes."""
        if adapter.assembly is None or self._weights is None:
            return
        wanted, own = adapter.assembly.base_sha256, self._weights.verified()
        if wanted != own:
            raise ModelFileError(
                f"{adapter.path}: an adapter for another base: it was made for the file with "
                f"sha256 {wanted}, but {self._weights.path} has {own}; load that base instead"
            )

    def _extractor(
        self,
        schema: type[BaseModel] | dict[str, Any] | None,
        prompt: PromptSpec | None,
        grounded: Grounded | None,
        untrained: bool,
    ) -> LanguageExtractor[Any]:
        _require_prompt(prompt)
        plan = ExtractionPlan.of(
            self.card, schema, prompt, grounded, untrained=untrained, called=self._called
        )
        return LanguageExtractor(self._session, plan)

    def _classifier(
        self,
        labels: Sequence[str] | Mapping[str, str] | None,
        prompt: PromptSpec | None,
        untrained: bool,
    ) -> LanguageClassifier:
        _require_prompt(prompt)
        card = self.card
        if card is None or untrained:
            if labels is None:
                raise _no_labels()
            specs = _label_specs(labels)
            return LanguageClassifier(self._session, specs, prompt or default_prompt(specs))
        name = self._title(card.name)
        if not isinstance(card.task, ClassifyTask):
            if labels is None:
                raise _no_labels()
            raise LabelError(
                f"{name} was trained to {card.task.kind}, not for labels; {_UNTRAINED}"
            )
        if prompt is not None:
            raise ArgumentError(
                f"prompt must be left out: {name} was trained with one of its own. To answer with "
                "another all the same, say so: classifier(labels, prompt=prompt, untrained=True)"
            )
        task = card.task
        names = [label.name for label in task.labels]
        chosen = own_labels(name, names, labels, _UNTRAINED)
        specs = tuple(task.labels[place] for place in chosen)
        return LanguageClassifier(
            self._session,
            specs,
            card.prompt,
            rule=Rule.within(
                card.calibration or Bounds(), [spec.name for spec in specs], task.out_of_scope
            ),
        )

    def cancel(self) -> None:
        self._session.cancel()

    def close(self) -> None:
        self._session.close()


def _require_proven(card: Card, path: Path) -> None:
    """Refuse an adapter that was proven as a part of one file alone."""
    if "adapter" not in card.proven_as:
        raise CardError(
            f"{path}: {card.name} was proven as one file, not as an adapter beside its base, where "
            f"it gives other answers; `edgeslm pull {card.name}` makes that file where models.toml "
            "names its base. To answer beside the base all the same, say so: adapter(path, "
            "unproven=True), or --unproven on the command line"
        )


def _no_labels() -> CardError:
    return CardError(
        "this model has no card with labels; give some: classifier(labels), or --labels A,B,C on "
        "the command line"
    )


def _label_specs(labels: Sequence[str] | Mapping[str, str]) -> tuple[LabelSpec, ...]:
    return tuple(LabelSpec(name=name, description=words) for name, words in described(labels))


def _require_prompt(prompt: object) -> None:
    """Refuse what is no prompt where one may be given."""
    if prompt is not None and not isinstance(prompt, PromptSpec):
        raise ArgumentError(f"prompt must be an edgeslm.PromptSpec, not {arguments.shown(prompt)}")
