"""The report of `edgeslm eval` for people: scores by field, label or head, intervals, the bar"""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from edgeslm.cli.console import Console
from edgeslm.cli.output import printable
from edgeslm.evaluation.evaluate import Report, Rival
from edgeslm.evaluation.intervals import Estimate
from edgeslm.evaluation.scoring import (
    NOT_ENOUGH,
    ClassificationScores,
    ExtractionScores,
    LabelScore,
    enough,
)
from edgeslm.evaluation.scoring_tags import TagScores
from edgeslm.formats.card import CategoryScore
from edgeslm.formats.text import FOLD_WORDS

#: labels that are shown, the worst ones
_LABELS = 10


def show(report: Report) -> None:
    """Print a report."""
    console = Console()
    scores = report.scores
    console.print(Text(printable(f"{report.model} on {report.gold}, n = {scores.n:,}"), "bold"))
    if isinstance(scores, ExtractionScores):
        _show_extraction(console, scores)
    elif isinstance(scores, TagScores):
        _show_tags(console, scores)
    else:
        _show_classification(console, scores)
    for line in _notes(report):
        console.print(Text(printable(f"  {line}")))
    if report.bar is not None:
        words = "reached" if report.passed else "NOT reached"
        text = f"  bar {report.bar.value:.1%} ({report.bar.source}): {words}"
        console.print(Text(printable(text), "green" if report.passed else "bold red"))


def percent(estimate: Estimate) -> str:
    """An estimate in percent, with its 95 % interval."""
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"


def bound(category: CategoryScore) -> str:
    """The lower 95 % bound of a label or field, or that too few rows speak of it."""
    if not enough(category) or category.lower is None:
        return NOT_ENOUGH
    return f"at least {category.lower:.1%}"


def _show_extraction(console: Console, scores: ExtractionScores) -> None:
    _show_summary(
        console,
        {
            "field F1": scores.f1,
            "precision": scores.precision,
            "recall": scores.recall,
            "whole record right": scores.exact,
        },
    )
    console.print(Text(f"  texts compared with {FOLD_WORDS[scores.fold]} (--fold {scores.fold})"))
    table = _table("field", "compared as", "present", "precision", "recall", "F1", "right", "95 %")
    for path, field in scores.fields.items():
        _add(
            table,
            path,
            field.kind,
            f"{field.present:,}",
            f"{field.precision:.1%}",
            f"{field.recall:.1%}",
            percent(field.f1),
            f"{field.right.value:.1%}",
            bound(field.right),
        )
    console.print(table)


def _show_classification(console: Console, scores: ClassificationScores) -> None:
    _show_summary(console, {"accuracy": scores.accuracy, "macro-F1": scores.macro_f1})
    if scores.ece is not None:
        console.print(Text(f"  calibration error (ECE) {scores.ece:.3f}"))
    _show_labels(console, scores.labels)
    for pair in scores.confusions:
        taken_for = "no answer" if pair.taken_for is None else pair.taken_for
        console.print(Text(printable(f"  {pair.n} × {pair.label} taken for {taken_for}")))


def _show_tags(console: Console, scores: TagScores) -> None:
    _show_summary(console, {"whole record right": scores.exact})
    for name, head in scores.heads.items():
        console.print(Text(printable(f"  {name}"), "bold"))
        if isinstance(head, ClassificationScores):
            _show_classification(console, head)
        else:
            _show_summary(console, {"macro-F1": head.macro_f1, "all labels right": head.exact})
            _show_labels(console, head.labels)


def _show_labels(console: Console, labels: Mapping[str, LabelScore]) -> None:
    """The labels that are found least, as a table."""
    table = _table("label", "n", "found", "precision", "F1", "95 %")
    ranked = sorted(labels.items(), key=lambda item: (item[1].right.value, item[0]))
    for name, label in ranked[:_LABELS]:
        _add(
            table,
            name,
            f"{label.right.n:,}",
            f"{label.right.value:.1%}",
            f"{label.precision:.1%}",
            f"{label.f1:.1%}",
            bound(label.right),
        )
    console.print(table)
    if len(ranked) > _LABELS:
        console.print(Text(f"  and {len(ranked) - _LABELS} labels that are found more often"))


def _show_summary(console: Console, estimates: dict[str, Estimate]) -> None:
    for name, estimate in estimates.items():
        console.print(Text(f"  {name} {percent(estimate)}"))


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(f"  {column}" if i == 0 else column, overflow="fold")
    return table


def _add(table: Table, name: str, *cells: str) -> None:
    """A row of plain text: a name of an untrusted file is no markup."""
    table.add_row(Text(f"  {printable(name)}"), *map(Text, cells))


def _notes(report: Report) -> list[str]:
    scores = report.scores
    notes = [f"worst: {scores.worst}"] if scores.worst is not None else []
    notes += [
        f"with {FOLD_WORDS[fold]} (--fold {fold}): field F1 {percent(other.f1)}, whole record "
        f"right {percent(other.exact)}"
        for fold, other in report.folds.items()
        if fold != report.fold
    ]
    if scores.failed:
        notes.append(f"{scores.failed:,} without an answer count as wrong: {report.first_failure}")
    if report.unknown_labels:
        notes.append(f"gold labels that the model has not: {', '.join(report.unknown_labels)}")
    if report.known_by_heart:
        notes.append(
            f"{report.known_by_heart:,} of the rows have texts that the model knows by heart; "
            "they say nothing of new ones"
        )
    if report.latency is not None:
        latency = report.latency
        notes.append(f"one answer: p50 {latency.p50_ms:.0f} ms, p95 {latency.p95_ms:.0f} ms")
    return notes + ([] if report.baseline is None else _against(report.baseline))


def _against(rival: Rival) -> list[str]:
    comparison = rival.comparison
    difference = comparison.difference
    missing = f", {rival.missing:,} rows missing" if rival.missing else ""
    return [
        f"{rival.name}: {comparison.metric} {percent(rival.scores.main)}{missing}",
        f"difference {difference.value * 100:+.1f} points "
        f"[{difference.low * 100:+.1f}, {difference.high * 100:+.1f}]; rows right only here "
        f"{comparison.only_second:,}, only there {comparison.only_first:,}, "
        f"McNemar p = {comparison.p_value:.3g}",
        *([] if rival.advice is None else [rival.advice]),
    ]
