"""The features of a linear specialist: words and runs of letters of a text, weighed by TF-IDF."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, pairwise
from math import log, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeslm.errors import CardError, unreadable

#: the version of this format; a loader refuses another
FEATURES_FORMAT: Final = 1
MAX_FEATURES: Final = 1_000_000
#: the longest run of letters, and the most words together
MAX_LETTERS: Final = 5
_MIN_LETTERS: Final = 2
_MAX_TERM: Final = 1000
_LENGTHS: Final = {*range(1, _MAX_TERM + 1)}
_MAX_COUNT: Final = 1_000_000_000
_TERMS_KEYS: Final = {"terms", "frequencies"}
_SPEC_KEYS: Final = {"format", "documents", "words", "letters"}

_WORD = re.compile(r"\b\w\w+\b")

Ids = NDArray[np.int64]
Values = NDArray[np.float32]

# Plain checks, for importing pydantic takes longer than loading an encoder.


@dataclass(frozen=True, slots=True)
class Terms:
    """One family of features. ``terms[i]`` is in ``frequencies[i]`` of the training texts."""

    terms: tuple[str, ...]
    frequencies: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"terms": self.terms, "frequencies": self.frequencies}


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What `edgeslm.features` holds. Ids count the words first, then the runs of letters.

    ``words`` are words of two or more letters and pairs of them; ``letters`` are runs of 2 to 5
    characters inside a word with a blank on each side. Both are of the text in lower case.
    ``documents`` is how many training texts there were.
    """

    documents: int
    words: Terms
    letters: Terms

    @property
    def size(self) -> int:
        """How many features there are."""
        return len(self.words.terms) + len(self.letters.terms)

    def to_json(self) -> str:
        """As `from_json` reads it."""
        spec = {
            "format": FEATURES_FORMAT,
            "documents": self.documents,
            "words": self.words.to_dict(),
            "letters": self.letters.to_dict(),
        }
        return json.dumps(spec, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, where: str) -> FeatureSpec:
        """Parse what a file says of its features; ``where`` names it in errors.

        Raises:
            CardError: malformed, of another format, or with unknown keys.
        """
        try:
            return _spec(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise CardError(
                f"{where}: edgeslm.features: {unreadable(error)}; make the file again with "
                "`python -m converters`"
            ) from error


def _spec(spec: Any) -> FeatureSpec:
    """A spec of JSON values; raises ValueError, which names the place."""
    if not isinstance(spec, dict) or spec.keys() != _SPEC_KEYS:
        raise ValueError(f"its keys must be {', '.join(sorted(_SPEC_KEYS))}")
    if spec["format"] != FEATURES_FORMAT:
        raise ValueError(f"format must be {FEATURES_FORMAT}")
    documents = spec["documents"]
    if type(documents) is not int or not 0 < documents <= _MAX_COUNT:
        raise ValueError(f"documents must be a number from 1 to {_MAX_COUNT}")
    words, letters = (_terms(spec, family, documents) for family in ("words", "letters"))
    return FeatureSpec(documents, words, letters)


def _terms(spec: dict[str, Any], family: str, documents: int) -> Terms:
    family_spec = spec[family]
    if not isinstance(family_spec, dict) or family_spec.keys() != _TERMS_KEYS:
        raise ValueError(f"the keys of {family} must be {', '.join(sorted(_TERMS_KEYS))}")
    terms, frequencies = family_spec["terms"], family_spec["frequencies"]
    if not isinstance(terms, list) or not isinstance(frequencies, list):
        raise ValueError(f"{family} holds no lists")
    if len(terms) != len(frequencies) or len(terms) > MAX_FEATURES:
        raise ValueError(
            f"{family}: terms and frequencies must have the same length, {MAX_FEATURES} at most"
        )
    if {*map(type, terms)} - {str} or not {*map(len, terms)} <= _LENGTHS:
        raise ValueError(f"{family}: a term must be text of 1 to {_MAX_TERM} characters")
    if len(set(terms)) != len(terms):
        raise ValueError(f"{family}: a term is given twice")
    if {*map(type, frequencies)} - {int} or not (
        min(frequencies, default=0) >= 0 and max(frequencies, default=0) <= documents
    ):
        raise ValueError(f"{family}: a frequency must be a number from 0 to documents")
    return Terms(tuple(terms), tuple(frequencies))


class LinearFeatures:
    """Texts become feature ids and values, as scikit-learn's TfidfVectorizer gives them.

    Each family (words, letters) has ``(1 + ln count) * idf`` for each of its terms, divided by
    the family's own length (L2). Safe to call from many threads.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.size = spec.size
        words, letters = spec.words, spec.letters
        self._words = _Family(words, spec.documents, first=0)
        self._letters = _Family(letters, spec.documents, first=len(words.terms))

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Values]:
        """Features of texts: ids int64 and values float32, both [texts, n].

        Rows are padded with id 0 and value 0; n is at least 1.
        """
        rows = [self._of(text) for text in texts]
        width = max(1, *(len(ids) for ids, _ in rows)) if rows else 1
        ids = np.zeros((len(rows), width), np.int64)
        values = np.zeros((len(rows), width), np.float32)
        for i, (own, weights) in enumerate(rows):
            ids[i, : len(own)] = own
            values[i, : len(own)] = weights
        return ids, values

    def _of(self, text: str) -> tuple[list[int], list[float]]:
        lowered = text.lower()
        ids, values = self._words.weigh(_words(lowered))
        more_ids, more_values = self._letters.weigh(_letters(lowered))
        return ids + more_ids, values + more_values


class _Family:
    """The known terms of one family, each with its id and its idf."""

    def __init__(self, terms: Terms, documents: int, *, first: int) -> None:
        rarity = (1 + documents) / (1 + np.array(terms.frequencies, np.float64))
        idf = (np.log(rarity) + 1).tolist()
        self._known = dict(zip(terms.terms, zip(count(first), idf, strict=False), strict=False))

    def weigh(self, terms: Iterable[str]) -> tuple[list[int], list[float]]:
        """Ids and values of the known ones among the terms of a text."""
        known = self._known
        ids: list[int] = []
        values: list[float] = []
        for term, times in Counter(terms).items():
            entry = known.get(term)
            if entry is not None:
                ids.append(entry[0])
                values.append((1 + log(times)) * entry[1])
        length = sqrt(sum(value * value for value in values))
        return ids, [value / length for value in values]


def _words(text: str) -> Iterator[str]:
    """Words of two or more letters, and pairs of neighbours."""
    words = _WORD.findall(text)
    return chain(words, (f"{a} {b}" for a, b in pairwise(words)))


def _letters(text: str) -> Iterator[str]:
    """Runs of 2 to 5 characters of each word with its blanks; a shorter word is one run, once."""
    for word in text.split():
        padded = f" {word} "
        length = len(padded)
        for n in range(_MIN_LETTERS, MAX_LETTERS + 1):
            if n >= length:
                yield padded
                break
            for start in range(length - n + 1):
                yield padded[start : start + n]
