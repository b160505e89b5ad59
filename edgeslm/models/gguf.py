"""Name or path -> a ready Model; the composition root."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, overload

from edgeslm.errors import CardError, LabelError, ModelFileError, SchemaError
from edgeslm.store.store import Store

# The two kinds of model share little, and what one needs takes the other a third of a second to
# import: functions import what is theirs.
if TYPE_CHECKING:
    from pydantic import BaseModel

    from edgeslm.decoding.sequences.prefix_files import PrefixCache, Weights
    from edgeslm.engines.engine import Engine
    from edgeslm.formats.card import Card, LabelSpec, PromptSpec
    from edgeslm.formats.gguf.adapter import AdapterInfo
    from edgeslm.models.onnx import OnnxModel
    from edgeslm.tasks.classification import Classifier
    from edgeslm.tasks.extraction.extractor import Extractor
    from edgeslm.tasks.extraction.grounding import Grounded

M = TypeVar("M", bound="BaseModel")
#: what ``load`` gives: for a .gguf file, and for an .onnx one
AnyModel: TypeAlias = "Model | OnnxModel"


def load(
    name_or_path: str | Path,
    *,
    max_context: int | None = None,
    gpu_layers: int | None = None,
    threads: int | None = None,
) -> AnyModel:
    """Load a model by its name in models.toml (pulled before), or from a .gguf or .onnx file.

    Never downloads, and opens no socket.

    Args:
        max_context: the longest prompt plus answer, in tokens; default is what the model
            was trained for. Memory is taken as prompts need it. For an .onnx, the longest input.
        gpu_layers: None puts all layers on a GPU where the build has one; 0 keeps to the CPU.
        threads: None chooses for this machine.

    Raises:
        ModelNotFoundError, ModelNotPulledError: nothing to load; the message has the command.
        ModelFileError, CardError: the file cannot be read, or its card is not kept.
        ResourceError: it does not fit into memory. MachineError: this processor cannot run it.
        EdgeslmError: EDGESLM_PREFIX_CACHE_MB is no number of megabytes.
    """
    store = Store()
    path = store.resolve(name_or_path)
    if is_onnx(path):
        from edgeslm.models.onnx import open_onnx

        gpu = gpu_layers != 0
        return open_onnx(path, threads=threads, gpu=gpu, max_tokens=max_context)
    return _open_gguf(path, store.sha256_of(path), max_context, gpu_layers, threads)


def is_onnx(path: Path) -> bool:
    """Whether a file is an .onnx model by its name; all others are taken for GGUF."""
    return path.suffix.lower() == ".onnx"


def _open_gguf(
    path: Path,
    sha256: str | None,
    max_context: int | None,
    gpu_layers: int | None,
    threads: int | None,
) -> Model:
    from edgeslm.decoding.sequences.prefix_files import (
        PrefixCache,
        Weights,
        prefix_folder,
        prefix_limit,
    )
    from edgeslm.engines.llama.engine import LlamaEngine
    from edgeslm.formats.gguf.pack import check_card

    limit = prefix_limit()
    weights = Weights(path, sha256)
    engine = LlamaEngine(path, max_context=max_context, gpu_layers=gpu_layers, threads=threads)
    try:
        check_card(engine.info)
        saved = PrefixCache(prefix_folder(), limit, weights, engine.identity) if limit else None
        return Model(engine, engine.info.card, saved, weights)
    except BaseException:
        engine.close()
        raise


class Model:
    """A loaded model. Safe to share between threads: calls take turns."""

    def __init__(
        self,
        engine: Engine,
        card: Card | None = None,
        saved: PrefixCache | None = None,
        weights: Weights | None = None,
    ) -> None:
        from edgeslm.decoding.session import Session

        self.card = card
        self._session = Session(engine, saved)
        self._weights = weights

    def adapter(self, path: str | Path) -> Model:
        """A model that answers with a LoRA adapter, on the weights that this one has loaded.

        It has the adapter's card. Calls of both, and of other adapters, may mix and come from
        many threads; ``close`` frees the adapter alone. It is no second layer on another
        adapter: each changes the base.

        Args:
            path: an adapter's .gguf file.

        Raises:
            ModelNotFoundError: no such file.
            ModelFileError: no adapter, damaged, or made for another base.
            CardError: its card is malformed, or made for another chat template.
            ResourceError: it does not fit into memory.
            EngineError: this model is closed.
        """
        from hashlib import sha256

        from edgeslm.decoding.sequences.prefix_files import Weights
        from edgeslm.formats.gguf.adapter import read_adapter
        from edgeslm.formats.gguf.pack import check_template

        store = Store()
        path = store.resolve(path)
        file = Weights(path, store.sha256_of(path))
        info = read_adapter(path)
        self._check_base(info)
        if info.card is not None:
            template = self._session.engine.chat_template
            found = None if template is None else sha256(template.encode()).hexdigest()
            check_template(info.card, found, path)
        other = copy.copy(self)
        other.card = info.card
        other._session = self._session.with_adapter(file)
        return other

    def without_prefix_cache(self) -> Model:
        """A model on the same weights that evaluates its whole prompt for each text.

        For measuring what the cache of fixed prompts saves; closing it closes this model too.
        """
        other = copy.copy(self)
        other._session = self._session.without_prefixes()
        return other

    def _check_base(self, adapter: AdapterInfo) -> None:
        """Refuse an adapter that names another base; one that names none must fit by its shapes."""
        if adapter.assembly is None or self._weights is None:
            return
        wanted, found = adapter.assembly.base_sha256, self._weights.verified()
        if wanted != found:
            raise ModelFileError(
                f"{adapter.path}: an adapter for another base: it was made for the file with "
                f"sha256 {wanted}, but {self._weights.path} has {found}; load that base instead"
            )

    @overload
    def extractor(self, schema: type[M], *, prompt: PromptSpec | None = None) -> Extractor[M]: ...
    @overload
    def extractor(
        self, schema: dict[str, Any] | None = None, *, prompt: PromptSpec | None = None
    ) -> Extractor[Any]: ...
    def extractor(
        self,
        schema: type[BaseModel] | dict[str, Any] | None = None,
        *,
        prompt: PromptSpec | None = None,
    ) -> Extractor[Any]:
        """An Extractor for a pydantic class or a JSON Schema; default is the card's.

        Raises:
            SchemaError: the schema cannot be enforced in full.
            CardError: no schema was given and the model has no card with one.
        """
        from edgeslm.formats.card import ExtractTask, GenerateTask, Style
        from edgeslm.schema.schema import compile_schema
        from edgeslm.tasks.extraction.extractor import DEFAULT_MAX_TOKENS, Extractor
        from edgeslm.tasks.extraction.prompt import default_prompt

        task = None if self.card is None else self.card.task
        fitted = None
        if not isinstance(task, ExtractTask | GenerateTask):
            if schema is None:
                raise CardError(
                    "this model has no card with a schema; give one: extractor(schema), or "
                    "--schema FILE on the command line"
                )
            style, max_tokens = Style(), DEFAULT_MAX_TOKENS
            grounded: Grounded = False
            spec = prompt
        else:
            assert self.card is not None
            style, max_tokens = task.style, task.max_tokens
            grounded = task.grounded if isinstance(task, ExtractTask) else False
            if schema is not None and grounded is not True:
                grounded = False  # the names are those of the card's own schema
            if schema is None and prompt is None and self.card.calibration is not None:
                fitted = self.card.calibration.fields  # of the card's own schema and prompt
            spec = prompt or self.card.prompt
            schema = task.json_schema if schema is None else schema
        if not isinstance(schema, dict | type):
            raise SchemaError(
                f"a schema is a pydantic class or a dict, not {type(schema).__name__}"
            )
        compiled = compile_schema(schema)
        spec = spec or default_prompt(compiled.source)
        return Extractor(
            self._session,
            compiled,
            spec,
            style=style,
            max_tokens=max_tokens,
            grounded=grounded,
            calibration=fitted,
        )

    def classifier(
        self,
        labels: Sequence[str] | Mapping[str, str] | None = None,
        *,
        prompt: PromptSpec | None = None,
    ) -> Classifier:
        """A Classifier for these labels, or labels with descriptions; default is the card's.

        Raises:
            LabelError: fewer than two labels, doubled or empty ones.
            CardError: no labels were given and the model has no card with some.
        """
        from edgeslm.formats.card import ClassifyTask
        from edgeslm.tasks.classification import Classifier, default_prompt
        from edgeslm.tasks.decision import Rule

        if labels is not None:
            specs = _label_specs(labels)
            return Classifier(self._session, specs, prompt or default_prompt(specs))
        if self.card is None or not isinstance(self.card.task, ClassifyTask):
            raise CardError(
                "this model has no card with labels; give some: classifier(labels), or "
                "--labels A,B,C on the command line"
            )
        task = self.card.task
        return Classifier(
            self._session,
            task.labels,
            prompt or self.card.prompt,
            rule=Rule.of(task, self.card.calibration),
        )

    def tagger(self) -> NoReturn:
        """Raises CardError: only an .onnx specialist answers with several label sets at once."""
        raise CardError("a language model has no tagger; use an .onnx specialist for tagging")

    def cancel(self) -> None:
        """Stop the call that runs now, from another thread; it raises CancelledError."""
        self._session.cancel()

    def close(self) -> None:
        """Stop what runs and free the memory, of adapters too. Later calls raise EngineError.

        What ``adapter`` gave frees only the adapter, once the call under way is answered.
        """
        self._session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _label_specs(labels: Sequence[str] | Mapping[str, str]) -> tuple[LabelSpec, ...]:
    from pydantic import ValidationError

    from edgeslm.formats.card import ClassifyTask, LabelSpec

    if isinstance(labels, str):
        raise LabelError("labels are a list of names or a dict of name to description, not a str")
    named = labels.items() if isinstance(labels, Mapping) else ((name, None) for name in labels)
    try:
        return ClassifyTask(
            labels=tuple(LabelSpec(name=name, description=words) for name, words in named)
        ).labels
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise LabelError(f"labels: {first['msg']}") from error
