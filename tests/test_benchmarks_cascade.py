"""The benchmark of cascades: which texts it fits and scores on, and what it says of them."""

import gzip
import json

import pytest

from benchmarks.cascade import alone, draw, held_out, table, together
from edgeslm.cascade import Cascade
from edgeslm.result import Classification, Timing

TIMING = Timing(1.0, 0.0, 2.0, 3, 0, 0, 1)


def classify(text):
    """Right for numbers up to 80, and the surer the smaller they are."""
    number = int(text)
    return Classification("a" if number <= 80 else "b", 1 - number / 200, {}, TIMING)


ROWS = [(str(i), "a") for i in range(1, 101)]


def test_texts_to_fit_on_and_to_answer_are_apart(tmp_path):
    path = tmp_path / "clinc150.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for i in range(2000):
            file.write(json.dumps({"text": f"text {i % 1500}", "label": "a"}) + "\n")
    fit, test = held_out(path)
    assert not set(fit) & set(test)
    assert len(set(fit)) == len(fit) > 50
    assert len(set(test)) == len(test) > 50
    assert 0.09 < (len(fit) + len(test)) / 1500 < 0.15


def test_a_member_is_scored_where_it_is_sure_enough():
    found, sure, right = alone("one", classify, 0.55, ROWS)
    assert (found.coverage.value, found.accuracy.value) == (0.9, 0.8)
    assert found.selective.value == pytest.approx(80 / 90)
    assert (len(sure), sum(right)) == (100, 80)
    assert alone("one", classify, None, ROWS)[0].selective is None


def test_the_report_has_every_member_and_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the train extra is not installed")
    member, sure, right = alone("classify", classify, 0.9, ROWS)
    cascade = together(Cascade([classify], risk=0.1), ROWS)
    lines = list(table([member, cascade]))
    assert "| classify | 20.0% [" in lines[2]
    assert lines[-1].startswith("| of it, classify | 20.0% |")
    draw(tmp_path / "curve.png", {"classify": (sure, right)}, cascade, 0.1)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]
