"""Encoder training: what it learns and keeps, killed runs, labels of every kind, its errors"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from converters.data.filter import read_examples
from converters.data.rows import Row
from converters.encoder import train as encoder_train
from converters.encoder.heads import HeadLosses, HeadSpec
from converters.encoder.model import EncoderModel, load_backbone, load_encoder
from converters.encoder.quantization_aware import round_layers
from converters.encoder.train import parameter_groups, train_encoder
from converters.errors import BaseModelError, RecipeError
from converters.recipe.recipe import Recipe
from converters.training import checkpoint, loop
from converters.training.history import Evaluation, History
from edgeslm.formats.files import silent
from tests.helpers.recipes import classify, write_jsonl
from tests.helpers.tiny_bert import write_tiny_bert

LABELS = ["refund", "address", "total"]
ROWS = [
    Row(f"row {n} {word} {label}", f"{word} {label} {'thing ' * (n % 5)}", label)
    for n in range(8)
    for word in ("not", "all")
    for label in LABELS
]
DEVELOPMENT = ROWS[::5]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("base"))


def made_up(
    *, encoder: dict[str, Any] | None = None, lora: dict[str, Any] | None = None, **settings: Any
) -> Recipe:
    """Labels of one word each; ``settings`` are keys of the train table."""
    fields = classify("rows.jsonl", labels=LABELS).model_dump(mode="json", by_alias=True)
    settings = {"epochs": 1, "batch_rows": 8, "learning_rate": 3e-3, "evaluations": 3, **settings}
    fields.update(kind="encoder", encoder=encoder or {}, train=settings, lora=lora or {})
    return Recipe.model_validate(fields)


def tags(**encoder: Any) -> Recipe:
    """Two heads: one label, and any number of them."""
    heads = [
        {"name": "what", "labels": LABELS},
        {"name": "words", "labels": ["not", "all", "thing"], "multi_label": True},
    ]
    fields = classify("rows.jsonl", labels=LABELS).model_dump(mode="json", by_alias=True)
    answer = {"what": {"source": "what"}, "words": {"source": "words"}}
    fields["data"] = {**fields["data"], "label": None, "answer": answer}
    train = {"epochs": 12, "batch_rows": 8, "learning_rate": 3e-3, "evaluations": 3}
    fields.update(kind="encoder", encoder=encoder, train=train, lora={})
    answer = {head["name"]: head["labels"][0] for head in heads}
    examples = [{"input": "a", "expected": answer}]
    task = {"kind": "tag", "heads": heads}
    return Recipe.model_validate({**fields, "task": task, "examples": examples})


def run(recipe: Recipe, base: Path, out: Path, report: Any = None) -> History:
    return train_encoder(
        recipe, base, ROWS, DEVELOPMENT, out=out, report=report or (lambda _: None)
    )


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def logits_of(model: EncoderModel, tokenizer: Any, text: str) -> torch.Tensor:
    ids = torch.tensor([tokenizer.encode(text).ids])
    with torch.no_grad():
        return model(ids, torch.ones_like(ids))[0]


# --- what it learns -----------------------------------------------------------


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trivial_task_is_learned_and_loaded_again(base, tmp_path, method):
    history = run(made_up(epochs=12, encoder={"method": method}), base, tmp_path)
    assert [step for step, _ in history.losses] == list(range(1, history.steps + 1))
    assert history.best is not None
    assert history.best.answers == history.best.tokens == 1
    model, tokenizer = load_encoder(tmp_path / "model")
    assert not model.training
    for row in DEVELOPMENT:
        assert LABELS[int(logits_of(model, tokenizer, row.input).argmax())] == row.answer
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json", "heads.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_scored_in_rounded_training_are_rounded_weights(base, tmp_path):
    """They are saved as they are, without their rounding."""
    recipe = made_up(epochs=2, evaluations=1, quantization_aware=True)
    history = run(recipe, base, tmp_path)
    model, tokenizer = load_encoder(tmp_path / "model")
    floats = mean_loss(model, tokenizer)
    round_layers(model.backbone)
    assert history.evaluations[-1].loss == pytest.approx(mean_loss(model, tokenizer), rel=1e-5)
    assert abs(history.evaluations[-1].loss / floats - 1) > 1e-4


def mean_loss(model: EncoderModel, tokenizer: Any) -> float:
    losses = [
        torch.nn.functional.cross_entropy(
            logits_of(model, tokenizer, row.input), torch.tensor(LABELS.index(row.answer))
        )
        for row in DEVELOPMENT
    ]
    return float(sum(losses)) / len(losses)


def test_what_is_saved_is_what_was_scored(base, tmp_path):
    """Also where LoRA factors were merged: the loaded model has the last evaluation's loss."""
    recipe = made_up(epochs=2, evaluations=1, encoder={"method": "lora"})
    history = run(recipe, base, tmp_path)
    model, tokenizer = load_encoder(tmp_path / "model")
    assert history.evaluations[-1].loss == pytest.approx(mean_loss(model, tokenizer), rel=1e-4)


