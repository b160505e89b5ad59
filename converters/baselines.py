"""Trivial baselines on the same rows: majority, lookup, TF-IDF with regression, plain rules"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from converters import receipt_rules
from converters.errors import DataError, require
from converters.recipe import Recipe
from converters.rows import Row
from edgeslm.answers import Prediction
from edgeslm.card import ClassifyTask
from edgeslm.normal import fold

#: the name of the baseline that could be a specialist of its own (`converters.linear_train`)
LINEAR = "TF-IDF + logistic regression"
#: gold rows whose overlap with all training rows is held in memory at a time
_AT_ONCE = 256
#: inverse strength of the regression's penalty; 10 does better on short texts than 1
_C = 10.0
_ITERATIONS = 300
#: the fields that `receipt_rules` finds
_RECEIPT_FIELDS = ("company", "date", "address", "total")

Rules = Callable[[str], Mapping[str, Any]]


def baselines(
    recipe: Recipe, train_rows: Sequence[Row], gold_rows: Sequence[Row]
) -> dict[str, list[Prediction]]:
    """What systems without a language model answer to the gold rows, by the system's name.

    A specialist that is not better than the best of them is not worth its file.

    Raises:
        DataError: no training rows. MissingExtraError: scikit-learn is not installed.
    """
    require("sklearn")
    if not train_rows:
        raise DataError("no training rows to make baselines from; run the data step")
    texts = [row.input for row in gold_rows]
    found = {"lookup": _lookup(train_rows, texts)}
    if isinstance(recipe.task, ClassifyTask):
        found["majority"] = _majority_label(train_rows, texts)
        found[LINEAR] = _regression(train_rows, texts)
        return found
    found["majority"] = _majority_fields(train_rows, texts)
    rules = None if recipe.task.kind == "tag" else _rules_for(recipe.task.json_schema)
    if rules is not None:
        found["regular expressions"] = [Prediction(dict(rules(text))) for text in texts]
    return found


def _majority_label(train: Sequence[Row], texts: list[str]) -> list[Prediction]:
    return [Prediction(_most_common(row.answer for row in train))] * len(texts)


def _majority_fields(train: Sequence[Row], texts: list[str]) -> list[Prediction]:
    """The most common value of each field; values that are no plain ones are left out."""
    records = [row.answer for row in train if isinstance(row.answer, dict)]
    names = dict.fromkeys(name for record in records for name in record)
    answer = {
        name: _most_common(
            value
            for record in records
            if not isinstance(value := record.get(name), list | dict) and value is not None
        )
        for name in names
    }
    return [Prediction(answer)] * len(texts)


def _most_common(values: Iterator[Any]) -> Any:
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else None


# --- lookup -------------------------------------------------------------------


def _lookup(train: Sequence[Row], texts: list[str]) -> list[Prediction]:
    """The answer of the same text where training has it, else of the nearest one."""
    same: dict[str, list[Any]] = {}
    for row in train:
        same.setdefault(fold(row.input), []).append(row.answer)
    unseen = [text for text in texts if fold(text) not in same]
    nearest = dict(zip(unseen, _nearest(train, unseen), strict=True))
    return [
        nearest[text] if text in nearest else Prediction(_commonest(same[fold(text)]))
        for text in texts
    ]


def _commonest(answers: list[Any]) -> Any:
    return max(answers, key=answers.count)


def _nearest(train: Sequence[Row], texts: list[str]) -> Iterator[Prediction]:
    """The answer of the training row whose set of words overlaps most (Jaccard)."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    if not texts:
        return
    words = CountVectorizer(binary=True, token_pattern=r"(?u)\w+|[^\w\s]", dtype=np.float32)
    known = words.fit_transform(row.input for row in train)
    sizes = np.asarray(known.sum(axis=1)).ravel()
    for start in range(0, len(texts), _AT_ONCE):
        asked = words.transform(texts[start : start + _AT_ONCE])
        shared = (asked @ known.T).toarray()
        union = np.asarray(asked.sum(axis=1)) + sizes - shared
        for best in (shared / np.maximum(union, 1)).argmax(axis=1):
            yield Prediction(train[int(best)].answer)


# --- regression ---------------------------------------------------------------


def _regression(train: Sequence[Row], texts: list[str]) -> list[Prediction]:
    """Words and pairs of words, and runs of 2 to 5 letters, by TF-IDF into one linear model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    if len({row.answer for row in train}) < 2:
        return _majority_label(train, texts)
    model = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        ),
        LogisticRegression(C=_C, max_iter=_ITERATIONS, tol=1e-3),
    )
    model.fit([row.input for row in train], [row.answer for row in train])
    chances = model.predict_proba(texts)
    names = model.classes_
    return [Prediction(str(names[row.argmax()]), confidence=float(row.max())) for row in chances]


# --- rules --------------------------------------------------------------------


def _rules_for(schema: Mapping[str, Any]) -> Rules | None:
    """Regular expressions for the fields of this schema, where somebody wrote some."""
    properties = schema.get("properties")
    known = isinstance(properties, dict) and set(properties) == set(_RECEIPT_FIELDS)
    return receipt_rules.extract if known else None
