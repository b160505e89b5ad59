"""Keyword by keyword, what the mask lets through; and how a matcher behaves."""

from __future__ import annotations

import gc

import pytest

from edgeslm.decoding.grammar import Grammar, GrammarTokenizer
from edgeslm.errors import EngineError
from edgeslm.formats.card import Style
from edgeslm.schema.schema import compile_schema
from edgeslm.testing import ScriptedEngine
from tests.helpers.grammars import accepts, answers, matcher, tokenizer

AB = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "leaves": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
            },
            "required": ["name"],
        }
    },
}
TAGGED = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": kind}, field: {"type": "integer"}},
            "required": ["kind"],
        }
        for kind, field in (("a", "x"), ("b", "y"))
    ]
}

#: schema, texts that are answers, texts that are not
TABLE = [
    ({"type": "null"}, ["null"], ["0", "Null", " null", "null "]),
    ({"type": "boolean"}, ["true", "false"], ["1", "True"]),
    # strings
    ({"type": "string"}, ['""', '"é😀"', r'"\"\\\n"'], ["a", '"\n"', r'"\u0041"', r'"\/"']),
    (
        {"type": "string", "minLength": 2, "maxLength": 3},
        ['"ab"', '"éé"', '"😀😀"'],
        ['"a"', '"abcd"'],
    ),
    ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"ac"', '""']),
    ({"type": "string", "pattern": "^[0-9]{3}$"}, ['"123"'], ['"12"', '"1234"', '"a123"']),
    ({"type": "string", "pattern": r"^\d+$"}, ['"12"'], ['"١"']),
    ({"type": "string", "pattern": "^a", "maxLength": 2}, ['"a"', '"ab"'], ['"b"', '"abc"']),
    ({"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}]}, ['"ab"'], ['"a"', '"b"']),
    (
        {"type": "string", "format": "date"},
        ['"2024-02-29"'],
        ['"2024-13-01"', '"2023-02-29"', '"1/2/24"'],
    ),
    ({"type": "string", "format": "date-time"}, ['"2024-01-01T00:00:00Z"'], ['"2024-01-01"']),
    ({"type": "string", "format": "time"}, ['"12:30:00Z"'], ['"25:00:00Z"', '"12:30"']),
    ({"type": "string", "format": "duration"}, ['"P1DT2H"'], ['"P"', '"1d"']),
    ({"type": "string", "format": "email"}, ['"a@b.co"'], ['"a"', '"a@"']),
    ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123"']),
    ({"type": "string", "format": "ipv4"}, ['"1.2.3.4"'], ['"1.2.3.400"']),
    ({"type": "string", "format": "ipv6"}, ['"::1"'], ['"x"']),
    ({"type": "string", "format": "uri"}, ['"https://a.b/c"'], ['"::"']),
    ({"type": "string", "format": "json-pointer"}, ['"/a"'], ['"a"']),
    ({"type": "string", "format": "invented"}, ['"anything"'], ["1"]),
    # numbers, in one spelling
    (
        {"type": "integer"},
        ["0", "-1", "4111111111111111"],
        ["-0", "1.0", "1e3", "01", "+1", "9" * 19],
    ),
    ({"type": "number"}, ["0", "-1.50", "0.123456789"], ["-0", "1e3", "0.1234567891", "9" * 19]),
    (
        {"type": "number"},
        ["0", "0.0", "1284.50", "-0.10", "-1", "0.05"],
        ["-0", "-0.0", "1e3", ".5", "1."],
    ),
    ({"type": "integer", "minimum": -5, "maximum": 5}, ["-5", "0", "5"], ["-6", "6", "-0"]),
    ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3}, ["1", "2"], ["0", "3"]),
    ({"type": "integer", "minimum": 1.5, "maximum": 2.5}, ["2"], ["1", "3"]),
    ({"type": "number", "minimum": 0.5}, ["0.5", "1"], ["0.4", "-1"]),
    ({"type": "number", "exclusiveMinimum": 0}, ["0.10", "0.01", "1"], ["0", "0.0", "0.00"]),
    ({"type": "number", "exclusiveMinimum": 1, "maximum": 1.5}, ["1.10", "1.5"], ["1", "1.0"]),
    ({"type": "number", "exclusiveMaximum": -1}, ["-1.10", "-2"], ["-1", "-1.0"]),
    ({"type": "number", "exclusiveMaximum": -1, "minimum": -1.5}, ["-1.5"], ["-1", "-1.6"]),
    ({"type": "number", "exclusiveMinimum": 9e15}, ["9100000000000000"], ["9000000000000000"]),
    ({"type": "number", "maximum": 0}, ["0", "-0.5"], ["0.1", "-0"]),
    ({"type": "number", "exclusiveMaximum": 0}, ["-0.10"], ["0", "0.0", "-0"]),
    ({"type": "number", "multipleOf": 0.01}, ["999.99", "-0.10", "1.5", "1"], ["1.234"]),
    ({"type": "integer", "multipleOf": 3}, ["0", "3", "-3"], ["1", "-0"]),
    ({"allOf": [{"type": "integer", "multipleOf": 4}, {"multipleOf": 6}]}, ["12", "0"], ["4", "6"]),
    ({"allOf": [{"type": "number"}, {"type": "integer"}]}, ["1"], ["1.5"]),
    ({"type": "integer", "maximum": 2**64}, [str(2**64)], [str(2**64 + 1)]),
    # listed values
    ({"const": 1.0}, ["1"], ["1.0", "true"]),
    (
        {"enum": [1, "a", None, True, 0.5]},
        ["1", '"a"', "null", "true", "0.5"],
        ["0", '"b"', "false"],
    ),
    ({"enum": ["abc", "de"], "maxLength": 2}, ['"de"'], ['"abc"']),
    ({"enum": [1, "a"], "type": "string"}, ['"a"'], ["1"]),
    ({"allOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, ["2"], ["1", "3"]),
    ({"const": {"b": [1], "a": 2}}, ['{"b":[1],"a":2}'], ['{"a":2,"b":[1]}']),
    ({"const": 'é"\n'}, [r'"é\"\n"'], [r'"\u00e9\"\n"']),
    # arrays
    ({"type": "array", "items": {"type": "integer"}}, ["[]", "[1,2]"], ["[1,]", '["a"]', "[1, 2]"]),
    (
        {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2},
        ["[null]"],
        ["[]", "[null,null,null]"],
    ),
    (
        {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "items": False,
            "minItems": 2,
        },
        ['[1,"a"]'],
        ["[1]", '["a",1]', '[1,"a",2]'],
    ),
    (
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}},
        ["[]", "[1,null,null]"],
        ["[null]"],
    ),
    ({"type": "array", "prefixItems": [{"type": "integer"}, False]}, ["[1]", "[]"], ["[1,2]"]),
    ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, ["[1,2]"], ["[1,1]"]),
    ({"type": "array", "items": {"type": "integer"}, "contains": {"const": 1}}, ["[2,1]"], ["[2]"]),
    (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "items": [{"type": "integer"}],
            "additionalItems": False,
        },
        ["[1]", "[]"],
        ["[1,2]"],
    ),
    # objects
    (
        AB,
        ["{}", '{"a":1}', '{"b":1}', '{"a":1,"b":2}'],
        ['{"b":1,"a":2}', '{"c":1}', '{"a":1,"a":2}'],
    ),
    ({**AB, "required": ["b"]}, ['{"b":1}'], ["{}", '{"a":1}']),
    (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        ["{}", '{"x":1,"y":2}'],
        ['{"x":"a"}', '{"x":1,"x":2}'],
    ),
    ({"type": "object"}, ["{}", '{"x":{"y":[1.5,null]}}'], ["[]", '{"x":1e5}']),
    (
        {**AB, "additionalProperties": {"type": "string"}},
        ['{"a":1,"z":"s"}'],
        ['{"a":"s"}', '{"z":1}'],
    ),
    (
        {"type": "object", "patternProperties": {"^x": {"type": "boolean"}}},
        ['{"x1":true}', "{}"],
        ['{"y":true}', '{"x":1}'],
    ),
    (
        {
            "type": "object",
            "additionalProperties": {"type": "null"},
            "minProperties": 1,
            "maxProperties": 2,
        },
        ['{"a":null}'],
        ["{}", '{"a":null,"b":null,"c":null}'],
    ),
    ({**AB, "minProperties": 1}, ['{"a":1}'], ["{}"]),
    ({"type": "object", "propertyNames": {"enum": ["p", "q"]}}, ['{"p":1}', "{}"], ['{"r":1}']),
    ({"type": "object", "propertyNames": {"pattern": "^p"}}, ['{"pa":1}'], ['{"r":1}']),
    ({"type": "object", "propertyNames": {"maxLength": 1}}, ['{"p":1}'], ['{"pq":1}']),
    ({**AB, "dependentRequired": {"a": ["b"]}}, ['{"a":1,"b":1}', '{"b":1}'], ['{"a":1}']),
    (
        {"type": "object", "properties": {"a": False, "b": {"type": "null"}}},
        ['{"b":null}'],
        ['{"a":1}'],
    ),
    ({"properties": {'é"/~': {"type": "null"}}}, ['{"é\\"/~":null}'], ["null"]),
    ({**AB, "required": ["z"]}, ['{"z":[1]}', '{"a":1,"z":"s"}'], ["{}"]),
    # combinations
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ['"a"', "1"], ["1.5", "null"]),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}], "minimum": 3}, ['"a"', "3"], ["2"]),
    ({"type": ["string", "null"], "minLength": 1}, ['"a"', "null"], ['""']),
    (
        {"oneOf": [{"type": "number", "minimum": 2}, {"type": "integer"}]},
        ["1", "2.5"],
        ["2", "1.5"],
    ),
    (TAGGED, ['{"kind":"a","x":1}', '{"kind":"b"}'], ['{"kind":"a","y":1}', '{"kind":"c"}']),
    (
        {
            "allOf": [
                {**AB, "required": ["a"]},
                {"properties": {"c": {"type": "null"}}, "required": ["c"]},
            ]
        },
        ['{"a":1,"c":null}', '{"a":1,"b":2,"c":null}'],
        ['{"a":1}', '{"c":null}', '{"a":1,"c":null,"d":1}'],
    ),
    ({"type": "integer", "not": {"const": 3}}, ["4"], ["3"]),
    ({"type": "integer", "if": {"minimum": 5}, "then": {"multipleOf": 5}}, ["4", "10"], ["6"]),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}, "minimum": 3}, ["3"], ["2"]),
    (TREE, ['{"name":"a","leaves":[{"name":"b"}]}'], ['{"name":"a","leaves":[{}]}', "{}"]),
    ({}, ["1", '{"a":[1,"é",null]}', "-0.5"], ["1e5", "-0", ""]),
]


