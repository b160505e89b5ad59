"""Listed values: the exact probability of each in schemas of every shape, the likeliest taken"""

from __future__ import annotations

import json

import numpy as np
import pytest

import edgeslm
from edgeslm.decoding.prompt import compile_prompt
from edgeslm.decoding.session import Session
from edgeslm.engines.engine import Batch
from edgeslm.errors import DeadlineError
from edgeslm.formats.card import PromptSpec
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.extraction.language import LanguageExtractor
from edgeslm.tasks.extraction.listed_values import ListedValues
from edgeslm.tasks.extraction.plan import ExtractionPlan
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import PIECES, extractor_for

WORDS = ["the", "theme", "ab", "é"]
SCHEMA = {
    "type": "object",
    "properties": {
        "word": {"enum": WORDS},
        "n": {"enum": [1, 12, 2]},
        "sure": {"type": ["boolean", "null"]},
        "free": {"type": "string", "maxLength": 3},
        "all": {"type": "array", "items": {"enum": ["ab", "the"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["word", "n", "sure", "free", "all"],
}
SPEC = PromptSpec(user="Read:\n{{ text }}")


def extractor(engine: ScriptedEngine, schema=SCHEMA) -> LanguageExtractor:
    return LanguageExtractor(Session(engine), ExtractionPlan(compile_schema(schema), SPEC))


def log_probability(engine: ScriptedEngine, prompt: list[int], before: bytes, text: bytes) -> float:
    """Of a text token by token (one for each byte), by nothing but the engine."""
    tokens = [*prompt, *before, *text]
    last = engine.max_sequences - 1
    rows = engine.evaluate(Batch.run(tokens, 0, last, wanted=len(text) + 1)).astype(float)
    engine.truncate(last, 0)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return sum(rows[i, byte] for i, byte in enumerate(text))


@pytest.mark.parametrize("seed", range(4))
def test_each_probability_is_the_one_that_the_value_has_alone(seed):
    engine = ScriptedEngine(seed=seed, max_outputs=512)
    answer = extractor(engine)("x")
    parts = compile_prompt(SPEC, engine)
    prompt = [*parts.prefix, *engine.tokenize("x"), *parts.suffix]
    word, n, sure = json.loads(answer.json)["word"], *list(json.loads(answer.json).values())[1:3]
    head = '{"word":"'
    spelled = {
        "$.word": (head, {w: f'{w}"' for w in WORDS}),
        "$.n": (f'{head}{word}","n":', {"1": "1,", "12": "12,", "2": "2,"}),
        "$.sure": (f'{head}{word}","n":{n},"sure":', {v: v for v in ("true", "false", "null")}),
    }
    for path, (before, texts) in spelled.items():
        logs = {
            name: log_probability(engine, prompt, before.encode(), text.encode())
            for name, text in texts.items()
        }
        shares = np.exp(np.array(list(logs.values())) - max(logs.values()))
        expected = dict(zip(logs, shares / shares.sum(), strict=True))
        assert answer.fields[path].probabilities == pytest.approx(expected, rel=1e-4)
    assert answer.fields["$.word"].confidence == answer.fields["$.word"].probabilities[word]
    assert (
        answer.fields["$.sure"].confidence
        == (answer.fields["$.sure"].probabilities[json.dumps(sure)])
    )
    assert answer.fields["$.free"].probabilities is None


@pytest.mark.parametrize("seed", range(4))
def test_the_answer_is_that_without_weighing_and_shares_add_up(seed):
    read, plain = (extractor(ScriptedEngine(seed=seed, pieces=PIECES)) for _ in range(2))
    answer = read("the x")
    assert answer.json == plain("the x", evidence=False).json
    for path, field in answer.fields.items():
        assert (field.probabilities is None) == (path == "$.free")
        if field.probabilities is not None:
            assert sum(field.probabilities.values()) == pytest.approx(1)
            assert field.confidence in field.probabilities.values()
    mapped = next(extractor(ScriptedEngine(seed=seed, pieces=PIECES)).map(["the x"]))
    assert mapped.json == answer.json
    assert mapped.fields == answer.fields


def test_a_model_that_is_sure_is_sure_of_items_whose_tokens_run_into_each_other():
    read, _ = extractor_for(
        '["the","ab","the"]', {"type": "array", "items": {"enum": ["ab", "the"]}}
    )
    fields = read("x").fields
    for path, word in {"$[0]": "the", "$[1]": "ab", "$[2]": "the"}.items():
        assert fields[path].probabilities[word] > 0.99


def test_what_could_only_be_one_value_is_certain_and_costs_nothing():
    schema = {"properties": {"a": {"const": "x"}, "b": {"type": "null"}}, "required": ["a", "b"]}
    read, _ = extractor_for('{"a":"x","b":null}', schema)
    answer = read("x")
    assert answer.fields["$.a"].probabilities == {"x": 1.0}
    assert answer.fields["$.b"].probabilities == {"null": 1.0}
    assert answer.timing.decodes == 0


def test_values_are_weighed_without_evidence_too_but_not_in_a_sampled_answer():
    schema = {"properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    read, _ = extractor_for('{"ok":true}', schema)
    with_it, without = read("x"), read("x", evidence=False)
    assert with_it.timing.decodes == without.timing.decodes
    assert without.fields == {}
    sampled = read("x", evidence=False, temperature=0.01)
    assert sampled.timing.decodes == without.timing.decodes - 1


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("pieces", [(), PIECES])
def test_the_answer_is_the_likeliest_value_that_was_weighed(seed, pieces):
    engine = ScriptedEngine(seed=seed, pieces=pieces, sharpness=2.0)
    answer = extractor(engine)("the ab x")
    value = json.loads(answer.json)
    items = {f"$.all[{i}]": item for i, item in enumerate(value["all"])}
    single = {f"$.{name}": value[name] for name in ("word", "n", "sure")}
    for path, said in (single | items).items():
        field = answer.fields[path]
        best = max(field.probabilities, key=field.probabilities.__getitem__)
        assert best == (said if isinstance(said, str) else json.dumps(said))
        assert field.confidence == field.probabilities[best]
    for other in ({"drafts": False}, {"evidence": False}):
        again = extractor(ScriptedEngine(seed=seed, pieces=pieces, sharpness=2.0))
        assert again("the ab x", **other).json == answer.json


BEGINS_LIKELY = {
    "properties": {"kind": {"enum": ["aa", "ab", "ac", "b"]}, "n": {"type": "integer"}},
    "required": ["kind", "n"],
}


def torn() -> ScriptedEngine:
    """An engine that begins a value with ``a``, though ``b`` is the likeliest of the whole ones."""
    engine = ScriptedEngine()
    evaluate = engine.evaluate

    def evaluated(batch):
        rows = evaluate(batch).copy()
        wanted = [t for t, is_wanted in zip(batch.tokens, batch.wanted, strict=True) if is_wanted]
        for row, token in zip(rows, wanted, strict=True):
            if token == ord('"'):
                row[:] = -20.0
                row[[ord("a"), ord("b")]] = 1.0, 0.8
            elif token == ord("a"):
                row[:] = -20.0
                row[[ord("a"), ord("b"), ord("c")]] = 0.1, 0.0, 0.0
        return rows

    engine.evaluate = evaluated
    return engine


def test_a_value_that_only_begins_likely_gives_way():
    answer = extractor(torn(), BEGINS_LIKELY)("x")
    assert json.loads(answer.json)["kind"] == "b"
    assert answer.fields["$.kind"].probabilities["b"] == pytest.approx(0.44, abs=0.01)
    assert answer.fields["$.kind"].confidence == answer.fields["$.kind"].probabilities["b"]
    assert answer.complete
    assert next(extractor(torn(), BEGINS_LIKELY).map(["x"])).json == answer.json
    alone = extractor(torn(), {"enum": ["aa", "ab", "ac", "b"]})("x")
    shares = alone.fields["$"].probabilities
    assert alone.value == max(shares, key=shares.__getitem__)


def test_what_follows_is_decoded_anew_where_the_value_decides_its_shape():
    def kind(name, rest):
        return {"type": "object", "properties": {"kind": {"const": name}, **rest},
                "required": ["kind", *rest], "additionalProperties": False}  # fmt: skip

    shapes = [kind(name, {"n": {"type": "integer"}}) for name in ("aa", "ab", "ac")]
    schema = {"anyOf": [*shapes, kind("b", {"ok": {"type": "boolean"}})]}
    answer = extractor(torn(), schema)("x")
    assert list(answer.value) == ["kind", "ok"]
    assert answer.value["kind"] == "b"


def test_the_decoded_value_stays_where_another_breaks_a_rule_or_the_budget():
    unique = {"type": "array", "items": {"enum": ["aa", "ab", "ac", "b"]}, "uniqueItems": True,
              "minItems": 2, "maxItems": 2}  # fmt: skip
    answer = extractor(torn(), unique)("x")
    assert len(set(answer.value)) == 2
    wordy = {"anyOf": [{"enum": ["aa", "ab", "ac"]}, {"enum": ["b" + "b" * 40]}]}
    assert extractor(torn(), wordy)("x", max_tokens=20).value == "aa"


def test_a_string_that_is_spelled_like_another_value_keeps_its_quotation_marks():
    schema = {"properties": {"a": {"enum": ["null", None]}}, "required": ["a"]}
    read, _ = extractor_for('{"a":"null"}', schema)
    assert set(read("x").fields["$.a"].probabilities) == {'"null"', "null"}


def test_a_deadline_while_weighing_leaves_the_answer_whole():
    schema = {"properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    read, engine = extractor_for('{"ok":true}', schema)
    whole = read("x")
    evaluate = engine.evaluate

    def late(batch):
        if any(sequence != (0,) for sequence in batch.sequences):
            raise DeadlineError("late")
        return evaluate(batch)

    engine.evaluate = late
    answer = read("x", on_budget="raise")
    assert (answer.json, answer.complete) == (whole.json, True)
    assert answer.fields["$.ok"].probabilities is None


def test_values_that_need_more_room_than_an_answer_has_are_not_weighed():
    schema = {"properties": {"a": {"enum": ["x", "y" * 40]}}, "required": ["a"]}
    read, _ = extractor_for('{"a":"x"}', schema)
    assert read("x", max_tokens=12).fields["$.a"].probabilities is None
    assert read("x", max_tokens=200).fields["$.a"].probabilities is not None


LISTS = {
    "$defs": {
        "kind": {"enum": ["a", "b"]},
        "node": {
            "type": "object",
            "properties": {
                "kind": {"$ref": "#/$defs/kind"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "it's a.b[0]": {"type": "boolean"},
                "either": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
            },
        },
    },
    "type": "object",
    "properties": {
        "node": {"$ref": "#/$defs/node"},
        "pair": {
            "type": "array",
            "prefixItems": [{"enum": [1.5]}, {"type": "string"}],
            "items": {"type": "boolean"},
        },
        "mixed": {"anyOf": [{"enum": ["x"]}, {"type": "array", "items": {"enum": ["y"]}}]},
    },
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("$.node.kind", ("a", "b")),
        ("$.node.next", None),  # may be an object
        ("$.node.next.next.kind", ("a", "b")),
        ("$.node['it\\'s a.b[0]']", (True, False)),
        ("$.node.either", None),
        ("$.pair[0]", (1.5,)),
        ("$.pair[1]", None),
        ("$.pair[7]", (True, False)),
        ("$.mixed", None),
        ("$.mixed[3]", ("y",)),
    ],
)
def test_which_leaves_are_listed(path, values):
    assert ListedValues(compile_schema(LISTS).closed).at(path) == values


def test_schemas_without_lists_need_no_sequences():
    assert ListedValues({"type": "object", "properties": {"a": {"type": "string"}}}).forks == 0
    assert ListedValues(compile_schema(SCHEMA).closed).forks == 4


PREFIXES = [
    ({"properties": {"n": {"enum": [2, 20]}}, "required": ["n"]}, '{"n":', "}"),
    ({"properties": {"n": {"enum": [20, 2]}, "m": {"type": "null"}}}, '{"n":', ",}"),
    ({"properties": {"n": {"enum": [1, 1.5]}, "m": {"const": 0}}, "required": ["n", "m"]}, "", ","),
    ({"properties": {"n": {"enum": [1, 10, 100, 11]}}, "required": ["n"]}, '{"n":', "}"),
    ({"properties": {"n": {"anyOf": [{"const": 20}, {"const": 200}]}}, "required": ["n"]}, "", "}"),
    ({"properties": {"n": {"enum": [-1, -10, "-1"]}}, "required": ["n"]}, '{"n":', "}"),
    ({"type": "array", "items": {"enum": [2, 20]}, "minItems": 1, "maxItems": 2}, "[", ",]"),
    ({"enum": [2, 20]}, "", ""),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("schema", "before", "ends"), PREFIXES)
def test_a_number_that_begins_another_counts_with_what_ends_it(schema, before, ends, seed):
    engine = ScriptedEngine(seed=seed, max_outputs=512, sharpness=2.0)
    answer = extractor(engine, schema)("x")
    path, field = next(iter(answer.fields.items()))
    if path == "$.m":  # an optional field that was left out
        return
    values = ListedValues(compile_schema(schema).closed).at(path)
    parts = compile_prompt(SPEC, engine)
    prompt = [*parts.prefix, *engine.tokenize("x"), *parts.suffix]
    head = (before or ("" if path == "$" else '{"n":')).encode()
    last = [bytes([ord(end)]) for end in ends]
    shares = {}
    for value in values:
        text = json.dumps(value)
        ways = [text.encode() + end for end in last] if text[-1] != '"' else [text.encode()]
        if path == "$":
            ways = [[*text.encode(), engine.vocab.end[0]]]
        shares[text] = sum(np.exp(log_probability(engine, prompt, head, way)) for way in ways)
    expected = {text: share / sum(shares.values()) for text, share in shares.items()}
    assert list(field.probabilities.values()) == pytest.approx(list(expected.values()), rel=1e-4)
    assert sum(field.probabilities.values()) == pytest.approx(1)
    first = json.loads(answer.json)
    while isinstance(first, dict | list):
        first = next(iter(first.values() if isinstance(first, dict) else first))
    assert json.dumps(first) == max(expected, key=expected.__getitem__)


@pytest.mark.parametrize(("n", "script"), [(2, '{"n":2,"a":1}'), (20, '{"n":20}')])
def test_a_number_is_weighed_by_the_end_that_its_own_kind_of_object_has(n, script):
    kinds = [
        {"properties": {"n": {"const": 2}, "a": {"const": 1}}, "required": ["n", "a"]},
        {"properties": {"n": {"const": 20}}, "required": ["n"]},
    ]
    schema = {"anyOf": [{"type": "object", "additionalProperties": False} | k for k in kinds]}
    read, _ = extractor_for(script, schema)
    answer = read("x")
    assert json.loads(answer.json)["n"] == n
    assert set(answer.fields["$.n"].probabilities) == {"2", "20"}
    assert answer.fields["$.n"].probabilities[str(n)] > 0.9


def test_listed_numbers_are_not_marked_as_copied():
    read, _ = extractor_for('{"n":20}', {"properties": {"n": {"enum": [2, 20]}}, "required": ["n"]})
    assert read("2 pieces", grounded="auto").fields["$.n"].grounded is None


@pytest.mark.real
@pytest.mark.parametrize("values", [[2, 20], [1, 10, 100, 11], [20, 200], [1, 1.5]])
def test_a_real_model_weighs_numbers_that_begin_others(values):
    schema = {"properties": {"n": {"enum": values}}, "required": ["n"]}
    with edgeslm.load("smollm2-135m") as model:
        answer = model.extractor(schema)("The quantity is 20. Quantity: 20 pieces.")
    shares = answer.fields["$.n"].probabilities
    assert list(shares) == [json.dumps(value) for value in values]
    assert sum(shares.values()) == pytest.approx(1)
    assert json.dumps(answer.value["n"]) == max(shares, key=shares.__getitem__)
