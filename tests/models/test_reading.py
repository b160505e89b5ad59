"""A reader's file: what does not fit together is refused when it is loaded, by one clear error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from edgeslm.errors import ArgumentError, CardError, ModelFileError
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.formats.onnx.reader_spec import FieldSpec
from edgeslm.models.onnx import open_onnx
from tests.helpers.tiny_onnx import LABELS, metadata, write_model, write_tiny_onnx
from tests.helpers.tiny_onnx import card as classifier_card
from tests.helpers.tiny_reader import (
    FIELDS,
    MAX_TOKENS,
    WORDS,
    card,
    properties,
    reader_model,
    receipts,
    spec,
    without_columns,
    write_tiny_encoder_reader,
    write_tiny_reader,
)


def refused(path: Path, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught, open_onnx(path, threads=1, gpu=False):
        pass
    assert str(path) in str(caught.value)


def test_a_reader_says_what_it_is(tiny_reader: Path, tiny_encoder_reader: Path) -> None:
    linear, encoder = read_onnx(tiny_reader), read_onnx(tiny_encoder_reader)
    assert (linear.kind, encoder.kind) == ("linear", "encoder")
    assert linear.reader == encoder.reader == spec()
    assert linear.width == spec().columns == 3 + 2 * 2 + 2
    assert (linear.reads_with, encoder.reads_with) == ("reader", "tokenizer and reader")
    assert encoder.max_tokens == MAX_TOKENS


def test_columns_of_the_graph_must_be_those_of_the_reader(tmp_path: Path) -> None:
    path = write_tiny_reader(tmp_path / "x.onnx", reader=without_columns(spec()).to_json())
    refused(path, CardError, "has 8 columns, but the graph answers with 9")


def test_columns_are_counted_also_where_the_graph_does_not_say(tmp_path: Path) -> None:
    import numpy as np

    model = reader_model(spec(), np.zeros((1 << 16, 9), np.float32))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    own = properties(without_columns(spec()))
    refused(write_model(tmp_path / "x.onnx", model, own), CardError, "rows of 8 scores")


def test_a_card_that_extracts_needs_a_reader(tmp_path: Path) -> None:
    path = write_tiny_reader(tmp_path / "x.onnx", reader=None)
    refused(path, ModelFileError, "no edgeslm.features")
    path = write_tiny_encoder_reader(tmp_path / "y.onnx", reader=None)
    refused(path, ModelFileError, "its inputs are")
    path = write_tiny_onnx(tmp_path / "z.onnx")
    write_model(path, onnx.load(path), metadata(card(), LABELS))
    refused(path, CardError, "it has no edgeslm.reader")


def test_a_reader_needs_a_card_that_extracts(tmp_path: Path) -> None:
    path = write_tiny_reader(tmp_path / "x.onnx", classifier_card())
    refused(path, CardError, "its card must extract")


def test_a_reader_is_no_list_of_features_and_knows_nothing_by_heart(tmp_path: Path) -> None:
    refused(write_tiny_reader(tmp_path / "x.onnx", features="{}"), ModelFileError, "has both")
    refused(write_tiny_reader(tmp_path / "y.onnx", known="{}"), ModelFileError, "one label set")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format": 1}', "\x00", "[" * 10_000, spec().to_json()[:-1]]
)
def test_a_damaged_reader_is_refused_as_such(tmp_path: Path, damage: str) -> None:
    path = write_tiny_reader(tmp_path / "x.onnx", reader=damage)
    refused(path, CardError, "edgeslm.reader: .*make the file again")


def test_a_damaged_card_or_tokenizer_is_refused(tmp_path: Path) -> None:
    path = write_tiny_reader(tmp_path / "x.onnx", card='{"name": "x"')
    refused(path, CardError, "card")
    path = write_tiny_encoder_reader(tmp_path / "y.onnx", tokenizer="{}")
    refused(path, ModelFileError, "its tokenizer is damaged")
    path = write_tiny_encoder_reader(tmp_path / "z.onnx", max_tokens="2")
    refused(path, ModelFileError, "edgeslm.max_tokens is '2'")


def test_a_tokenizer_that_does_not_fit_the_graph_is_refused(tmp_path: Path) -> None:
    from tests.helpers.tiny_onnx import tokenizer_json

    more = tokenizer_json([f"w{number}" for number in range(len(WORDS) + 1)] + ["A", "a", "total"])
    path = write_tiny_encoder_reader(tmp_path / "x.onnx", tokenizer=more)
    refused(path, ModelFileError, "does not take what its tokenizer and reader gives")


def test_a_tokenizer_that_puts_nothing_around_a_text_is_refused(tmp_path: Path) -> None:
    from tests.helpers.tiny_onnx import tokenizer_json

    bare = json.dumps({**json.loads(tokenizer_json(WORDS)), "post_processor": None})
    path = write_tiny_encoder_reader(tmp_path / "x.onnx", tokenizer=bare)
    refused(path, ModelFileError, "one token before a text and one behind")


def test_a_reader_must_read_what_its_card_promises(tmp_path: Path) -> None:
    """Else each record would lack a field that the schema requires, or have one too many."""
    other = spec([*FIELDS[:2], FieldSpec("$.sum", "number", places=2), FIELDS[3]])
    refused(write_tiny_reader(tmp_path / "x.onnx", reader=other.to_json()), CardError, r"\$.sum")
    fields = (*FIELDS[:2], FieldSpec("$.more", "date"), replace(FIELDS[3], values=('"cash"',)))
    less = replace(spec(), fields=(*fields, FieldSpec("$.x", "listed", values=("1",))))
    assert less.columns == spec().columns
    refused(write_tiny_reader(tmp_path / "y.onnx", reader=less.to_json()), CardError, r"\$.more")


@pytest.mark.parametrize("tokens", [1, 2])
def test_no_context_for_a_token_is_no_context(tiny_encoder_reader: Path, tokens: int) -> None:
    with pytest.raises(ArgumentError, match="max_context must be at least 3"):
        open_onnx(tiny_encoder_reader, threads=1, gpu=False, max_context=tokens)


@pytest.mark.parametrize("tokens", [3, 5, 12, 100])
def test_shorter_windows_read_on(tiny_encoder_reader: Path, tokens: int) -> None:
    text, record = receipts()[0]
    with open_onnx(tiny_encoder_reader, threads=1, gpu=False, max_context=tokens) as model:
        answer = model.extractor()(text, truncate="middle")
        if tokens > 5:
            assert answer.value == record
