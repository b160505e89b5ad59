"""Grounded answers: everything the grammar lets through stands in the text, and all of that."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.decoding.grammar import Matcher, lark_matcher
from edgeslm.errors import InputError, OutputInvalidError, SchemaError
from edgeslm.formats.card import Card, Style
from edgeslm.formats.words import one_line
from edgeslm.models.gguf import GgufModel
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.extraction.evidence import SpanFinder
from edgeslm.tasks.extraction.grounding import ground
from edgeslm.tasks.extraction.leaves import leaves
from edgeslm.tasks.extraction.offered import MAX_PATTERN_PARTS
from edgeslm.testing import ScriptedEngine
from tests.helpers.grammars import tokenizer
from tests.helpers.grounding import INVENTED, TEXT, Shop
from tests.helpers.scripted import extractor_for


def matcher(schema, text: str = TEXT, style: Style | None = None) -> Matcher:
    return lark_matcher(ground(compile_schema(schema), text, style or Style()), tokenizer())


def accepts(schema, answer: str, text: str = TEXT, style: Style | None = None) -> bool:
    state = matcher(schema, text, style)
    tokens = list(answer.encode())
    if state.valid_prefix(tokens) < len(tokens):
        return False
    state.consume(tokens)
    return state.is_accepting


@pytest.mark.parametrize("text", ["\u00ad", "\u200b \u00ad", "\ufeff"])
def test_a_text_that_shows_nothing_offers_no_string(text: str) -> None:
    assert accepts({"type": "string"}, '""', text)
    assert not accepts({"type": "string"}, json.dumps(text, ensure_ascii=False), text)
    with pytest.raises(InputError, match="the text holds nothing"):
        ground(compile_schema({"type": "string", "minLength": 1}), text, Style())


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "string"},
            [
                "HARBOUR",
                'HARBOUR "LANE"\\ bak/ery 14',
                "due 5",
                "th March",
                "Café",
                "",
                "ery 14/03/2026 10:20, due",
            ],
            ["HARB", "Caf", "harbour", "HARBOUR LANE", " HARBOUR", "HARBOUR ", "12", "28", "\n"],
        ),
        (
            {"type": "string", "minLength": 2, "maxLength": 7},
            ["RM", "HARBOUR", "Café 7", '"LANE"\\'],
            ["7", "", "Total RM", '"LANE"\\ bak'],
        ),
        (
            {"type": "string", "format": "date"},
            ["2026-03-14", "2027-03-05"],
            ["2026-03-15", "14/03/2026", "2027-05-03", "2027-03-06"],
        ),
        (
            {"type": "string", "format": "email"},
            ["info@lane.example", "info@lane"],
            ["x@lane.example", "info@", "7 info@lane.example", "HARBOUR"],
        ),
        ({"type": "string", "pattern": r"^\d{2}:\d{2}$"}, ["10:20"], ["20:10", "14/03", "10"]),
        (
            {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"},
            ["1284.50", "-2.00", "2.00", "284.50", "2125.00", "125.00"],
            ["1284.5", "1,284.50", "7.00", "12.84", "99.00", "2126.00"],
        ),
        (
            {"type": "string", "allOf": [{"pattern": "^C"}, {"pattern": "7$"}]},
            ["Café 7"],
            ["Café", "7"],
        ),
    ],
)
def test_strings(schema, good, bad):
    quoted = {value: json.dumps(value, ensure_ascii=False) for value in (*good, *bad)}
    assert [value for value in good if not accepts(schema, quoted[value])] == []
    assert [value for value in bad if accepts(schema, quoted[value])] == []


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "number"},
            ["1284.50", "1284.5", "-2", "-2.00", "2125", "125.00", "2", "2026", "7"],
            ["1284", "1.2845", "128450", "12", "2.5", "99", "1e3", "0"],
        ),
        ({"type": "integer"}, ["14", "-2", "2026", "125"], ["2.00", "-2.00", "1284", "15"]),
        ({"type": "integer", "minimum": 3, "exclusiveMaximum": 14}, ["3", "5", "7"], ["2", "14"]),
        ({"type": "number", "multipleOf": 0.5, "maximum": 0}, ["-2"], ["-2.5", "0"]),
        ({"enum": ["EUR", 99, True]}, ['"EUR"', "99", "true"], ['"HARBOUR"', "7"]),
        ({"type": "boolean"}, ["true", "false"], ["null"]),
        ({"type": ["null", "integer"], "minimum": 5000}, ["null"], ["5000", "7"]),
    ],
)
def test_numbers_and_listed_values(schema, good, bad):
    assert [value for value in good if not accepts(schema, value)] == []
    assert [value for value in bad if accepts(schema, value)] == []


ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            ["[7]", "[7,7]"],
            ["[]", "[7,7,7]", "[8]"],
        ),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, ["[]", "[7]"], ["[7,7]"]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, ["[]"], ["[7]"]),
        (
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "boolean"}],
                "items": {"type": "null"},
                "minItems": 1,
                "maxItems": 4,
            },
            ["[7]", "[7,true]", "[7,true,null]", "[7,true,null,null]"],
            ["[]", "[true]", "[7,null]", "[7,true,null,null,null]", "[8]"],
        ),
        (  # what the text has nothing for is left out
            {"type": "array", "items": {"type": "integer", "minimum": 5000}},
            ["[]"],
            ["[7]", "[5000]"],
        ),
        (
            {"type": "array", "items": ITEM},
            ['[{"name":"RM"},{"name":"Café","n":7}]'],
            ['[{"n":7}]', '[{"name":"RM","n":8}]', '[{"name":"RM",}]'],
        ),
        (
            {
                "type": "object",
                "properties": {"a b": {"type": "null"}, "c": ITEM, "d": {"type": "integer"}},
            },
            ["{}", '{"a b":null}', '{"c":{"name":"RM"},"d":7}', '{"a b":null,"d":7}', '{"d":7}'],
            ['{"d":7,"a b":null}', '{,"d":7}', '{"e":7}', '{"d":8}'],
        ),
        (
            {
                "$defs": {
                    "node": {
                        "type": "object",
                        "properties": {
                            "n": {"type": "integer"},
                            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                        },
                        "required": ["n", "next"],
                    }
                },
                "$ref": "#/$defs/node",
            },
            ['{"n":7,"next":null}', '{"n":7,"next":{"n":14,"next":null}}'],
            ['{"n":7}', '{"n":7,"next":{"n":15,"next":null}}'],
        ),
    ],
)
def test_structure_is_that_of_the_schema(schema, good, bad):
    assert [value for value in good if not accepts(schema, value)] == []
    assert [value for value in bad if accepts(schema, value)] == []


def test_style_is_kept():
    style = Style(item_separator=", ", key_separator=": ")
    schema = {**ITEM, "properties": {**ITEM["properties"], "e": {"enum": [[1, {"k": 2}]]}}}
    assert accepts(schema, '{"name": "RM", "n": 7, "e": [1, {"k": 2}]}', style=style)
    assert not accepts(schema, '{"name":"RM","n":7}', style=style)


def test_scripts_without_spaces_are_cut_anywhere():
    assert accepts({"type": "string"}, '"東京"', text="住所は東京都です")
    assert accepts({"type": "string"}, '"東京都"', text="住所は東京都です")
    assert not accepts({"type": "string"}, '"京東"', text="住所は東京都です")


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("Cafe\u0301 noir", ["Cafe\u0301", "noir"], ["Cafe", "\u0301", "\u0301 noir"]),
        ("क्षेत्र नमस्ते", ["क्षेत्र", "नमस्ते"], ["क", "क्षे", "नमस", "्षेत्र"]),
        ("a \u00ad b co\u00adop", ["a b", "co\u00adop"], ["\u00ad", "co", "co\u00ad"]),
        ("สวัสดี ที่", ["ส", "วัสดี", "ที่"], ["สว", "ที", "\u0e35\u0e48"]),
        ("👩‍👩‍👧 👍🏽 🇩🇪🇫🇷", ["👩‍👩‍👧", "👍🏽", "🇫🇷"], ["👩", "👍", "🇪🇫", "🏽"]),
        ("שָׁלוֹם", ["שָׁלוֹם"], ["ש", "שָׁ"]),
        ("l'eau RM12 5th", ["eau", "l'eau", "12", "th"], ["ea", "1"]),
    ],
)
def test_whole_words_are_those_of_grapheme_clusters(text, good, bad):
    schema = {"type": "string"}
    quoted = {value: json.dumps(value, ensure_ascii=False) for value in (*good, *bad)}
    assert [value for value in good if not accepts(schema, quoted[value], text=text)] == []
    assert [value for value in bad if accepts(schema, quoted[value], text=text)] == []


@pytest.mark.parametrize(
    ("text", "schema", "good", "bad"),
    [
        ("TOTAL 1\u00a0298,00", {"type": "number"}, ["1298.00", "1298"], ["298.00", "1"]),
        ("1,23,456.00", {"type": "number"}, ["123456"], ["1.23", "456.00"]),
        ("(12.50)", {"type": "number"}, ["-12.50", "12.50"], ["12"]),
        ("−12.50", {"type": "number"}, ["-12.50"], ["12.50"]),
        ("lat 52.52000659999999, floor 7", {"type": "number"}, ["52.52000659999999", "7"], ["52"]),
        (
            "due 12. Dezember 2023, issued 2023年11月12日",
            {"type": "string", "format": "date"},
            ['"2023-12-12"', '"2023-11-12"'],
            ['"2023-11-11"'],
        ),
        (
            "03/04/2026 and 25/04/2026",
            {"type": "string", "format": "date"},
            ['"2026-04-03"', '"2026-04-25"'],
            ['"2026-03-04"'],
        ),
    ],
)
def test_values_are_offered_in_all_their_spellings(text, schema, good, bad):
    assert [value for value in good if not accepts(schema, value, text=text)] == []
    assert [value for value in bad if accepts(schema, value, text=text)] == []


WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
FIELDS = {
    "type": "object",
    "properties": {
        "a": {"type": ["string", "null"], "maxLength": 12},
        "d": {"type": ["string", "null"], "format": "date"},
        "n": {"type": ["number", "null"]},
        "l": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
    },
    "required": ["a", "d", "n", "l"],
}


@settings(max_examples=60)
@given(words=WORDS, seed=st.integers(0, 2**32))
def test_whatever_is_let_through_is_valid_and_in_the_text(words, seed):
    text = f"{words} 14/03/2026 RM1,284.50 ab "
    state, rng, answer = matcher(FIELDS, text), random.Random(seed), b""
    while not state.is_stopped:
        token = rng.choice([int(i) for i in state.mask().nonzero()[0] if i < 256])
        state.consume([token])
        answer += bytes([token])
    compile_schema(FIELDS).read(answer.decode())
    finder = SpanFinder(text)
    for leaf in leaves(answer.decode()):
        if leaf.value is None or leaf.value in ("", []):
            continue
        assert finder.find(leaf.value) is not None


@settings(max_examples=60)
@given(words=WORDS, data=st.data())
def test_every_run_of_words_is_let_through(words, data):
    text = f"x {words} y"
    flat = one_line(text)
    places = [i for i in range(1, len(flat)) if flat[i] == " "]
    start, end = sorted(data.draw(st.tuples(st.sampled_from(places), st.sampled_from(places))))
    run = flat[start + 1 : end]
    assert accepts({"type": "string"}, json.dumps(run, ensure_ascii=False), text=text)


@settings(max_examples=40)
@given(st.decimals(-9999, 9999, places=2), st.sampled_from(["{}", "RM{}", "a {} b", "({})"]))
def test_every_number_is_let_through(number, around):
    number = abs(number) if number == 0 else number
    # behind a letter a minus is a hyphen
    number = abs(number) if around.startswith("RM") else number
    text = around.format(f"{number:,}")
    assert accepts({"type": "number"}, f"{number:f}", text=text)
    assert SpanFinder(text).find(number) is not None


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (
            {
                "type": "object",
                "properties": {"a": {"type": "null"}, "due": {"type": "string", "format": "date"}},
                "required": ["a", "due"],
            },
            r"\$\.due",
        ),
        ({"type": "integer"}, r"\$"),
        (
            {"type": "object", "properties": {"x": {"$ref": "#/$defs/d"}}, "required": ["x"],
             "$defs": {"d": {"type": "object", "properties": {"y": {"type": "number"}},
                             "required": ["y"]}}},
            r"\$\.x\.y",
        ),
        ({"type": "string", "minLength": 30}, r"\$"),
    ],
)  # fmt: skip
def test_a_text_without_a_needed_value_is_refused(schema, place):
    with pytest.raises(InputError, match=rf"nothing for {place},"):
        ground(compile_schema(schema), "no such thing here", Style())


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
        {"type": "array", "items": {}},
    ],
)
def test_open_objects_are_refused(schema):
    with pytest.raises(SchemaError, match="cannot be grounded"):
        ground(compile_schema(schema), TEXT, Style())


def test_strings_with_a_pattern_are_bounded():
    text = " ".join(["a"] * 50)
    most = (MAX_PATTERN_PARTS + 1) // 2
    schema = {"type": "string", "pattern": "^a"}
    longest = " ".join(["a"] * (most))
    assert accepts(schema, json.dumps(longest), text=text) == (len(longest) <= MAX_PATTERN_PARTS)
    assert not accepts(schema, json.dumps(longest + " a"), text=text)


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_invents_cannot(seed):
    text = "Harbour Bakery\nTotal 12.50"
    free, _ = extractor_for(INVENTED, Shop, seed=seed)
    assert free(text, grounded=False).json == INVENTED
    for answer in (free(text, grounded=True), free(text, grounded=True, drafts=False)):
        assert answer.value.name == "Harbour Bakery"
        finder = SpanFinder(text)
        for leaf in leaves(answer.json):
            assert leaf.value in (None, "") or finder.find(leaf.value) is not None
        assert answer.fields["$.name"].disagreement < 0.01
        # the model wanted a 1 or a 9, which no place of the text allows
        assert answer.fields["$.address"].disagreement > 0.9 or answer.value.address is None


def test_a_budget_closes_a_grounded_answer_with_what_is_in_the_text():
    text = "Harbour Bakery\nTotal 12.50"
    read, _ = extractor_for(INVENTED, Shop)
    answer = read(text, grounded=True, max_tokens=9)
    assert not answer.complete
    finder = SpanFinder(text)
    for leaf in leaves(answer.json):
        assert leaf.value in (None, "") or finder.find(leaf.value) is not None


def test_the_card_of_a_task_can_ask_for_it():
    schema = compile_schema(Shop).source
    task = {"kind": "extract", "json_schema": schema, "grounded": True}
    card = Card.from_dict({"name": "shop", "licence": "MIT", "task": task}, where="here")
    read = GgufModel(ScriptedEngine(INVENTED), card).extractor()
    text = "Harbour Bakery\nTotal 12.50"
    assert SpanFinder(text).find(read(text).value["total"]) is not None
    assert read(text, grounded=False).json == INVENTED


@pytest.mark.parametrize("seed", range(3))
def test_a_grounded_answer_is_taken_back_where_a_rule_is_broken(seed):
    unique = {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True,
              "minItems": 2, "maxItems": 2}  # fmt: skip
    read, _ = extractor_for('["ab","ab"]', unique, seed=seed, sharpness=6.0)
    first, second = read("ab 12 the", grounded=True).value
    assert first != second
    assert first in "ab 12 the" and second in "ab 12 the"


def test_a_number_written_as_a_string_has_its_place_in_the_text():
    assert SpanFinder("Total RM1,284.50 paid").find("1284.50") == (8, 16)
    assert SpanFinder("Total RM1,284.50 paid").find("1285.50") is None


def test_nothing_to_say_is_an_error_before_inference():
    read, engine = extractor_for("7", {"type": "integer"})
    with pytest.raises(InputError, match="nothing for"):
        read("no number", grounded=True)
    assert engine.evaluated == []
    assert read("no number").value == 7


def test_evidence_can_be_left_out():
    read, _ = extractor_for(INVENTED, Shop)
    answer = read("x", evidence=False)
    assert answer.json == INVENTED
    assert answer.fields == {}


def test_without_evidence_an_invalid_answer_is_still_taken_back():
    unique = {
        "type": "array",
        "items": {"enum": ["the", "ab"]},
        "uniqueItems": True,
        "minItems": 2,
        "maxItems": 2,
    }
    read, _ = extractor_for('["ab","ab"]', unique, sharpness=6.0)
    assert read("x", evidence=False).json == read("x").json
    with pytest.raises(OutputInvalidError):
        read("x", evidence=False, on_invalid="raise")


def test_a_grounded_number_has_all_the_digits_of_the_text():
    schema = {"properties": {"lat": {"type": "number"}}, "required": ["lat"]}
    text = "lat 52.52000659999999, floor 7"
    assert accepts(schema, '{"lat":52.52000659999999}', text)
    assert compile_schema(schema).read('{"lat":52.52000659999999}') == {"lat": 52.52000659999999}
    assert accepts(schema, '{"lat":1000000000000000000}', f"id {10**18}")
