"""`edgeslm doctor` as people and as programs see it."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from edgeslm import doctor as library
from edgeslm.cli import cli
from edgeslm.cli import doctor as command
from tests.test_doctor import BUILD, HERE

REPORT = library.Report(
    machine=HERE,
    threads=2,
    build=BUILD,
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
