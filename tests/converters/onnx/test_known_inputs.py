"""What is remembered of training rows: counts by text, and the prior that held-out rows ask for"""

from __future__ import annotations

import numpy as np
import pytest

from converters.data.rows import Row, commonest
from converters.onnx.known_inputs import TRIED, UNKNOWN, fit_prior, remember, remember_also
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.onnx.known_inputs import known_inputs

LABELS = ("a", "b", "c")


def rows(*of):
    return [Row(str(i), text, answer, count=n) for i, (text, answer, n) in enumerate(of)]


def test_the_commonest_answer_counts_rows_of_the_files():
    by_text = commonest(rows(("X y", "a", 2), ("x  Y", "b", 3), ("z", "a", 1), ("x y", "a", 2)))
    assert {text: row.answer for text, row in by_text.items()} == {"x y": "a", "z": "a"}


def test_every_answer_of_a_text_is_remembered():
    known = remember(
        ClassifyTask(labels=LABELS),
        rows(("X y", "a", 2), ("x  Y", "b", 3), ("z", "c", 1)),
        rows(("new", "a", 1)),
        np.zeros((1, 3), np.float32),
    )
    assert sorted(known.texts.values()) == [[0, 2, 1, 3], [2, 1]]
    assert known.prior_rows == UNKNOWN


def test_more_rows_are_added_up():
    task = ClassifyTask(labels=LABELS)
    known = known_inputs([("x", 0, 2), ("y", 1, 3)], prior_rows=4)
    more = remember_also(task, known, rows(("X", "a", 1), ("x", "c", 1), ("new", "b", 2)))
    assert more == known_inputs(
        [("x", 0, 3), ("x", 2, 1), ("y", 1, 3), ("new", 1, 2)], prior_rows=4
    )
    assert known == known_inputs([("x", 0, 2), ("y", 1, 3)], prior_rows=4)  # untouched


def drawn(concentration, texts=400, each=5):
    """Rows whose labels follow their own text's shares, drawn around the same for all texts."""
    draw = np.random.default_rng(0)
    base = np.array([0.5, 0.3, 0.2])
    truth = np.concatenate(
        [draw.choice(3, each, p=draw.dirichlet(concentration * base)) for _ in range(texts)]
    )
    names = [f"t{i}" for i in range(texts) for _ in range(each)]
    return names, truth, np.tile(base, (len(truth), 1))


@pytest.mark.parametrize("concentration", [0.5, 4.0, 32.0])
def test_the_prior_is_how_alike_the_rows_of_a_text_are(concentration):
    prior = fit_prior(*drawn(concentration))
    assert concentration / 2 <= prior <= concentration * 2


def test_texts_that_say_all_ask_for_the_least_prior_and_those_that_say_nothing_for_the_most():
    names, truth, shares = drawn(4.0)
    constant = np.repeat(truth[::5], 5)
    assert fit_prior(names, constant, shares) == TRIED[0]
    assert (
        fit_prior(["same"] * 50 + ["other"] * 50, np.arange(100) % 3, np.eye(3)[np.arange(100) % 3])
        == TRIED[-1]
    )


def test_rows_without_their_like_say_nothing():
    assert (
        fit_prior([str(i) for i in range(99)], np.zeros(99, np.intp), np.ones((99, 3))) == UNKNOWN
    )
