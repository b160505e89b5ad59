"""Recipes: the page that explains them is whole, the shipped ones hold, bad ones name the place"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from converters.errors import RecipeError
from converters.recipe import data as recipe_data
from converters.recipe import recipe as recipes
from converters.recipe.recipe import MAX_RECIPE_BYTES, Recipe, read_recipe
from converters.work import STEPS
from edgeslm.errors import EXIT_CODES
from edgeslm.formats.card import ClassifyTask, TagTask
from edgeslm.schema.schema import compile_schema

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
SHIPPED = sorted((ROOT / "converters" / "recipes").glob("*.toml"))
GOOD = """
name = "x"
licence = "MIT"
base = "smollm2-135m"
[task]
kind = "classify"
labels = ["a", "b"]
[data]
label = "label"
[[data.files]]
path = "a.jsonl"
url = "https://example.org"
licence = "MIT"
[[examples]]
input = "x"
expected = "a"
"""


OWN_FILES = (recipes.__name__, recipe_data.__name__)


def keys(model: type[BaseModel], table: str) -> Iterator[tuple[str, str]]:
    """(table, key) of a recipe, as far as classes of its own files go."""
    for name, field in model.model_fields.items():
        yield table, field.alias or name
        for inner in (field.annotation, *get_args(field.annotation)):
            if getattr(inner, "__module__", "") in OWN_FILES and isinstance(inner, type):
                yield from keys(inner, name)


EVERY_KEY = sorted({*keys(Recipe, "recipe")})


def test_the_keys_are_those_of_every_table():
    assert {table for table, _ in EVERY_KEY} == {
        "recipe", "data", "files", "answer", "split", "augment", "encoder", "reader", "lora",
        "train", "quantize", "gates",
    }  # fmt: skip
    assert ("answer", "as") in EVERY_KEY


@pytest.mark.parametrize(("table", "key"), EVERY_KEY, ids=lambda part: part)
def test_the_page_has_every_key_in_its_table(table, key):
    """A key of a top table has a row of its own; those below stand in the row of theirs."""
    if table in ("files", "answer", "split", "augment"):
        row = re.search(rf"^\| `{table}` \|.*$", PAGE, re.MULTILINE)
        assert row and f"`{key}`" in row.group()
    elif table == "recipe" and key in (
        "data",
        "encoder",
        "reader",
        "lora",
        "train",
        "quantize",
        "gates",
    ):
        assert f"| `{key}.` | Default |" in PAGE
    else:
        start = "| Key | Default |" if table == "recipe" else f"| `{table}.` | Default |"
        rows = PAGE.partition(start)[2].partition("\n\n")[0]
        assert re.search(rf"^\| `{key}` \|", rows, re.MULTILINE)


def test_the_page_has_the_defaults_that_hold():
    fields: dict[str, Any] = {}
    for table in ("encoder", "reader", "lora", "train", "quantize", "gates", "data"):
        for name, field in Recipe.model_fields[table].annotation.model_fields.items():
            fields[f"{table}.{name}"] = field.get_default(call_default_factory=True)
    for table, rows in re.findall(r"^\| `(\w+)\.` \| Default \|.*\n((?:\|.*\n)+)", PAGE, re.M):
        for name, shown in re.findall(r"^\| `(\w+)` \| `(.+?)` \|", rows, re.M):
            expected = fields[f"{table}.{name}"]
            value = tomllib.loads(f"x = {shown}")["x"]
            assert value == (list(expected) if isinstance(expected, tuple) else expected), name


def test_the_page_has_every_step_and_true_exit_codes():
    for step in STEPS:
        assert f"| `{step}` |" in PAGE
    codes = re.search(r"Exit codes are.*?\n\n", PAGE, re.DOTALL)
    assert codes and {*map(int, re.findall(r"\b\d+\b", codes.group()))} <= {*EXIT_CODES}


def test_the_recipe_of_the_page_can_be_read(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "recipe.toml").write_text(blocks[0], encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml").gates.min_score == 0.9
    assert set(tomllib.loads(blocks[1])) == {"task", "data"}
    tags = tomllib.loads(blocks[2])
    task = TagTask.model_validate(tags["task"])
    assert [*tags["data"]["answer"]] == [head.name for head in task.heads]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_hold(path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    for example in recipe.examples:
        if isinstance(recipe.task, ClassifyTask):
            assert example.expected in [label.name for label in recipe.task.labels]
        elif isinstance(recipe.task, TagTask):
            assert set(example.expected) == {head.name for head in recipe.task.heads}
            for head in recipe.task.heads:
                assert example.expected[head.name] in [label.name for label in head.labels]
        else:
            schema = compile_schema(recipe.task.json_schema)
            assert set(example.expected) == set(recipe.task.json_schema["properties"])
            schema.read(json.dumps(example.expected))
    for file in recipe.data.files:
        assert file.url.startswith("https://")


def test_there_are_shipped_recipes():
    assert len(SHIPPED) >= 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[data]", "[data]\nlabels = 3"), "at data.labels: Extra inputs"),
        (("[[examples]]", "[lora]\nrank = 0\n[[examples]]"), "at lora.rank: "),
        (("[[examples]]", "[lora]\ndora = true\n[[examples]]"), "at lora: .*no DoRA magnitudes"),
        (("[[examples]]", "[train]\nepochs = nan\n[[examples]]"), "at train.epochs: "),
        (("[[examples]]", "[train]\nepochs = -1\n[[examples]]"), "at train.epochs: "),
        (("[[examples]]", "[train]\nepochs = true\n[[examples]]"), "at train.epochs: .*number"),
        (("[[examples]]", "[train]\nepochs = '3'\n[[examples]]"), "at train.epochs: .*number"),
        (("[[examples]]", "[train]\nlearning_rate = nan\n[[examples]]"), "at train.learning_rate"),
        (("[[examples]]", "[train]\nbatch_rows = 0\n[[examples]]"), "at train.batch_rows: "),
        (("[[examples]]", "[train]\nbatch_rows = 2.0\n[[examples]]"), "at train.batch_rows: "),
        (("[[examples]]", "[train]\nseed = 4294967296\n[[examples]]"), "at train.seed: "),
        (("[[examples]]", "[train]\nqlora = 1\n[[examples]]"), "at train.qlora: "),
        (("[[examples]]", "[lora]\nalpha = inf\n[[examples]]"), "at lora.alpha: "),
        (("[[examples]]", "[lora]\nrank = true\n[[examples]]"), "at lora.rank: "),
        (("[[examples]]", "[gates]\nmin_score = nan\n[[examples]]"), "at gates.min_score: "),
        (("[[examples]]", "[gates]\nmax_drop = -1\n[[examples]]"), "at gates.max_drop: "),
        (("[[examples]]", "[gates]\nfold = 'CASE'\n[[examples]]"), "at gates.fold: "),
        (
            ("[[examples]]", "[gates]\nfold = 'none'\n[[examples]]"),
            "gates.fold is for values that are extracted, not for labels",
        ),
        (("[data]", "[data]\nmax_rows = 1" + "0" * 30), "at data.max_rows: "),
        (("[data]", "[data]\nsplit.gold = '0.2'"), "at data.split.gold: "),
        (("[data]", "[data]\nreferences = {a = '/etc/hosts'}"), "must be relative and without"),
        (("[data]", "[data]\nreferences = {a = '../b'}"), "must be relative and without"),
        (
            ('expected = "a"', 'expected = "c"'),
            r"example 1: expected has 'c', which is no label \(a",
        ),
        (('expected = "a"', "expected = [1]"), r"example 1: expected has \[1\], which is no label"),
        (('name = "x"', 'name = "x"\nserve_as = ["adapter"]'), "serve_as must have 'file'"),
        (('name = "x"', 'name = "x"\nserve_as = ["file", "file"]'), "serve_as must have 'file'"),
        (('name = "x"', 'name = "x"\nserve_as = "file"'), "at serve_as: "),
        (('name = "x"', 'name = "x"\nversion = ' + "9" * 5000), "cannot be read: "),
        (('name = "x"', 'name = "x"\nkind = "linear"'), "linear takes none"),
        (('name = "x"', 'name = "x"\nkind = "encoder"\nprompt.system = "s"'), "leave prompt out"),
        (('base = "smollm2-135m"', ""), "every kind but linear takes a base"),
        (("smollm2-135m", "pypi:a==1/b"), "a base from a package takes base_sha256"),
        (
            ("[data]", '[data]\nremember = "training"'),
            "data.remember is for the classify task of an",
        ),
        (
            ("[[examples]]", "[reader]\nwords = true\n[[examples]]"),
            "reader is for the extract task of an encoder or a linear model",
        ),
        (("[[examples]]", "[encoder]\nembedding_bits = 6\n[[examples]]"), "embedding_bits: "),
        (
            ("[[examples]]", "[encoder]\nlinear_features = 9\n[[examples]]"),
            "encoder.linear_features is for an encoder's classify task",
        ),
        (
            ("[[examples]]", "[encoder]\nlogit_adjustment = 0.1\n[[examples]]"),
            "encoder.logit_adjustment is for an encoder's classify task",
        ),
        (("[[examples]]", "[encoder]\ndropout = 1\n[[examples]]"), "at encoder.dropout: "),
        (('["a", "b"]', '["a", "A"]'), "labels that read the same: 'a' and 'A'"),
        (('["a", "b"]', '"labels.json"'), r"labels\.json: cannot be read: No such file"),
        (('label = "label"', ""), "takes data.label, and no data.answer"),
        (('kind = "classify"', 'kind = "guess"'), "at task: "),
        (('name = "x"', 'name = "../x"'), "at name: "),
        (('name = "x"', "name ="), "cannot be read: Invalid value"),
        (('name = "x"', "name = 3\nversion = 4"), r"\(and 1 more\)"),
    ],
)
def test_what_a_recipe_cannot_be_names_its_place(tmp_path, change, words):
    assert GOOD.count(change[0]) == 1
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD.replace(*change), encoding="utf-8")
    with pytest.raises(RecipeError, match=words) as raised:
        read_recipe(path)
    assert str(raised.value).startswith(str(tmp_path))
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[encoder]\nmethod = 'lora'", "encoder.method is for labels"),
        ("[encoder]\nclass_weights = true", "encoder.class_weights is for labels"),
        ("[encoder]\nlabel_smoothing = 0.1", "encoder.label_smoothing is for labels"),
        ("[train]\nquantization_aware = true", "quantization_aware is not for an extract task"),
    ],
)
def test_a_reader_refuses_options_that_it_would_not_heed(tmp_path, table, words):
    recipes = Path(__file__).resolve().parents[3] / "converters" / "recipes"
    shutil.copy(recipes / "receipt-fields.schema.json", tmp_path)
    text = (recipes / "receipt-fields-mini.toml").read_text("utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(table.partition("\n")[0], table, 1), encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        read_recipe(path)


def test_files_that_are_no_recipes(tmp_path):
    (tmp_path / "large.toml").write_bytes(b"#" * (MAX_RECIPE_BYTES + 1))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\x00")
    (tmp_path / "deep.toml").write_text("x = " + "[" * 100_000, encoding="utf-8")
    for name in ("large.toml", "bytes.toml", "deep.toml", "absent.toml", "."):
        with pytest.raises(RecipeError):
            read_recipe(tmp_path / name)
