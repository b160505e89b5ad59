"""Trivial baselines on the same rows: majority, lookup, TF-IDF with regression, plain rules"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from converters.data.rows import Row, commonest
from converters.errors import DataError, RecipeError, require
from converters.gates import receipt_rules
from converters.recipe.recipe import Recipe
from edgeslm.evaluation.matches import Prediction
from edgeslm.formats.card import ClassifyTask, ExtractTask
from edgeslm.formats.text import fold
from edgeslm.formats.words import UNSPACED

#: the name of the baseline that could be a specialist of its own (`converters.linear_train`)
LINEAR = "TF-IDF + logistic regression"
#: the same, of all answers of an input, each as often as it comes
COUNTED = f"{LINEAR}, by number of rows"
#: the baseline of an extraction that could be a specialist of its own, too
LINEAR_READER = "linear reader"
#: gold rows whose overlap with all training rows is held in memory at a time
_AT_ONCE = 256
#: inverse strength of the regression's penalty; 10 does better on short texts than 1
_C = 10.0
_ITERATIONS = 300
#: what the regression counts as a word
_WORD = re.compile(r"\b\w\w+\b")
#: the fields that `receipt_rules` finds
_RECEIPT_FIELDS = ("company", "date", "address", "total")

Rules = Callable[[str], Mapping[str, Any]]


def baselines(
    recipe: Recipe, train_rows: Sequence[Row], gold_rows: Sequence[Row]
) -> dict[str, list[Prediction]]:
    """What systems without a language model answer to the gold rows, by the system's name.

    A specialist that is not better than the best of them is not worth its file. They know how
    many rows each training row stands for, also where the specialist is not told.

    Raises:
        DataError: no training rows. MissingExtraError: scikit-learn is not installed.
    """
    require("sklearn")
    if not train_rows:
        raise DataError("no training rows to make baselines from; run the data step")
    texts = list(dict.fromkeys(row.input for row in gold_rows))
    places = {text: at for at, text in enumerate(texts)}
    return {
        name: [said[places[row.input]] for row in gold_rows]
        for name, said in _answers(recipe, train_rows, texts).items()
    }


def _answers(recipe: Recipe, train: Sequence[Row], texts: list[str]) -> dict[str, list[Prediction]]:
    answers = {"lookup": _lookup(train, texts)}
    if isinstance(recipe.task, ClassifyTask):
        answers["majority"] = _majority_label(train, texts)
        return answers | _regressions(train, texts)
    answers["majority"] = _majority_fields(train, texts)
    if recipe.task.kind == "tag":
        return answers
    answers |= _linear_reader(recipe, train, texts)
    rules = _rules_for(recipe.task.json_schema)
    if rules is not None:
        answers["regular expressions"] = [Prediction(dict(rules(text))) for text in texts]
    return answers


def _majority_label(train: Sequence[Row], texts: list[str]) -> list[Prediction]:
    return [Prediction(_most_common((row.answer, row.count) for row in train))] * len(texts)


def _majority_fields(train: Sequence[Row], texts: list[str]) -> list[Prediction]:
    """The most common value of each field; values that are no plain ones are left out."""
    records = [(row.answer, row.count) for row in train if isinstance(row.answer, dict)]
    names = dict.fromkeys(name for record, _ in records for name in record)
    answer = {
        name: _most_common(
            (value, count)
            for record, count in records
            if not isinstance(value := record.get(name), list | dict) and value is not None
        )
        for name in names
    }
    return [Prediction(answer)] * len(texts)


def _most_common(values: Iterator[tuple[Any, int]]) -> Any:
    """Of values with the number of rows that have each."""
    counts: Counter[Any] = Counter()
    for value, count in values:
        counts[value] += count
    return counts.most_common(1)[0][0] if counts else None


# --- lookup -------------------------------------------------------------------


def _lookup(train: Sequence[Row], texts: list[str]) -> list[Prediction]:
    """The answer of the same text where training has it, else of the nearest one."""
    known = commonest(train)
    unseen = [text for text in texts if fold(text) not in known]
    nearest = dict(zip(unseen, _nearest(list(known.values()), unseen), strict=True))
    return [
        nearest[text] if text in nearest else Prediction(known[fold(text)].answer) for text in texts
    ]


def _nearest(train: Sequence[Row], texts: list[str]) -> Iterator[Prediction]:
    """The answer of the training row whose set of words overlaps most (Jaccard)."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    if not texts:
        return
    token = rf"[{UNSPACED}]|(?:(?![{UNSPACED}])\w)+|[^\w\s]"
    words = CountVectorizer(binary=True, token_pattern=token, dtype=np.float32)
    known = words.fit_transform(row.input for row in train)
    sizes = np.asarray(known.sum(axis=1)).ravel()
    for start in range(0, len(texts), _AT_ONCE):
        asked = words.transform(texts[start : start + _AT_ONCE])
        shared = (asked @ known.T).toarray()
        union = np.asarray(asked.sum(axis=1)) + sizes - shared
        for best in (shared / np.maximum(union, 1)).argmax(axis=1):
            yield Prediction(train[int(best)].answer)


# --- regression ---------------------------------------------------------------


def _regressions(train: Sequence[Row], texts: list[str]) -> dict[str, list[Prediction]]:
    """One that learns each input's commonest answer, all inputs alike, which does more for rare
    labels; and where rows stand for several, one of all answers as often as they come."""
    answers = {LINEAR: _regression([*commonest(train).values()], texts, counted=False)}
    if any(row.count > 1 for row in train):
        answers[COUNTED] = _regression(train, texts, counted=True)
    return answers


def _regression(train: Sequence[Row], texts: list[str], *, counted: bool) -> list[Prediction]:
    """Words and pairs of words, and runs of 2 to 5 letters, by TF-IDF into one linear model."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    if len({row.answer for row in train}) < 2:
        return _majority_label(train, texts)
    families = [TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)]
    if any(_WORD.search(row.input) for row in train):  # else it would have nothing to count
        families.insert(0, TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True))
    model = make_pipeline(
        make_union(*families),
        LogisticRegression(C=_C, max_iter=_ITERATIONS, tol=1e-3),
    )
    counts = np.array([row.count if counted else 1 for row in train])
    model.fit(
        [row.input for row in train],
        [row.answer for row in train],
        logisticregression__sample_weight=counts / counts.mean(),
    )
    chances = model.predict_proba(texts)
    names = model.classes_
    return [Prediction(str(names[row.argmax()]), confidence=float(row.max())) for row in chances]


# --- reading ------------------------------------------------------------------


def _linear_reader(
    recipe: Recipe, train: Sequence[Row], texts: list[str]
) -> dict[str, list[Prediction]]:
    """The reader without an encoder, where the schema is one that can be read; not beside itself.

    It could be a specialist of its own: a recipe with kind = "linear".
    """
    from converters.reading.linear import read_linearly

    if recipe.kind == "linear" or not isinstance(recipe.task, ExtractTask):
        return {}
    try:
        said = read_linearly(recipe, train, texts)
    except RecipeError:  # it has a place that no reader can answer
        return {}
    return {LINEAR_READER: [Prediction(answer) for answer in said]}


# --- rules --------------------------------------------------------------------


def _rules_for(schema: Mapping[str, Any]) -> Rules | None:
    """Regular expressions for the fields of this schema, where somebody wrote some."""
    properties = schema.get("properties")
    known = isinstance(properties, dict) and set(properties) == set(_RECEIPT_FIELDS)
    return receipt_rules.extract if known else None
