"""Training: what it learns and keeps, that a killed run ends as it would have, and its errors"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from converters.causal.base import load_base
from converters.causal.encode import Encoded, encode_rows
from converters.causal.train import train
from converters.causal.train.train import with_adapter
from converters.data.rows import Row
from converters.errors import DataError, RecipeError
from converters.recipe.recipe import Recipe
from converters.training import checkpoint, loop
from converters.training.curve import draw_curve
from converters.training.history import Evaluation, History
from converters.training.loop import schedule
from edgeslm.engines.llama.tokenizer import LlamaTokenizer
from tests.helpers.recipes import classify
from tests.helpers.tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).resolve().parents[4]

STATE = "checkpoint.safetensors"
LABELS = ["refund", "address", "total"]
TEXTS = [f"{word} {label} {number}" for number in range(8) for word in ("not", "all")
         for label in LABELS]  # fmt: skip
ROWS = [Row(f"row {i}", text, text.split()[1]) for i, text in enumerate(TEXTS)]
DEVELOPMENT = ROWS[::5]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("base") / "base.gguf", n_ctx=512)


@pytest.fixture(scope="module")
def tokenizer(gguf: Path) -> Iterator[LlamaTokenizer]:
    opened = LlamaTokenizer(gguf)
    yield opened
    opened.close()


def made_up(*, lora: dict[str, Any] | None = None, **settings: Any) -> Recipe:
    """Labels of one word each; ``settings`` are keys of the train table."""
    fields = classify("rows.jsonl", labels=LABELS).model_dump(mode="json", by_alias=True)
    settings = {"epochs": 1, "batch_rows": 8, "learning_rate": 1e-2, "evaluations": 3, **settings}
    fields.update(lora={"rank": 4, "layers": 1, **(lora or {})}, train=settings)
    fields.update(quantize={"imatrix_rows": 0})
    return Recipe.model_validate(fields)


def run(recipe: Recipe, gguf: Path, tokenizer: Any, out: Path, report: Any = None) -> History:
    return train.train(
        recipe, load_base(gguf), tokenizer, ROWS, DEVELOPMENT, out=out,
        report=report or (lambda _: None),
    )  # fmt: skip


def adapter(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter" / "adapter_model.safetensors")


def assert_same_run(resumed: Path, wanted: Path) -> None:
    ours, theirs = adapter(resumed), adapter(wanted)
    assert set(ours) == set(theirs)
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name
    histories = [json.loads((out / "history.json").read_text()) for out in (resumed, wanted)]
    for history in histories:
        del history["seconds"]
    assert histories[0] == histories[1]


# --- what it learns -----------------------------------------------------------


def test_a_trivial_task_is_learned_and_drawn(gguf, tokenizer, tmp_path):
    history = run(made_up(epochs=6), gguf, tokenizer, tmp_path)
    assert history.steps == 36
    assert [step for step, _ in history.losses] == list(range(1, 37))
    assert history.losses[-1][1] < 0.3 < 1 < history.losses[0][1]
    assert history.best.answers == history.best.tokens == 1
    assert history.tokens == 6 * sum(len(row.tokens) for row in encoded(tokenizer, ROWS))
    draw_curve(tmp_path / "loss.png", history)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert not list(tmp_path.rglob("*.part"))
    smoothed = run(made_up(epochs=6, label_smoothing=0.2), gguf, tokenizer, tmp_path / "smoothed")
    assert 0.2 < smoothed.losses[-1][1] < 0.5 < 1 < smoothed.losses[0][1]  # doubts cost 0.24


def encoded(tokenizer: Any, rows: list[Row]) -> list[Encoded]:
    recipe = made_up()
    return encode_rows(rows, recipe.task, recipe.prompt, tokenizer, max_tokens=512)


def test_the_adapter_of_the_best_evaluation_is_kept(gguf, tokenizer, tmp_path, monkeypatch):
    """Also where later ones are worse; ties go to the smaller loss."""
    scores = iter([(0.5, 1.0), (0.9, 1.0), (0.9, 0.5), (0.9, 0.6), (0.2, 0.1), (0.1, 0.1)])
    weights = []

    def evaluate(self: Any, step: int) -> Evaluation:
        weights.append({n: p.detach().clone() for n, p in self._checkpoint._parameters()})
        tokens, loss = next(scores)
        return Evaluation(step, loss, tokens, 0.0)

    monkeypatch.setattr(train._Run, "_evaluate", evaluate)
    history = run(made_up(evaluations=6), gguf, tokenizer, tmp_path)
    assert history.best == history.evaluations[2]
    kept = adapter(tmp_path)
    assert len(kept) == len(weights[2]) > 0
    for name, value in weights[2].items():
        assert torch.equal(kept[name.replace(".default", "")], value)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-3)])
def test_the_loss_is_that_of_the_answers_alone(gguf, tokenizer, tmp_path, monkeypatch, dtype, near):
    """The first evaluation equals the plain model's cross-entropy over answers and end."""
    monkeypatch.setattr(train, "best_dtype", lambda _device: dtype)
    recipe = made_up(learning_rate=1e-12, evaluations=1)
    first = run(recipe, gguf, tokenizer, tmp_path).evaluations[0]
    model = load_base(gguf).eval()
    losses, right = [], []
    for row in encoded(tokenizer, DEVELOPMENT):
        assert row.answer == row.tokens[row.start :]
        assert row.answer[-1] == tokenizer.vocab.end[0]
        with torch.no_grad():
            logits = model(torch.tensor([row.tokens])).logits[0]
        for at in range(row.start, len(row.tokens)):
            distribution = logits[at - 1].log_softmax(-1)
            losses.append(-float(distribution[row.tokens[at]]))
            right.append(int(distribution.argmax()) == row.tokens[at])
    assert first.loss == pytest.approx(sum(losses) / len(losses), rel=near)
    assert first.tokens == pytest.approx(sum(right) / len(right))


