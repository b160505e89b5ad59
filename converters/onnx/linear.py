"""The linear specialist: TF-IDF features into logistic regression, written as one .onnx file"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.data.rows import Row
from converters.errors import DataError, RecipeError, require
from converters.recipe.recipe import Recipe
from edgeslm.engines.onnx.features import (
    MAX_FEATURES,
    MAX_LETTERS,
    FeatureSpec,
    LinearFeatures,
    Terms,
)
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.files import publish
from edgeslm.formats.onnx.info import FEATURES_KEY, KIND_KEY, KNOWN_KEY
from edgeslm.formats.onnx.known_inputs import KnownInputs

#: the format's version of operators that the graph is written in
OPSET: Final = 18
#: the largest file that is made: features beyond it are dropped, those with least weight first
MAX_FILE_BYTES: Final = 24_000_000
#: inverse strengths of the regression's penalty that are tried; 10 also ranks the features
STRENGTHS: Final = (3.0, 10.0, 30.0)
_RANKING = 10.0
_ITERATIONS = 300
_TOLERANCE = 1e-3
#: room for the graph and the card beside weights and features
_SPARE_BYTES = 1_000_000

Floats = NDArray[np.float32]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A fitted linear model. ``weights`` are float32 [features, labels], ``bias`` [labels].

    Accuracies (0 to 1) are those of development rows: ``accuracy`` with the features kept,
    ``accuracy_all`` with all of the ``features_all`` there were, at the penalty that ranked them.
    """

    labels: tuple[str, ...]
    spec: FeatureSpec
    weights: Floats
    bias: Floats
    strength: float
    accuracy: float
    accuracy_all: float
    features_all: int

    def logits(self, texts: Sequence[str]) -> Floats:
        """What the float weights say of texts, float32 [texts, labels]."""
        features = LinearFeatures(self.spec)
        logits = np.empty((len(texts), len(self.labels)), np.float32)
        for i, text in enumerate(texts):
            ids, values = features([text])
            logits[i] = values[0] @ self.weights[ids[0]] + self.bias
        return logits


def train_linear(
    recipe: Recipe,
    rows: Sequence[Row],
    development: Sequence[Row],
    *,
    report: Report = lambda _line: None,
    max_bytes: int = MAX_FILE_BYTES,
    max_features: int = MAX_FEATURES,
) -> LinearModel:
    """Fit TF-IDF and logistic regression; development rows choose the penalty.

    Where weights of all features would not fit ``max_bytes``, or there are more than
    ``max_features``, those with the largest weight for any label are kept, and everything is
    fitted again on them alone.

    Raises:
        RecipeError: the task is no classification. DataError: no development rows, a row
            with an unknown label, or a label without training rows.
        MissingExtraError: scikit-learn is not installed.
    """
    labels = require_fit(recipe, rows, development)
    places = {label: i for i, label in enumerate(labels)}
    truth, held = (np.array([places[row.answer] for row in part]) for part in (rows, development))
    counted = np.array([row.weight for row in rows])
    texts, unseen = ([row.input for row in part] for part in (rows, development))
    spec = fit_features(texts)
    everything = _fit(_matrix(spec, texts), truth, counted, _RANKING)
    accuracy_all = _accuracy(everything, _matrix(spec, unseen), held)
    report(f"{spec.size:,} features, C {_RANKING:g}: {accuracy_all:.2%} of development rows")
    kept = _only(spec, _kept(spec, everything[0], max_bytes, max_features))
    matrix, asked = _matrix(kept, texts), _matrix(kept, unseen)
    best: tuple[float, float, Floats, Floats] | None = None
    for strength in STRENGTHS:
        again = strength != _RANKING or kept.size != spec.size
        weights, bias = _fit(matrix, truth, counted, strength) if again else everything
        accuracy = _accuracy((weights, bias), asked, held)
        report(f"{kept.size:,} features, C {strength:g}: {accuracy:.2%} of development rows")
        if best is None or accuracy > best[0]:
            best = accuracy, strength, weights, bias
    assert best is not None, "STRENGTHS is not empty"
    accuracy, strength, weights, bias = best
    return LinearModel(labels, kept, weights, bias, strength, accuracy, accuracy_all, spec.size)


def require_fit(recipe: Recipe, rows: Sequence[Row], development: Sequence[Row]) -> tuple[str, ...]:
    """The labels of a linear model; raises what `train_linear` does, in no time."""
    require("sklearn", "scipy")
    if not isinstance(recipe.task, ClassifyTask):
        raise RecipeError("task: a linear model classifies; give a classify task")
    labels = tuple(label.name for label in recipe.task.labels)
    _require_labels(labels, rows, development)
    return labels


def fit_features(texts: Sequence[str]) -> FeatureSpec:
    """The terms of these texts and in how many each is, as scikit-learn finds them."""
    families = [_frequencies(vectorizer, texts) for vectorizer in _vectorizers()]
    return FeatureSpec(documents=len(texts), words=families[0], letters=families[1])


