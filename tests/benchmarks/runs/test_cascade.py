"""The benchmark of cascades: which texts it fits and scores on, and what it says of them."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.runs.cascade import (
    against,
    alone,
    ask_all,
    draw,
    held_out,
    judge,
    main,
    table,
    together,
)
from converters.data.rows import Row, write_rows
from edgeslm.models.cascade.cascade import Cascade
from edgeslm.results import Classification, Timing
from tests.helpers.tiny_onnx import LABELS, write_tiny_onnx

TIMING = Timing(1.0, 0.0, 2.0, 3, 0, 0, 1)


def classify(text):
    """Right for numbers up to 80, and the surer the smaller they are."""
    number = int(text)
    return Classification("a" if number <= 80 else "b", 1 - number / 200, {}, TIMING)


ROWS = [(str(i), "a") for i in range(1, 101)]


def build(folder, gold, development=()):
    folder.mkdir(exist_ok=True)
    for name, pairs in (("gold", gold), ("development", development)):
        rows = [Row(str(i), text, label) for i, (text, label) in enumerate(pairs)]
        write_rows(folder / f"{name}.jsonl", rows)
    return folder


def test_texts_to_fit_on_and_to_answer_are_apart(tmp_path):
    folder = build(tmp_path, [(f"text {i}", "a") for i in range(400)], [("other", "b")])
    fit, test = held_out(folder, "gold")
    assert not set(fit) & set(test)
    assert len(fit) + len(test) == 400
    assert 150 < len(fit) < 250
    assert held_out(folder, "development")[0] == [("other", "b")]
    assert len(held_out(folder, "development")[1]) == 400


def test_a_member_is_scored_where_it_is_sure_enough():
    said = ask_all({"one": alone("one", classify, 0.55)}, ROWS)["one"]
    result = judge("one", said, ROWS)
    assert (result.coverage.value, result.accuracy.value) == (0.9, 0.8)
    assert result.selective.value == pytest.approx(80 / 90)
    assert result.mean_ms.value == result.p50_ms == 2.0
    never = ask_all({"one": alone("one", classify, None)}, ROWS)["one"]
    assert judge("one", never, ROWS).selective is None


def test_texts_in_and_out_of_scope_are_scored_apart():
    rows = [("10", "a"), ("90", "a"), ("95", "b"), ("99", "b"), ("20", "b")]
    said = ask_all({"one": alone("one", classify, 0.0)}, rows)["one"]
    result = judge("one", said, rows, "b")
    assert (result.inside.value, result.inside.n) == (0.5, 2)
    assert (result.outside.value, result.outside.n) == (pytest.approx(2 / 3), 3)
    assert judge("one", said, rows, "c").outside is None


def test_every_system_answers_every_text_once_after_the_warm_up():
    asked = []

    def system(name):
        def ask(text):
            asked.append((name, text))
            return alone(name, classify, 0.5)(text)

        return ask

    said = ask_all({"x": system("x"), "y": system("y")}, ROWS[:30])
    assert [len(own) for own in said.values()] == [30, 30]
    timed = asked[2 * 20 :]
    assert timed[:4] == [("x", "1"), ("y", "1"), ("y", "2"), ("x", "2")]
    assert [one.label for one in said["y"]] == [classify(text).label for text, _ in ROWS[:30]]


def test_the_report_has_every_member_and_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the train extra is not installed")

    def sure(text):
        return Classification("a", 0.95 if int(text) > 60 else 0.1, {}, TIMING)

    systems = {
        "classify": alone("classify", classify, 0.9),
        "cascade": together(Cascade([classify, sure], risk=0.1)),
    }
    said = ask_all(systems, ROWS)
    results = [judge(name, own, ROWS) for name, own in said.items()]
    lines = list(table(results))
    assert "| classify | 20.0% [" in lines[2]
    assert [line.split("|")[1:3] for line in lines[-2:]] == [
        [" of it, classify ", " 20.0% "],
        [" of it, sure ", " 40.0% "],
    ]
    compared = against("classify", said["classify"], said["cascade"], ROWS)
    assert compared.comparison.difference.value == pytest.approx(0.2)
    assert 0 < compared.time.low <= compared.time.value <= compared.time.high
    draw(tmp_path / "curve.png", {"classify": said["classify"]}, ROWS, results[1], 0.1)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_a_run_from_files_to_numbers(tmp_path):
    rows = [(f"my {label} number {i}", label) for i in range(150) for label in LABELS]
    folder = build(tmp_path / "data", rows, rows)
    model = write_tiny_onnx(tmp_path / "tiny.onnx")
    results = tmp_path / "results.json"
    arguments = [folder, model, model, "--risk", "0.1", "--results", results]
    done = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "Against tiny-encoder 1 #2 alone: +0.00 points" in done.output
    written = json.loads(results.read_text(encoding="utf-8"))
    assert [one["accuracy"]["value"] for one in written["systems"]] == [1, 1, 1]
    assert written["bound"]["wrong"] == 0
    missing = CliRunner().invoke(main, [str(tmp_path), str(model)])
    assert (missing.exit_code, "run the data step" in missing.output) == (1, True)