def test_lora_leaves_what_it_does_not_adapt(base, tmp_path):
    recipe = made_up(encoder={"method": "lora"}, lora={"targets": ["query"], "layers": 1})
    run(recipe, base, tmp_path)
    before = load_backbone(base).state_dict()
    changed = {
        name
        for name, value in weights(tmp_path).items()
        if name.startswith("backbone.") and not torch.equal(value, before[name[9:]])
    }
    assert changed == {"backbone.encoder.layer.1.attention.self.query.weight"}


@pytest.mark.parametrize("trained", [True, False])
def test_word_embeddings_are_trained_if_asked(base, tmp_path, trained):
    run(made_up(encoder={"embeddings": trained}), base, tmp_path)
    name = "embeddings.word_embeddings.weight"
    before = load_backbone(base).state_dict()[name]
    assert torch.equal(weights(tmp_path)[f"backbone.{name}"], before) != trained


@pytest.mark.parametrize("class_weights", [True, False])
def test_several_heads_are_learned_at_once(base, tmp_path, class_weights):
    rows = [
        Row(row.id, row.input, {
            "what": row.answer,
            "words": [word for word in ("not", "all", "thing") if word in row.input.split()],
        })
        for row in ROWS
    ]  # fmt: skip
    history = train_encoder(tags(class_weights=class_weights), base, rows, rows[::5], out=tmp_path)
    assert history.best is not None
    assert history.best.tokens > 0.95
    model, tokenizer = load_encoder(tmp_path / "model")
    assert [head.name for head in model.heads] == ["what", "words"]
    logits = logits_of(model, tokenizer, "all refund thing thing")
    assert LABELS[int(logits[:3].argmax())] == "refund"
    assert (logits[3:] > 0).tolist() == [False, True, True]


def test_rows_of_a_file_become_answers_of_heads(tmp_path):
    """A missing or unknown label sends a row to review; no label of many is an answer."""
    write_jsonl(tmp_path / "rows.jsonl", [
        {"text": "one", "what": "refund", "words": ["thing", "all", "all"]},
        {"text": "two", "what": "total", "words": "not"},
        {"text": "three", "what": "total"},
        {"text": "four", "words": ["all"]},
        {"text": "five", "what": "total", "words": ["other"]},
    ])  # fmt: skip
    read = read_examples(tags(), tmp_path, silent)
    assert [(example.row.input, example.row.answer) for example in read.examples] == [
        ("one", {"what": "refund", "words": ["all", "thing"]}),
        ("two", {"what": "total", "words": ["not"]}),
        ("three", {"what": "total", "words": []}),
    ]
    assert [reviewed.why for reviewed in read.reviewed] == ["no label", "label not in the set"]


def test_the_model_of_the_best_evaluation_is_kept(base, tmp_path, monkeypatch):
    scores = iter([(0.5, 1.0), (0.9, 1.0), (0.9, 0.5), (0.9, 0.6), (0.2, 0.1), (0.1, 0.1)])
    heads = []

    def evaluate(self: Any, step: int) -> Evaluation:
        heads.append(self._model.head.weight.detach().clone())
        tokens, loss = next(scores)
        return Evaluation(step, loss, tokens, 0.0)

    monkeypatch.setattr(encoder_train._Run, "_evaluate", evaluate)
    history = run(made_up(evaluations=6), base, tmp_path)
    assert history.best == history.evaluations[2]
    assert torch.equal(weights(tmp_path)["head.weight"], heads[2])
    assert not torch.equal(heads[2], heads[-1])


def test_training_stops_after_patience(base, tmp_path, monkeypatch):
    worse = iter(range(100))
    monkeypatch.setattr(
        encoder_train._Run, "_evaluate", lambda _, step: Evaluation(step, next(worse), 0.5, 0.5)
    )
    history = run(made_up(evaluations=6, patience=2), base, tmp_path)
    assert len(history.evaluations) == 3
    assert history.losses[-1][0] == history.evaluations[-1].step < history.steps


# --- killed runs --------------------------------------------------------------


class KilledError(Exception):
    pass


