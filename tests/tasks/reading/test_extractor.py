"""A reader as any extractor: one answer for a text, its limits, its schema, what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

import edgeslm
from edgeslm import CancelToken, Extraction
from edgeslm.errors import (
    ArgumentError,
    CancelledError,
    CardError,
    DeadlineError,
    EngineError,
    InputError,
    InputTooLongError,
    OutputInvalidError,
    SchemaError,
)
from edgeslm.formats.onnx.reader_spec import FieldSpec, ReaderSpec
from edgeslm.models.onnx import open_onnx
from edgeslm.models.reading import ReadingModel
from tests.helpers.tiny_onnx import write_model
from tests.helpers.tiny_reader import (
    SCHEMA,
    card,
    properties,
    reader_model,
    receipts,
    spec,
    write_tiny_reader,
)

TEXTS = [text for text, _ in receipts()]


@pytest.fixture(scope="module", params=["linear", "encoder"])
def model(request, tiny_reader, tiny_encoder_reader) -> Iterator[ReadingModel]:
    path = tiny_reader if request.param == "linear" else tiny_encoder_reader
    with open_onnx(path, threads=1, gpu=False) as opened:
        assert isinstance(opened, ReadingModel)
        yield opened


@pytest.fixture(scope="module")
def linear(tiny_reader) -> Iterator[ReadingModel]:
    with open_onnx(tiny_reader, threads=1, gpu=False) as opened:
        assert isinstance(opened, ReadingModel)
        yield opened


def opened(folder: Path, own: ReaderSpec, task_schema: dict[str, Any], **more: Any) -> ReadingModel:
    """A reader whose scores are all 0."""
    promise = card(task={"kind": "extract", "json_schema": task_schema}, **more)
    weights = np.zeros((1 << 16, own.columns), np.float32)
    path = write_model(folder / "own.onnx", reader_model(own, weights), properties(own, promise))
    model = open_onnx(path, threads=1, gpu=False)
    assert isinstance(model, ReadingModel)
    return model


def without_time(answer: Any) -> tuple[Any, ...]:
    return answer.value, answer.json, answer.fields, answer.confidence, answer.nothing_read


# --- answers ------------------------------------------------------------------


def test_it_reads_what_it_was_fitted_to(model: ReadingModel) -> None:
    extract = model.extractor()
    for text, record in receipts():
        answer = extract(text)
        seen = {**answer.value, "paid": record["paid"]} if model.kind == "linear" else answer.value
        assert seen == record
        assert not answer.nothing_read
        assert list(answer.fields) == ["$.shop", "$.date", "$.total", "$.paid"]
        for name in ("shop", "date", "total"):
            field = answer.fields[f"$.{name}"]
            assert text[slice(*field.span)] == record[name]
            assert field.grounded
        assert answer.fields["$.paid"].span is None
        assert set(answer.fields["$.paid"].probabilities) == {"cash", "card"}


def test_a_text_has_one_answer_whatever_its_company(model: ReadingModel) -> None:
    extract = model.extractor()
    alone = [without_time(extract(text)) for text in TEXTS]
    for width in (1, 3, 8):
        company = [without_time(answer) for answer in extract.map(TEXTS[::-1], width=width)]
        assert company == alone[::-1]
    with ThreadPoolExecutor(4) as pool:
        assert [without_time(a) for a in pool.map(extract, TEXTS * 4)] == alone * 4


def test_errors_of_map_stand_in_their_places(model: ReadingModel) -> None:
    answers = list(model.extractor().map([TEXTS[0], "", TEXTS[1], "word " * 20_000]))
    assert [type(answer).__name__ for answer in answers] == [
        "Extraction", "InputError", "Extraction", "InputTooLongError",
    ]  # fmt: skip


def test_nothing_is_read_of_a_text_without_anything(tmp_path: Path) -> None:
    own = spec([FieldSpec("$.total", "number"), FieldSpec("$.day", "date")])
    schema = {
        "type": "object",
        "properties": {"total": {"type": ["number", "null"]}, "day": {"type": ["string", "null"]}},
        "required": ["total", "day"],
    }
    with opened(tmp_path, own, schema) as model:
        answer = model.extractor()("no value at all")
        assert answer.value == {"total": None, "day": None}
        assert answer.nothing_read


def test_spans_of_a_cut_text_are_those_of_the_whole(linear: ReadingModel) -> None:
    text, record = receipts()[0]
    head, _, tail = text.partition("TEA")
    long = head + "FILLER LINE\n" * 6000 + "TEA" + tail
    extract = linear.extractor()
    with pytest.raises(InputTooLongError, match="characters"):
        extract(long)
    answer = extract(long, truncate="middle")
    assert answer.value["total"] == record["total"]
    for path, field in answer.fields.items():
        if field.span is not None:
            assert long[slice(*field.span)] == answer.value[path.removeprefix("$.")]
    assert answer.fields["$.total"].span[0] > len(long) - len(tail)


# --- limits and arguments -------------------------------------------------------


def test_deadlines_and_cancels(model: ReadingModel) -> None:
    extract = model.extractor()
    with pytest.raises(DeadlineError):
        extract(TEXTS[0], deadline_ms=0.001)
    assert {type(a) for a in extract.map(TEXTS, deadline_ms=0.001)} == {DeadlineError}
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        extract(TEXTS[0], cancel=token)
    with pytest.raises(CancelledError):
        list(extract.map(TEXTS, cancel=token))
    assert extract(TEXTS[0]).value


def test_a_cancel_is_heard_while_a_text_is_laid_out(linear: ReadingModel, monkeypatch) -> None:
    from edgeslm.tasks.reading import inputs

    laid_out, started = inputs.lay_out, threading.Event()

    def slow(*args: Any, **more: Any) -> Any:
        started.set()
        release.wait(10)
        return laid_out(*args, **more)

    release = threading.Event()
    monkeypatch.setattr(inputs, "lay_out", slow)
    monkeypatch.setattr(inputs, "unit_features", lambda _: pytest.fail("it went on"))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(linear.extractor(), TEXTS[0])
        assert started.wait(10)
        linear.cancel()
        release.set()
        with pytest.raises(CancelledError):
            answer.result(10)


def test_a_closed_model_answers_no_more(tmp_path: Path) -> None:
    model = open_onnx(write_tiny_reader(tmp_path / "x.onnx"), threads=1, gpu=False)
    extract = model.extractor()
    model.close()
    model.close()
    for call in (lambda: extract(TEXTS[0]), model.extractor, lambda: list(extract.map(TEXTS))):
        with pytest.raises(EngineError, match="closed"):
            call()


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": 0.5}, {"temperature": -1}, {"temperature": "0"}, {"max_tokens": 0},
        {"on_budget": "other"}, {"on_invalid": "other"}, {"truncate": "end"}, {"seed": -1},
        {"drafts": 1}, {"evidence": None}, {"deadline_ms": -1}, {"deadline_ms": "1"},
        {"cancel": object()},
    ],
)  # fmt: skip
def test_arguments_without_a_meaning_are_refused(linear: ReadingModel, arguments: Any) -> None:
    extract = linear.extractor()
    with pytest.raises(ArgumentError):
        extract(TEXTS[0], **arguments)
    with pytest.raises(ArgumentError):
        list(extract.map(TEXTS, **arguments))


@pytest.mark.parametrize("more", [{"width": 0}, {"width": "2"}])
def test_a_map_without_a_width_is_refused(linear: ReadingModel, more: Any) -> None:
    with pytest.raises(ArgumentError):
        list(linear.extractor().map(TEXTS, **more))
    with pytest.raises(ArgumentError):
        list(linear.extractor().map("one text"))


@pytest.mark.parametrize("text", ["", " \n", "\ud800", None, 3])
def test_texts_that_are_none(linear: ReadingModel, text: Any) -> None:
    with pytest.raises(InputError):
        linear.extractor()(text)


def test_what_a_reader_cannot_do(linear: ReadingModel) -> None:
    with pytest.raises(
        CardError, match=r"a linear specialist that reads records.*use extractor\(\)"
    ):
        linear.classifier()
    with pytest.raises(CardError):
        linear.tagger()
    with pytest.raises(CardError, match="give it no prompt"):
        linear.extractor(prompt=edgeslm.PromptSpec(system="Read it."))
    with pytest.raises(SchemaError, match="only the fields it was trained for"):
        linear.extractor(SCHEMA, untrained=True)


# --- schemas ------------------------------------------------------------------


def subset(*names: str) -> dict[str, Any]:
    return {
        **SCHEMA,
        "properties": {name: SCHEMA["properties"][name] for name in names},
        "required": [*names],
    }


def test_a_schema_may_ask_for_less(linear: ReadingModel) -> None:
    for names in (["total"], ["date", "shop"]):
        answer = linear.extractor(subset(*names))(TEXTS[0])
        record = receipts()[0][1]
        assert answer.value == {name: record[name] for name in names}
        assert {*answer.fields} == {f"$.{name}" for name in names}


class Bill(BaseModel):
    shop: str | None
    total: Decimal | None


class Sum(BaseModel):
    total: float


class Price(BaseModel):
    price: str | None


class Full(Bill):
    date: str | None
    colour: str | None


def test_a_class_is_filled(linear: ReadingModel) -> None:
    answer = linear.extractor(Bill)(TEXTS[0])
    record = receipts()[0][1]
    assert answer.value == Bill(shop=record["shop"], total=Decimal(record["total"]))
    assert str(answer.value.total) == record["total"]
    assert answer.fields["$.total"].confidence > 0.9
    assert linear.extractor(Sum)(TEXTS[0]).value == Sum(total=float(record["total"]))


def test_a_number_is_a_text_where_the_class_has_one(tmp_path: Path) -> None:
    own = spec([FieldSpec("$.price", "number")])
    schema = {"type": "object", "properties": {"price": {"type": ["number", "null"]}}}
    with opened(tmp_path, own, {**schema, "required": ["price"]}) as model:
        assert model.extractor()("costs 5.10 and 5.10").value == {"price": 5.1}
        assert model.extractor(Price)("costs 5.10 and 5.10").value == Price(price="5.1")


def test_a_field_that_it_does_not_read_is_refused_by_its_name(linear: ReadingModel) -> None:
    with pytest.raises(SchemaError, match=r"asks for \$.colour; leave that out, or use a language"):
        linear.extractor(Full)
    for schema in ({"type": "object", "properties": {}}, {"type": "string"}):
        with pytest.raises(SchemaError):
            linear.extractor(schema)


class Seller(BaseModel):
    name: str | None


class Nested(BaseModel):
    seller: Seller


class Other(BaseModel):
    vat: str | None


class Deep(BaseModel):
    seller: Other


def test_schemas_ask_by_path(tmp_path: Path) -> None:
    own = spec([FieldSpec("$.seller.name", "text"), FieldSpec("$.seller.place", "text")])
    text = {"type": ["string", "null"]}
    seller = {
        "type": "object",
        "properties": {"name": text, "place": text},
        "required": ["name", "place"],
    }
    whole = {"type": "object", "properties": {"seller": seller}, "required": ["seller"]}
    with opened(tmp_path, own, whole) as model:
        assert [*model.extractor()("A\nB").fields] == ["$.seller.name", "$.seller.place"]
        answer = model.extractor(Nested)("A\nB")
        assert [*answer.fields] == ["$.seller.name"]
        assert isinstance(answer.value, Nested)
        with pytest.raises(SchemaError, match=r"asks for \$.seller.vat;"):
            model.extractor(Deep)
        flat = {"type": "object", "properties": {"seller": text}, "required": ["seller"]}
        with pytest.raises(SchemaError, match=r"asks for \$.seller;"):
            model.extractor(flat)


def test_what_the_schema_does_not_let_stand_is_null(linear: ReadingModel) -> None:
    short = subset("shop", "total")
    short["properties"] = {
        **short["properties"],
        "shop": {"type": ["string", "null"], "maxLength": 3},
    }
    answer = linear.extractor(short)(TEXTS[0])
    assert answer.value == {"shop": None, "total": receipts()[0][1]["total"]}
    assert (answer.fields["$.shop"].span, answer.fields["$.shop"].confidence) == (None, 0.0)
    assert answer.fields["$.total"].confidence > 0.9


def test_a_schema_that_allows_no_null_there_is_an_error(linear: ReadingModel) -> None:
    short = subset("total")
    short["properties"] = {"total": {"type": "string", "maxLength": 1}}
    with pytest.raises(OutputInvalidError):
        linear.extractor(short)(TEXTS[0])


def test_a_field_that_must_have_a_value_and_has_none_is_named(tmp_path: Path) -> None:
    own = spec([FieldSpec("$.day", "date", nullable=False)])
    schema = {
        "type": "object",
        "properties": {"day": {"type": "string", "format": "date"}},
        "required": ["day"],
    }
    with opened(tmp_path, own, schema) as model:
        with pytest.raises(InputError, match=r"holds nothing for \$.day"):
            model.extractor()("no day")
        assert model.extractor()("on 2024-02-01").value == {"day": "2024-02-01"}


def test_calibration_bends_confidence_of_fields_and_of_whole_records(tmp_path: Path) -> None:
    errors = {"ece_before": 0.1, "ece_after": 0.1, "brier_before": 0.1, "brier_after": 0.1}
    worth = {"starts": [0.0, 0.9], "values": [0.25, 0.5], "n": 9, **errors}
    fields = {"$.total": worth, "$": worth}
    path = write_tiny_reader(tmp_path / "x.onnx", card(calibration={"fields": fields}))
    with open_onnx(path, threads=1, gpu=False) as model:
        answer = model.extractor()(TEXTS[0])
        assert answer.fields["$.total"].confidence == 0.5
        assert answer.confidence in (0.25, 0.5)
        part = model.extractor(subset("shop"))(TEXTS[0])
        assert part.confidence == pytest.approx(part.fields["$.shop"].confidence)


def test_without_evidence_there_are_no_fields(model: ReadingModel) -> None:
    extract = model.extractor()
    with_fields, without = extract(TEXTS[0]), extract(TEXTS[0], evidence=False)
    assert with_fields.fields and not without.fields
    assert (without.json, without.confidence) == (with_fields.json, with_fields.confidence)
    [one, error] = extract.map([TEXTS[0], ""], evidence=False)
    assert isinstance(one, Extraction) and not one.fields
    assert isinstance(error, InputError)
