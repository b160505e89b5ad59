"""Damaged and hostile .onnx files, made from tiny models: what a loader must survive."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeslm.formats.onnx.cost import ALLOWED
from tests.helpers.tiny_onnx import LABELS, card, encoder_model, metadata, write_mixed_onnx

FUSED = "com.microsoft"
HIDDEN, HEADS, TOKENS = 8, 2, 7
#: numbers that sizes, axes and counts must not be taken for granted to lie within
NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 64, 1000, 2**16, 2**24, 2**31, 2**40)
#: operators that no specialist has, beside those that one may have
OTHERS = ("Tile", "Expand", "Range", "ConstantOfShape", "Pad", "Resize", "Loop", "If", "OneHot")
PARTS: dict[str, tuple[Any, ...]] = {
    "normalizer": (
        {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": "x" * 1000},
        {"type": "Prepend", "prepend": "x" * 10_000},
        {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "Lowercase"}] * 4},
        {"type": "Precompiled", "precompiled_charsmap": "CAAAAAAAAAAAAAAA"},
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Nmt"},
        {"type": "BertNormalizer"},
        5,
    ),
    "pre_tokenizer": (
        {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": True},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "Digits", "individual_digits": True},
        None,
    ),
    "post_processor": (None, {"type": "BertProcessing", "sep": ["a", 2**40], "cls": ["b", 1]}),
    "model": (
        {"type": "WordLevel", "vocab": {}, "unk_token": "[UNK]"},
        {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "x", "max_input_chars_per_word": 9,
         "continuing_subword_prefix": ""},
        {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]},
        {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 7},
        {"type": "WordLevel", "vocab": {"a": 2**33}, "unk_token": "a"},
    ),
    "added_tokens": (
        [{"id": 2**31, "content": "refund", "single_word": False, "lstrip": True, "rstrip": True,
          "normalized": True, "special": True}],
        [{"id": 0, "content": "", "single_word": False, "lstrip": False, "rstrip": False,
          "normalized": False, "special": True}],
        [{"id": 0}] * 20_000,
    ),
    "padding": (
        {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None,
         "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    ),
    "truncation": (
        {"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 10**9},
    ),
}  # fmt: skip


def fused_model() -> onnx.ModelProto:
    """One layer of a BERT as exporters write it, with 8-bit weights."""
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "words": rng.normal(size=(TOKENS, HIDDEN)).astype(np.float32),
        "positions": rng.normal(size=(16, HIDDEN)).astype(np.float32),
        "start": np.zeros(1, np.int64),
        "gamma": np.ones(HIDDEN, np.float32),
        "beta": np.zeros(HIDDEN, np.float32),
        "qkv": rng.integers(-60, 60, (HIDDEN, 3 * HIDDEN)).astype(np.int8),
        "qkv.bias": np.zeros(3 * HIDDEN, np.float32),
        "one": np.ones(1, np.int64),
        "head": rng.normal(size=(len(LABELS), HIDDEN)).astype(np.float32),
        "bias": np.zeros(len(LABELS), np.float32),
    }
    node = functools.partial(helper.make_node)
    nodes = [
        node("Gather", ["words", "input_ids"], ["embedded"]),
        node("Shape", ["input_ids"], ["length"], start=1, end=2),
        node("Slice", ["positions", "start", "length"], ["first"]),
        node(
            "SkipLayerNormalization",
            ["embedded", "first", "gamma", "beta"],
            ["states"],
            domain=FUSED,
            epsilon=1e-5,
        ),
        node("DynamicQuantizeLinear", ["states"], ["bytes", "scale", "zero"]),
        node("MatMulInteger", ["bytes", "qkv", "zero"], ["whole"]),
        node("Cast", ["whole"], ["floats"], to=TensorProto.FLOAT),
        node("Mul", ["floats", "scale"], ["projected"]),
        node("Split", ["projected"], ["q", "k", "v"], axis=-1, num_outputs=3),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.INT32),
        node(
            "MultiHeadAttention",
            ["q", "k", "v", "qkv.bias", "mask"],
            ["mixed"],
            domain=FUSED,
            num_heads=HEADS,
        ),
        node("ReduceSum", ["mixed", "one"], ["pooled"], keepdims=0),
        node("Gemm", ["pooled", "head", "bias"], ["logits"], transB=1),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])]
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "fused", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(FUSED, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to eight places changed, left out, or added to."""
    spoilt = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 8])):
        place = rng.randrange(len(spoilt))
        what = rng.randrange(4)
        if what == 0:
            spoilt[place] = rng.randrange(256)
        elif what == 1:
            spoilt[place] ^= 1 << rng.randrange(8)
        elif what == 2:
            del spoilt[place : place + rng.randrange(1, 9)]
        else:
            spoilt[place:place] = rng.randbytes(rng.randrange(1, 9))
    return bytes(spoilt)


