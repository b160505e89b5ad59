"""The report of the data step: Markdown and one picture of what was kept, dropped and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from converters.data.filter import Reviewed, Why
from converters.data.summary import DataSummary
from converters.recipe.recipe import Recipe

_SHOWN_ROWS = 20
_SHOWN_BARS = 40
_CELL = 160
#: light and dark of one hue each; the parts stay apart in grey as well
_COLOURS = {"train": "#4477aa", "development": "#ccbb44", "gold": "#ee6677", "seen": "#228833"}


def markdown(recipe: Recipe, summary: DataSummary, reviewed: Sequence[Reviewed]) -> str:
    """The report as text, with tables for parts, reasons, balance, and rows to look at."""
    return "\n".join(_lines(recipe, summary, reviewed)) + "\n"


def draw(path: Path, summary: DataSummary) -> None:
    """Write the picture as PNG: what became of the rows, and the balance of the labels."""
    from matplotlib.figure import Figure

    counts = summary.parts["train"].counts
    names = sorted(counts, key=lambda name: -counts[name])[:_SHOWN_BARS]
    # a Figure of its own needs no display and shares no state with other threads
    figure = Figure(figsize=(12, max(4.0, 0.24 * len(names) + 1.5)), layout="constrained")
    fate, balance = figure.subplots(1, 2)

    rows = {name: part.rows for name, part in summary.parts.items()} | summary.dropped
    colours = [_COLOURS.get(name, "#bbbbbb") for name in rows]
    bars = fate.barh([_plain(name) for name in rows], list(rows.values()), color=colours)
    fate.bar_label(bars, fmt="{:,.0f}", padding=3)
    fate.margins(x=0.15)
    fate.invert_yaxis()
    fate.set_title(f"{summary.read:,} rows read, {summary.kept:,} kept")

    places = range(len(names))
    left = [0] * len(names)
    for label, part in summary.parts.items():
        widths = [part.counts[name] for name in names]
        balance.barh(places, widths, left=left, label=label, color=_COLOURS[label])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    # labels by place: two long names may be cut to the same one
    balance.set_yticks(places, [_plain(name) for name in names])
    balance.invert_yaxis()
    balance.margins(y=0.01)
    figure.legend(loc="outside lower center", ncols=len(summary.parts))
    shown = "" if len(names) == len(counts) else f" (the {len(names)} most frequent)"
    balance.set_title(f"rows of each label or field{shown}")
    figure.savefig(path, format="png", dpi=110)


def _plain(name: str) -> str:
    """A name for the picture: short, and a dollar sign begins no formula."""
    return (name if len(name) <= 32 else name[:31] + "…").replace("$", r"\$")


# --- text ---------------------------------------------------------------------


def _lines(recipe: Recipe, summary: DataSummary, reviewed: Sequence[Reviewed]) -> Iterator[str]:
    yield f"# Data of {recipe.name}"
    yield ""
    yield f"{summary.read:,} rows read, {summary.kept:,} kept. {_leak_line(summary)}"
    yield ""
    yield "![what became of the rows, and their balance](report.png)"
    yield ""
    yield "## Parts"
    yield ""
    yield from _table(
        ("part", "rows", "sha256"),
        [(name, f"{part.rows:,}", part.sha256[:16]) for name, part in summary.parts.items()],
    )
    yield _split_line(recipe)
    yield ""
    yield "## Dropped"
    yield ""
    yield from _table(
        ("why", "rows"), [(why, f"{count:,}") for why, count in summary.dropped.items()]
    )
    yield from _examples(reviewed, "contradictory", "## Contradictory rows (dropped)")
    yield from _examples(reviewed, "near-duplicate", "## Near-duplicates (dropped)")
    if summary.suspects:
        yield f"{summary.suspects:,} of {summary.suspects_checked:,} rows checked look wrong."
        yield ""
    yield from _examples(reviewed, "suspect", "## Suspects (kept; the surest first)")
    yield "## Balance"
    yield ""
    yield from _table(
        ("label or field", *summary.parts),
        [
            (name, *(f"{part.counts[name]:,}" for part in summary.parts.values()))
            for name in summary.parts["train"].counts
        ],
    )
    missing = [name for name, count in summary.parts["train"].counts.items() if not count]
    if missing:
        yield f"Without a training row: {', '.join(map(_cell, missing))}."
        yield ""
    yield "## Sources"
    yield ""
    yield from _table(
        ("file", "from", "licence"), [(f.path, f.url, f.licence) for f in recipe.data.files]
    )


def _leak_line(summary: DataSummary) -> str:
    if summary.leaks:
        return f"{summary.leaks:,} rows are in two parts."
    parts = "part" if "seen" not in summary.parts else "of training, development and gold"
    return f"No row of one {parts} is the same as, or a near-duplicate of, a row of another."


def _split_line(recipe: Recipe) -> str:
    split = recipe.data.split
    by = "the input" if split.group is None else f"{split.group}, whole groups together"
    words = [
        f"Split by a hash of {by}: {split.gold:.0%} gold, {split.development:.0%} development. "
        f"Near-duplicates share {recipe.data.near_duplicate:.0%} of their runs of five characters."
    ]
    if split.per_group is not None:
        words.append(f"Of one {split.group}, gold and development have {split.per_group} at most.")
    if split.seen:
        words.append(
            f"Of the rows whose {split.group} is in training, {split.seen:.0%}, by a hash of the "
            "row, are held out as seen: the rows are never trained on, but others with the same "
            "input may be."
        )
    if recipe.data.copies == "all":
        words.append(
            "Of copies of an input, training has one row for each answer; that of n copies weighs "
            f"n to the power of {recipe.data.weight_power:g}."
        )
    return " ".join(words)


def _examples(reviewed: Sequence[Reviewed], why: Why, title: str) -> Iterator[str]:
    shown = [
        (row.id, str(row.row.get("input", "")), row.detail)
        for row in islice((row for row in reviewed if row.why == why), _SHOWN_ROWS)
    ]
    if shown:
        yield title
        yield ""
        yield f"At most {_SHOWN_ROWS} are shown; all are in review.jsonl."
        yield ""
        yield from _table(("row", "input", "why"), shown)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        yield "None."
        yield ""
        return
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


def _cell(text: str) -> str:
    folded = " ".join(text.split()).replace("|", "\\|")
    return folded if len(folded) <= _CELL else folded[: _CELL - 1] + "…"
