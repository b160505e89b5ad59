"""The data step: files of examples become train, development and gold rows, and a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from converters.data.filter import Filtered, Reviewed, read_examples
from converters.data.label_noise import MAX_CHECKED, Suspect, label_suspects, unread_answers
from converters.data.report import draw, markdown
from converters.data.rows import Row, by_input, rows_sha256, write_rows
from converters.data.split import Divided, divide, leaks
from converters.data.summary import DataSummary, PartSummary
from converters.errors import DataError, require
from converters.recipe.data import Part
from converters.recipe.recipe import Recipe
from edgeslm.formats.card import ClassifyTask, TagTask, Task
from edgeslm.formats.files import Progress, publish


def prepare(recipe: Recipe, data_folder: Path, out: Path, progress: Progress) -> DataSummary:
    """Read, filter, split and check the recipe's examples.

    Writes ``train.jsonl``, ``development.jsonl``, ``gold.jsonl``, with split.seen ``seen.jsonl``
    (see `rows.Row`), ``review.jsonl`` (what was dropped, and suspects, each with ``why``),
    ``report.md``, ``report.png`` and, last, ``summary.json``: where that is, the others are whole.

    Raises:
        DataError: examples cannot be read or used, a part gets no rows, or ``out`` cannot be
            written.
        RecipeError: the recipe's template or answer fields are wrong.
        SchemaError: the task's schema cannot be enforced.
        MissingExtraError: a library of the training side is not installed.
    """
    require("datasketch", "matplotlib", "sklearn")
    filtered = read_examples(recipe, data_folder, progress)
    divided = divide(filtered.examples, recipe.data, progress)
    parts = divided.parts
    _require_rows(parts, filtered)
    progress("checking for leaks", 0, None)
    leaked = leaks(parts, recipe.data.near_duplicate)
    if leaked:
        raise DataError(f"{leaked} rows are in two parts at once; report this with the recipe")
    progress("looking for label noise", 0, None)
    checked = _checked(recipe, parts)
    suspects = _suspects(recipe, checked)
    summary = _summary(recipe, filtered, divided, len(suspects), len(checked))
    reviewed = [*filtered.reviewed, *divided.reviewed, *_listed(suspects, checked, parts)]
    _write(recipe, out, parts, reviewed, summary)
    return summary


def _require_rows(parts: Mapping[Part, Sequence[Row]], filtered: Filtered) -> None:
    for part, rows in parts.items():
        if not rows:
            raise DataError(
                f"no rows for {part}: {len(filtered.examples)} of {filtered.read} rows can be "
                "used; bring more rows, or change the fractions of data.split"
            )


# --- suspects -----------------------------------------------------------------


def _checked(recipe: Recipe, parts: Mapping[Part, Sequence[Row]]) -> list[Row]:
    """The rows among which suspects are looked for. Where training has all answers of an input,
    that is the commonest one: the others contradict it by design."""
    rows = [row for part in parts.values() for row in part]
    if not isinstance(recipe.task, ClassifyTask):
        return rows
    if recipe.data.copies == "all":
        rows = [max(same, key=lambda row: row.count) for same in by_input(rows)]
    return rows[:MAX_CHECKED]


def _suspects(recipe: Recipe, rows: Sequence[Row]) -> list[Suspect]:
    if isinstance(recipe.task, ClassifyTask):
        return label_suspects(rows)
    if isinstance(recipe.task, TagTask):
        return []  # labels need not stand in the input
    # dates and amounts are spelled anew, so they need not stand in the input
    return unread_answers(rows, [n for n, f in recipe.data.answer.items() if f.as_ == "text"])


def _listed(
    suspects: Sequence[Suspect], rows: Sequence[Row], parts: Mapping[Part, Sequence[Row]]
) -> Iterator[Reviewed]:
    part_of_id = {row.id: part for part, rows in parts.items() for row in rows}
    for suspect in suspects:
        row = rows[suspect.row]
        shown = {"input": row.input, "answer": row.answer}
        yield Reviewed(row.id, "suspect", f"{part_of_id[row.id]}: {suspect.detail}", shown)


# --- summary ------------------------------------------------------------------


def _summary(
    recipe: Recipe, filtered: Filtered, divided: Divided, suspects: int, checked: int
) -> DataSummary:
    dropped: Counter[str] = Counter(row.why for row in (*filtered.reviewed, *divided.reviewed))
    counted = {
        **dropped,
        "exact duplicate": divided.exact_duplicates,
        "over max_rows": divided.over_max_rows,
        "group not in training": divided.group_not_in_training,
        "over per_group": divided.over_per_group,
    }
    rows = [row for part in divided.parts.values() for row in part]
    return DataSummary(
        recipe=recipe.name,
        read=filtered.read,
        kept=len(rows),
        dropped={why: count for why, count in counted.items() if count},
        parts={part: _part(recipe.task, rows) for part, rows in divided.parts.items()},
        leaks=0,
        suspects=suspects,
        suspects_checked=checked,
        sha256=rows_sha256(rows),
    )


def _part(task: Task, rows: Sequence[Row]) -> PartSummary:
    if isinstance(task, ClassifyTask):
        occurrences = Counter(row.answer for row in rows)
        counts = {label.name: occurrences[label.name] for label in task.labels}
    else:
        counts = {
            name: sum(row.answer[name] is not None for row in rows) for name in rows[0].answer
        }
    return PartSummary(rows=len(rows), sha256=rows_sha256(rows), counts=counts)


# --- files --------------------------------------------------------------------


def _write(
    recipe: Recipe,
    out: Path,
    parts: Mapping[Part, Sequence[Row]],
    reviewed: Sequence[Reviewed],
    summary: DataSummary,
) -> None:
    with _tidy(out):
        (out / "summary.json").unlink(missing_ok=True)
        for part, rows in parts.items():
            write_rows(out / f"{part}.jsonl", rows)
        lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in reviewed)
        _write_text(out / "review.jsonl", lines)
        aside = out / "report.png.part"
        draw(aside, summary)
        publish(aside, out / "report.png")
        _write_text(out / "report.md", [markdown(recipe, summary, reviewed)])
        _write_text(out / "summary.json", [summary.model_dump_json(indent=2) + "\n"])


@contextmanager
def _tidy(out: Path) -> Iterator[None]:
    """Leave nothing half-written in ``out``, whatever happens."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written: {error.strerror or error}; "
            "make room or choose another folder, and run the data step again"
        ) from error
    finally:
        for aside in out.glob("*.part"):
            aside.unlink(missing_ok=True)


def _write_text(path: Path, pieces: Iterator[str] | list[str]) -> None:
    aside = path.with_name(path.name + ".part")
    with aside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(pieces)
    publish(aside, path)
