"""Strings of a closed schema: their lengths, patterns and formats, as far as a mask holds them."""

from __future__ import annotations

import json

from edgeslm.schema.keywords import Certificate
from edgeslm.schema.negation import forbidden_values
from edgeslm.schema.parts import PATTERN_STEPS, Closed, Conjuncts, Never, hold, tightest
from edgeslm.schema.regex import EMPTY, fault, other_than

_LONGEST = 65_536
#: patterns of one string that the grammar library joins: its time doubles with each
_MOST_JOINED = 8
#: formats that llguidance enforces
_MASKED_FORMATS = frozenset({
    "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid",
})  # fmt: skip
#: what their masks leave to the validator of the finished value
_UNMASKED = {
    "date-time": "whether it may be a leap second",
    "email": "the length and hyphens of its parts",
    "hostname": "the hyphens of its parts",
    "time": "whether it may be a leap second",
}
#: days that exist, of those that llguidance's dates let through: it has 29 February in every year
_DAYS = (
    "^(?:[0-9]{4}-(?:0[13-9]|1[0-2]|02-(?:[01]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
#: formats that the validator of the finished value enforces
_CHECKED_FORMATS = frozenset({
    "idn-email", "idn-hostname", "iri", "iri-reference", "json-pointer", "regex",
    "relative-json-pointer", "uri-reference", "uri-template",
})  # fmt: skip


def string(nodes: Conjuncts, certificate: Certificate) -> Closed | Never:
    """The string that all of these schemas allow, as far as a mask can hold their rules."""
    lengths = _lengths(nodes, certificate)
    if isinstance(lengths, Never):
        return lengths
    closed: Closed = {"type": "string", **lengths}
    formats = _formats(nodes, certificate)
    if formats:
        closed["format"] = formats[0]
    if formats and formats[0] in ("date", "date-time"):
        closed["allOf"] = [{"pattern": _DAYS}]
    patterns = _patterns(nodes, certificate)
    narrowed = dict(closed)
    if patterns:
        narrowed["pattern"] = patterns[0]
    others = [*patterns[1:], *_other_texts(nodes, certificate)]
    if len(others) >= _MOST_JOINED:
        note = f"more than {_MOST_JOINED} patterns hold together; the finished value is validated"
        for path, node in nodes:
            for keyword in {"pattern", "not"} & node.keys():
                certificate.note(path, keyword, "check", note)
        return _together(closed, closed, nodes, certificate)
    if others:
        narrowed["allOf"] = [*closed.get("allOf", []), *({"pattern": other} for other in others)]
    return _together(closed, narrowed, nodes, certificate)


def _lengths(nodes: Conjuncts, certificate: Certificate) -> Closed | Never:
    low = tightest(nodes, "minLength", max)
    high = tightest(nodes, "maxLength", min)
    lengths: Closed = {}
    if low and high and low[1] > high[1]:
        return Never(low[0], "minLength", f"minLength {low[1]} is above maxLength {high[1]}")
    if low and low[1] > _LONGEST:
        certificate.note(low[0], "minLength", "refused", f"longer than {_LONGEST} characters")
    elif low and low[1] > 0:
        lengths["minLength"] = low[1]
    if high and high[1] > _LONGEST:
        certificate.note(high[0], "maxLength", "check", "too long for a mask")
    elif high:
        lengths["maxLength"] = high[1]
    return lengths


def _other_texts(nodes: Conjuncts, certificate: Certificate) -> list[str]:
    """Patterns of every text but those that ``not`` forbids; as few as hold them all."""
    patterns: list[str] = []
    together: dict[str, None] = {}
    for path, node in nodes:
        texts = [value for value in forbidden_values(node) if isinstance(value, str)]
        alone = other_than(texts)
        if alone is None:
            certificate.note(path, "not", "check", "too long for a mask, or with a quote")
        elif texts and other_than([*together, *texts]) is None:
            patterns.append(alone)
        else:
            together |= dict.fromkeys(texts)
    joined = other_than(list(together)) if together else None
    return patterns if joined is None else [joined, *patterns]


def _together(
    closed: Closed, narrowed: Closed, nodes: Conjuncts, certificate: Certificate
) -> Closed | Never:
    """The string with its patterns and format, as far as a mask can hold them together."""
    keywords = ("pattern", "format", "allOf")
    keyword: str | None = next((name for name in keywords if name in narrowed), None)
    if keyword is None:
        return narrowed
    keyword = "not" if keyword == "allOf" else keyword
    path = next(path for path, node in nodes if keyword in node)
    count = len(narrowed.get("allOf", ())) + 1
    certificate.budget.spend_once(json.dumps(narrowed), PATTERN_STEPS * count**2 // 2)
    reason = fault(narrowed)
    if reason == EMPTY:
        return Never(path, keyword, "nothing satisfies it and the other rules of the string")
    if reason:
        certificate.note(path, keyword, "check", "too large for a mask")
        return closed
    return narrowed


def _patterns(nodes: Conjuncts, certificate: Certificate) -> list[str]:
    patterns: list[str] = []
    for path, node in nodes:
        pattern = node.get("pattern")
        if pattern is None:
            continue
        held = hold(path, "pattern", pattern, certificate)
        if held is not None and held not in patterns:
            patterns.append(held)
    return patterns


def _formats(nodes: Conjuncts, certificate: Certificate) -> list[str]:
    masked: list[str] = []
    for path, node in nodes:
        name = node.get("format")
        if name is None:
            continue
        if name in _MASKED_FORMATS and (not masked or name in masked):
            masked.append(name)
            if name in _UNMASKED:
                note = f"the mask holds the form; {_UNMASKED[name]} is checked at the end"
                certificate.note(path, "format", "check", note)
        elif name in _MASKED_FORMATS | _CHECKED_FORMATS:
            certificate.note(path, "format", "check", "the finished value is validated")
        else:
            note = f"{name!r} has no rule in JSON Schema; kept as an annotation"
            certificate.note(path, "format", "rewrite", note)
    return masked
