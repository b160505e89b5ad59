"""`edgeslm doctor` as people and as programs see it, also the self-tests of models."""

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from edgeslm.cli import doctor as command
from edgeslm.cli.main import cli
from edgeslm.evaluation import doctor as library
from edgeslm.formats.card import Card
from edgeslm.formats.gguf.pack import write_card
from edgeslm.models.load import load
from tests.evaluation.test_doctor import BUILD, HERE
from tests.helpers.tiny_gguf import write_tiny_gguf

REPORT = library.Report(
    machine=HERE,
    threads=2,
    build=BUILD,
    onnx=library.Onnx("1.32.0", ("CUDAExecutionProvider", "CPUExecutionProvider")),
    openmp={"GOMP_SPINCOUNT": "10000", "OMP_WAIT_POLICY": None},
    store=Path("store"),
    disk_free=5_000_000_000,
    prefix_cache=Path("prefixes"),
    prefix_cache_bytes=7_500_000,
    models=(library.StoredModel("smollm2-135m", Path("m.gguf"), 98_900_000),),
    registries=(Path("models.toml"),),
    user_registry=Path("config") / "models.toml",
    network={"HF_ENDPOINT": None},
    findings=(library.Finding("ok", "models", "1 on this device"),),
)


def table(report: library.Report, width: int = 80) -> str:
    out = io.StringIO()
    command._show(report, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_a_table_fits_80_columns_and_has_every_fact():
    long = dataclasses.replace(
        REPORT,
        store=Path("a" * 200),
        findings=(library.Finding("warning", "load", "word " * 60),),
    )
    text = table(long)
    assert max(map(len, text.splitlines())) <= 80
    for fact in ("Some CPU", "avx avx2 fma", "4.00 GB free of 8.00 GB", "0.3.36", "98.9 MB"):
        assert fact in text
    assert "7.5 MB in prefixes" in text


def test_what_the_machine_does_not_tell_is_said_to_be_not_available():
    silent = dataclasses.replace(HERE, cpu_model=None, load_average=None, virtual=None)
    lines = table(dataclasses.replace(REPORT, machine=silent, disk_free=None)).splitlines()
    missing = {line.split("  ")[1] for line in lines if "not available" in line}
    assert missing >= {"processor", "load", "virtual", "on battery", "disk"}


def test_problems_come_first_in_the_findings():
    findings = (
        library.Finding("ok", "models", "fine"),
        library.Finding("problem", "library", "broken", 9),
        library.Finding("warning", "load", "busy"),
    )
    text = table(dataclasses.replace(REPORT, findings=findings)).partition("Findings")[2]
    assert text.index("broken") < text.index("busy") < text.index("fine")


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_without_a_terminal_it_is_one_line_of_json(arguments, monkeypatch):
    monkeypatch.setattr(command, "examine", lambda: REPORT)
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.return_value == 0
    (line,) = done.output.splitlines()
    assert json.loads(line)["build"]["version"] == "0.3.36"


def test_a_problem_is_the_exit_code(monkeypatch):
    problem = library.Finding("problem", "registry", "broken", 11)
    report = dataclasses.replace(REPORT, findings=(problem,))
    monkeypatch.setattr(command, "examine", lambda: report)
    assert CliRunner().invoke(cli, ["doctor"], standalone_mode=False).return_value == 11


# --- the self-tests of models ---------------------------------------------------


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Writes a classifier with examples, the first with the right label and others without."""
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))

    def write(name: str, *right: bool) -> str:
        data = {
            "name": name,
            "licence": "MIT",
            "task": {"kind": "classify", "labels": ["billing", "refund"]},
        }
        path = write_tiny_gguf(tmp_path / f"{name}.gguf", card=Card.from_dict(data, where=name))
        with load(path) as loaded:
            label = loaded.classifier()("money").label
        labels = [label if good else {"billing": "refund"}.get(label, "billing") for good in right]
        examples = [{"input": "money", "expected": label} for label in labels]
        write_card(path, Card.from_dict({**data, "examples": examples}, where=name), path)
        return str(path)

    return write


def doctor(*arguments: str) -> tuple[int, list[dict], str]:
    """Exit code, the JSON lines of stdout, and stderr."""
    done = CliRunner().invoke(cli, ["doctor", *arguments], standalone_mode=False)
    assert done.exception is None
    return done.return_value, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_models_that_keep_their_promises(model):
    good, bare = model("good", True, True), model("bare")
    code, lines, _ = doctor(good, bare, good)
    assert code == 0
    assert [(line["name"], line["passed"]) for line in lines] == [(good, True), (bare, True)]
    assert [len(line["examples"]) for line in lines] == [2, 0]
    assert lines[0]["sha256"] == hashlib.sha256(Path(good).read_bytes()).hexdigest()
    assert not lines[0]["verified"]
    first = lines[0]["examples"][0]
    assert (first["example"], first["answered"]) == (1, first["expected"])
    assert first["ms"] > 0


def test_a_broken_promise_exits_6_and_names_the_example(model):
    code, (line,), _ = doctor(model("bad", True, False))
    assert (code, line["passed"]) == (6, False)
    assert [test["passed"] for test in line["examples"]] == [True, False]


def test_a_model_that_is_not_here_does_not_stop_the_others(model):
    good = model("good", True)
    code, (missing, tested), err = doctor("no-such-model", good)
    assert code == 12
    assert missing["error"]["type"] == "ModelNotFoundError"
    assert tested["passed"]
    assert "no-such-model" in err


def test_people_see_a_table_of_examples(model, monkeypatch):
    monkeypatch.setattr(command, "for_people", lambda _json=False: True)
    monkeypatch.setenv("COLUMNS", "300")
    bad, bare = model("bad", True, False), model("bare")
    done = CliRunner().invoke(cli, ["doctor", bad, bare], standalone_mode=False)
    title, hashed, first, second, empty, _ = done.output.splitlines()
    sha256 = hashlib.sha256(Path(bad).read_bytes()).hexdigest()
    assert hashed.strip() == f"sha256 {sha256}, held to none: compare it yourself"
    assert title.strip() == f"{bad}: 1 of 2 self-tests passed"
    assert first.split()[:2] == ["1", "OK"]
    assert second.split()[:2] == ["2", "FAILED"]
    assert "expected" in second and "answered" in second
    assert empty.strip() == f"{bare}: its card has no examples"
