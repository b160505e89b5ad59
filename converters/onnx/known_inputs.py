"""What a file remembers of its training texts, and how far that is trusted beside the model"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from converters.data.rows import Row
from converters.onnx.logits import Logits
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.onnx.known_inputs import KnownInputs, known_inputs
from edgeslm.formats.text import fold
from edgeslm.tasks.calibration import fit_temperature
from edgeslm.tasks.decision import softmax

#: prior_rows that are tried, and the one where development has no text twice to say
TRIED: Final = tuple(float(2**power) for power in np.arange(-3, 7.5, 0.5))
UNKNOWN: Final = 1.0
#: rows that have to share their text with another for a fit
_LEAST_ROWS: Final = 50


def remember(
    task: ClassifyTask, rows: Sequence[Row], development: Sequence[Row], logits: Logits
) -> KnownInputs:
    """The training rows' labels by text, with the prior that development rows speak for.

    Args:
        logits: float32 [development rows, labels], of the model that answers beside it.
    """
    places = _places(task)
    truth = np.array([places[row.answer] for row in development], np.intp)
    shares = softmax(logits.astype(np.float64), fit_temperature(logits, truth).temperature)
    prior = fit_prior([fold(row.input) for row in development], truth, shares)
    return known_inputs(_counted(task, rows), prior_rows=prior)


def remember_also(task: ClassifyTask, known: KnownInputs, rows: Sequence[Row]) -> KnownInputs:
    """What was known and the labels of more rows, under the same prior."""
    more = known_inputs(
        _counted(task, rows), prior_rows=known.prior_rows, known_format=known.format
    )
    texts = {key: [*pairs] for key, pairs in known.texts.items()}
    for key, pairs in more.texts.items():
        counts = Counter(dict(_pairs(texts.get(key, ()))))
        counts.update(dict(_pairs(pairs)))
        texts[key] = [number for pair in sorted(counts.items()) for number in pair]
    return known._replace(texts=dict(sorted(texts.items())))


def _counted(task: ClassifyTask, rows: Sequence[Row]) -> Iterator[tuple[str, int, int]]:
    places = _places(task)
    return ((row.input, places[row.answer], row.count) for row in rows)


def _places(task: ClassifyTask) -> dict[str, int]:
    return {label.name: at for at, label in enumerate(task.labels)}


def _pairs(flat: Sequence[int]) -> Iterator[tuple[int, int]]:
    return zip(flat[::2], flat[1::2], strict=True)


def fit_prior(texts: Sequence[str], truth: NDArray[np.intp], shares: NDArray[np.float64]) -> float:
    """The ``prior_rows`` of TRIED under which each row is likeliest, with the other rows of its
    text known and it alone not: held out, as the model knows no text of development.

    Args:
        texts: of the rows. ``truth``: index of each row's label, int [rows].
        shares: the model's probabilities, float64 [rows, labels].
    """
    same: dict[str, list[int]] = defaultdict(list)
    for at, text in enumerate(texts):
        same[text].append(at)
    rows = [at for heap in same.values() if len(heap) > 1 for at in heap]
    if len(rows) < _LEAST_ROWS:
        return UNKNOWN
    alike = np.array([np.count_nonzero(truth[same[texts[at]]] == truth[at]) - 1 for at in rows])
    others = np.array([len(same[texts[at]]) - 1 for at in rows])
    own = shares[rows, truth[rows]]
    likelihood = [
        np.log(np.maximum((alike + prior * own) / (others + prior), 1e-12)).mean()
        for prior in TRIED
    ]
    return TRIED[int(np.argmax(likelihood))]
