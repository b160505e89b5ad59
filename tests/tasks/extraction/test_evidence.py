"""Leaves, spans and confidence of an answer."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.decoding.decoder import Choice, Decoder, seeded_sampler
from edgeslm.tasks.extraction.evidence import SpanFinder, dates, fields, leaves, numbers
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import matcher_for, prefilled

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def flatten(value, path="$"):
    if isinstance(value, dict) and value:
        return [leaf for item in value.values() for leaf in flatten(item)]
    if isinstance(value, list) and value:
        return [leaf for item in value for leaf in flatten(item)]
    return [value]


@given(value=JSON, spaced=st.booleans(), ascii_only=st.booleans())
def test_leaves_are_all_values_in_their_places(value, spaced, ascii_only):
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    found = leaves(text)
    assert [leaf.value for leaf in found] == flatten(value)
    assert all(json.loads(text[leaf.start : leaf.end]) == leaf.value for leaf in found)
    assert len({leaf.path for leaf in found}) == len(found)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"total":1}', ["$.total"]),
        ('{"items":[{"a":1},{"a":2}]}', ["$.items[0].a", "$.items[1].a"]),
        (
            '{"total due":1,"ünits":2,"_x1":3,"1x":4}',
            ["$['total due']", "$.ünits", "$._x1", "$['1x']"],
        ),
        (
            '{"it\'s":1,"a\\"b":2,"c\\\\d":3,"n\\n":4}',
            ["$['it\\'s']", "$['a\"b']", "$['c\\\\d']", "$['n\\n']"],
        ),
        ('{"":0,"a-b":{}}', ["$['']", "$['a-b']"]),
        ("[[],3]", ["$[0]", "$[1]"]),
        ('"x"', ["$"]),
    ],
)
def test_paths_are_rfc_9535(text, paths):
    assert [leaf.path for leaf in leaves(text)] == paths


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
        ([], None),
    ],
)
def test_spans(value, expected):
    span = SpanFinder(TEXT).find(value)
    assert (None if span is None else TEXT[slice(*span)]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,284.50", {"1284.50"}),
        ("1.284,50", {"1284.50"}),
        ("1,284", {"1284", "1.284"}),
        ("1.284.567", {"1284567"}),
        ("1.284.50", {"1284.50"}),
        ("12.50", {"12.50"}),
        ("0.123", {"0.123"}),
        (".5", {"0.5"}),
        ("-12", {"-12"}),
        ("10-20", {"10", "20"}),
        ("INV-7", {"7"}),
        ("RM 2 125.00", {"2125.00", "2", "125.00"}),
        ("8 081118", {"8", "81118"}),
        ("1'000’000", {"1000", "0"}),
        ("1'000'000", {"1000000"}),
        ("none", set()),
    ],
)
def test_what_a_spelling_of_numbers_can_mean(text, expected):
    found = {reading for _, readings in numbers(text) for reading in readings}
    assert found == {Decimal(number) for number in expected}


def test_what_a_spelling_of_dates_can_mean():
    found = [(text[slice(*span)], days) for text in ["on 03/04/26"] for span, days in dates(text)]
    assert [(part, [day.isoformat() for day in days]) for part, days in found] == [
        ("03/04/26", ["2026-04-03", "2026-03-04", "2003-04-26"])
    ]


def test_a_date_without_marks_is_one_by_itself_alone():
    found = [days for _, days in dates("no 20180304, ref 920180304 and 20181304")]
    assert [[day.isoformat() for day in days] for days in found] == [["2018-03-04"]]


def test_a_whole_word_is_preferred_to_a_part():
    text = "item 1250, total 125"
    assert SpanFinder(text).find("125") == (17, 20)
    assert SpanFinder("xab").find("ab") == (1, 3)  # better a part than nothing


@given(st.text(min_size=1), st.text(), st.text())
def test_what_was_copied_is_found(value, before, after):
    text = before + value + after
    span = SpanFinder(text).find(value)
    if not value.strip():
        assert span is None
    else:
        assert span is not None
        found = text[slice(*span)]
        assert found == value or found.casefold().split() == value.casefold().split()


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
    found = fields(answer, choices, None, "xy 12")
    assert found["$.a"].confidence == pytest.approx(0.5 * 0.8)
    assert found["$.n"].confidence == pytest.approx(0.9 * 0.7)  # what ends a number belongs to it
    assert found["$.é"].confidence == pytest.approx(0.6)
    assert found["$.a"].span == (0, 2) and found["$.n"].span == (3, 5)


def test_disagreement_is_what_the_grammar_took_at_a_leafs_choices():
    answer = '{"a":"xy","b":true}'
    choices = [
        Choice(6, 7, 0.9, allowed=0.5),
        Choice(7, 9, 0.9, allowed=0.8),
        Choice(14, 18, 0.6),
    ]
    found = fields(answer, choices, None, "xy")
    assert found["$.a"].disagreement == pytest.approx(1 - 0.5 * 0.8)
    assert found["$.b"].disagreement == 0
    assert found["$.a"].to_dict()["disagreement"] == pytest.approx(0.6)


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
    found = fields('{"a":null}', [], None, "x")["$.a"]
    assert (found.confidence, found.disagreement) == (1.0, 0.0)


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
    found = fields(answer, [], cut, "xy z 12")
    assert {path for path, field in found.items() if field.confidence == 0} == zero
    assert all(found[path].span is None for path in zero)
