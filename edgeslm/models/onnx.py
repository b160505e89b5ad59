"""OnnxModel: an encoder or a linear model of an .onnx file, which classifies or tags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeslm.engines.onnx.inputs import Reader, reader_of
from edgeslm.engines.onnx.session import OnnxSession, load_library
from edgeslm.engines.onnx.tokens import Row, stack
from edgeslm.engines.onnx.trial import require_tried
from edgeslm.errors import CardError, EngineError, LabelError, ModelFileError
from edgeslm.formats.onnx.info import ONNXInfo, label_sets, read_onnx
from edgeslm.models.model import Kind, Model, Task
from edgeslm.tasks.decision import Rule
from edgeslm.tasks.onnx import EncoderClassifier, Tagger
from edgeslm.tasks.own_labels import own_labels

if TYPE_CHECKING:
    from edgeslm.formats.card import Card, PromptSpec
    from edgeslm.formats.onnx.known_inputs import KnownInputs


_OTHERS: Final = "for others use a language model such as smollm2-135m"


class OnnxModel(Model):
    """A loaded encoder or linear specialist; calls run side by side."""

    def __init__(
        self,
        info: ONNXInfo,
        session: OnnxSession,
        read: Reader,
        trial: Row,
        known: KnownInputs | None,
    ) -> None:
        """Try the graph with ``trial``, inputs that ``read`` could make of a text.

        Raises:
            ModelFileError: its tokenizer or features do not fit the graph.
            CardError: its card has more or fewer labels than the graph.
        """
        self.info = info
        self._known = known
        self._session = session
        self._read = read
        self._try(trial)

    @property
    def kind(self) -> Kind:
        return self.info.kind

    @property
    def task(self) -> Task:
        return self.info.facts.kind  # the card itself takes long to read

    @property
    def card(self) -> Card:
        return self.info.card

    def _classifier(
        self,
        labels: Sequence[str] | Mapping[str, str] | None,
        prompt: PromptSpec | None,
        untrained: bool,
    ) -> EncoderClassifier:
        facts = self.info.facts
        name = self._title(facts.name)
        if prompt is not None:
            raise CardError(f"{name} reads the text alone; give it no prompt")
        if facts.kind != "classify":
            raise CardError(f"{name} answers with several label sets; use tagger()")
        self._check_open()
        if untrained:
            raise LabelError(f"{name} knows only the labels it was trained for; {_OTHERS}")
        [own] = label_sets(facts)
        chosen = own_labels(name, own, labels, _OTHERS)
        names = tuple(own[place] for place in chosen)
        rule = Rule.within(facts.bounds, names, facts.out_of_scope)
        return EncoderClassifier(
            self._session, self._read, labels=names, chosen=chosen, rule=rule, known=self._known
        )

    def tagger(self) -> Tagger:
        facts = self.info.facts
        if facts.kind != "tag":
            name = self._title(facts.name)
            raise CardError(f"{name} answers with one label; use classifier()")
        self._check_open()
        return Tagger(self._session, self._read, facts.heads, facts.bounds.temperature)

    def knows(self, text: str) -> bool:
        super().knows(text)
        return self._known is not None and self._known.knows(text)

    def _check_open(self) -> None:
        self._session.check_open()

    def cancel(self) -> None:
        self._session.cancel()

    def close(self) -> None:
        self._session.close()

    def _try(self, row: Row) -> None:
        path = self.info.path
        try:
            logits = self._session.run(stack([row]))
        except EngineError as error:
            raise ModelFileError(
                f"{path}: its graph does not take what its {self.info.reads_with} gives ({error}); "
                "use the file that it was made for"
            ) from error
        if logits.shape != (1, self.info.width):
            raise CardError(
                f"{path}: the card has {self.info.width} labels, but the graph answers with "
                f"{list(logits.shape)} numbers; use the file that the card was made for"
            )


def open_onnx(
    path: Path,
    *,
    threads: int | None = None,
    gpu: bool = True,
    max_context: int | None = None,
    tried: bool = False,
) -> Model:
    """Check and load an .onnx file: its graph, and in a thread beside it what reads texts for it.

    A content that was not loaded before is tried in another process first; ``tried`` says that
    this is that process.

    Raises:
        ModelFileError, CardError: the file cannot be read, or its card is not kept.
        ResourceError: no memory for it. MachineError: there is no onnxruntime.
    """
    info = read_onnx(path)
    limit = info.max_tokens if max_context is None else min(max_context, info.max_tokens)
    # first, for its import would wait for Python's lock, which a tokenizer holds
    library = load_library()
    if not tried:
        require_tried(path, library.__version__)
    with ThreadPoolExecutor(1) as beside:
        opened = beside.submit(_opener, info, limit)
        session = OnnxSession(path, threads=threads, gpu=gpu)
    try:
        return opened.result()(session)
    except BaseException:
        session.close()
        raise


def _opener(info: ONNXInfo, max_tokens: int) -> Callable[[OnnxSession], Model]:
    """What makes a model of the session, with all that reads texts for it."""
    if info.reader is None:
        read, trial, known = _read_beside(info, max_tokens)
        return lambda session: OnnxModel(info, session, read, trial, known)
    from edgeslm.models.reading import ReadingModel, inputs_of  # classifiers start without it

    inputs = inputs_of(info, max_tokens)
    return lambda session: ReadingModel(info, session, inputs)


def _read_beside(info: ONNXInfo, max_tokens: int) -> tuple[Reader, Row, KnownInputs | None]:
    """What turns texts into inputs, inputs to try the graph with, and what is known of texts."""
    read, trial = reader_of(info, max_tokens)
    if info.known is None:
        return read, trial, None
    from edgeslm.formats.onnx.known_inputs import read_known  # most files know nothing

    return read, trial, read_known(info.known, info.width, where=str(info.path))