def write_linear(model: LinearModel, target: Path, *, known: KnownInputs | None = None) -> None:
    """Write the model as .onnx with weights in 8 bits, and what is ``known`` of texts: no card yet.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    require("onnx")
    import onnx

    proto = onnx.helper.make_model(
        _graph(model), opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=9
    )
    properties = {KIND_KEY: "linear", FEATURES_KEY: model.spec.to_json()}
    if known is not None:
        properties[KNOWN_KEY] = known.to_json()
    onnx.helper.set_model_props(proto, properties)
    onnx.checker.check_model(proto, full_check=True)
    aside = target.with_name(target.name + ".part")
    aside.write_bytes(proto.SerializeToString())
    publish(aside, target)


# --- fitting ------------------------------------------------------------------


def _require_labels(labels: Sequence[str], rows: Sequence[Row], development: Sequence[Row]) -> None:
    if not development:
        raise DataError("no development rows to choose the penalty by; raise data.split")
    odd = next((row for row in (*rows, *development) if row.answer not in labels), None)
    if odd is not None:
        raise DataError(f"row {odd.id}: {odd.answer!r} is no label of the recipe's task")
    given = {row.answer for row in rows}
    without = [label for label in labels if label not in given]
    if without:
        names = ", ".join(map(repr, without[:3]))
        raise DataError(f"no training rows for {names}; add some, or leave the label out")


def _vectorizers() -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import CountVectorizer

    return (
        CountVectorizer(ngram_range=(1, 2)),
        CountVectorizer(analyzer="char_wb", ngram_range=(2, MAX_LETTERS)),
    )


def _frequencies(vectorizer: Any, texts: Sequence[str]) -> Terms:
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # no text holds a term
        return Terms(terms=(), frequencies=())
    return Terms(
        terms=tuple(vectorizer.get_feature_names_out().tolist()),
        frequencies=tuple(np.bincount(counts.indices, minlength=counts.shape[1]).tolist()),
    )


def _matrix(spec: FeatureSpec, texts: Sequence[str]) -> Any:
    """Features of many texts by the runtime's own code, as a sparse matrix [texts, features]."""
    from scipy.sparse import csr_matrix

    features = LinearFeatures(spec)
    rows = [features([text]) for text in texts]
    ends = np.cumsum([0, *(ids.shape[1] for ids, _ in rows)])
    ids = np.concatenate([ids[0] for ids, _ in rows])
    values = np.concatenate([values[0] for _, values in rows])
    return csr_matrix((values, ids, ends), shape=(len(texts), max(1, spec.size)))


def _fit(
    matrix: Any, truth: NDArray[np.int64], counted: NDArray[np.float64], strength: float
) -> tuple[Floats, Floats]:
    """Weights [features, labels] and bias [labels]; a row counts for ``counted`` [rows]."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=_ITERATIONS, tol=_TOLERANCE)
    model.fit(matrix, truth, sample_weight=counted)
    weights, bias = model.coef_.T, model.intercept_
    if weights.shape[1] == 1:  # of two labels only the second one's logit is fitted
        weights = np.concatenate([np.zeros_like(weights), weights], axis=1)
        bias = np.array([0.0, bias[0]])
    return weights.astype(np.float32), bias.astype(np.float32)


def _accuracy(fitted: tuple[Floats, Floats], matrix: Any, truth: NDArray[np.int64]) -> float:
    logits = matrix @ fitted[0] + fitted[1]
    return float((logits.argmax(axis=1) == truth).mean())


def _kept(
    spec: FeatureSpec, weights: Floats, max_bytes: int, max_features: int
) -> NDArray[np.intp]:
    """The features with the largest weights, as many as the file may hold, in their order."""
    terms = (*spec.words.terms, *spec.letters.terms)
    frequencies = (*spec.words.frequencies, *spec.letters.frequencies)
    described = [
        len(term.encode()) + len(str(count)) + 4  # the quotes and commas of JSON
        for term, count in zip(terms, frequencies, strict=True)
    ]
    order = np.argsort(-np.abs(weights).max(axis=1), kind="stable")
    taken = np.cumsum(np.array(described)[order] + weights.shape[1])
    return np.sort(order[taken <= max_bytes - _SPARE_BYTES][:max_features])


def _only(spec: FeatureSpec, kept: NDArray[np.intp]) -> FeatureSpec:
    chosen = set(kept.tolist())
    return FeatureSpec(
        documents=spec.documents,
        words=_of_family(spec.words, chosen, first=0),
        letters=_of_family(spec.letters, chosen, first=len(spec.words.terms)),
    )


def _of_family(family: Terms, chosen: set[int], *, first: int) -> Terms:
    places = [i for i in range(len(family.terms)) if first + i in chosen]
    return Terms(
        terms=tuple(family.terms[i] for i in places),
        frequencies=tuple(family.frequencies[i] for i in places),
    )


# --- the graph ----------------------------------------------------------------


def _graph(model: LinearModel) -> Any:
    """``logits = values · weights[ids] + bias``; weights in 8 bits, a scale for each label."""
    from onnx import TensorProto, helper, numpy_helper

    scale = np.maximum(np.abs(model.weights).max(axis=0), 1e-12) / 127
    table = np.rint(model.weights / scale).astype(np.int8)
    labels = len(model.labels)
    constants = {
        "table": table,
        "scale": scale.astype(np.float32),
        "bias": model.bias,
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("DequantizeLinear", ["rows", "scale"], ["weights"], axis=2),
        helper.make_node("Unsqueeze", ["values", "axis"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["sums"]),
        helper.make_node("Squeeze", ["sums", "axis"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logits"]),
    ]
    return helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "n"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", "n"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
