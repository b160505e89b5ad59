"""The benchmark of grounding: its invoices, its scores, and a small run with a scripted model."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal

import pytest
from click.testing import CliRunner

from benchmarks.data.business_invoices import BusinessInvoice, Document, make_business_invoice
from benchmarks.data.receipts import FIELDS, data_file
from benchmarks.runs import grounding
from benchmarks.runs.grounding import (
    WAYS,
    Results,
    invoices,
    is_right,
    judge,
    lines,
    read_all,
    shared_words,
    ways_of,
)
from edgeslm.evaluation.intervals import Estimate
from edgeslm.formats.text import fold
from edgeslm.tasks.extraction.offered import Offered
from edgeslm.testing import scripted_model

#: what a model says that read another invoice
SAID = {
    "invoice_number": "X-1",
    "company": "Dufour Papeterie SARL",
    "address": "Nowhere 1",
    "invoice_date": "2019-01-01",
    "due_date": None,
    "total": 1.00,
    "currency": "EUR",
}
SCRIPT = json.dumps(SAID, separators=(",", ":"))


@pytest.mark.parametrize("number", range(30))
def test_an_invoice_has_its_truth_in_its_text(number):
    invoice = make_business_invoice(number)
    assert invoice == make_business_invoice(number)
    assert BusinessInvoice.model_validate(invoice.truth).model_dump() == invoice.truth
    offered = Offered(invoice.text)
    for field in ("invoice_date", "due_date"):
        assert invoice.truth[field].isoformat() in offered.dates
    assert len(offered.dates) >= 2
    assert invoice.truth["total"] in [value for value, _ in offered.numbers]
    words = re.findall(r"\w+", fold(invoice.text))
    for field in ("invoice_number", "company", "address", "currency"):
        assert set(re.findall(r"\w+", fold(invoice.truth[field]))) <= set(words)


def test_dates_come_in_all_spellings():
    texts = "\n".join(make_business_invoice(number).text for number in range(30))
    for spelling in (
        r"\d+ March \d{4}",
        r"\d\d\.\d\d\.2026",
        r"\d\d/\d\d/2026",
        r"2026-\d\d-\d\d",
        r"March \d+, 2026",
        r"\d\d-Mar-2026",
    ):
        assert re.search(spelling, texts)


@pytest.mark.parametrize(
    ("true", "given", "right"),
    [
        (Decimal("10.50"), Decimal("10.5"), True),
        (Decimal("10.50"), Decimal("10.51"), False),
        (dt.date(2026, 3, 4), dt.date(2026, 3, 4), True),
        (dt.date(2026, 3, 4), None, False),
        ("2018-02-07", dt.date(2018, 2, 7), True),
        ("33.30", Decimal("33.3"), True),
        ("8 Quay Street, Bristol", "8 QUAY STREET Bristol", True),
        ("8 Quay Street, Bristol", "8 Quay Street", False),
        (None, None, True),
        (None, "x", False),
    ],
)
def test_what_is_right(true, given, right):
    assert is_right(true, given) is right


def test_words_are_counted_from_both_sides():
    assert shared_words("8 Quay Street, Bristol", "Quay Street") == pytest.approx(4 / 6)
    assert shared_words(None, None) == 1
    assert shared_words("a", None) == 0


def test_a_small_run_is_a_table_in_which_grounding_shows():
    documents = invoices(4)
    with scripted_model(SCRIPT) as model:
        ticks: list[None] = []
        answers = read_all(ways_of(model, "invoices"), documents, lambda: ticks.append(None))
    assert len(ticks) == len(WAYS) * len(documents)
    results = judge("scripted", "invoices", documents, answers)
    assert Results.model_validate_json(results.model_dump_json()) == results
    assert results.failed == dict.fromkeys(WAYS, 0)
    dates = [[value["invoice_date"] for value, _ in answers[way]] for way in WAYS]
    assert set(dates[0]) == {dt.date(2019, 1, 1)}
    assert not set(dates[1]) & set(dates[0]), "a date that no text has"
    assert {value["address"] for value, _ in answers["auto"]} == {"Nowhere 1"}
    assert "Nowhere 1" not in {value["address"] for value, _ in answers["all"]}
    table = list(lines(results))
    for head in (table.index("| | free | auto | all |"), table.index("", 2) + 1):
        rows = [row for row in table[head:] if row.startswith("|")]
        assert rows[0].count("|") == rows[1].count("|")
    assert any(row.startswith("| company, words (F1) |") for row in table)


def test_a_document_that_cannot_be_answered_is_counted():
    documents = [Document("", invoice.truth) for invoice in invoices(2)]
    with scripted_model(SCRIPT) as model:
        answers = read_all(ways_of(model, "invoices"), documents, lambda: None)
    results = judge("scripted", "invoices", documents, answers)
    assert results.failed == dict.fromkeys(WAYS, 2)
    assert results.seconds["free"] == Estimate(value=0, low=0, high=0, n=0)


def test_the_command_writes_what_it_found(monkeypatch, tmp_path):
    monkeypatch.setattr(grounding, "load", lambda _: scripted_model(SCRIPT))
    out = tmp_path / "grounding.json"
    asked = ["--documents", "invoices", "--count", "2", "--ways", "free,auto"]
    done = CliRunner().invoke(grounding.main, [*asked, "--results", str(out)])
    assert done.exit_code == 0, done.output
    assert Results.model_validate_json(out.read_text("utf-8")).n == 2
    assert "| invoice_date | 0 [0%, 84%] |" in done.output


def test_an_unknown_way_is_one_clear_error():
    done = CliRunner().invoke(grounding.main, ["--documents", "invoices", "--ways", "free,best"])
    assert done.exit_code == 2
    assert "best: choose from free, auto, all" in done.output


def test_receipts_that_are_not_there_are_one_clear_error(tmp_path):
    done = CliRunner().invoke(
        grounding.main, ["--documents", "receipts"], env={"EDGESLM_DATA": str(tmp_path)}
    )
    assert done.exit_code == 1
    assert "receipts.jsonl.gz" in done.output


@pytest.mark.skipif(data_file() is None, reason="needs receipts.jsonl.gz in EDGESLM_DATA")
def test_receipts_are_those_that_no_specialist_learned_from():
    documents = grounding.receipts(3)
    assert [set(document.truth) for document in documents] == [{*FIELDS}] * 3
    assert is_right(documents[0].truth["date"], documents[0].truth["date"])