def _other_operator(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    domain, kind = rng.choice([*sorted(ALLOWED), *(("", kind) for kind in OTHERS)])
    node.op_type, node.domain = kind, domain


def _other_inputs(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    what = rng.randrange(4)
    if what == 0 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, ""])
    elif what == 1:
        node.input.append(rng.choice(names))
    elif what == 2:
        node.output.append(rng.choice([*names, "more", ""]))
    elif node.input:
        del node.input[rng.randrange(len(node.input))]


def _other_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice([node for node in model.graph.node if node.attribute] or model.graph.node)
    number = rng.choice(NUMBERS)
    if node.attribute and rng.random() < 0.7:
        attribute = rng.choice(node.attribute)
        name = attribute.name
        node.attribute.remove(attribute)
        value: Any = rng.choice([number, number, 0.5, "x", [number]])
        node.attribute.append(helper.make_attribute(name, value))
    else:
        name = rng.choice(["axis", "to", "keepdims", "num_heads", "transA", "perm", "start"])
        node.attribute.append(helper.make_attribute(name, number))


def _other_tensor(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    value = numpy_helper.to_array(tensor)
    what = rng.randrange(4)
    if what == 0:
        other = np.full(
            rng.choice([(), (1,), (2, 3), (0,), (1, 1, 1, 1)]), rng.choice(NUMBERS[2:12])
        )
    elif what == 1:
        other = np.zeros(value.shape, value.dtype)
    elif what == 2 and value.dtype == np.int64:
        other = np.full(value.shape, rng.choice(NUMBERS))
    else:
        other = value.reshape(-1)
    kind = rng.choice([value.dtype, value.dtype, np.dtype(np.int64), np.dtype(np.int8)])
    tensor.CopyFrom(numpy_helper.from_array(other.astype(kind, casting="unsafe"), tensor.name))


def _more_nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    names = [name for node in model.graph.node for name in node.output if name != "logits"]
    names += [tensor.name for tensor in model.graph.initializer]
    value = rng.choice(names)
    for number in range(rng.choice([1, 3, 30, 200])):
        kind = rng.choice(["Concat", "MatMul", "Add", "Mul", "Gather", "Transpose", "Identity"])
        out = f"more.{number}"
        attributes = {"axis": rng.choice([0, 1, -1])} if kind in {"Concat", "Gather"} else {}
        inputs = (
            [value] if kind in {"Transpose", "Identity"} else [value, rng.choice([value, *names])]
        )
        node = helper.make_node(kind, inputs, [out], **attributes)
        model.graph.node.insert(len(model.graph.node) - 1, node)
        value = out


def _other_order(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = [*model.graph.node]
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


CHANGES: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    _other_operator,
    _other_inputs,
    _other_attribute,
    _other_tensor,
    _more_nodes,
    _other_order,
)


def _other_tokenizer(properties: dict[str, str], rng: random.Random) -> None:
    whole = json.loads(properties["edgeslm.tokenizer"])
    for _ in range(rng.choice([1, 1, 2])):
        part = rng.choice(list(PARTS))
        whole[part] = rng.choice(PARTS[part])
    properties["edgeslm.tokenizer"] = json.dumps(whole)


def hostile(models: list[onnx.ModelProto], rng: random.Random) -> bytes:
    """A well-formed file whose parts contradict each other, or ask for much."""
    model = onnx.ModelProto()
    model.CopyFrom(rng.choice(models))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if rng.random() < 0.3:
        properties["edgeslm.max_tokens"] = rng.choice(["3", "64", "8192"])
    if rng.random() < 0.25:
        _other_tokenizer(properties, rng)
    else:
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            rng.choice(CHANGES)(model, rng)
    del model.metadata_props[:]
    helper.set_model_props(model, properties)
    return bytes(model.SerializeToString())


def bases(folder: Path) -> list[onnx.ModelProto]:
    """Sound models of each kind."""
    plain = encoder_model(LABELS, np.eye(3, dtype=np.float32) * 6)
    fused = fused_model()
    for model in (plain, fused):
        helper.set_model_props(model, metadata(card(), LABELS))
    return [plain, fused, onnx.load(write_mixed_onnx(folder / "mixed-base.onnx"))]


def write_mutants(folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """Files that are each wrong in some way, or happen not to be; half of them only damaged."""
    rng = random.Random(seed)
    models = bases(folder)
    for number in range(count):
        path = folder / f"{number:05}.onnx"
        if number % 2:
            path.write_bytes(damaged(rng.choice(models).SerializeToString(), rng))
        else:
            path.write_bytes(hostile(models, rng))
        yield path
