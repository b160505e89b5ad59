"""Runs as one self-contained HTML page: no network, no scripts, light and dark, wide and narrow"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from edgeslm.bench.report.charts import charts, comparison
from edgeslm.bench.report.compare import compare
from edgeslm.bench.report.figures import amount, figures, plain, times
from edgeslm.bench.report.published import MARK, ROWS
from edgeslm.bench.report.schema import BenchReport
from edgeslm.bench.report.summary import (
    NOT_AVAILABLE,
    answers,
    card_text,
    lines,
    machine_line,
    main_task,
    marks,
    model_line,
    remarks,
)

_Row = tuple[str, str]


def page(reports: Sequence[BenchReport]) -> str:
    """The page of some runs; whatever a run says of itself is shown as text, never as markup."""
    names = dict.fromkeys(plain(report.model.name, 60) for report in reports)
    return _template().render(
        title=f"{', '.join(names)} on the device",
        sides=compare(reports) if len(reports) > 1 else None,
        runs=[_run(report) for report in reports],
        comparison=comparison(reports),
        contradictions=[row.contradiction for row in ROWS if row.contradiction],
        published=[(row.name, row.words) for row in ROWS],
        mark=MARK,
        times=times,
    )


@cache
def _template() -> Template:
    source = files("edgeslm.bench.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


def _run(report: BenchReport) -> dict[str, object]:
    """What the template shows of one run."""
    return {
        "heading": model_line(report),
        "machine": machine_line(report.machine),
        "marks": marks(report),
        "remarks": remarks(report),
        "tiles": _tiles(report),
        "charts": charts(report),
        "lines": lines(report),
        "figures": figures(report).values(),
        "facts": [*_facts(report), *_settings(report)],
        "card": card_text(report),
    }


def _tiles(report: BenchReport) -> list[tuple[str, str, str]]:
    """The few numbers to remember, as (name, value, detail)."""
    latencies = []
    task = main_task(report)
    if task is not None:
        cache_state = "prefix cached" if task.prefix_cache else "no cache"
        for name, stated in sorted(task.latency.items()):
            if name != "p90":
                low, high = amount(stated.low, "ms"), amount(stated.high, "ms")
                latencies.append((f"request {name}, {cache_state}", stated, f"{low} to {high}"))
    tiles = [(name, amount(stated.value, "ms"), detail) for name, stated, detail in latencies]
    known = figures(report)
    tiles += [(n, str(known[n]), "") for n in ("cold start", "peak memory") if n in known]
    if report.correctness is not None and not report.model.synthetic:
        right = f"{report.correctness.right} of {report.correctness.checked}"
        tiles.append(("right answers", right, answers(report).rpartition(", ")[2]))
    return tiles


def _facts(report: BenchReport) -> list[_Row]:
    """The machine as (name, words)."""
    machine = report.machine
    cores = ", ".join(f"{n} {plain(kind, 30)}" for kind, n in machine.cores.items())
    return [
        ("system", plain(machine.system)),
        ("processor", plain(machine.processor)),
        ("instructions", plain(" ".join(machine.instructions), 400)),
        ("cores", f"{cores}; {machine.threads} threads used"),
        ("memory", amount(machine.memory, "bytes")),
        ("bandwidth", _per_second(machine.bandwidth, 1e9, "GB/s, reading memory, measured")),
        ("arithmetic", _per_second(machine.peak, 1e9, "GFLOP/s, float32, measured")),
        *(("GPU", _gpu(gpu.name, gpu.memory, gpu.driver)) for gpu in machine.gpus),
        ("backends", plain(", ".join(machine.backends)) or NOT_AVAILABLE),
        ("governor", plain(machine.governor or NOT_AVAILABLE)),
        ("power", machine.power or NOT_AVAILABLE),
        ("other load", NOT_AVAILABLE if machine.load is None else f"{machine.load:.0%}"),
        ("virtual", plain(machine.virtual or NOT_AVAILABLE)),
        (
            "temperature",
            NOT_AVAILABLE if machine.temperature is None else f"{machine.temperature:.0f} °C",
        ),
        ("fingerprint", plain(machine.fingerprint)),
    ]


def _settings(report: BenchReport) -> list[_Row]:
    """The run as (name, words)."""
    model = report.model
    parameters = "" if model.parameters is None else f", {model.parameters:,} parameters"
    return [
        ("software", plain(f"edgeslm {report.machine.edgeslm}, {report.machine.library}")),
        ("model", plain(model.architecture, 40) + parameters),
        ("sha256", plain(model.sha256)),
        ("inputs", f"{plain(report.inputs)}, seed {report.seed}"),
        ("command", plain(" ".join(report.command), 400)),
        ("created", plain(report.created)),
    ]


def _gpu(name: str, memory: int | None, driver: str | None) -> str:
    size = "" if memory is None else f", {amount(memory, 'bytes')}"
    return plain(name) + size + ("" if driver is None else f", driver {plain(driver, 40)}")


def _per_second(value: float | None, unit: float, words: str) -> str:
    return NOT_AVAILABLE if value is None else f"{value / unit:,.1f} {words}"