@pytest.mark.parametrize("method", ["full", "lora", "rounded"])
def test_a_killed_run_ends_as_it_would_have(base, tmp_path, monkeypatch, method):
    """Its heads are not fitted to a base again that is no longer the one they were fitted to."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    encoder = {"method": "full" if method == "rounded" else method, "dropout": 0.3}
    aware = {"quantization_aware": method == "rounded"}
    recipe = made_up(epochs=2, encoder=encoder, lora={"dropout": 0.1}, **aware)
    whole = run(recipe, base, tmp_path / "whole")

    def kill(history: History) -> None:
        if history.losses[-1][0] == whole.steps - 3:
            raise KilledError

    with pytest.raises(KilledError):
        run(recipe, base, tmp_path / "killed", kill)
    resumed: list[int] = []
    run(recipe, base, tmp_path / "killed", lambda history: resumed.append(history.losses[-1][0]))
    assert resumed[0] == whole.steps - 3
    ours, theirs = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    killed, wanted = (
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("killed", "whole")
    )
    assert killed["losses"] == wanted["losses"]
    assert killed["evaluations"] == wanted["evaluations"]


def test_a_damaged_checkpoint_or_one_without_its_model_is_not_gone_on_from(base, tmp_path):
    recipe = made_up()
    first = run(recipe, base, tmp_path)
    state = tmp_path / "checkpoint.safetensors"
    shutil.rmtree(tmp_path / "model")
    assert run(recipe, base, tmp_path).losses == first.losses
    state.write_bytes(state.read_bytes()[:-1])
    assert run(recipe, base, tmp_path).losses == first.losses
    assert (tmp_path / checkpoint.HISTORY).is_file()


def test_heads_are_fitted_before_the_first_step_and_never_after(base, tmp_path, monkeypatch):
    scores = {}
    for probe in (True, False):
        recipe = made_up(encoder={"probe": probe}, learning_rate=1e-12, evaluations=1)
        told: list[str] = []
        history = train_encoder(
            recipe, base, ROWS, DEVELOPMENT, out=tmp_path / str(probe),
            progress=lambda what, _done, _of, told=told: told.append(what),
        )  # fmt: skip
        scores[probe] = history.evaluations[0].tokens
        assert set(told) == ({"embedding rows", "fitting heads"} if probe else set())
    assert scores[True] > 0.9 > scores[False]
    monkeypatch.setattr(encoder_train, "fit_head", lambda *_, **__: pytest.fail("fitted again"))
    run(made_up(learning_rate=1e-12, evaluations=1), base, tmp_path / "True")


# --- what is trained how much -------------------------------------------------


def test_layers_learn_at_their_own_rates(base):
    recipe = made_up(encoder={"layer_decay": 0.5, "head_rate": 7}, weight_decay=0.1)
    model = EncoderModel(load_backbone(base), (HeadSpec("", ("a", "b")),))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = {
        names[id(parameter)]: (group["rate"], group["weight_decay"])
        for group in parameter_groups(model, recipe)
        for parameter in group["params"]
    }
    assert settings["head.weight"] == (7, 0.1)
    assert settings["head.bias"] == (7, 0)
    assert settings["backbone.encoder.layer.1.output.dense.weight"] == (1, 0.1)
    assert settings["backbone.encoder.layer.0.output.dense.bias"] == (0.5, 0)
    assert settings["backbone.embeddings.position_embeddings.weight"] == (0.25, 0)


def test_padding_changes_no_logit(base):
    model = EncoderModel(load_backbone(base), (HeadSpec("", ("a", "b")),)).eval()
    ids = torch.tensor([[4, 7, 8, 5, 0, 0, 0]])
    with torch.no_grad():
        alone = model(ids[:, :4], torch.ones(1, 4, dtype=torch.int64))
        padded = model(ids, (torch.arange(7) < 4).long()[None])
    assert torch.allclose(alone, padded, atol=1e-5)


# --- errors -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"encoder": {"max_tokens": 129}},
            "encoder.max_tokens: 129, but the base reads at most 128",
        ),
        (
            {"encoder": {"method": "lora"}, "lora": {"targets": ["q_proj"]}},
            r"no layer of the base has a 'q_proj'; it has dense, key, query, value",
        ),
    ],
)
def test_what_a_recipe_asks_in_vain(base, tmp_path, changes, words):
    with pytest.raises(RecipeError, match=words):
        run(made_up(**changes), base, tmp_path)


def test_rounded_training_is_of_whole_layers():
    with pytest.raises(ValidationError, match=r"kind encoder with encoder\.method = 'full'"):
        made_up(encoder={"method": "lora"}, quantization_aware=True)


def test_a_loss_that_is_no_number_stops_the_run(base, tmp_path, monkeypatch):
    monkeypatch.setattr(HeadLosses, "__call__", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(RecipeError, match="step 1 of 6: the loss is not a number any more"):
        run(made_up(), base, tmp_path)


@pytest.mark.parametrize("damage", ["config", "type", "missing", "nan", "tokenizer", "cut"])
def test_a_base_that_is_no_encoder_is_one_clear_error(base, tmp_path, damage):
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    path = folder / "model.safetensors"
    if damage == "config":
        (folder / "config.json").write_text("[" * 10)
    elif damage == "type":
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    elif damage == "tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        tensors = load_file(path)
        if damage == "missing":
            del tensors["encoder.layer.0.output.dense.weight"]
        else:
            tensors["encoder.layer.0.output.dense.bias"][3] = float("nan")
        save_file(tensors, path)
    with pytest.raises(BaseModelError) as raised:
        run(made_up(), folder, tmp_path / "out")
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize("name", ["heads.json", "config.json", "model.safetensors"])
def test_a_trained_folder_without_a_file_is_one_clear_error(base, tmp_path, name):
    run(made_up(evaluations=1), base, tmp_path)
    (tmp_path / "model" / name).unlink()
    with pytest.raises(BaseModelError, match=r"no trained encoder: .*train it again"):
        load_encoder(tmp_path / "model")
