"""Writes tiny .onnx readers, linear and with an encoder, fitted to made-up receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.reading.align import align
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.onnx.reader_spec import READER_KEY, FieldSpec, ReaderSpec
from edgeslm.tasks.reading.features import BUCKETS, unit_features
from edgeslm.tasks.reading.layout import Layout, lay_out
from edgeslm.tasks.reading.record import typed_kinds
from tests.helpers.tiny_onnx import SPECIAL, tokenizer_json, write_model

#: tokens of a window, so few that most receipts take several
MAX_TOKENS = 24
#: a score that a unit has where it is right; as much less than 0 where it is wrong
SURE = 8.0
_NEVER = -1e4
_FLOAT, _INT64, _INT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT8
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "shop": {"type": ["string", "null"], "maxLength": 40},
        "date": {"type": ["string", "null"], "format": "date"},
        "total": {"type": ["string", "null"], "pattern": r"^-?[0-9]+\.[0-9]{2}$"},
        "paid": {"enum": ["cash", "card"]},
    },
    "required": ["shop", "date", "total", "paid"],
    "additionalProperties": False,
}
FIELDS = (
    FieldSpec("$.shop", "text"),
    FieldSpec("$.date", "date"),
    FieldSpec("$.total", "number", places=2),
    FieldSpec("$.paid", "listed", values=('"cash"', '"card"'), nullable=False),
)
SHOPS = (
    "GREEN LEAF BOOKS", "OAK BAKERY", "BLUE DOOR CAFE", "NORTH STAR HARDWARE", "SUNNY PHARMACY",
    "RIVER FLOWERS", "MAPLE GROCERY", "OLD TOWN TOYS",
)  # fmt: skip


def receipts(shops: Sequence[str] = SHOPS) -> list[tuple[str, dict[str, str]]]:
    """Texts and their records: the first line is the shop's, the amount behind TOTAL its total."""
    made = []
    for number, shop in enumerate(shops):
        day, cents = f"2024-0{1 + number % 9}-1{number % 10}", f"{10 + 3 * number}.{number % 10}0"
        paid = ("cash", "card")[number % 2]
        lines = [
            shop,
            f"{number + 3} LONG STREET",
            f"DATE: {day}",
            f"TEA {number + 2}.50",
            f"BREAD {number + 1}.25",
            f"TOTAL: {cents}",
            f"PAID BY {paid.upper()}",
        ]
        record = {"shop": shop, "date": day, "total": cents, "paid": paid}
        made.append(("\n".join(lines), record))
    return made


def card(**more: Any) -> Card:
    """A reader's card; ``more`` are further keys of it, or ``task`` in place of the schema's."""
    task = more.pop("task", {"kind": "extract", "json_schema": SCHEMA, "grounded": True})
    return Card.from_dict(
        {"name": "tiny-reader", "licence": "mit", "task": task, **more}, where="tiny"
    )


def spec(fields: Sequence[FieldSpec] = FIELDS, *, words: bool = False) -> ReaderSpec:
    """A spec whose inner tags stand behind their own field's tags alone."""
    texts = sum(field.read == "text" for field in fields)
    tags = 1 + 2 * texts
    transitions, begin = np.zeros((tags, tags)), np.zeros(tags)
    for inside in range(2, tags, 2):
        transitions[:, inside] = begin[inside] = _NEVER
        transitions[[inside - 1, inside], inside] = 0.0
    return ReaderSpec(words, tuple(fields), tuple(map(tuple, transitions.tolist())), tuple(begin))


def wanted_scores(layout: Layout, answer: Mapping[str, Any], own: ReaderSpec) -> np.ndarray:
    """Float [units, columns]: ``SURE`` where a unit is right for an answer, else its negative."""
    targets, scores = align(layout, answer, own), np.full((layout.units, own.columns), -SURE)
    pieces = len(layout.pieces)
    scores[1 : 1 + pieces, : own.tags] = np.where(targets.tags, SURE, -SURE)
    at, rows = own.tags, _first_rows(layout)
    for field, right in zip(own.typed, targets.typed, strict=True):
        scores[[rows[field.read] + place for place in right or ()], at] = SURE
        scores[0, at + 1] = -SURE if right else SURE
        at += 2
    for field, place in zip(own.listed, targets.listed, strict=True):
        if place is not None:
            scores[0, at + place] = SURE
        at += len(field.values)
    return scores


def _first_rows(layout: Layout) -> dict[str, int]:
    first, rows = 1 + len(layout.pieces), {}
    for kind, candidates in layout.candidates.items():
        rows[kind] = first
        first += len(candidates)
    return rows