@pytest.mark.parametrize(
    ("schema", "text", "valid"),
    [(schema, text, True) for schema, good, _ in TABLE for text in good]
    + [(schema, text, False) for schema, _, bad in TABLE for text in bad],
)
def test_what_can_be_an_answer(schema: dict, text: str, valid: bool) -> None:
    assert answers(schema, text) is valid


def test_separators_are_those_of_the_style() -> None:
    style = Style(item_separator=", ", key_separator=": ")
    assert accepts(AB, '{"a": 1, "b": 2}', style)
    assert not accepts(AB, '{"a":1,"b":2}', style)
    assert not accepts(AB, '{"a": 1, "b": 2}')


def test_open_objects_by_choice() -> None:
    assert not accepts(AB, '{"a":1,"c":2}')
    assert accepts(AB, '{"a":1,"c":2}', close_objects=False)


def test_forced_text_is_not_consumed_and_mask_agrees_with_accepts() -> None:
    state = matcher({**AB, "required": ["a", "b"]})
    assert bytes(state.forced()) == b'{"a":'
    assert bytes(state.forced()) == b'{"a":'
    state.consume(state.forced())
    mask = state.mask()
    assert mask.dtype == bool
    assert mask.shape == (tokenizer().vocab.size,)
    assert {chr(i) for i in mask.nonzero()[0]} == set("-0123456789")
    assert all(state.accepts(token) == mask[token] for token in range(len(mask)))


