"""Linear probe: a head's first weights, by logistic regression on the frozen base's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converters.encoder.heads import EncodedText, HeadSpec
from converters.errors import require
from edgeslm.formats.files import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Linear

#: what the embeddings' mean norm is scaled to, and how weak the penalty is: chosen on banking77
_NORM, _C = 8.0, 10.0
_ITERATIONS = 200


def fit_head(
    layer: Linear,
    heads: Sequence[HeadSpec],
    pooled: Tensor,
    rows: Sequence[EncodedText],
    *,
    balanced: bool = False,
    progress: Progress = silent,
) -> None:
    """Give ``layer`` the weights of a logistic regression for each head of one label.

    Fine-tuning from a random head distorts what the base knows before the head is of any use
    (Kumar et al. 2022). ``pooled`` is float32 [rows, hidden]. Rows count for their weights;
    ``balanced`` weighs labels against their frequency as well. Heads where several labels may
    hold stay as they are, and so do labels that no row has.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require("sklearn")
    import torch

    scale = _NORM / max(1e-12, float(pooled.norm(dim=1).mean()))
    features = (pooled * scale).cpu().numpy()
    counted = np.array([row.weight for row in rows])
    start = 0
    for at, head in enumerate(heads):
        progress("fitting heads", at, len(heads))
        labels = [] if head.multi_label else [row.answers[at][0] for row in rows]
        if len(set(labels)) > 1:
            known, weights, bias = _regression(features, labels, counted, balanced=balanced)
            with torch.no_grad():
                layer.weight[start + known] = torch.from_numpy(weights * scale).to(layer.weight)
                layer.bias[start + known] = torch.from_numpy(bias).to(layer.bias)
        start += len(head.labels)
    progress("fitting heads", len(heads), len(heads))


def _regression(
    features: NDArray[np.float32],
    labels: Sequence[int],
    counted: NDArray[np.float64],
    *,
    balanced: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The labels that there are [n], their weights [n, hidden] and biases [n]."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=_C, max_iter=_ITERATIONS, class_weight="balanced" if balanced else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fine-tuning goes on from here
        model.fit(features, labels, sample_weight=counted)
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps the difference of the two alone
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return model.classes_, weights, bias
