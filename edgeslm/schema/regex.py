"""Regular expressions of schemas: ECMA-262 as JSON Schema means it -> what a mask can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import jsonschema_rs

_LAST = 0x10FFFF
#: ECMA-262 without flags: \d and \w are ASCII, \s is any white space of Unicode
_RANGES = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [
        (0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
        (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
    ],
}  # fmt: skip
_CONTROL = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_ESCAPE = re.compile(
    r"\\(?:u\{(?P<long>[0-9A-Fa-f]{1,6})\}|u(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\u(?P<low>[dD][c-fC-F]"
    r"[0-9A-Fa-f]{2})|u(?P<short>[0-9A-Fa-f]{4})|x(?P<hex>[0-9A-Fa-f]{2})|c(?P<control>[A-Za-z])"
    r"|(?P<property>[pP]\{[A-Za-z_=]+\})|(?P<class>[dDwWsS])|(?P<letter>[tnvfr]|0(?![0-9]))"
    r"|(?P<literal>[^A-Za-z0-9]))",
    re.DOTALL,
)
_REPEAT = re.compile(r"(?:[*+?]|\{[0-9]{1,6}(?:,[0-9]{0,6})?\})\??")
_GROUP = re.compile(r"\((?:\?:|\?<[A-Za-z_][A-Za-z0-9_]*>)?(?!\?)")
_MOST = 10_000
#: letters of texts that a regular expression leaves out; it grows with the square of them
_MOST_FORBIDDEN = 100
#: one character, line breaks included
_ANY = r"[\s\S]"

#: bounds the memory and time of one pattern in the validator: some 2 ms
_PATTERN_OPTIONS = jsonschema_rs.FancyRegexOptions(size_limit=1_000_000)

#: formats that the validator asserts in the newest drafts alone; here they hold in all
_LATER_FORMATS = (
    "duration", "idn-hostname", "iri", "iri-reference", "json-pointer", "relative-json-pointer",
    "uri-reference", "uri-template", "uuid",
)  # fmt: skip

#: what ``fault`` says of a schema that no value satisfies
EMPTY = "nothing satisfies it"


class _UnholdableError(Exception):
    """A construct that no derivative-based regular expression can hold."""


def validator(schema: Any) -> Any:
    """The validator of finished values: formats asserted, patterns bounded, no network."""
    return jsonschema_rs.validator_for(
        schema,
        validate_formats=True,
        offline=True,
        formats=_later_formats(),
        pattern_options=_PATTERN_OPTIONS,
    )


@cache
def _later_formats() -> dict[str, Callable[[str], bool]]:
    return {
        name: jsonschema_rs.validator_for({"format": name}, validate_formats=True).is_valid
        for name in _LATER_FORMATS
    }


@lru_cache(maxsize=1024)
def portable(pattern: str) -> str | None:
    """The same language as ``pattern`` for the mask; None for what no mask can hold.

    That is look-around, back-references, ``\\b``, an anchor in the middle, and syntax that is
    not of ECMA-262.
    """
    if len(pattern) > _MOST:
        return None
    out: list[str] = []
    at = 0
    try:
        while at < len(pattern):
            piece, at = _step(pattern, at)
            out.append(piece)
    except _UnholdableError:
        return None
    rewritten = "".join(out)
    return rewritten if fault({"type": "string", "pattern": rewritten}) in ("", EMPTY) else None


def fault(leaf: dict[str, object]) -> str:
    """Why the grammar library cannot hold a closed schema: nothing, EMPTY, or its message."""
    return _fault(json.dumps(leaf))


@lru_cache(maxsize=4096)
def _fault(leaf: str) -> str:
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(leaf)
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if not failed:
        return ""
    return EMPTY if messages[0].startswith("Unsatisfiable") else messages[0]


def other_than(texts: Sequence[str]) -> str | None:
    """A regular expression for every text but these; None where no mask can hold one.

    They may be too long; and llguidance lets a quote through where a class leaves it out.
    """
    if sum(map(len, texts)) > _MOST_FORBIDDEN or any({'"', "\\"} & set(text) for text in texts):
        return None
    branches: list[str] = []
    for start in sorted({text[:i] for text in texts for i in range(len(text) + 1)}):
        prefix = "".join(map(_literal, start))
        if start not in texts:
            branches.append(prefix)
        next_ones = {text[len(start)] for text in texts if text.startswith(start) and text != start}
        others = "".join(map(_literal, sorted(next_ones)))
        branches.append(f"{prefix}[^{others}]{_ANY}*" if others else f"{prefix}{_ANY}+")
    return f"^(?:{'|'.join(branches)})$"


def disjoint(patterns: tuple[str, ...]) -> bool:
    """Whether no property name matches two of these (portable) patterns."""
    rules = {pattern: {"type": "null"} for pattern in patterns}
    closed = {"type": "object", "patternProperties": rules, "additionalProperties": False}
    return len(patterns) < 2 or not fault(closed)


def _step(pattern: str, at: int) -> tuple[str, int]:
    """The next piece in the syntax of the mask, and where it ends."""
    char = pattern[at]
    if char == "\\":
        return _escaped(pattern, at, inside=False)
    if char == "[":
        return _bracketed(pattern, at)
    if char == "(":
        if not (group := _GROUP.match(pattern, at)):
            raise _UnholdableError
        return "(?:", group.end()
    if char in "*+?{" and (repeat := _REPEAT.match(pattern, at)):
        return repeat[0], repeat.end()
    if char in "{}]":
        return f"\\{char}", at + 1
    return char, at + 1


def _escaped(pattern: str, at: int, *, inside: bool) -> tuple[str, int]:
    escape = _ESCAPE.match(pattern, at)
    if not escape:
        if inside and pattern.startswith("\\b", at):
            return r"\x{8}", at + 2
        raise _UnholdableError
    kind, text = escape.lastgroup, escape[escape.lastgroup or 0]
    if kind == "class":
        members = _members(_RANGES[text.lower()], negated=text.isupper())
        return (members if inside else f"[{members}]"), escape.end()
    if kind == "property":
        return f"\\{text}", escape.end()
    if kind == "low":
        code = 0x10000 + ((int(escape["high"], 16) - 0xD800) << 10) + int(text, 16) - 0xDC00
    elif kind == "control":
        code = ord(text) % 32
    elif kind == "letter":
        code = _CONTROL[text]
    elif kind == "literal":
        code = ord(text)
    else:
        code = int(text, 16)
    if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
        raise _UnholdableError
    return _literal(chr(code)), escape.end()


def _members(ranges: list[tuple[int, int]], *, negated: bool) -> str:
    """Ranges of code points, or all others, as the members of a class."""
    if negated:
        edges = [-1, *(edge for low, high in ranges for edge in (low, high)), _LAST + 1]
        ranges = [(low + 1, high - 1) for low, high in zip(edges[::2], edges[1::2], strict=True)]
    texts = [
        _literal(chr(low)) + ("" if low == high else f"-{_literal(chr(high))}")
        for low, high in ranges
    ]
    return "".join(texts)


def _literal(char: str) -> str:
    """One character, spelled so that it can mean nothing else, also in a class."""
    if char.isalnum() or char == "_":
        return char
    printable = char.isascii() and char.isprintable() and char != " "
    return f"\\{char}" if printable else f"\\x{{{ord(char):x}}}"


def _bracketed(pattern: str, at: int) -> tuple[str, int]:
    """A character class, each of its members spelled so that it can mean nothing else."""
    negated = pattern.startswith("[^", at)
    at += 2 if negated else 1
    members: list[str] = []
    open_range = False
    while not pattern.startswith("]", at):
        if at >= len(pattern):
            raise _UnholdableError
        if pattern[at] == "\\":
            piece, at = _escaped(pattern, at, inside=True)
        else:
            piece, at = _literal(pattern[at]), at + 1
        single = len(piece) == 1 or (piece.startswith("\\") and "-" not in piece[2:])
        single = single and not piece.startswith(("\\p", "\\P"))
        if open_range and not single:
            raise _UnholdableError
        members.append(piece)
        hyphen = pattern.startswith("-", at) and not pattern.startswith("-]", at)
        open_range = hyphen and single and not open_range
        if open_range:
            members.append("-")
            at += 1
    if not members:
        raise _UnholdableError
    return f"[{'^' if negated else ''}{''.join(members)}]", at + 1
