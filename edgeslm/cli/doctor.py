"""`edgeslm doctor`: what is wrong with this machine, and whether models keep their promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from edgeslm.cli.arguments import model_name
from edgeslm.cli.console import Console
from edgeslm.cli.output import for_people, print_line
from edgeslm.cli.several import for_each
from edgeslm.engines.device.machine import Build, Machine, show_bytes
from edgeslm.errors import CardError, EdgeslmError
from edgeslm.evaluation.doctor import Finding, Onnx, Report, examine

if TYPE_CHECKING:  # it loads the inference library
    from edgeslm.evaluation.selftest import Checked

_STYLE = {"ok": "green", "warning": "yellow", "problem": "bold red"}
#: in the order in which findings are shown
_MARK = {"problem": "PROBLEM", "warning": "WARNING", "ok": "OK"}
Rows = Iterable[tuple[str, str]]


@click.command()
@model_name("[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal.")
def doctor(names: tuple[str, ...], as_json: bool) -> int:
    """Show what is wrong with this machine, or with models.

    \b
    edgeslm doctor
    edgeslm doctor receipt-fields ./my-reader.gguf

    Without a NAME: what this machine is, what is installed, and what is wrong with it.
    With NAMEs, pulled models or paths of model files, read every byte of the file, answer the
    examples of its card, and compare. The file of a name is held to the hash that is known of
    it; of a path none is known, so compare the sha256 that is shown with its publisher's.

    Exits with 0 if nothing is a problem (a warning is none), else with the exit code of
    the error that the problem would cause: 6 for an example with another answer.
    """
    if names:
        return _self_tests(names, as_json)
    report = examine()
    if for_people(as_json):
        _show(report, Console())
    else:
        print_line(report.to_dict())
    return report.exit_code


def _self_tests(names: Sequence[str], as_json: bool) -> int:
    """Run and show the self-tests of some models; the exit code of the first that is not well."""
    from edgeslm.evaluation.selftest import check

    codes: list[int] = []

    def act(name: str) -> None:
        try:
            checked = check(name)
        except EdgeslmError as error:
            codes.append(error.exit_code)
            raise
        passed = all(test.passed for test in checked.tests)
        codes.append(0 if passed else CardError.exit_code)
        if for_people(as_json):
            _show_tests(name, checked, Console())
        else:
            examples = [test.to_dict() for test in checked.tests]
            facts = {"sha256": checked.sha256, "verified": checked.verified}
            print_line({"name": name, "passed": passed, **facts, "examples": examples})

    for_each(names, act, as_json=as_json)
    return next((code for code in codes if code), 0)


def _show_tests(name: str, checked: Checked, console: Console) -> None:
    tests = checked.tests
    good = sum(test.passed for test in tests)
    counted = f"{good} of {len(tests)} self-tests passed" if tests else "its card has no examples"
    console.print(Text(f"{name}: {counted}", style="bold"))
    held = "as it was verified" if checked.verified else "held to none: compare it yourself"
    console.print(Text(f"  sha256 {checked.sha256}, {held}"))
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for test in tests:
        mark = Text("OK", style="green") if test.passed else Text("FAILED", style="bold red")
        answer = test.outcome()
        table.add_row(f"  {test.number}", mark, f"{test.ms:,.0f} ms", Text(answer))
    console.print(table)


def _show(report: Report, console: Console) -> None:
    for title, rows in (
        ("Machine", _machine_rows(report.machine, report.threads)),
        ("llama.cpp", _build_rows(report.build)),
        ("onnxruntime", _onnx_rows(report.onnx)),
        ("OpenMP", _variable_rows(report.openmp)),
        ("Models", _storage_rows(report)),
        ("Network", [("used by", "edgeslm pull alone"), *_variable_rows(report.network)]),
    ):
        console.print(Text(title, style="bold"))
        console.print(_table(rows))
    console.print(Text("Findings", style="bold"))
    console.print(_findings_table(report.findings))


def _machine_rows(machine: Machine, threads: int) -> Rows:
    yield "system", machine.os
    yield "Python", machine.python
    yield "processor", _shown(machine.cpu_model)
    yield "instructions", " ".join(machine.instruction_sets) or _shown(None)
    yield "cores", f"{machine.logical_cores} logical, {_shown(machine.physical_cores)} physical"
    if machine.performance_cores is not None:
        yield "fast cores", str(machine.performance_cores)
    yield "usable cores", f"{machine.usable_cores}, of which edgeslm takes {threads} threads"
    yield (
        "memory",
        f"{show_bytes(machine.memory_available)} free of {show_bytes(machine.memory_total)}",
    )
    yield "virtual", _shown(machine.virtual)
    yield "on battery", _shown(machine.on_battery)
    load = machine.load_average
    yield "load", _shown(load and f"{load[0]:.2f} {load[1]:.2f} {load[2]:.2f} (1, 5, 15 minutes)")


def _build_rows(build: Build | None) -> Rows:
    if build is None:
        yield "version", "not available, see the findings"
        return
    yield "version", f"llama-cpp-python {build.version}"
    yield "compiled in", build.system_info.replace(" = 1", "").replace(" | ", " ")
    yield "GPU backend", "yes" if build.gpu_offload else "no"
    for device in build.devices:
        memory = f"{show_bytes(device.memory_free)} free of {show_bytes(device.memory_total)}"
        yield f"device {device.name}", f"{device.description}, {memory}"


def _onnx_rows(onnx: Onnx | None) -> Rows:
    if onnx is None:
        yield "version", "not available, see the findings"
        return
    yield "version", f"onnxruntime {onnx.version}"
    yield "providers", ", ".join(onnx.providers)
    yield "used", onnx.providers[0]


def _storage_rows(report: Report) -> Rows:
    yield "folder", str(report.store)
    free = report.disk_free
    yield "disk", _shown(None if free is None else f"{show_bytes(free)} free")
    yield "saved prompts", f"{show_bytes(report.prefix_cache_bytes)} in {report.prefix_cache}"
    for model in report.models:
        yield model.name, show_bytes(model.size)
    for path in report.registries:
        yield "registry", str(path)
    if report.user_registry not in report.registries:
        yield "your own", f"{report.user_registry} (not there)"


def _variable_rows(variables: Mapping[str, str | None]) -> Rows:
    return ((name, "not set" if value is None else value) for name, value in variables.items())


def _shown(value: object) -> str:
    """A fact as words; None is what the machine does not tell."""
    if value is None:
        return "not available"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _table(rows: Rows) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=17, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"  {name}", Text(value))
    return table


def _findings_table(findings: Iterable[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in sorted(findings, key=lambda finding: list(_MARK).index(finding.level)):
        table.add_row(
            Text(f"  {_MARK[finding.level]}", style=_STYLE[finding.level]),
            Text(finding.about),
            Text(finding.message),
        )
    return table
