"""What export adds to an encoder's logits: those of a linear model, and a favour for rare labels"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from converters.data.rows import Row, commonest
from converters.errors import require
from converters.onnx.linear import LinearModel, train_linear
from converters.onnx.logits import Logits
from converters.onnx.parity import torch_logits
from converters.recipe.recipe import Recipe
from edgeslm.formats.card import ClassifyTask

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from converters.encoder.model import EncoderModel


def mix_in_linear(
    recipe: Recipe,
    model: EncoderModel,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    development: Sequence[Row],
    *,
    report: Callable[[str], None] = lambda _line: None,
) -> LinearModel:
    """Fit a linear model to each text's commonest label, and scale it and the encoder's heads.

    Their logits add up to a product of experts (Hinton 2002): rows that neither was trained on
    decide how much each says, so that the sum is calibrated.

    Raises:
        DataError: no development rows, or a label without training rows.
        MissingExtraError: scikit-learn is not installed.
    """
    import torch

    assert isinstance(recipe.task, ClassifyTask), "the recipe has refused any other"
    linear = train_linear(
        recipe,
        [replace(row, weight=1.0) for row in commonest(rows).values()],
        development,
        report=report,
        max_features=recipe.encoder.linear_features,
    )
    texts = [row.input for row in development]
    places = {label: at for at, label in enumerate(linear.labels)}
    truth = np.array([places[row.answer] for row in development], np.intp)
    own, other = fit_scales(torch_logits(model, tokenizer, texts), linear.logits(texts), truth)
    report(f"the encoder's logits count {own:.2f}, the linear model's {other:.2f}")
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(own)
    return replace(linear, weights=linear.weights * other, bias=linear.bias * other)


def adjust_logits(
    model: EncoderModel, task: ClassifyTask, rows: Sequence[Row], strength: float
) -> None:
    """Lower the head's bias of each label by ``strength`` times the log of its share of inputs.

    Post-hoc logit adjustment (Menon et al., "Long-tail learning via logit adjustment", ICLR
    2021): at 1 labels are as likely as if all were equally common.
    """
    import torch

    counts = Counter(row.answer for row in commonest(rows).values())
    shares = np.array([counts[label.name] + 1.0 for label in task.labels])
    lowered = strength * np.log(shares / shares.sum())
    with torch.no_grad():
        model.head.bias.sub_(torch.from_numpy(lowered).float())


def fit_scales(first: Logits, second: Logits, truth: NDArray[np.intp]) -> tuple[float, float]:
    """What two models' logits are multiplied by before they are added, for the least cross-entropy.

    Args:
        first, second: float32 [rows, labels]. ``truth``: index of each row's label, int [rows].
    """
    require("scipy")
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    both = np.stack([first, second]).astype(np.float64)
    right = np.arange(len(truth)), truth

    def loss(scales: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = np.tensordot(scales, both, axes=1)
        shares = softmax(total, axis=1)
        expected = (shares * both).sum(axis=2)
        slope = (expected - both[:, *right]).mean(axis=1)
        return -float(log_softmax(total, axis=1)[right].mean()), slope

    best = minimize(loss, np.full(2, 0.5), jac=True, bounds=[(0, None)] * 2).x
    return float(best[0]), float(best[1])
