"""Changed copies of training rows: fields deleted, replaced or swapped, and parts dropped."""

from __future__ import annotations

import calendar
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from converters.data.rows import Row
from converters.recipe.data import Augment, Data
from edgeslm.tasks.extraction.evidence import SpanFinder
from edgeslm.tasks.extraction.readings.dates import dates, is_date

_AMOUNT = re.compile(r"-?\d{1,7}\.\d{2}\Z", re.ASCII)
_MONTHS = [name.upper() for name in calendar.month_abbr]
_DATE_FORMS = (
    "{d:02}/{m:02}/{y}", "{d:02}-{m:02}-{y}", "{d:02}/{m:02}/{s:02}", "{d:02}-{m:02}-{s:02}",
    "{d:02} {n} {y}", "{d}/{m}/{y}", "{y}-{m:02}-{d:02}", "{d:02}.{m:02}.{y}", "{d:02}-{n}-{y}",
    "{y}/{m:02}/{d:02}", "{d:02} {n} {s:02}", "{d:02}/{n}/{y}", "{n} {d}, {y}", "{d}/{m:02}/{y}",
)  # fmt: skip
#: days that stay readable after a change: two-digit years are those of 1970 to 2069
_EARLIEST, _LATEST = date(1972, 1, 1), date(2067, 12, 31)
#: how often a varied date keeps the form it was written in
_KEEP_FORM = 0.5


#: runs of letters and of digits: what is another word or number in a varied text
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
#: words of at least so many letters are replaced, unless they stand in more than this share of
#: the rows: those say what a field is ("JALAN", "ENTERPRISE")
_LETTERS, _COMMON = 4, 0.02
#: how often a word, and a number, of a varied text is another one
_OTHER_WORD, _OTHER_NUMBER = 0.3, 0.5


def augmented(rows: Sequence[Row], data: Data, *, seed: str) -> list[Row]:
    """One epoch's rows: each as it is or changed, by a draw that ``seed`` and its id fix.

    What a row takes from others, it takes from ``rows``.
    """
    pool = _Pool(rows)
    return [_draw(row, data.augment, random.Random(f"{seed} {row.id}"), pool) for row in rows]