def test_end_tokens_are_allowed_where_the_value_is_complete_and_only_there() -> None:
    end = tokenizer().vocab.end
    state = matcher({"type": "integer"})
    assert not state.mask()[list(end)].any()
    state.consume(b"12")
    assert state.is_accepting
    assert not state.is_stopped
    assert state.mask()[list(end)].all()
    state.consume([end[0]])
    assert state.is_stopped


def test_asking_never_poisons_but_a_wrong_token_does() -> None:
    state = matcher({"type": "integer"})
    assert state.valid_prefix(b"12x") == 2
    assert not state.accepts(ord("x"))
    state.consume(b"1")
    with pytest.raises(EngineError, match="grammar library failed"):
        state.consume(b"x")
    with pytest.raises(EngineError):
        state.mask()


def test_rollback_and_copies() -> None:
    state = matcher(AB)
    state.consume(b'{"a":12}')
    assert state.is_stopped
    twin = state.copy()
    state.rollback(2)
    assert state.valid_prefix(b'3,"b"') == 5
    assert twin.is_stopped
    with pytest.raises(EngineError, match="rollback"):
        twin.rollback(99)


def test_matchers_of_one_grammar_are_independent() -> None:
    grammar = Grammar(compile_schema({"type": "integer"}), tokenizer(), Style())
    first, second = grammar.matcher(), grammar.matcher()
    first.consume(b"1")
    assert not second.is_accepting