def fitted(own: ReaderSpec) -> np.ndarray:
    """Weights of features, float32 [buckets, columns]: ridge regression on the receipts."""
    rows, wanted = [], []
    for text, answer in receipts():
        layout = lay_out(text, typed_kinds(own), words=own.words)
        features = unit_features(layout)
        scores = wanted_scores(layout, answer, own)
        scores[0, own.tags :] = 0.0  # the whole text has no features to tell receipts apart
        for ids, count, right in zip(features.ids, features.counts, scores, strict=True):
            row = np.zeros(BUCKETS, np.float32)
            np.add.at(row, ids[ids > 0], 1 / np.sqrt(count))
            rows.append(row)
            wanted.append(right)
    seen, right = np.stack(rows), np.stack(wanted)
    kernel = seen @ seen.T + 0.01 * np.eye(len(seen))
    weights: np.ndarray = seen.T @ np.linalg.solve(kernel, right)
    return weights.astype(np.float32)


@cache
def _weights() -> np.ndarray:
    return fitted(spec())


def reader_model(
    own: ReaderSpec, weights: np.ndarray, table: np.ndarray | None = None
) -> onnx.ModelProto:
    """A graph: features by ``weights`` in 8 bits; below the rows of ``table`` [tokens, columns]
    that an encoder's tokens have."""
    step = float(np.abs(weights).max()) / 127 or 1.0
    node = helper.make_node
    nodes = [
        node("Gather", ["features", "ids"], ["bytes"]),
        node("Cast", ["bytes"], ["rows"], to=_FLOAT),
        node("Unsqueeze", ["values", "axis"], ["row"]),
        node("MatMul", ["row", "rows"], ["sums"]),
        node("Squeeze", ["sums", "axis"], ["units"]),
        node("Mul", ["units", "step"], ["logits" if table is None else "scores"]),
    ]
    inputs = {"ids": _INT64, "values": _FLOAT}
    constants = {
        "axis": np.ones(1, np.int64),
        "step": np.array(step, np.float32),
        "features": np.rint(weights / step).astype(np.int8),
    }
    if table is not None:
        inputs |= {"input_ids": _INT64, "attention_mask": _INT64}
        constants |= {"table": table.astype(np.float32), "flat": np.array([-1, own.columns])}
        nodes += [
            node("Gather", ["table", "input_ids"], ["states"]),
            node("Reshape", ["states", "flat"], ["places"]),
            node("Concat", ["places", "scores"], ["logits"], axis=0),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny-reader",
        [helper.make_tensor_value_info(name, kind, ["a", "b"]) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("logits", _FLOAT, ["rows", own.columns])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def properties(
    own: ReaderSpec, promise: Card | None = None, words: Sequence[str] = ()
) -> dict[str, str]:
    """What a reader's file carries beside its graph; ``words`` are those of an encoder."""
    kept = {
        CARD_KEY: (promise or card()).to_json(),
        "edgeslm.kind": "encoder" if words else "linear",
        READER_KEY: own.to_json(),
    }
    if words:
        kept |= {
            "edgeslm.tokenizer": tokenizer_json(words),
            "edgeslm.max_tokens": str(MAX_TOKENS),
        }
    return kept


def write_tiny_reader(path: Path, promise: Card | None = None, **changed: str | None) -> Path:
    """A linear reader that reads the made-up receipts; it has seen cash and card alike.

    ``changed`` are properties in place of its own, None for none.
    """
    kept = {**properties(spec(), promise), **{f"edgeslm.{key}": v for key, v in changed.items()}}
    own = {key: value for key, value in kept.items() if value is not None}
    return write_model(path, reader_model(spec(), _weights()), own)


#: words that the encoder reader's tokenizer knows
WORDS = (
    *sorted({word for shop in SHOPS for word in shop.lower().split()}),
    "total", "date", "paid", "by", "cash", "card", "tea", "bread", "street", "long", ":",
)  # fmt: skip


def write_tiny_encoder_reader(
    path: Path, promise: Card | None = None, **changed: str | None
) -> Path:
    """The same reader, and an encoder whose tokens say how the shop paid: cash or card."""
    own = spec()
    table = np.zeros((len(SPECIAL) + len(WORDS), own.columns), np.float32)
    for at, word in enumerate(("cash", "card")):
        table[len(SPECIAL) + WORDS.index(word), own.columns - 2 + at] = 40 * SURE
    kept = properties(own, promise, WORDS)
    kept |= {f"edgeslm.{key}": value for key, value in changed.items() if value is not None}
    left_out = {f"edgeslm.{key}" for key, value in changed.items() if value is None}
    held = {key: value for key, value in kept.items() if key not in left_out}
    return write_model(path, reader_model(own, _weights(), table), held)


def without_columns(own: ReaderSpec) -> ReaderSpec:
    """The spec without its last listed value: one column less than a graph for it has."""
    *others, last = own.fields
    return replace(own, fields=(*others, replace(last, values=last.values[:-1])))
