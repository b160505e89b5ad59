"""The features of a linear specialist: words and runs of letters of a text, weighed by TF-IDF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from math import log, sqrt
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeslm.errors import CardError

#: the version of this format; a loader refuses another
FEATURES_FORMAT: Final = 1
MAX_FEATURES: Final = 1_000_000
#: the longest run of letters, and the most words together
MAX_LETTERS: Final = 5
_MIN_LETTERS: Final = 2

_WORD = re.compile(r"\b\w\w+\b")

Ids = NDArray[np.int64]
Values = NDArray[np.float32]
Term = Annotated[str, Field(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Terms(BaseModel):
    """One family of features. ``terms[i]`` is in ``frequencies[i]`` of the training texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terms: tuple[Term, ...] = Field(max_length=MAX_FEATURES)
    frequencies: tuple[Count, ...] = Field(max_length=MAX_FEATURES)

    @model_validator(mode="after")
    def _fit(self) -> Terms:
        if len(self.terms) != len(self.frequencies):
            raise ValueError("terms and frequencies are to be as many")
        if len(set(self.terms)) != len(self.terms):
            raise ValueError("a term is given twice")
        return self


class FeatureSpec(BaseModel):
    """What `edgeslm.features` holds. Ids count the words first, then the runs of letters.

    ``words`` are words of two or more letters and pairs of them; ``letters`` are runs of 2 to 5
    characters inside a word with a blank on each side. Both are of the text in lower case.
    ``documents`` is how many training texts there were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FEATURES_FORMAT
    documents: int = Field(ge=1, le=1_000_000_000)
    words: Terms
    letters: Terms

    @model_validator(mode="after")
    def _idf_is_positive(self) -> FeatureSpec:
        if max((*self.words.frequencies, *self.letters.frequencies), default=0) > self.documents:
            raise ValueError("a term is in more texts than there are")
        return self

    @property
    def size(self) -> int:
        return len(self.words.terms) + len(self.letters.terms)

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> FeatureSpec:
        """Parse what a file says of its features; ``where`` names it in errors.

        Raises:
            CardError: malformed, of another format, or with unknown keys.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the features"
            raise CardError(
                f"{where}: edgeslm.features, at {place}: {first['msg']}; make the file again with "
                "`python -m converters`"
            ) from error


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
        self._known = {
            term: (first + i, log((1 + documents) / (1 + frequency)) + 1)
            for i, (term, frequency) in enumerate(zip(terms.terms, terms.frequencies, strict=True))
        }

    def weigh(self, terms: Iterable[str]) -> tuple[list[int], list[float]]:
        """Ids and values of the known ones among the terms of a text."""
        known = self._known
        ids: list[int] = []
        values: list[float] = []
        for term, count in Counter(terms).items():
            found = known.get(term)
            if found is not None:
                ids.append(found[0])
                values.append((1 + log(count)) * found[1])
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
