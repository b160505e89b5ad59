"""Spans and confidence of an answer's fields."""

from __future__ import annotations

import unicodedata
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.decoding.decoder import Choice, Decoder, seeded_sampler
from edgeslm.evaluation.normalize import normal
from edgeslm.formats.card import FieldCalibration
from edgeslm.formats.text import fold, is_blank
from edgeslm.tasks.extraction.evidence import INSIDE, UNREAD, SpanFinder, calibrated, fields
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import matcher_for, prefilled

TEXT = """HARBOUR  LANE bakery
14/03/2026 10:20   Ref 2026
Subtotal 1,070.42   TOTAL: EUR 1.284,50
Zahl 12 Stück à 3.5, Tel 0123
Due 5th March 2027, paid Mar 6, 2027; 18-10-19
Straße 7 😀 Café"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("HARBOUR LANE bakery", "HARBOUR  LANE bakery"),
        ("harbour lane BAKERY", "HARBOUR  LANE bakery"),
        ("Café", "Café"),
        ("strasse 7", "Straße 7"),
        ("2026-03-14", "14/03/2026"),
        ("2027-03-05", "5th March 2027"),
        ("2027-03-06", "Mar 6, 2027"),
        ("2019-10-18", "18-10-19"),
        (Decimal("1284.50"), "1.284,50"),
        (Decimal("1284.5"), "1.284,50"),
        (1070.42, "1,070.42"),
        (12, "12"),
        (3.5, "3.5"),
        (2026, "2026"),
        ("bread", None),
        ("2026-03-15", None),
        (999, None),
        (True, None),
        (None, None),
        ("", None),
        ("\u00ad", None),
        ([], None),
    ],
)
def test_spans(value, expected):
    span = SpanFinder(TEXT).find(value)
    assert (None if span is None else TEXT[slice(*span)]) == expected


def test_a_whole_word_is_preferred_to_a_part():
    text = "item 1250, total 125"
    assert SpanFinder(text).find("125") == (17, 20)
    assert SpanFinder("xab").find("ab") == (1, 3)  # better a part than nothing


@given(st.text(min_size=1), st.text(), st.text())
def test_what_was_copied_is_found(value, before, after):
    text = before + value + after
    span = SpanFinder(text).find(value)
    if is_blank(value):
        assert span is None
    else:
        assert span is not None
        copied = text[slice(*span)]
        alike = fold(copied).split() == fold(value).split()
        assert alike or normal(copied, "number") == normal(value, "number")


@pytest.mark.parametrize(
    ("text", "value", "span", "reading"),
    [
        ("03/04/2026", "2026-04-03", "03/04/2026", 2 / 3),
        ("03/04/2026", "2026-03-04", "03/04/2026", 1 / 3),
        ("03/04/2026 to 25/04/2026", "2026-04-03", "03/04/2026", 0.95),
        ("03/04/2026 to 25/04/2026", "2026-03-04", None, 1.0),
        ("03/04/2026, that is 2026-03-04", "2026-03-04", "2026-03-04", 1.0),
        ("14 March 2026", "2026-03-14", "14 March 2026", 1.0),
        ("due 31/02/2026, issued 1 March 2026", "2026-03-01", "1 March 2026", UNREAD),
        ("due 12 ธันวาคม 2566, issued 1 March 2026", "2026-03-01", "1 March 2026", UNREAD),
        ("1,234", 1234, "1,234", 0.8),
        ("1,234 or 0.5", 1234, "1,234", 0.95),
        ("1,234 = 1234", 1234, "1234", 1.0),
        ("Total 12.5O, tax 1.20", 1.2, "1.20", UNREAD),
        ("1\u202f298,00", "298.00", None, 1.0),
        ("1,298.00", "298.00", "298.00", INSIDE),
        ("1,298.00", "1298.00", "1,298.00", 1.0),
        ("no 0123", "0123", "0123", 1.0),
        # parts of what is no number by itself
        ("12.50.30", "12.50", "12.50", INSIDE),
        ("12.50.30", 12, "12", UNREAD / 2),
        ("version 1.2.3", "1.2", "1.2", INSIDE),
        ("on 12.05.2018", "05.2018", "05.2018", INSIDE),
        ("1/2 of 7", 2, "2", 0.5),
        ("12 DM 50", 50, "50", 0.4),
        # a number that is too long to be read makes others less sure
        (f"no {'9' * 45}, total 7", 7, "7", UNREAD),
        (f"no {'9' * 45}.99, total 7", 7, "7", UNREAD),
        ("- 12.50", -12.5, "- 12.50", 0.6),
        ("- 12.50", 12.5, "- 12.50", 0.4),
        ("12.50 CR", 12.5, "12.50", 0.7),
    ],
)
def test_how_sure_a_spelling_is(text, value, span, reading):
    place = SpanFinder(text).place(value)
    assert (None if place.span is None else text[slice(*place.span)]) == span
    assert place.reading == pytest.approx(reading)


def test_an_open_spelling_lowers_the_confidence_but_where_it_is_calibrated():
    answer = '{"day":"2026-04-03"}'
    evidence = fields(answer, [Choice(8, 18, 0.9)], None, "on 03/04/2026")
    assert evidence["$.day"].confidence == pytest.approx(0.9)
    assert calibrated(evidence, {})["$.day"].confidence == pytest.approx(0.9 * 2 / 3)
    fitted = FieldCalibration(
        starts=(0.0,), values=(0.75,), n=50,
        ece_before=0.1, ece_after=0.05, brier_before=0.2, brier_after=0.1,
    )  # fmt: skip
    sure = calibrated(evidence, {"$.day": fitted})["$.day"].confidence
    assert sure == 0.75
    assert evidence["$.day"].to_dict()["reading"] == pytest.approx(0.666667)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_forms_of_a_character_are_found(form):
    text = unicodedata.normalize(form, "à Café Ｔｏｋｙｏ 서울 क्षेत्र")
    for value in ("Café", "tokyo", "서울", "क्षेत्र"):
        assert SpanFinder(text).find(value) is not None
    assert SpanFinder("co\u00adop\u00ader\u00adate").find("cooperate") == (0, 12)


def test_a_letter_without_its_mark_is_no_whole_word():
    text = "Cafe\u0301 Cafe"
    assert SpanFinder(text).find("Cafe") == (6, 10)


def test_confidence_is_the_product_over_a_leafs_choices():
    answer = '{"a":"xy","n":12,"é":true}'
    data = answer.encode()

    def choice(part: bytes, probability: float) -> Choice:
        at = data.index(part)
        return Choice(at, at + len(part), probability)

    choices = [
        choice(b"x", 0.5),
        choice(b'y","', 0.8),
        choice(b"12", 0.9),
        choice(b',"\xc3\xa9', 0.7),
        choice(b"true", 0.6),
    ]
    evidence = fields(answer, choices, None, "xy 12")
    assert evidence["$.a"].confidence == pytest.approx(0.5 * 0.8)
    assert evidence["$.n"].confidence == pytest.approx(
        0.9 * 0.7
    )  # what ends a number belongs to it
    assert evidence["$.é"].confidence == pytest.approx(0.6)
    assert evidence["$.a"].span == (0, 2) and evidence["$.n"].span == (3, 5)


def test_disagreement_is_what_the_grammar_took_at_a_leafs_choices():
    answer = '{"a":"xy","b":true}'
    choices = [
        Choice(6, 7, 0.9, allowed=0.5),
        Choice(7, 9, 0.9, allowed=0.8),
        Choice(14, 18, 0.6),
    ]
    evidence = fields(answer, choices, None, "xy")
    assert evidence["$.a"].disagreement == pytest.approx(1 - 0.5 * 0.8)
    assert evidence["$.b"].disagreement == 0
    assert evidence["$.a"].to_dict()["disagreement"] == pytest.approx(0.6)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_choices_shares_are_those_of_the_softmax(seed, temperature):
    schema = {"type": "string", "pattern": "^[a-c]{1,9}$"}
    engine = ScriptedEngine("zz", seed=seed, sharpness=3.0)
    row, position = prefilled(engine)
    decoder = Decoder(
        engine,
        matcher_for(engine, schema),
        sequence=0,
        position=position,
        max_tokens=20,
        sampler=seeded_sampler(temperature, seed) if temperature else None,
    )
    rows = [row.copy()]
    evaluate = engine.evaluate
    engine.evaluate = lambda batch: rows.append(evaluate(batch)[-1]) or rows[-1][None, :]
    out = decoder.run(row)
    assert len(out.choices) > 1
    matcher = matcher_for(engine, schema)
    forced = len(matcher.forced())  # the quotation mark; its logits are the first that count
    for choice in out.choices:
        before = matcher.copy()
        before.consume(out.tokens[: choice.index])
        mask = before.mask()
        logits = rows[choice.index - forced + 1].astype(float)
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert choice.allowed == pytest.approx(shares[mask].sum(), rel=1e-4)
        token = out.tokens[choice.index]
        assert choice.probability == pytest.approx(shares[token] / shares[mask].sum(), rel=1e-4)


def test_forced_leaves_are_certain():
    field = fields('{"a":null}', [], None, "x")["$.a"]
    assert (field.confidence, field.disagreement) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("cut", "zero"),
    [
        (0, {"$.a", "$.b", "$.n"}),
        (7, {"$.a", "$.b", "$.n"}),  # within the string of a
        (9, {"$.b", "$.n"}),  # the string of a is closed
        (17, {"$.n"}),
        (22, {"$.n"}),  # 12 could have gone on
        (23, set()),
    ],
)
def test_what_the_budget_cut_or_filled_has_no_confidence(cut, zero):
    answer = '{"a":"xy","b":"z","n":12}'
    cut = {0: 0, 7: 7, 9: 9, 17: 17, 22: 24, 23: 25}[cut]
    evidence = fields(answer, [], cut, "xy z 12")
    assert {path for path, field in evidence.items() if field.confidence == 0} == zero
    assert all(evidence[path].span is None for path in zero)
