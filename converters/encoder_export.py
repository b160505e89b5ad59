"""Export of a trained encoder: one .onnx file with float weights, tokenizer and card inside"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converters.errors import BaseModelError, require
from edgeslm.card import CARD_KEY, Card
from edgeslm.onnx_file import KIND_KEY, MAX_TOKENS_KEY, TOKENIZER_KEY
from edgeslm.transfer import publish

if TYPE_CHECKING:
    from onnx import ModelProto
    from tokenizers import Tokenizer

    from converters.encoder_model import EncoderModel

#: the format's version of operators that graphs are written in
OPSET: Final = 18
INPUTS: Final = ("input_ids", "attention_mask")
OUTPUT: Final = "logits"
#: rows and tokens of the example that is traced; both are dynamic in the graph
_EXAMPLE: Final = (2, 8)


def export_onnx(
    model: EncoderModel, tokenizer: Tokenizer, target: Path, *, card: Card, max_tokens: int
) -> Path:
    """Write an encoder as .onnx with float32 weights, aside first.

    Batch and length are dynamic. Embeddings of positions from ``max_tokens`` on are left out,
    for no text gets there. Where in the source an operator came from is left out, too.

    Raises:
        BaseModelError: torch cannot express this model as a graph.
        MissingExtraError: torch, onnx or onnxscript are not installed.
    """
    require("torch", "onnx", "onnxscript")
    proto = _traced(_prepared(model, max_tokens))
    _forget_origins(proto)
    set_metadata(
        proto,
        {
            CARD_KEY: card.to_json(),
            KIND_KEY: "encoder",
            TOKENIZER_KEY: tokenizer.to_str(),
            MAX_TOKENS_KEY: str(max_tokens),
        },
    )
    return write_model(proto, target)


def write_card(path: Path, card: Card) -> None:
    """Give an .onnx file, of any kind, this card in place of its own; all else stays.

    Raises:
        BaseModelError: the file is missing or damaged.
    """
    proto = read_model(path)
    held = {entry.key: entry.value for entry in proto.metadata_props}
    set_metadata(proto, {**held, CARD_KEY: card.to_json()})
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


def _prepared(model: EncoderModel, max_tokens: int) -> EncoderModel:
    """A copy to be traced: no dropout, attention in plain operators, fewer positions."""
    import torch

    found = copy.deepcopy(model).cpu().eval()
    found.backbone.set_attn_implementation("eager")  # half the operators of the fused one
    embeddings = found.backbone.embeddings
    table = embeddings.position_embeddings
    if max_tokens < table.num_embeddings:
        new_table: Any = torch.nn.Embedding.from_pretrained  # torch leaves it without types
        kept = table.weight.detach()[:max_tokens].clone()
        embeddings.position_embeddings = new_table(kept)
        for name in ("position_ids", "token_type_ids"):
            embeddings.register_buffer(name, getattr(embeddings, name)[:, :max_tokens])
        found.backbone.config.max_position_embeddings = max_tokens
    return found


def _traced(model: EncoderModel) -> ModelProto:
    import torch

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    # one tensor for both inputs would be traced as one input
    example = tuple(torch.ones(_EXAMPLE, dtype=torch.int64) for _ in INPUTS)
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, about their own next versions
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes={name: {0: batch, 1: length} for name in INPUTS},
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise BaseModelError(
            f"the model cannot be exported: {error}; this is a limit of the installed torch: "
            "try another version of torch or onnxscript"
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert program is not None, "with dynamo there is a program"
    return program.model_proto


def _forget_origins(proto: ModelProto) -> None:
    """Traces name the files of this machine's Python; they are half of the graph's bytes."""
    graph: Any = proto.graph
    del graph.value_info[:], graph.metadata_props[:]
    parts: Iterable[Any] = (*graph.node, *graph.initializer, *graph.input, *graph.output)
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    used = {node.domain for node in graph.node}
    opsets = [opset for opset in proto.opset_import if opset.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)
