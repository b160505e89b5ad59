"""Writes docs/specialists.md, and each specialist's README, from cards and kept bench runs"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeslm.bench.report import files as saved
from edgeslm.bench.report.schema import BenchReport
from edgeslm.bench.report.summary import latency_line, machine_line, main_task
from edgeslm.cli.output import fail
from edgeslm.errors import CardError, EdgeslmError
from edgeslm.evaluation.intervals import rows_to_claim
from edgeslm.evaluation.scoring import ENOUGH_ROWS, NOT_ENOUGH
from edgeslm.formats.card import (
    Card,
    CategoryScore,
    ClassifyTask,
    ExtractTask,
    Score,
    TagTask,
    Task,
)
from edgeslm.formats.files import publish
from edgeslm.formats.gguf.adapter import read_adapter
from edgeslm.formats.onnx.info import read_onnx

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "specialists"
RUNS = ROOT / "benchmarks" / "results" / "bench"
PAGE = ROOT / "docs" / "specialists.md"

#: labels or fields that a table names, the worst ones
_WORST = 10
_PROVE = ", ".join(f"{share:.0%} {rows_to_claim(share)}" for share in (0.90, 0.95, 0.98))
_HEAD = f"""# The specialists

Made by `python -m scripts.specialists_page` from the cards inside the adapter files and the runs in
benchmarks/results/bench; do not edit.

Every score is on rows that were held out, with the number of rows (n) and the 95 % interval.
Baselines are scored on the same rows. Where a metric says "seen", the rows were held out, but
others of the same group (the same merchant, say) were trained on. A label or field with fewer
than {ENOUGH_ROWS} rows reads "{NOT_ENOUGH}": with no error seen, a claim of so much accuracy
takes so many rows: {_PROVE}. A score of extraction says in brackets what it ignores where it
compares texts, [eval.md](eval.md) what that means.

A request's time is that of one machine; `edgeslm bench NAME` measures yours, [bench.md](bench.md)
says how.
"""
_README = """# edgeslm-{name}

```sh
pip install edgeslm-{name}
edgeslm {command} {name} text.txt
```

`edgeslm.load("{name}")` loads it in Python; no pull is needed. What follows is written from the
card in the model file by `python -m scripts.specialists_page`; do not edit.

"""
_NONE = "\nNone is shipped yet.\n"


@dataclass(frozen=True, slots=True)
class Specialist:
    """A shipped adapter or .onnx: its card, the size of its file in bytes, and a bench run."""

    card: Card
    size: int
    run: BenchReport | None = None


def specialists(folder: Path = SHIPPED, runs: Path = RUNS) -> list[Specialist]:
    """The adapters and .onnx specialists of a folder, by name; none where there is no folder.

    ``runs`` holds a NAME.json of `edgeslm bench` for those that were measured.

    Raises:
        ModelFileError, CardError: a file that is neither, or has no readable card.
        InputError: a bench run that is none.
    """
    shipped = []
    files = (path for path in folder.rglob("*") if path.suffix in (".gguf", ".onnx"))
    for path in sorted(files, key=lambda path: path.name):
        info = read_onnx(path) if path.suffix == ".onnx" else read_adapter(path)
        if info.card is None:
            raise CardError(f"{path}: the adapter has no card; pack it again")
        shipped.append(Specialist(info.card, info.size, _run(info.card, runs)))
    return shipped


def _run(card: Card, folder: Path) -> BenchReport | None:
    """The kept run of this very version."""
    path = folder / f"{card.name}.json"
    report = saved.read(path) if path.is_file() else None
    return report if report is not None and report.model.card_version == card.version else None


def page(shipped: Iterable[Specialist]) -> str:
    """docs/specialists.md as text."""
    parts = [_part(one) for one in shipped]
    return _HEAD + ("".join(parts) or _NONE)


def readme(one: Specialist) -> str:
    """The README of one specialist's distribution."""
    command = "extract" if isinstance(one.card.task, ExtractTask) else "classify"
    return _README.format(name=one.card.name, command=command) + _part(one).lstrip("\n")


def write_readmes(folder: Path = SHIPPED) -> None:
    """Write the README of each specialist that has a folder."""
    for one in specialists(folder):
        if (folder / one.card.name).is_dir():
            _write(folder / one.card.name / "README.md", readme(one))


def write_page(target: Path = PAGE, folder: Path = SHIPPED) -> None:
    """Write the page, aside first.

    Raises:
        EdgeslmError: a bad adapter, or the page cannot be written.
    """
    _write(target, page(specialists(folder)))


