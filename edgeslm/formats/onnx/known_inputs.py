"""Known inputs: how often each training text had which label, by hash, and what that decides."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeslm.errors import CardError, unreadable
from edgeslm.formats.text import fold

#: the version of this format that is written: how texts are folded before they are hashed
KNOWN_FORMAT: Final = 2
#: those that are read. In format 1 only case and white space are folded
_FORMATS: Final = (1, KNOWN_FORMAT)
MAX_KNOWN: Final = 1_000_000
_MAX_COUNT: Final = 1_000_000_000
_HASH_BYTES: Final = 8
#: characters; a longer text is none that was trained on, and may take long to hash: to put marks
#: that stand on one letter in order takes the square of their number, a fifth of a second here
_MAX_TEXT: Final = 10_000
_KEYS: Final = {"format", "prior_rows", "texts"}


class KnownInputs(NamedTuple):
    """Labels of training texts. ``texts`` has, by a text's hash, the index of each label that the
    text had, followed by the number of its rows that had it.

    ``prior_rows`` is how many rows a model's own answer counts for beside them.
    """

    prior_rows: float
    texts: Mapping[str, list[int]]
    format: int = KNOWN_FORMAT

    def posterior(self, text: str, shares: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Probabilities of a known text, [labels], from a model's ``shares``; None if unknown.

        The mean of the labels' shares under a Dirichlet prior around the model's answer (MacKay
        and Peto, "A hierarchical Dirichlet language model", 1995).
        """
        known = len(text) <= _MAX_TEXT
        pairs = self.texts.get(text_hash(text, self.format)) if known else None
        if pairs is None:
            return None
        counts = self.prior_rows * shares
        counts[pairs[::2]] += pairs[1::2]
        mixed: NDArray[np.float64] = counts / counts.sum()
        return mixed

    def knows(self, text: str) -> bool:
        """Whether rows of this text decide its answer."""
        return len(text) <= _MAX_TEXT and text_hash(text, self.format) in self.texts

    def to_json(self) -> str:
        """As `read_known` reads it."""
        whole = {"format": self.format, "prior_rows": self.prior_rows, "texts": dict(self.texts)}
        return json.dumps(whole, separators=(",", ":"))


def text_hash(text: str, known_format: int = KNOWN_FORMAT) -> str:
    """A text's hash: 64 bits, the same for texts that are equal when folded."""
    folded = " ".join(text.casefold().split()) if known_format == 1 else fold(text)
    digest = blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES)
    return b64encode(digest.digest()).decode("ascii").rstrip("=")


def known_inputs(
    counted: Iterable[tuple[str, int, int]], *, prior_rows: float, known_format: int = KNOWN_FORMAT
) -> KnownInputs:
    """From texts, each with the index of a label and how many rows have both."""
    counts: dict[str, dict[int, int]] = {}
    for text, label, count in counted:
        own = counts.setdefault(text_hash(text, known_format), {})
        own[label] = own.get(label, 0) + count
    return KnownInputs(
        prior_rows,
        {
            key: [number for pair in sorted(own.items()) for number in pair]
            for key, own in sorted(counts.items())
        },
        known_format,
    )


def read_known(text: str, labels: int, *, where: str) -> KnownInputs:
    """Parse what a file knows of its training texts; ``where`` names it in errors.

    Raises:
        CardError: malformed, of another format, or with a label beyond so many ``labels``.
    """
    try:
        return _checked(json.loads(text), labels)
    except (ValueError, RecursionError) as error:
        raise CardError(
            f"{where}: edgeslm.known: {unreadable(error)}; make the file again with "
            "`python -m converters`"
        ) from error


def _checked(value: Any, labels: int) -> KnownInputs:
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise ValueError(f"its keys must be {', '.join(sorted(_KEYS))}")
    if type(value["format"]) is not int or value["format"] not in _FORMATS:
        raise ValueError(f"format must be one of {', '.join(map(str, _FORMATS))}")
    prior, texts = value["prior_rows"], value["texts"]
    if type(prior) not in (int, float) or not 0 < prior <= _MAX_COUNT:
        raise ValueError(f"prior_rows must be above 0, and at most {_MAX_COUNT}")
    if not isinstance(texts, dict) or len(texts) > MAX_KNOWN:
        raise ValueError(f"texts must be an object of at most {MAX_KNOWN} hashes")
    if not _all_are_counts(texts.values(), labels):
        key = next(key for key, pairs in texts.items() if not _all_are_counts([pairs], labels))
        raise ValueError(
            f"at {key[:20]!r}: pairs of a label, 0 to {labels - 1} and each once, and a count "
            "are wanted"
        )
    return KnownInputs(float(prior), texts, value["format"])


def _all_are_counts(lists: Collection[Any], labels: int) -> bool:
    """Whether all are lists of pairs; together, since one by one takes four times as long."""
    if not all(type(pairs) is list and pairs and len(pairs) % 2 == 0 for pairs in lists):
        return False
    flat = [*chain.from_iterable(lists)]
    if {*map(type, flat)} - {int}:
        return False
    of_labels, counts = flat[::2], flat[1::2]
    return (
        min(of_labels, default=0) >= 0
        and max(of_labels, default=0) < labels
        and min(counts, default=1) > 0
        and max(counts, default=1) <= _MAX_COUNT
        and all(len({*pairs[::2]}) == len(pairs) // 2 for pairs in lists if len(pairs) > 2)
    )
