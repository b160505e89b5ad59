"""Export of a trained encoder: one .onnx file with float weights, tokenizer and card inside"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import BaseModelError, require
from converters.onnx.graph import encoder_graph
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.files import publish
from edgeslm.formats.onnx.info import (
    FEATURES_KEY,
    KIND_KEY,
    KNOWN_KEY,
    MAX_TOKENS_KEY,
    TOKENIZER_KEY,
)

if TYPE_CHECKING:
    from onnx import ModelProto
    from tokenizers import Tokenizer

    from converters.encoder.model import EncoderModel
    from converters.onnx.linear import LinearModel
    from edgeslm.formats.onnx.known_inputs import KnownInputs


def export_onnx(
    model: EncoderModel,
    tokenizer: Tokenizer,
    target: Path,
    *,
    card: Card,
    max_tokens: int,
    linear: LinearModel | None = None,
    known: KnownInputs | None = None,
) -> Path:
    """Write an encoder as .onnx with float32 weights, aside first; see `encoder_graph`.

    ``linear`` answers together with it, and ``known`` is what the file knows of its texts.

    Raises:
        BaseModelError: the model cannot be expressed as a graph.
        MissingExtraError: torch or onnx are not installed.
    """
    require("torch", "onnx")
    proto = encoder_graph(model, max_tokens, linear)
    properties = {
        CARD_KEY: card.to_json(),
        KIND_KEY: "encoder",
        TOKENIZER_KEY: tokenizer.to_str(),
        MAX_TOKENS_KEY: str(max_tokens),
    }
    if linear is not None:
        properties[FEATURES_KEY] = linear.spec.to_json()
    if known is not None:
        properties[KNOWN_KEY] = known.to_json()
    set_metadata(proto, properties)
    return write_model(proto, target)


def write_card(path: Path, card: Card) -> None:
    """Give an .onnx file, of any kind, this card in place of its own; all else stays.

    Raises:
        BaseModelError: the file is missing or damaged.
    """
    _write_property(path, CARD_KEY, card.to_json())


def write_known(path: Path, known: KnownInputs) -> None:
    """Let an .onnx file know these texts and no others; all else stays.

    Raises:
        BaseModelError: the file is missing or damaged.
    """
    _write_property(path, KNOWN_KEY, known.to_json())


def _write_property(path: Path, key: str, value: str) -> None:
    proto = read_model(path)
    held = {entry.key: entry.value for entry in proto.metadata_props}
    set_metadata(proto, {**held, key: value})
    write_model(proto, path)


def read_model(path: Path) -> ModelProto:
    """Parse an .onnx file that the training side has written.

    Raises:
        BaseModelError: the file is missing or damaged.
    """
    require("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise BaseModelError(f"{path}: cannot be read: {error}; export it again") from error


def write_model(proto: ModelProto, target: Path) -> Path:
    """Write an .onnx file, aside first."""
    aside = target.with_name(target.name + ".part")
    aside.write_bytes(proto.SerializeToString())
    publish(aside, target)
    return target


def set_metadata(proto: ModelProto, properties: dict[str, str]) -> None:
    """Make these the model's metadata, and no others."""
    del proto.metadata_props[:]
    for key, value in sorted(properties.items()):
        proto.metadata_props.add(key=key, value=value)
