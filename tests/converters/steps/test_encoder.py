"""Builds of encoders and linear models: end to end to one file; bounds of what is in scope"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: F401  loaded before the fixture that holds it to one thread

import edgeslm
from converters import build
from converters.data.rows import Row
from converters.encoder.model import WEIGHTS
from converters.errors import BaseModelError, DataError, GateError, RecipeError
from converters.onnx.calibration import MAX_COST, calibrate_logits, fit_rejection
from converters.plan import plan
from converters.recipe.data import PARTS
from converters.work import Work
from edgeslm.engines.onnx.features import FeatureSpec
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.formats.onnx.known_inputs import read_known, text_hash
from edgeslm.tasks.decision import Rule
from tests.helpers.recipes import write_jsonl, write_sorted_words
from tests.helpers.tiny_bert import write_tiny_bert

LABELS = ["refund", "address", "other"]
WORDS = ["all", "are", "not", "you", "for", "the", "and", "her", "con", "per", "pro", "com"]
RECIPE = """
kind = "{kind}"
name = "made-up"
licence = "Apache-2.0"
{base}
[task]
kind = "classify"
labels = ["refund", "address", "other"]
out_of_scope = "other"
[[data.files]]
path = "rows.jsonl"
url = "https://example.org/rows"
licence = "MIT"
[data]
label = "label"
near_duplicate = 1
{data}
[data.split]
gold = 0.25
development = 0.25
[data.references]
always-refund = "answers.jsonl"
[encoder]
max_tokens = 16
dropout = 0
{encoder}
[train]
epochs = 12
batch_rows = 8
learning_rate = 3e-3
evaluations = 2
[gates]
max_drop = 5
min_score = 0.9
beat_baselines = false
[[examples]]
input = "you are refund not"
expected = "refund"
"""


#: by what is built: its kind, and what is put beside it
BUILT = {
    "encoder": {"kind": "encoder", "encoder": "", "data": ""},
    "mixed": {
        "kind": "encoder",
        "encoder": "embedding_bits = 4\nlinear_features = 40\nlogit_adjustment = 0.1",
        "data": 'copies = "all"\nremember = "everything"',
    },
    "linear": {"kind": "linear", "encoder": "", "data": 'remember = "training"'},
}


def write_project(folder: Path, built: str) -> Path:
    base = write_tiny_bert(folder / "base", [*WORDS, *LABELS])
    rows = write_sorted_words(folder / "rows.jsonl", 180, WORDS, LABELS, length=5)
    answers = [{"input": row["text"], "answer": "refund"} for row in rows]
    write_jsonl(folder / "answers.jsonl", answers)
    recipe = folder / "recipe.toml"
    named = "" if built == "linear" else f'base = "{base.as_posix()}"'
    recipe.write_text(RECIPE.format(base=named, **BUILT[built]), encoding="utf-8")
    return recipe


@pytest.fixture(scope="module", params=[*BUILT])
def built(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The whole build of each kind, once for this file."""
    folder = tmp_path_factory.mktemp(request.param)
    work = build.open_work(write_project(folder, request.param), folder, folder / "build")
    assert build.build(work, lambda *_: None) == list(work.steps)
    return work


def test_one_file_answers_with_the_card_that_was_proven(built):
    assert built.model.name == "made-up.onnx"
    info = read_onnx(built.model)
    assert info.kind == built.recipe.kind
    with edgeslm.load(built.model) as model:
        card = model.card
        classify = model.classifier()
        assert [classify(f"all the {label} you").label for label in LABELS] == LABELS
    metrics = [score.metric for score in card.scores]
    assert metrics == ["accuracy", "macro-F1", "in-scope accuracy", "out-of-scope recall"]
    assert card.scores[0].by_category
    assert {"majority", "lookup", "always-refund"} < {*card.scores[0].baselines}
    refunds = card.scores[0].by_category["refund"].n / card.scores[0].n
    assert card.scores[0].baselines["always-refund"] == pytest.approx(refunds)
    assert card.calibration is not None and card.calibration.n == len(built.rows("development"))
    assert card.provenance.sources == ("https://example.org/rows (MIT)",)
    assert "onnxruntime" in card.provenance.tools