class _Pool:
    """What the texts among the answers of all rows offer to others; found when first asked for."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = [row for row in rows if isinstance(row.answer, dict)]

    @cached_property
    def texts(self) -> dict[str, list[tuple[str, str]]]:
        """By field: as each stands in its input, with its line breaks, and as its answer has it."""
        texts: dict[str, list[tuple[str, str]]] = {}
        for row in self._rows:
            for name, raw in _texts(row).items():
                texts.setdefault(name, []).append((raw, row.answer[name]))
        return texts

    @cached_property
    def words(self) -> list[str]:
        """The words that may be replaced, each once; a replacement is one of them."""
        rows = Counter(
            word
            for row in self._rows
            for word in {w for raw in _texts(row).values() for w in _TOKEN.findall(raw)}
        )
        most = max(1.0, _COMMON * len(self._rows))
        return sorted(
            w for w, n in rows.items() if w.isalpha() and len(w) >= _LETTERS and n <= most
        )

    @cached_property
    def replaceable(self) -> frozenset[str]:
        return frozenset(self.words)


def _texts(row: Row) -> dict[str, str]:
    """The fields that are neither dates nor amounts, as they stand in the input."""
    finder, spelled = SpanFinder(row.input), {}
    for name, value in row.answer.items():
        if isinstance(value, str) and not _AMOUNT.match(value) and not is_date(value):
            span = finder.find(value)
            if span is not None:
                spelled[name] = row.input[slice(*span)]
    return spelled


def _draw(row: Row, augment: Augment, rng: random.Random, pool: _Pool) -> Row:
    if len(row.parts) > 1 and rng.random() < augment.drop_part:
        parts = row.parts[:-1]
        row = replace(row, parts=parts, input="".join(parts))
    if isinstance(row.answer, dict):
        if augment.swap_field and rng.random() < augment.swap_field:
            row = _swap(row, pool, rng)
        if augment.vary_text and rng.random() < augment.vary_text:
            row = _vary_text(row, pool, rng)
        if rng.random() < augment.vary_field:
            row = _vary(row, rng)
        if rng.random() < augment.drop_field:
            row = drop_field(row, rng.choice(sorted(row.answer)))
    return row


def drop_field(row: Row, name: str) -> Row:
    """The row without the lines its field stands in, and null for an answer.

    Null as well for what stood in these lines alone. A field that was not found in the input,
    or would leave nothing, stays.
    """
    value, text = row.answer[name], row.input
    while value is not None and (span := SpanFinder(text).find(value)) is not None:
        text = _without_lines(text, *span)
    if text == row.input or not text.strip():
        return row
    gone = {name, *(_readable(row.input, row.answer) - _readable(text, row.answer))}
    answer = {field: None if field in gone else value for field, value in row.answer.items()}
    return replace(row, input=text, parts=(text,), answer=answer)


def _readable(text: str, answer: dict[str, Any]) -> set[str]:
    """The fields whose value can be found in the text."""
    finder = SpanFinder(text)
    return {name for name, value in answer.items() if finder.find(value) is not None}


def _without_lines(text: str, start: int, end: int) -> str:
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    return text[:line_start] + ("" if line_end < 0 else text[line_end + 1 :])


def _vary(row: Row, rng: random.Random) -> Row:
    """The row with other dates and amounts; as it was where a field could not be read after that.

    Fields of one value stay alike: in the text they are the same words.
    """
    text, answer = row.input, dict(row.answer)
    for name, value in row.answer.items():
        if isinstance(value, str) and rng.random() < 0.7 and answer[name] == value:
            text, fresh = _varied(text, value, rng)
            answer = {field: fresh if old == value else old for field, old in answer.items()}
    return _if_readable(row, text, answer)


def _if_readable(row: Row, text: str, answer: dict[str, Any]) -> Row:
    """The row with another text and answer; as it was where that lost a field."""
    if text == row.input or not _readable(row.input, row.answer) <= _readable(text, answer):
        return row
    return replace(row, input=text, parts=(text,), answer=answer)


def _swap(row: Row, pool: _Pool, rng: random.Random) -> Row:
    """The row with one of its texts taken from another row, wherever it stands."""
    fields = _texts(row)
    if not fields:
        return row
    name = rng.choice(sorted(fields))
    raw, value = rng.choice(pool.texts[name])
    return _if_readable(row, _replaced(row.input, fields[name], raw), {**row.answer, name: value})


def _vary_text(row: Row, pool: _Pool, rng: random.Random) -> Row:
    """The row with other words and numbers in its texts, the same in input and answer."""
    text, answer = row.input, dict(row.answer)
    for name, raw in _texts(row).items():
        others = {token: _other(token, pool, rng) for token in sorted(set(_TOKEN.findall(raw)))}
        fresh = _with_others(raw, others)
        text = _replaced(text, raw, fresh)
        answer[name] = _with_others(answer[name], others)
    return _if_readable(row, text, answer)


def _other(token: str, pool: _Pool, rng: random.Random) -> str:
    if token.isdecimal():
        digits = "".join(rng.choice("0123456789") for _ in token)
        return digits if rng.random() < _OTHER_NUMBER else token
    if token not in pool.replaceable or rng.random() >= _OTHER_WORD:
        return token
    return rng.choice(pool.words)


def _replaced(text: str, old: str, new: str) -> str:
    """``text`` with another text for an old one, but not for a part of a word or number."""
    before = r"(?<!\w)" if re.match(r"\w", old) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", old) else ""
    return re.sub(before + re.escape(old) + after, lambda _: new, text)


def _with_others(text: str, others: dict[str, str]) -> str:
    return _TOKEN.sub(lambda match: others.get(match[0], match[0]), text)


def _varied(text: str, value: str, rng: random.Random) -> tuple[str, Any]:
    if _AMOUNT.match(value):
        return _vary_amount(text, value, rng)
    return _vary_date(text, date.fromisoformat(value), rng) if is_date(value) else (text, value)


def _vary_amount(text: str, value: str, rng: random.Random) -> tuple[str, str]:
    """Other digits, as many, wherever the amount stands."""
    digits = [rng.choice("123456789") if i == 0 else rng.choice("0123456789") for i in range(9)]
    fresh = "".join(digits.pop(0) if c.isdigit() else c for c in value)
    changed = re.sub(rf"(?<![\d.,]){re.escape(value)}(?![\d])", fresh, text)
    return (text, value) if changed == text else (changed, fresh)


def _vary_date(text: str, day: date, rng: random.Random) -> tuple[str, str]:
    """Another day, wherever this one stands, in the form it has there or another."""
    shift = timedelta(days=rng.randrange(-700, 700))
    if not _EARLIEST <= day <= _LATEST:
        return text, day.isoformat()
    fresh = day + shift
    form = None if rng.random() < _KEEP_FORM else rng.choice(_DATE_FORMS)
    changed = text
    for spelled in reversed(list(dates(text))):
        if day in spelled.readings:
            kept = form or _form_of(text[slice(*spelled.span)], day)
            if kept is None:
                return text, day.isoformat()
            changed = changed[: spelled.start] + _write(kept, fresh) + changed[spelled.end :]
    return (text, day.isoformat()) if changed == text else (changed, fresh.isoformat())


def _form_of(written: str, day: date) -> str | None:
    return next((form for form in _DATE_FORMS if _write(form, day) == written.upper()), None)


def _write(form: str, day: date) -> str:
    return form.format(d=day.day, m=day.month, y=day.year, s=day.year % 100, n=_MONTHS[day.month])
