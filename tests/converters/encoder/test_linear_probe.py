"""The linear probe: a head that answers as scikit-learn's logistic regression does"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from converters.encoder.heads import EncodedText, HeadSpec
from converters.encoder.linear_probe import fit_head

HIDDEN = 6


def points(labels: int, rows: int = 60) -> tuple[torch.Tensor, list[int]]:
    """Overlapping clusters of mean norm 8, so that features are not scaled."""
    rng = np.random.default_rng(labels)
    wanted = [at % labels for at in range(rows)]
    clusters = rng.normal(0, 1, (labels, HIDDEN))[wanted] + rng.normal(0, 1, (rows, HIDDEN))
    clusters *= 8 / np.linalg.norm(clusters, axis=1).mean()
    return torch.tensor(clusters, dtype=torch.float32), wanted


def texts(answers: list[tuple[tuple[int, ...], ...]], weights: list[float]) -> list[EncodedText]:
    return [
        EncodedText(str(at), (1,), answer, weight)
        for at, (answer, weight) in enumerate(zip(answers, weights, strict=True))
    ]


def layer(heads: list[HeadSpec]) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(HIDDEN, sum(len(head.labels) for head in heads))


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_a_head_answers_as_the_regression_does(labels, balanced):
    """Rows' weights count, and the size of the embeddings does not."""
    pooled, wanted = points(labels)
    weights = [0.25 + at % 4 for at in range(len(wanted))]
    heads = [HeadSpec("", tuple("abc"[:labels]))]
    fitted = layer(heads)
    rows = texts([((label,),) for label in wanted], weights)
    fit_head(fitted, heads, pooled * 30, rows, balanced=balanced)
    model = LogisticRegression(
        C=10, max_iter=200, class_weight="balanced" if balanced else None
    ).fit(pooled.numpy(), wanted, sample_weight=weights)
    ours = fitted(pooled * 30).softmax(1).detach().numpy()
    np.testing.assert_allclose(ours, model.predict_proba(pooled.numpy()), atol=5e-3)


def test_labels_without_rows_and_heads_of_several_labels_stay_as_they_are():
    """Also a head whose rows all have one label, which nothing can be fitted to."""
    pooled, wanted = points(2)
    heads = [
        HeadSpec("many", ("x", "y"), multi_label=True),
        HeadSpec("one", ("a", "none", "b")),
        HeadSpec("same", ("c", "d")),
    ]
    fitted, before = layer(heads), layer(heads)
    rows = texts([((), (2 * label,), (0,)) for label in wanted], [1.0] * len(wanted))
    fit_head(fitted, heads, pooled, rows)
    same = (fitted.weight == before.weight).all(1) & (fitted.bias == before.bias)
    assert same.tolist() == [True, True, False, True, False, True, True]
    part = fitted(pooled)[:, [2, 4]].argmax(1)
    assert (part == torch.tensor(wanted)).float().mean() > 0.7
