"""Answers of which nothing stands in the text: which ones are, and null for what they make up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from edgeslm.errors import OutputInvalidError
from edgeslm.tasks.extraction.evidence import SpanFinder
from edgeslm.tasks.extraction.grounding import Names
from edgeslm.tasks.extraction.leaves import Leaf, leaves, segment
from edgeslm.tasks.extraction.listed_values import ListedValues
from edgeslm.tasks.extraction.readings.times import moments

T = TypeVar("T")

#: values that are tried one by one, where not all may be null together
_MOST_TRIED: Final = 64
_TIMES: Final = frozenset({"time", "date-time"})


def nothing_stands(answer: str, listed: ListedValues, text: str) -> bool:
    """Whether an answer has values that could stand in the text, and none does."""
    free = [leaf for leaf in leaves(answer) if listed.at(leaf.path) is None]
    finder = SpanFinder(text)
    return bool(free) and all(finder.find(leaf.value) is None for leaf in free)


def without_inventions(
    answer: str, listed: ListedValues, names: Names, read: Callable[[str], T]
) -> tuple[str, frozenset[str]]:
    """An answer of which nothing stands in the text, with null for what it makes up, and the
    paths of that.

    Only where some fields must stand in the text (``names``) are the others known to be read off
    it, too; elsewhere a value may be a conclusion, such as a language or a country, and stays. What
    the schema does not let be null stays as well.

    Args:
        read: the value of an answer; raises OutputInvalidError where it breaks the schema.
    """
    if not isinstance(names, frozenset) or not names:
        return answer, frozenset()
    made_up = [leaf for leaf in leaves(answer) if _is_free(leaf, listed, names)]
    if not _reads(_nulled(answer, made_up), read):
        tried, made_up = made_up[:_MOST_TRIED], []
        for leaf in tried:
            if _reads(_nulled(answer, [*made_up, leaf]), read):
                made_up.append(leaf)
    return _nulled(answer, made_up), frozenset(leaf.path for leaf in made_up)


def lacks_offsets(answer: str, listed: ListedValues, names: Names, text: str) -> frozenset[str]:
    """The paths of null where a time must stand in the text, which has some, all without the
    offset from UTC that a time of JSON Schema has."""
    if names is not None and (isinstance(names, str) or not names):
        return frozenset()
    offsets = {moment.offset for spelled in moments(text) for moment in spelled.readings}
    if offsets != {None}:
        return frozenset()
    return frozenset(
        leaf.path
        for leaf in leaves(answer)
        if leaf.value is None
        and (names is None or any(_is_under(leaf.path, "$" + segment(name)) for name in names))
        and not _TIMES.isdisjoint(listed.formats(leaf.path))
    )


def _is_free(leaf: Leaf, listed: ListedValues, names: frozenset[str]) -> bool:
    """Whether a leaf has a value that need not stand in the text."""
    if leaf.value is None or isinstance(leaf.value, bool | list | dict):
        return False
    grounded = any(_is_under(leaf.path, "$" + segment(name)) for name in names)
    return not grounded and listed.at(leaf.path) is None


def _is_under(path: str, field: str) -> bool:
    return path == field or path.startswith((field + ".", field + "["))


def _nulled(answer: str, places: Sequence[Leaf]) -> str:
    for leaf in reversed(places):
        answer = f"{answer[: leaf.start]}null{answer[leaf.end :]}"
    return answer


def _reads(answer: str, read: Callable[[str], T]) -> bool:
    try:
        read(answer)
    except OutputInvalidError:
        return False
    return True