def test_no_gradient_comes_from_prompts(gguf, tokenizer, tmp_path):
    """Targets are answers: another prompt token at the end of no answer changes no target."""
    runner = train._Run(made_up(), load_base(gguf), tokenizer, ROWS, DEVELOPMENT, out=tmp_path)
    rows = encoded(tokenizer, ROWS[:3])
    logits, targets = runner._answers(rows)
    assert targets.tolist() == [token for row in rows for token in row.answer]
    assert logits.shape == (len(targets), tokenizer.vocab.size)


def test_patience_ends_a_run_early(gguf, tokenizer, tmp_path, monkeypatch):
    worse = iter(range(100))
    monkeypatch.setattr(
        train._Run, "_evaluate", lambda _, step: Evaluation(step, 1.0 + next(worse), 0.5, 0.5)
    )
    recipe = made_up(epochs=4, evaluations=12, patience=2)
    history = run(recipe, gguf, tokenizer, tmp_path)
    assert len(history.evaluations) == 3  # the best and two that are not
    assert len(history.losses) == 6 < history.steps
    again = run(recipe, gguf, tokenizer, tmp_path)  # killed after its end: nothing goes on
    assert again == history


def test_the_schedule_rises_then_falls_to_zero():
    shares = [schedule(step / 100, 0.1) for step in range(1, 101)]
    assert shares[9] == max(shares) == 1
    assert shares[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert all(a > b for a, b in pairwise(shares[9:]))
    assert shares[-1] == pytest.approx(0)
    assert schedule(0.5, 0) == pytest.approx(0.5)


def test_batches_are_fixed_by_the_seed_and_hold_every_row(gguf, tokenizer, tmp_path):
    def batches(seed: int) -> list[list[str]]:
        recipe = made_up(seed=seed, epochs=2, batch_rows=5)
        runner = train._Run(recipe, load_base(gguf), tokenizer, ROWS, DEVELOPMENT, out=tmp_path)
        return [[row.id for row in batch] for batch in runner._batches()]

    first = batches(0)
    assert first == batches(0) != batches(1)
    epoch = -(-len(ROWS) // 5)
    assert len(first) == 2 * epoch
    for at in (0, epoch):
        ids = sorted(name for batch in first[at : at + epoch] for name in batch)
        assert ids == sorted(row.id for row in ROWS)
    assert first[:epoch] != first[epoch:]


# --- killed and resumed -------------------------------------------------------

KILLED = """
import os, signal, sys
import tests.converters.causal.train.test_train as tests
from pathlib import Path
tests.torch.set_num_threads(1)
tests.loop.CHECKPOINT_EVERY = 0.0
def report(history):
    if history.losses[-1][0] == 5:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
gguf, out = map(Path, sys.argv[1:])
tests.run(tests.made_up(), gguf, tests.LlamaTokenizer(gguf), out, report)
"""


@pytest.fixture(scope="module")
def whole(gguf, tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing stopped."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    run(made_up(), gguf, tokenizer, out)
    return out


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(gguf, tokenizer, whole, tmp_path):
    killed = tmp_path / "killed"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, gguf, killed],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr, ended.stderr
    assert (killed / STATE).is_file()
    assert not (killed / "history.json").exists()
    steps: list[int] = []
    run(made_up(), gguf, tokenizer, killed, lambda history: steps.append(history.losses[-1][0]))
    assert steps == [5, 6]
    assert_same_run(killed, whole)


@pytest.mark.parametrize("aware", [False, True])
def test_a_run_that_stopped_again_and_again_ends_the_same(
    gguf, tokenizer, tmp_path, monkeypatch, aware
):
    """Also with dropout; the first stop leaves no checkpoint, the others one of a step before."""
    recipe = made_up(lora={"dropout": 0.2}, evaluations=2, epochs=2, quantization_aware=aware)
    run(recipe, gguf, tokenizer, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    for at in (1, 3, 6, 9, 11):

        def stop(history: History, at: int = at) -> None:
            if history.losses[-1][0] == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(recipe, gguf, tokenizer, tmp_path / "stopped", stop)
    run(recipe, gguf, tokenizer, tmp_path / "stopped")
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(gguf, tokenizer, tmp_path):
    first = run(made_up(), gguf, tokenizer, tmp_path)
    before = adapter(tmp_path)
    again = run(made_up(), gguf, tokenizer, tmp_path, lambda _: pytest.fail("a step ran"))
    assert asdict(again) == asdict(first)
    assert all(torch.equal(value, before[name]) for name, value in adapter(tmp_path).items())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00" * 1000)


def without_history(path: Path) -> None:
    save_file(load_file(path), path)


def other_history(path: Path) -> None:
    save_file(load_file(path), path, metadata={"history": '{"steps": 3, "unknown": []}'})


def other_shapes(path: Path) -> None:
    """All names are right, and only the last tensor does not fit: nothing of it may be loaded."""
    history = json.dumps({"steps": 6, "losses": [[3, 1.0]]})
    tensors = {name: torch.full_like(value, 9.0) for name, value in load_file(path).items()}
    name = max(name for name in tensors if name.startswith("model."))
    tensors[name] = torch.zeros(1)
    save_file(tensors, path, metadata={"history": history})


def without_best(path: Path) -> None:
    (path.parent / "adapter" / "adapter_model.safetensors").unlink()


@pytest.mark.parametrize(
    "damage", [cut, garbage, without_history, other_history, other_shapes, without_best]
)
def test_a_damaged_checkpoint_is_begun_anew(gguf, tokenizer, whole, tmp_path, damage):
    damaged = tmp_path / "damaged"
    shutil.copytree(whole, damaged)
    damage(damaged / STATE)
    steps: list[int] = []
    run(made_up(), gguf, tokenizer, damaged, lambda history: steps.append(history.losses[-1][0]))
    assert steps == [1, 2, 3, 4, 5, 6]
    assert_same_run(damaged, whole)


def test_a_better_adapter_replaces_the_one_before_in_one_go(tmp_path, monkeypatch, gguf):
    model = with_adapter(load_base(gguf), made_up())
    optimizer = torch.optim.AdamW(model.parameters())
    files = {"best": "adapter", "weights": "adapter_model.safetensors"}
    saved = checkpoint.Checkpoint(tmp_path, model, optimizer, write=model.save_pretrained, **files)
    saved.keep_best()
    before = adapter(tmp_path)
    with torch.no_grad():
        for _, parameter in saved._parameters():
            parameter.add_(1)

    def full(*_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "publish", full)
    with pytest.raises(OSError, match="No space"):
        saved.keep_best()
    assert all(torch.equal(value, before[name]) for name, value in adapter(tmp_path).items())
    monkeypatch.undo()
    saved.keep_best()
    assert not any(torch.equal(value, before[name]) for name, value in adapter(tmp_path).items())


# --- errors -------------------------------------------------------------------


def test_a_row_that_is_too_long_is_named_before_training(gguf, tokenizer, tmp_path):
    row = Row("the long one", "not refund " * 200, "refund")
    for settings, words in (
        ({"max_tokens": 100}, "row the long one: .* over the 100 of train.max_tokens"),
        ({}, "row the long one: .* the base's context holds 512"),
    ):
        with pytest.raises(DataError, match=words):
            train.train(
                made_up(**settings), load_base(gguf), tokenizer, [*ROWS, row], DEVELOPMENT,
                out=tmp_path,
            )  # fmt: skip


def test_a_changed_copy_that_is_too_long_stays_as_it_was(gguf, tokenizer, tmp_path, monkeypatch):
    rows = [Row("one", "not refund", "refund"), Row("two", "all total", "total")]
    longer = [Row("one", "not refund" + " at" * 300, "refund"), Row("two", "a total", "total")]
    monkeypatch.setattr(train, "augmented", lambda *_, **__: longer)
    recipe = made_up(max_tokens=100, batch_rows=2)
    runner = train._Run(recipe, load_base(gguf), tokenizer, rows, rows, out=tmp_path)
    (batch,) = runner._batches()
    kept = encoded(tokenizer, [rows[0], longer[1]])
    assert {row.tokens for row in batch} == {row.tokens for row in kept}


def test_training_goes_on_from_an_adapter(gguf, tokenizer, tmp_path):
    first = run(made_up(epochs=3), gguf, tokenizer, tmp_path / "first")
    start = str(tmp_path / "first" / "adapter")
    more = run(made_up(lora={"start": start}), gguf, tokenizer, tmp_path / "more")
    assert more.losses[0][1] < first.losses[0][1] / 2


@pytest.mark.parametrize("lora", [{"rank": 8}, {"layers": 2}, {"targets": ["q_proj"]}])
def test_an_adapter_of_another_shape_is_no_start(gguf, tokenizer, whole, tmp_path, lora):
    recipe = made_up(lora={**lora, "start": str(whole / "adapter")})
    with pytest.raises(RecipeError, match=r"lora\.start: .*set these as they were"):
        run(recipe, gguf, tokenizer, tmp_path)


def test_a_start_that_is_none_is_named(gguf, tokenizer, tmp_path):
    recipe = made_up(lora={"start": str(tmp_path / "nothing")})
    with pytest.raises(RecipeError, match=r"lora\.start: .*nothing.*cannot be read"):
        run(recipe, gguf, tokenizer, tmp_path)


def test_a_target_that_the_base_does_not_have_is_named(gguf, tokenizer, tmp_path):
    recipe = made_up(lora={"targets": ["q_proj", "qkv_proj"]})
    with pytest.raises(RecipeError, match=r"lora.targets: no layer .* 'qkv_proj'; it has down_p"):
        run(recipe, gguf, tokenizer, tmp_path)


def test_a_loss_that_is_no_number_ends_the_run(gguf, tokenizer, tmp_path, monkeypatch):
    original = train._Run._answers

    def broken(self: Any, batch: list[Encoded]) -> Any:
        logits, targets = original(self, batch)
        return logits * float("nan"), targets

    monkeypatch.setattr(train._Run, "_answers", broken)
    with pytest.raises(RecipeError, match=r"step 1 of 6: .* lower train\.learning_rate"):
        run(made_up(), gguf, tokenizer, tmp_path)
    assert not (tmp_path / STATE).exists()