def test_what_is_asked_for_is_beside_the_model(built):
    info = read_onnx(built.model)
    asked = built.recipe.encoder.linear_features
    assert (info.features is not None) == (asked > 0 or info.kind == "linear")
    if asked:
        assert FeatureSpec.from_json(info.features or "", where="").size == asked
    remember = built.recipe.data.remember
    assert (info.known is not None) == (remember != "nothing")
    if info.known is None:
        return
    known = read_known(info.known, 3, where="")
    parts = PARTS if remember == "everything" else ("train",)
    assert known.texts.keys() == {text_hash(r.input) for part in parts for r in built.rows(part)}
    candidate = read_known(read_onnx(built.candidate).known or "", 3, where="")
    assert candidate.texts.keys() == {text_hash(row.input) for row in built.rows("train")}
    said = info.card.scores[0].gold
    assert said.endswith(", remembered since") == (remember == "everything")
    row = built.rows("train")[0]
    with edgeslm.load(built.model) as model:
        sure = model.classifier()(row.input)
    assert sure.label == row.answer
    assert sure.confidence > row.count / (row.count + known.prior_rows)


def test_a_build_leaves_nothing_half_written_and_has_nothing_to_do_again(built):
    assert not [file for file in built.folder.rglob("*") if ".part" in file.name]
    assert build.build(built, lambda *_: None) == []
    verdict = json.loads(built.report("verify").read_text(encoding="utf-8"))
    assert verdict["passed"]
    names = {check["name"] for check in verdict["checks"]}
    assert names >= {"accuracy", "accuracy, float to quantized", "self-test", "in-scope accuracy"}
    if built.recipe.kind == "linear":
        assert "linear model" not in names  # to be shipped in its own place


def test_a_plan_says_what_training_takes(built, tmp_path):
    planned = plan(built)
    assert [*planned.steps] == list(built.steps)
    assert planned.rows is not None and planned.rows["train"] == len(built.rows("train"))
    if built.recipe.kind == "linear":
        assert planned.tokens is planned.seconds is planned.memory is None
        return
    # [CLS] and [SEP] of each row
    assert planned.tokens is not None and planned.tokens > 2 * planned.rows["train"]
    assert planned.seconds is not None and 0 < planned.seconds < 60
    assert planned.memory is not None and planned.memory > (built.base / WEIGHTS).stat().st_size
    batch = built.recipe.train.model_copy(update={"batch_rows": 64})
    wider = replace(built, recipe=built.recipe.model_copy(update={"train": batch}))
    factors = built.recipe.encoder.model_copy(update={"method": "lora"})
    thinner = replace(built, recipe=built.recipe.model_copy(update={"encoder": factors}))
    memories = [plan(work).memory or 0 for work in (thinner, built, wider)]
    assert memories == sorted(set(memories))
    other = replace(built, base=tmp_path)
    with pytest.raises(BaseModelError, match=str(tmp_path)):
        plan(other)


def test_seen_rows_are_proven_beside_gold_ones(tmp_path):
    path = write_project(tmp_path, "linear")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    twice = [row for row in rows for _ in range(3)]
    write_jsonl(tmp_path / "rows.jsonl", [*twice, {**rows[0], "label": "other"}])
    split = 'copies = "all"\n[data.split]\ngroup = "text"\nseen = 0.3\n'
    changed = path.read_text(encoding="utf-8").replace("[data.split]\n", split)
    path.write_text(changed, encoding="utf-8")
    work = build.open_work(path, tmp_path, tmp_path / "build")
    assert build.build(work, lambda *_: None) == list(work.steps)
    counts = {part: len(work.rows(part)) for part in ("gold", "seen")}
    assert min(counts.values()) > 20
    scores = {score.metric: score for score in read_onnx(work.model).card.scores}
    assert (scores["accuracy"].n, scores["accuracy, seen"].n) == (counts["gold"], counts["seen"])
    assert "lookup" in scores["macro-F1, seen"].baselines
    assert "always-refund" in scores["accuracy, seen"].baselines
    assert "whose text is in training" in scores["accuracy, seen"].gold


def test_a_missing_file_of_references_is_named_at_once(tmp_path):
    recipe = write_project(tmp_path, "linear")
    (tmp_path / "answers.jsonl").unlink()
    with pytest.raises(RecipeError, match=r"answers.jsonl: no such file; .* always-refund's"):
        build.open_work(recipe, tmp_path, tmp_path / "build")


def test_a_step_of_another_kind_is_refused(built):
    with pytest.raises(RecipeError, match="has no merge step; its steps are data, train"):
        build.run_step(built, "merge", lambda *_: None)
    with pytest.raises(RecipeError, match="has no merge step"):
        build.build(built, lambda *_: None, until="merge")


def test_what_did_not_pass_is_not_packed(built):
    report = built.report("verify")
    kept, model = report.read_text(encoding="utf-8"), built.model.read_bytes()
    verdict = json.loads(kept)
    verdict["checks"][0]["passed"] = False
    report.write_text(json.dumps(verdict), encoding="utf-8")
    try:
        with pytest.raises(GateError, match="is not packed"):
            build.run_step(built, "pack", lambda *_: None)
        assert built.model.read_bytes() == model
    finally:
        report.write_text(kept, encoding="utf-8")


