"""Patterns: the same language for the mask and for the validator."""

from __future__ import annotations

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.schema.regex import disjoint, portable
from tests.helpers.grammars import accepts

PATTERNS = [
    "^[a-z-]+$", r"^[\w-]+$", r"[\w.-]", r"^\d{3}$", r"^\S+$", r"^[^\s]+$", r"^\p{L}+$", r"^\cC$",
    r"^[[a]+$", r"^\u00e9$", r"^\W$", "^.$", "x{2}", "^(a|b)?$", "[a-]", "^[a-c-e]$",
    r"^https?://", r"^\/a", r"^[+\-*/]$", "^(?<y>a)$", r"^[\s\S]*$", "^🐲*$", r"[\S ]", "^$",
    "^a|b$", "(^a)", "[ -~]+$", r"^[^\x00-\x1f]*$", "^[a&&b]$", r"^\$", r"^[$]{2}", "(a*)*b",
    r"^[^\r\n]{1,3}$", r"^[\W_]$", "[--a]", "^[^$]", "#", "a b&~",
]  # fmt: skip
TEXTS = st.text(alphabet="abcxyz019-_. \t\r\n/\\[]^$é١\u2028🐲\x00\x03(){}~&@+AZ\xa0", max_size=5)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_the_mask_reads_a_pattern_as_the_validator_does(pattern: str, text: str) -> None:
    held = portable(pattern)
    assert held is not None
    expected = jsonschema_rs.is_valid({"pattern": pattern}, text)
    assert jsonschema_rs.is_valid({"pattern": held}, text) == expected


@pytest.mark.parametrize("pattern", ["^(?=a)", "^(?!a)", r"\ba", r"(a)\1", "a^b", "(?i)a", "[^]"])
def test_what_no_mask_can_hold(pattern: str) -> None:
    assert portable(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^[\w-]+$", '"a-1"', '"a b"'),
        (r"^\p{L}+$", '"aé"', '"a1"'),
        (r"^\d$", '"1"', '"١"'),
        (r"^\/$", '"/"', '"a"'),
        ("^[[a]$", '"["', '"b"'),
    ],
)
def test_the_mask_holds_the_pattern(pattern: str, good: str, bad: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert accepts(schema, good)
    assert not accepts(schema, bad)


def test_patterns_apart_and_not() -> None:
    assert disjoint(("^a", "^b"))
    assert not disjoint(("^a", "b$"))
