"""Decisions: the label that is said, when none is sure enough, and scores of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.formats.card import Calibration, ClassifyTask
from edgeslm.tasks.decision import Rule, log_sum_exp, sigmoid, softmax
from tests.helpers.tiny_onnx import card

SCOPED = {"kind": "classify", "labels": ["a", "b", "oos"], "out_of_scope": "oos"}


def rule(**calibration: Any) -> Rule:
    task = card(task=SCOPED).task
    assert isinstance(task, ClassifyTask)
    return Rule.of(task, Calibration(**calibration))


@pytest.mark.parametrize(
    ("calibration", "logits", "label"),
    [
        ({}, [1.0, 0.9, 0.8], 0),
        ({}, [0.0, 0.1, 0.2], 2),
        ({"threshold": 0.5}, [1.0, 0.9, 0.8], 2),
        ({"threshold": 0.5}, [3.0, 0.0, 0.0], 0),
        ({"threshold": 0.5, "temperature": 10.0}, [3.0, 0.0, 0.0], 2),
        ({"reject": "energy", "energy": 2.0}, [1.0, 1.2, -5.0], 2),
        ({"reject": "energy", "energy": 1.5}, [1.0, 1.2, -5.0], 1),
        ({"reject": "energy", "energy": 1.5, "threshold": 0.9}, [1.0, 1.2, -5.0], 1),
        ({"energy": 9.0}, [1.0, 1.2, -5.0], 1),
    ],
)
def test_out_of_scope_is_said_where_no_other_is_sure(
    calibration: dict[str, Any], logits: list[float], label: int
) -> None:
    decision = rule(**calibration)(np.array(logits, np.float32))
    assert decision.label == label
    assert decision.probabilities.sum() == pytest.approx(1)


def test_scores_without_overflow() -> None:
    far = np.array([1e4, -1e4], np.float32)
    assert softmax(far).tolist() == [1.0, 0.0]
    assert sigmoid(far).tolist() == [1.0, 0.0]
    assert log_sum_exp(far) == 1e4


def test_the_confidence_is_that_of_the_decision() -> None:
    sure = Rule(1.0, out_of_scope=2, threshold=0.6)(np.array([5.0, 0.0, -9.0]))
    assert sure.confidence == sure.probabilities[0]
    unsure = Rule(1.0, out_of_scope=2, threshold=0.6)(np.array([0.1, 0.0, -9.0]))
    assert (unsure.label, unsure.confidence) == (2, 1 - unsure.probabilities[0])
    assert unsure.confidence > 0.4 > 1e-3 > unsure.probabilities[2]
    own = Rule(1.0, out_of_scope=2, threshold=0.6)(np.array([0.1, 0.0, 9.0]))
    assert own.confidence == own.probabilities[2]


@given(st.floats(0, 20), st.floats(0.5, 4))
def test_far_below_the_energy_it_is_surely_out_of_scope(missing: float, temperature: float) -> None:
    logits = np.array([3.0, -4.0, -8.0])
    bound = log_sum_exp(logits[:2]) + missing
    decision = Rule(temperature, out_of_scope=2, energy=bound)(logits)
    if decision.label == 2:
        expected = 1 / (1 + np.exp(-missing / temperature))
        assert decision.confidence == pytest.approx(expected)
        assert decision.confidence >= 0.5
    else:
        assert missing < 1e-9
