"""What a training run keeps: the last adapter that is near the best one"""

from __future__ import annotations

from converters.training.history import Evaluation, History


def test_the_last_one_near_the_peak_is_kept() -> None:
    """Near is within a standard error of the peak; what is no share has none."""
    tokens = [0.5, 0.96, 0.93, 0.95, 0.955, 0.90]
    for count, best in ((0, 1), (100, 4), (10_000, 1), (10, 5)):
        history = History(6)
        kept = None
        for step, share in enumerate(tokens):
            history.evaluations.append(Evaluation(step, 1.0, share, 0.0, count))
            if history.best is history.evaluations[-1]:
                kept = step  # what a run does
        assert history.peak is history.evaluations[1]
        assert history.best is history.evaluations[best]
        assert kept == best