def test_a_tokenizer_outlives_its_engine() -> None:
    engine = ScriptedEngine(pieces=[b'{"', b"ab", b'":'])
    inner = GrammarTokenizer(engine)
    schema = compile_schema({"properties": {"ab": {"type": "null"}}, "required": ["ab"]})
    engine.close()
    del engine
    gc.collect()
    after = Grammar(schema, inner, Style()).matcher()
    forced = after.forced()
    assert b"".join(inner.vocab.pieces[token] for token in forced) == b'{"ab":null}'
    assert after.valid_prefix(forced) == len(forced)
    after.consume(after.forced())


def test_control_tokens_are_never_text() -> None:
    state = matcher({"type": "string"})
    state.consume(b'"')
    mask = state.mask()
    assert not any(mask[token] for token in tokenizer().vocab.control)


def test_half_characters_are_followed_byte_by_byte() -> None:
    state = matcher({"type": "string", "maxLength": 1})
    state.consume(b'"\xf0\x9f')
    assert not state.accepts(ord('"'))
    state.consume("😀".encode()[2:])
    assert state.accepts(ord('"'))
    assert not state.accepts(ord("a"))


def test_thousands_of_definitions_do_not_end_the_process_on_a_small_stack() -> None:
    import threading

    names = range(1500)
    definitions = {
        f"d{i}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}}}
        for i in names
    }
    definitions["d1500"] = {"type": "null"}
    schema = {
        "$defs": definitions,
        "type": "object",
        "properties": {f"p{i}": {"$ref": f"#/$defs/d{i}"} for i in reversed(names)},
    }
    done: list[bool] = []
    usual = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=lambda: done.append(accepts(schema, '{"p9":{"a":{}}}')))
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()
    assert done == [True]
