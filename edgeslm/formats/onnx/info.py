"""ONNXInfo: what an .onnx specialist is, checked before onnxruntime sees the file."""

from __future__ import annotations

import mmap
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from edgeslm.errors import CardError, ModelFileError
from edgeslm.formats.card_facts import CARD_KEY, CardFacts, facts_of, read_facts
from edgeslm.formats.files import file_sha256
from edgeslm.formats.onnx.cost import CostError, cost_of
from edgeslm.formats.onnx.parts import FLOAT, INT64, Parts, Value, read_parts
from edgeslm.formats.onnx.reader_spec import (
    MAX_UNIT_FEATURES,
    MAX_UNITS,
    MAX_WINDOWS,
    READER_KEY,
    ReaderSpec,
)
from edgeslm.formats.onnx.wire import WireError

# `Card` takes longer to import than onnxruntime: functions import it, where the card itself is
# asked for or holds what only `Card` can judge.
if TYPE_CHECKING:
    from edgeslm.formats.card import Card

KIND_KEY: Final = "edgeslm.kind"
TOKENIZER_KEY: Final = "edgeslm.tokenizer"
MAX_TOKENS_KEY: Final = "edgeslm.max_tokens"
FEATURES_KEY: Final = "edgeslm.features"
KNOWN_KEY: Final = "edgeslm.known"

Kind = Literal["encoder", "linear"]

#: the longest input of an encoder that does not say one, special tokens included
DEFAULT_MAX_TOKENS: Final = 128
#: no encoder is built for longer inputs; bounds what one text can take of memory
_MOST_TOKENS: Final = 8192
#: two special tokens and one of the text
LEAST_TOKENS: Final = 3
#: an .onnx cannot be larger: a protobuf message ends there
_MAX_FILE_BYTES: Final = 2 * 1024**3
#: the operator sets that onnxruntime itself brings; "" is ONNX's own
_DOMAINS: Final = frozenset({"", "ai.onnx", "com.microsoft"})
_MAX_OPSET: Final = 1000
#: names and types of elements of what is read by each part; all are [batch, length]
_TOKEN_INPUTS: Final = {"input_ids": INT64, "attention_mask": INT64}
_FEATURE_INPUTS: Final = {"ids": INT64, "values": FLOAT}
_OUTPUT: Final = "logits"
#: what each kind cannot do without; an encoder may have features as well
_NEEDED: Final[Mapping[Kind, str]] = {"encoder": TOKENIZER_KEY, "linear": FEATURES_KEY}
_COUNT = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
#: characters, and items, of what a message shows of a file
_SHOWN = 40
_AGAIN = "make the file again with `python -m converters`, or pull it again"


class _UnfitError(ValueError):
    """Why a file is no specialist."""


@dataclass(frozen=True)
class ONNXInfo:
    """An .onnx specialist's promise and shape. Sizes are in bytes.

    ``facts`` are what answering needs of the card, ``card_json`` is all of it.
    ``tokenizer_json`` is an encoder's, ``features`` (JSON) a linear model's, alone or beside an
    encoder; ``known`` (JSON) is what is known of training texts. What is not there is None.
    ``reader`` says how scores become a record, in a file that extracts.
    ``opset`` is that of ONNX's own operators.
    """

    path: Path
    size: int
    kind: Kind
    facts: CardFacts
    card_json: str
    tokenizer_json: str | None
    max_tokens: int
    features: str | None
    known: str | None
    reader: ReaderSpec | None
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    opset: int
    domains: tuple[str, ...]
    weight_bytes: int

    @cached_property
    def card(self) -> Card:
        """The card; it was valid when the file was read."""
        return _card(self.path, self.card_json)

    @cached_property
    def sha256(self) -> str:
        """The file's hash; computed when first asked for."""
        return file_sha256(self.path)

    @property
    def reads_with(self) -> str:
        """What turns a text into inputs, in words."""
        if self.reader is not None:
            return "tokenizer and reader" if self.tokenizer_json else "reader"
        parts = {"tokenizer": self.tokenizer_json, "feature list": self.features}
        return " and ".join(words for words, part in parts.items() if part is not None)

    @property
    def width(self) -> int:
        """That of the output: labels of all heads, or columns of a reader."""
        if self.reader is not None:
            return self.reader.columns
        return sum(map(len, label_sets(self.facts)))