def _write(target: Path, text: str) -> None:
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        publish(aside, target)
    except OSError as error:
        raise EdgeslmError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def _part(one: Specialist) -> str:
    card = one.card
    lines = [
        f"## `{card.name}`",
        card.description,
        _facts(one),
        *(_score(score, card.task) for score in card.scores),
        _calibration(card),
    ]
    return "\n" + "\n\n".join(line for line in lines if line) + "\n"


def _facts(one: Specialist) -> str:
    card = one.card
    made = card.provenance
    rows = {
        "Version": card.version,
        "Licence": card.licence,
        "Task": _task(card),
        "File": f"{one.size / 1e6:.1f} MB",
        "Time": _time(one.run),
        "Base": made.base or "",
        "Data": "; ".join(made.sources),
        "Made with": ", ".join(f"{tool} {version}" for tool, version in made.tools.items()),
        "Recipe": f"sha256 {made.recipe_sha256}" if made.recipe_sha256 else "",
        "Limits": _limits(card),
    }
    return "\n".join(f"- **{name}:** {_plain(words)}" for name, words in rows.items() if words)


def _time(run: BenchReport | None) -> str:
    task = None if run is None else main_task(run)
    if run is None or task is None:
        return ""
    return f"{latency_line(task)}; {machine_line(run.machine)}, {run.created[:10]}"


def _task(card: Card) -> str:
    if isinstance(card.task, ClassifyTask):
        return f"one of {len(card.task.labels)} labels"
    if isinstance(card.task, TagTask):
        return ", ".join(f"{head.name} ({len(head.labels)} labels)" for head in card.task.heads)
    properties = card.task.json_schema.get("properties")
    names = ", ".join(properties) if isinstance(properties, dict) else "one JSON value"
    return f"{card.task.kind} {names}"


def _limits(card: Card) -> str:
    """What the scores themselves say that it does not do well, or that nobody knows."""
    words = []
    for score in card.scores:
        known = {name: part for name, part in score.by_category.items() if _bounded(part)}
        if known:
            worst = min(known, key=lambda name: known[name].value)
            words.append(f"worst in {score.words(card.task)}: {worst} ({known[worst].value:.1%})")
        unknown = sum(part.n < ENOUGH_ROWS for part in score.by_category.values())
        if unknown:
            words.append(f"{NOT_ENOUGH} for {unknown} of {len(score.by_category)} categories")
    return "; ".join(dict.fromkeys(words))


def _score(score: Score, task: Task) -> str:
    interval = score.interval
    between = "" if interval is None else f" [{interval[0]:.1%}, {interval[1]:.1%}]"
    lines = [
        f"**{_plain(score.words(task))} {score.value:.1%}**{between}, n = {score.n:,}, "
        f"on {_plain(score.gold)}."
    ]
    if score.baselines:
        ranked = sorted(score.baselines.items(), key=lambda item: -item[1])
        table = [f"| {_plain(name)} | {value:.1%} |" for name, value in ranked]
        lines.append("\n".join(["| baseline | score |", "| --- | --- |", *table]))
    if score.by_category:
        lines.append(_categories(score.by_category))
    return "\n\n".join(lines)


def _categories(categories: dict[str, CategoryScore]) -> str:
    worst = sorted(categories.items(), key=lambda item: (item[1].value, item[0]))[:_WORST]
    rows = [
        f"| {_plain(name)} | {part.n:,} | {part.value:.1%} | {_bound(part)} |"
        for name, part in worst
    ]
    head = (
        "worst first" if len(categories) <= _WORST else f"the worst {_WORST} of {len(categories)}"
    )
    table = [f"| {head} | n | score | at least (95 %) |", "| --- | --- | --- | --- |", *rows]
    return "\n".join(table)


def _bound(part: CategoryScore) -> str:
    if part.n < ENOUGH_ROWS:
        return NOT_ENOUGH
    return "" if part.lower is None else f"{part.lower:.1%}"


def _bounded(part: CategoryScore) -> bool:
    return part.n >= ENOUGH_ROWS and part.lower is not None


def _calibration(card: Card) -> str:
    calibration = card.calibration
    if calibration is None or calibration.ece_before is None or calibration.ece_after is None:
        return ""
    what = f"temperature {calibration.temperature:.2f}"
    if calibration.fields:
        what = f"a step function for {len(calibration.fields)} of the fields"
    return (
        f"Confidence: {what}, fitted on {calibration.n or 0:,} development rows; there the "
        f"calibration error went from {calibration.ece_before:.3f} to {calibration.ece_after:.3f}."
    )


def _plain(text: str) -> str:
    """Text in one line that cannot break a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    try:
        write_page()
        write_readmes()
    except EdgeslmError as problem:
        fail(problem)