# --- out of scope -------------------------------------------------------------


def sample(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Logits of two labels and `other`, which is never the likeliest; half the rows are outside.

    Their energy is low, but the likeliest label is as sure as for the others.
    """
    draw = np.random.default_rng(0)
    truth = np.where(np.arange(n) % 2, 2, draw.integers(0, 2, n))
    logits = np.full((n, 3), -20.0)
    logits[np.arange(n), np.where(truth == 2, draw.integers(0, 2, n), truth)] = 0
    logits[:, :2] *= 0.2
    height = np.where(truth == 2, draw.normal(0, 1, n), draw.normal(6, 1, n))
    logits[:, :2] += height[:, None]
    return logits.astype(np.float32), truth


def test_energy_is_taken_where_it_tells_more():
    logits, truth = sample()
    rejection = fit_rejection(logits, truth, 2, 1.0)
    assert rejection is not None and rejection.by == "energy"
    assert rejection.recall is not None and rejection.recall > 0.95
    assert rejection.in_scope >= 1 - MAX_COST


def test_probability_is_taken_where_energy_tells_nothing():
    draw = np.random.default_rng(0)
    truth = np.arange(300) % 3
    sure = np.where(truth == 2, 0.4, 5.0) + draw.normal(0, 0.1, 300)
    logits = np.full((300, 3), -30.0)
    logits[:, 0] = np.where(truth == 1, 0, sure)
    logits[:, 1] = np.where(truth == 1, sure, 0)
    top = np.logaddexp(logits[:, 0], logits[:, 1])
    logits[:, :2] -= top[:, None]  # the energy is 0 for all
    rejection = fit_rejection(logits, truth, 2, 1.0)
    assert rejection is not None and rejection.by == "probability"
    assert rejection.recall == 1.0


def test_a_bound_costs_no_more_than_it_may_and_does_what_the_runtime_does():
    draw = np.random.default_rng(1)
    truth = draw.integers(0, 4, 1000)
    logits = draw.normal(0, 1, (1000, 4)).astype(np.float32)
    logits[np.arange(1000), truth] += np.where(truth == 3, 0.5, 3)
    task = ClassifyTask(labels=("a", "b", "c", "other"), out_of_scope="other")
    names = [label.name for label in task.labels]
    rows = [Row(str(i), "x", names[label]) for i, label in enumerate(truth)]
    rejection = fit_rejection(logits, truth, 3, calibrate_logits(task, logits, rows).temperature)
    rule = Rule.of(task, calibrate_logits(task, logits, rows))
    said = np.array([rule(row).label for row in logits])
    plain = logits.argmax(axis=1)
    inside = truth != 3
    assert rejection is not None
    assert rejection.in_scope == pytest.approx((said == truth)[inside].mean())
    assert rejection.recall == pytest.approx((said == truth)[~inside].mean())
    assert rejection.recall > (plain == truth)[~inside].mean()
    assert rejection.in_scope >= (plain == truth)[inside].mean() - MAX_COST - 1e-9


def test_no_bound_where_none_helps_or_nothing_says_so():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2] * 10] * 9
    truth = np.array([0, 1, 2] * 10)
    assert fit_rejection(logits, truth, 2, 1.0) is None
    assert fit_rejection(logits[truth != 2], truth[truth != 2], 2, 1.0) is None
    assert fit_rejection(logits[truth == 2], truth[truth == 2], 2, 1.0) is None


def test_rows_that_cannot_be_calibrated_on():
    task = ClassifyTask(labels=("a", "b"))
    with pytest.raises(DataError, match=r"data\.split\.development"):
        calibrate_logits(task, np.zeros((0, 2), np.float32), [])
    with pytest.raises(DataError, match="row 7: its label 'c'"):
        calibrate_logits(task, np.zeros((1, 2), np.float32), [Row("7", "x", "c")])


def test_a_label_that_the_linear_part_cannot_learn_is_found_before_training(tmp_path, monkeypatch):
    def trained(*_: object, **__: object) -> None:
        raise AssertionError("hours were spent")

    monkeypatch.setattr("converters.encoder.train.train_encoder", trained)
    recipe = write_project(tmp_path, "mixed")
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if json.loads(line)["label"] != "other")
    (tmp_path / "rows.jsonl").write_text(kept, encoding="utf-8")
    work = build.open_work(recipe, tmp_path, tmp_path / "build")
    with pytest.raises(DataError, match="no training rows for 'other'"):
        build.build(work, lambda *_: None)