def label_sets(facts: CardFacts) -> tuple[tuple[str, ...], ...]:
    """The names of the labels, head by head; one set for a classifier; raises CardError."""
    if not facts.heads:
        raise CardError(
            f"card {facts.name}: an .onnx specialist classifies or tags, it cannot {facts.kind}; "
            "give it a card whose task.kind is classify or tag"
        )
    return tuple(head.labels for head in facts.heads)


def read_onnx(path: Path | str) -> ONNXInfo:
    """Read and check an .onnx specialist; the weights are not read into memory.

    Raises:
        ModelFileError: no specialist's .onnx: damaged, with weights outside the file, with
            operators that onnxruntime does not bring, or with other inputs and outputs.
        CardError: the card is missing, malformed, or has other labels than the graph.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _UnfitError("it is no file")
        if not 0 < status.st_size < _MAX_FILE_BYTES:
            raise _UnfitError(f"{status.st_size:,} bytes are no .onnx file")
        return _checked(path, status.st_size, _parts_of(path))
    except _UnfitError as error:
        raise ModelFileError(f"{path}: {error}; {_AGAIN}") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null, an empty mapping
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path}: cannot be read: {reason}") from error


def _parts_of(path: Path) -> Parts:
    damage = ""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
    ):
        try:
            return read_parts(whole)
        except WireError as error:
            damage = str(error)  # the error itself holds views, which keep the file from closing
    raise _UnfitError(f"damaged, or no specialist: {damage}")


def _checked(path: Path, size: int, parts: Parts) -> ONNXInfo:
    unknown = sorted((set(parts.opsets) | parts.domains) - _DOMAINS)
    if unknown:
        raise _UnfitError(
            f"its graph has operators of {unknown[0]!r}, which onnxruntime does not bring"
        )
    opset = parts.opsets.get("", parts.opsets.get("ai.onnx", 0))
    if not 0 < opset <= _MAX_OPSET:
        raise _UnfitError(f"its operators are of version {opset}")
    if CARD_KEY not in parts.metadata:
        raise CardError(f"{path}: has no card ({CARD_KEY}); {_AGAIN}")
    kind = _kind(parts.metadata)
    inputs = tuple(value for value in parts.inputs if value.name not in parts.initializers)
    tokenizer_json = parts.metadata[TOKENIZER_KEY] if kind == "encoder" else None
    features = parts.metadata.get(FEATURES_KEY)
    reader = _reader(path, parts.metadata)
    _check_inputs(
        inputs,
        {
            **({} if tokenizer_json is None else _TOKEN_INPUTS),
            **({} if features is None and reader is None else _FEATURE_INPUTS),
        },
    )
    _check_output(parts.outputs)
    max_tokens = _max_tokens(parts.metadata)
    _check_cost(parts, max_tokens, reads=reader is not None)
    info = ONNXInfo(
        path=path,
        size=size,
        kind=kind,
        facts=_facts(path, parts.metadata[CARD_KEY]),
        card_json=parts.metadata[CARD_KEY],
        tokenizer_json=tokenizer_json,
        max_tokens=max_tokens,
        features=features,
        known=parts.metadata.get(KNOWN_KEY),
        reader=reader,
        inputs=inputs,
        outputs=tuple(parts.outputs),
        opset=opset,
        domains=tuple(sorted(parts.domains)),
        weight_bytes=parts.weight_bytes,
    )
    _check_labels(info)
    if info.known is not None and info.facts.kind != "classify":
        raise _UnfitError(f"it has {KNOWN_KEY}, which is for one label set")
    return info


def _facts(path: Path, card_json: str) -> CardFacts:
    facts = read_facts(card_json)
    return facts_of(_card(path, card_json).model_dump(mode="json")) if facts is None else facts


def _card(path: Path, card_json: str) -> Card:
    from edgeslm.formats.card import Card

    return Card.from_json(card_json, where=str(path))


def _kind(metadata: Mapping[str, str]) -> Kind:
    for kind, needed in _NEEDED.items():
        if metadata.get(KIND_KEY) == kind:
            if not metadata.get(needed) and not (kind == "linear" and READER_KEY in metadata):
                raise _UnfitError(f"it is of the kind {kind}, but has no {needed}")
            return kind
    stated = metadata.get(KIND_KEY, "")[:_SHOWN]
    raise _UnfitError(f"{KIND_KEY} is {stated!r}, which is no kind of specialist")


def _reader(path: Path, metadata: Mapping[str, str]) -> ReaderSpec | None:
    if READER_KEY not in metadata:
        return None
    if FEATURES_KEY in metadata:
        raise _UnfitError(f"it has both {READER_KEY} and {FEATURES_KEY}")
    return ReaderSpec.from_json(metadata[READER_KEY], where=str(path))


def _max_tokens(metadata: Mapping[str, str]) -> int:
    stated = metadata.get(MAX_TOKENS_KEY, str(DEFAULT_MAX_TOKENS))
    if not _COUNT.fullmatch(stated) or not LEAST_TOKENS <= int(stated) <= _MOST_TOKENS:
        raise _UnfitError(
            f"{MAX_TOKENS_KEY} is {stated[:_SHOWN]!r}, not {LEAST_TOKENS} to {_MOST_TOKENS}"
        )
    return int(stated)


def _check_inputs(inputs: tuple[Value, ...], wanted: Mapping[str, int]) -> None:
    if sorted(value.name for value in inputs) != sorted(wanted):
        names = [value.name[:_SHOWN] for value in inputs[:_SHOWN]]
        raise _UnfitError(f"its inputs are {names}, not {list(wanted)}")
    for value in inputs:
        if value.element_type != wanted[value.name] or value.shape != (None, None):
            raise _UnfitError(
                f"its input {value.name} has another type or shape than [batch, length]"
            )


def _check_output(outputs: Sequence[Value]) -> None:
    if [value.name for value in outputs] != [_OUTPUT]:
        names = [value.name[:_SHOWN] for value in outputs[:_SHOWN]]
        raise _UnfitError(f"its outputs are {names}, not one, {_OUTPUT!r}")
    shape = outputs[0].shape
    if outputs[0].element_type != FLOAT or (shape is not None and len(shape) != 2):
        raise _UnfitError(f"its output {_OUTPUT} has another type or shape than [batch, labels]")


def _check_cost(parts: Parts, max_tokens: int, *, reads: bool) -> None:
    """Refuse a graph whose run may take more than any specialist's, for the longest text."""
    # a text has each feature once at most, and each is a row of a table
    features = max((t.shape[0] for t in parts.initializers.values() if t.shape), default=1)
    sizes = dict.fromkeys(_TOKEN_INPUTS, (MAX_WINDOWS if reads else 1, max_tokens))
    of_text = (MAX_UNITS, MAX_UNIT_FEATURES) if reads else (1, max(1, features))
    sizes |= dict.fromkeys(_FEATURE_INPUTS, of_text)
    try:
        # an input that is a constant as well has the constant's size
        given = [value.name for value in parts.inputs if value.name not in parts.initializers]
        cost_of(parts, {name: sizes[name] for name in given})
    except CostError as error:
        raise _UnfitError(str(error)) from error


def _check_labels(info: ONNXInfo) -> None:
    if info.facts.kind == "extract" and info.reader is None:
        raise CardError(f"{info.path}: it has no {READER_KEY}, so it cannot extract; {_AGAIN}")
    if info.facts.kind != "extract" and info.reader is not None:
        raise CardError(f"{info.path}: it has {READER_KEY}, so its card must extract; {_AGAIN}")
    shape = info.outputs[0].shape
    width = None if shape is None else shape[1]
    if width is not None and width != info.width:
        what = "labels" if info.reader is None else "columns"
        raise CardError(
            f"{info.path}: the card has {info.width} {what}, but the graph answers with "
            f"{width}; use the file that the card was made for"
        )
