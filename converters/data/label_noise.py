"""Suspects of label noise: labels that cross-validation disbelieves, answers not in the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from converters.data.rows import Row
from converters.errors import require
from edgeslm.formats.text import fold
from edgeslm.formats.words import is_unspaced, parts

#: rows that are checked; more would take minutes
MAX_CHECKED = 20_000
_FOLDS = 3


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row, by its place in what was given, and what is odd about it."""

    row: int
    detail: str


def unread_answers(rows: Sequence[Row], fields: Collection[str]) -> list[Suspect]:
    """Rows of an extraction whose answer has, in one of ``fields``, text that is not in the input.

    Case, white space and forms of a character do not count. A scan that spells a name otherwise
    than its answer is such a row, and so is an answer of another document.
    """
    suspects = []
    for place, row in enumerate(rows):
        text = _bare(row.input)
        for name in fields:
            value = row.answer[name]
            if isinstance(value, str) and _bare(value) not in text:
                suspects.append(Suspect(place, f"{name} {value!r} is not in the input"))
                break
    return suspects


def _bare(text: str) -> str:
    return "".join(fold(text).split())


def label_suspects(rows: Sequence[Row]) -> list[Suspect]:
    """Rows of a classify task whose label looks wrong, the surest first.

    Each row is judged by TF-IDF and logistic regression trained on the others, in three folds:
    of words and pairs of words, and in scripts without spaces of characters and pairs of them.
    As in confident learning (Northcutt, Jiang and Chuang 2021), a label is believed from the
    mean probability that rows of this label have for it; a row is a suspect if another
    label is believed, and its own is less probable. Labels with fewer rows than folds are not
    judged, and of more than ``MAX_CHECKED`` rows only the first.
    """
    rows = rows[:MAX_CHECKED]
    counts = Counter(row.answer for row in rows)
    chosen = [i for i, row in enumerate(rows) if counts[row.answer] >= _FOLDS]
    labels = sorted({rows[i].answer for i in chosen})
    if len(labels) < 2:
        return []
    require("sklearn")
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    own = np.array([labels.index(rows[i].answer) for i in chosen])
    texts = [rows[i].input for i in chosen]
    shared = Counter(term for text in texts for term in set(_terms(text)))
    vocabulary = sorted(term for term, count in shared.items() if count > 1)
    if not vocabulary:  # no two texts have anything in common to judge by
        return []
    model = make_pipeline(
        TfidfVectorizer(analyzer=_terms, vocabulary=vocabulary, sublinear_tf=True),
        SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=10, tol=None, random_state=0),
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    probability = cross_val_predict(model, texts, own, cv=folds, method="predict_proba")
    believed = np.array([probability[own == j, j].mean() for j in range(len(labels))])
    seems = np.where(probability >= believed, probability, 0).argmax(axis=1)
    at = np.arange(len(chosen))
    margin = probability[at, seems] - probability[at, own]
    odd = np.flatnonzero((margin > 0) & (probability[at, seems] >= believed[seems]))
    return [
        Suspect(
            chosen[i],
            f"{labels[own[i]]!r} seems to be {labels[seems[i]]!r} "
            f"(probability {probability[i, own[i]]:.2f} against {probability[i, seems[i]]:.2f})",
        )
        for i in odd[np.argsort(-margin[odd], kind="stable")]
    ]


def _terms(text: str) -> list[str]:
    """Runs of non-space and pairs of neighbours; of scripts without spaces each character."""
    words: list[str] = []
    for run in fold(text).split():
        words += parts(run) if any(map(is_unspaced, run)) else [run]
    return words + [f"{a} {b}" for a, b in pairwise(words)]
