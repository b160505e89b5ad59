"""Near-duplicates among texts: those whose character n-grams overlap, found by MinHash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from converters.errors import require
from edgeslm.formats.text import fold
from edgeslm.formats.words import UNSPACED, is_unspaced

#: characters of a run; of scripts that write no spaces, where two are as much as a word
_SHINGLE, _SHINGLE_UNSPACED = 5, 2
#: white space between letters of scripts that need none; in Korean, too, people differ in it
_OPTIONAL = re.compile(rf"(?<=[{UNSPACED}\uac00-\ud7a3])\s+(?=[{UNSPACED}\uac00-\ud7a3])")
_PERMUTATIONS = 128
#: of pairs right at the threshold this share is found at least; above it soon all are
_RECALL = 0.99


def near_duplicates(
    texts: Sequence[str], threshold: float, drop: Callable[[int, int], bool]
) -> Iterator[int | None]:
    """For each text in turn, the earlier text that it is dropped for; None if it stays.

    A text is dropped for the first earlier one whose set of 5-grams (2-grams in scripts without
    spaces) has a Jaccard index of at least ``threshold`` with its own, among those for which
    ``drop(earlier, later)`` says so. Texts are folded first, and where
    a script needs no spaces they do not count. What is dropped is not compared with
    later texts, so that a heap of near-copies costs little.

    Candidates come from MinHash with locality-sensitive hashing (Broder 1997; Leskovec,
    Rajaraman and Ullman, Mining of Massive Datasets, chapter 3); each is then compared exactly.
    """
    require("datasketch")
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(params=_bands(threshold), num_perm=_PERMUTATIONS)
    hashes = MinHash.generator(
        ([shingle.encode() for shingle in sorted(_shingles(text))] for text in texts),
        num_perm=_PERMUTATIONS,
        seed=1,
    )
    for later, minhash in enumerate(hashes):
        own = _shingles(texts[later])
        twin = next(
            (
                earlier
                for earlier in sorted(index.query(minhash))
                if drop(earlier, later) and _jaccard(_shingles(texts[earlier]), own) >= threshold
            ),
            None,
        )
        if twin is None:
            index.insert(later, minhash)
        yield twin


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows of the hashing for `_RECALL`, with as few candidates as that allows.

    The library's own choice weighs false candidates as much as misses, and misses half of the
    pairs at the threshold; here a false candidate costs one comparison, a miss is a leak.
    """
    for rows in range(_PERMUTATIONS // 2, 1, -1):
        bands = _PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return _PERMUTATIONS, 1


@lru_cache(maxsize=4096)  # candidates come in clusters, so few are cut into runs twice
def _shingles(text: str) -> frozenset[str]:
    folded = _OPTIONAL.sub("", fold(text))
    if folded.isascii():
        last = max(1, len(folded) - _SHINGLE + 1)
        return frozenset(folded[i : i + _SHINGLE] for i in range(last))
    lengths = [_SHINGLE_UNSPACED if is_unspaced(c) else _SHINGLE for c in folded]
    whole = [folded[i : i + n] for i, n in enumerate(lengths) if i + n <= len(folded)]
    return frozenset(whole or [folded])


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)
