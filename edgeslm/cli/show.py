"""`edgeslm show` and `edgeslm pack`: what a model file is, and writing a card into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from edgeslm.cli.arguments import model_name
from edgeslm.cli.console import Console
from edgeslm.cli.output import for_people, print_line, printable
from edgeslm.formats.card import Calibration, Card, ClassifyTask, Provenance, Score, TagTask, Task
from edgeslm.formats.gguf.info import GGUFInfo, kv_bytes, read_gguf
from edgeslm.formats.info import read_info
from edgeslm.formats.onnx.info import ONNXInfo
from edgeslm.formats.onnx.reader_spec import FieldSpec

#: the context that the memory shown is for, unless the model's own is smaller
_CONTEXT = 2048
#: labels and fields that the table names before it says how many more there are
_NAMED = 8
#: labels or fields of a score that the table names, the worst ones
_WORST = 3


@click.command()
@model_name()
@click.option("--json", "as_json", is_flag=True, help="One JSON line, also on a terminal.")
def show(name: str, as_json: bool) -> None:
    """Show what a model is.

    \b
    edgeslm show receipt-fields
    edgeslm show ./receipt-fields.gguf --json

    Only the header is read. The memory of a .gguf is weights and key-value cache at
    2048 tokens; the engine's working buffers come on top.
    """
    from edgeslm.store.store import Store

    path = Store().resolve(name)
    info = read_info(path)
    if isinstance(info, ONNXInfo):
        facts, rows = _onnx_facts(info), _onnx_rows(info)
    else:
        facts, rows = _facts(info), _rows(info)
    if for_people(as_json):
        _print_table({"model": name, **rows})
    else:
        print_line({"model": name, **facts})


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--card",
    "card_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The card, as TOML.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a new file here and leave FILE as it is.",
)
def pack(file: Path, card_file: Path, out: Path | None) -> None:
    """Write a card into a GGUF file.

    \b
    edgeslm pack support-router.gguf --card card.toml
    edgeslm pack base.gguf --card card.toml --out support-router.gguf

    It takes the place of the card that FILE has. The file then carries its task, prompt
    and provenance with it, so that `edgeslm extract FILE` needs no schema and `edgeslm
    classify FILE` no labels.
    A classifier's card:

    \b
    name = "support-router"
    licence = "apache-2.0"
    [task]
    kind = "classify"
    labels = ["billing", "refund", "shipping"]
    [prompt]
    system = "You sort customer mail by topic."

    An extractor's card has this task instead; the schema may also be a table:

    \b
    [task]
    kind = "extract"
    json_schema = "invoice.schema.json"

    The card is checked against the file before anything is written: its schema must
    be one that can be enforced, its labels distinct, its chat template this file's.
    """
    from edgeslm.formats.gguf.pack import read_card, write_card

    target = out or file
    write_card(file, read_card(card_file), target)
    info = read_gguf(target)
    if for_people():
        _print_table(_rows(info))
    else:
        print_line(_facts(info))


def _facts(info: GGUFInfo) -> dict[str, Any]:
    context = min(_CONTEXT, info.context_length)
    return {
        "file": str(info.path),
        "size": info.size,
        "name": info.name,
        "architecture": info.architecture,
        "parameters": info.parameters,
        "quantization": info.quantization,
        "bits_per_weight": round(info.bits_per_weight, 3),
        "context_length": info.context_length,
        "vocab_size": info.vocab_size,
        "memory": {"context": context, "bytes": info.tensor_bytes + kv_bytes(info, context)},
        "chat_template_sha256": info.chat_template_sha256,
        "licence": info.licence,
        "card": None if info.card is None else info.card.model_dump(mode="json"),
    }


def _onnx_facts(info: ONNXInfo) -> dict[str, Any]:
    return {
        "file": str(info.path),
        "size": info.size,
        "kind": info.kind,
        "labels": info.width if info.reader is None else None,
        "fields": None if info.reader is None else [*map(_field_facts, info.reader.fields)],
        "max_tokens": info.max_tokens if info.kind == "encoder" else None,
        "reads_with": info.reads_with,
        "known_texts": _known_texts(info),
        "weight_bytes": info.weight_bytes,
        "opset": info.opset,
        "sha256": info.sha256,
        "card": info.card.model_dump(mode="json"),
    }


def _onnx_rows(info: ONNXInfo) -> dict[str, str]:
    limit = {"longest text": f"{info.max_tokens} tokens"} if info.kind == "encoder" else {}
    known = _known_texts(info)
    if known:
        limit["knows by heart"] = f"{known:,} texts"
    return {
        "file": str(info.path),
        "kind": f"{info.kind}, runs on onnxruntime",
        "reads with": info.reads_with,
        **limit,
        **_field_rows(info),
        "file size": _megabytes(info.size),
        "weights": _megabytes(info.weight_bytes),
        "operators": f"ONNX {info.opset}",
        "sha256": info.sha256,
        **_card_rows(info.card),
    }


def _field_facts(field: FieldSpec) -> dict[str, Any]:
    listed = field.read == "listed"
    return {"path": field.path, "read": field.read, "values": field.values if listed else None}


def _field_rows(info: ONNXInfo) -> dict[str, str]:
    """How a reader reads each field, a line for each."""
    if info.reader is None:
        return {}
    fields = info.reader.fields
    lines = [_field_line(field, words=info.reader.words) for field in fields[:_NAMED]]
    more = [f"and {len(fields) - _NAMED} more"] if len(fields) > _NAMED else []
    return {"fields": "\n".join([*lines, *more])}


def _field_line(field: FieldSpec, *, words: bool) -> str:
    match field.read:
        case "text":
            how = "words of the text" if words else "lines of the text or parts of them"
        case "listed":
            how = f"one of {_some(list(field.values))}"
        case "code":
            how = "a number with letters or marks, such as A-123"
        case kind:
            how = f"a {kind} that stands in the text"
    return f"{field.path}: {how}"


def _known_texts(info: ONNXInfo) -> int:
    """How many texts the file has answers for beside its model."""
    from edgeslm.formats.onnx.known_inputs import read_known

    if info.known is None:
        return 0
    return len(read_known(info.known, info.width, where=str(info.path)).texts)


def _print_table(rows: Mapping[str, str]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, Text(printable(value)))
    Console().print(table)


def _rows(info: GGUFInfo) -> dict[str, str]:
    facts = _facts(info)
    memory = facts["memory"]
    return {
        "file": facts["file"],
        "name": facts["name"] or "not named",
        "architecture": info.architecture,
        "parameters": f"{info.parameters:,}",
        "quantization": f"{info.quantization}, really {info.bits_per_weight:.2f} bits per weight",
        "context": f"{info.context_length:,} tokens",
        "vocabulary": f"{info.vocab_size:,} tokens",
        "file size": _megabytes(info.size),
        "memory": f"{_megabytes(memory['bytes'])} at {memory['context']:,} tokens",
        "chat template": facts["chat_template_sha256"] or "none",
        "licence": facts["licence"] or "not named",
        **(_card_rows(info.card) if info.card else {"card": "none"}),
    }


def _card_rows(card: Card) -> dict[str, str]:
    rows = {
        "card": f"{card.name} {card.version}, licence {card.licence}",
        "description": card.description,
        "task": task_summary(card),
        "system prompt": card.prompt.system or "",
        "calibration": _calibration_summary(card.calibration) if card.calibration else "",
        "scores": "\n".join(
            line for score in card.scores for line in _score_lines(score, card.task)
        ),
        "self-tests": f"{len(card.examples)}, run by edgeslm doctor" if card.examples else "",
        **_provenance_rows(card.provenance),
    }
    return {key: value for key, value in rows.items() if value}


def _calibration_summary(calibration: Calibration) -> str:
    if calibration.fields:
        parts = [f"confidence of {_some(list(calibration.fields))} by the share that was right"]
    else:
        parts = [f"temperature {calibration.temperature:g}"]
    if calibration.threshold is not None:
        parts.append(f"threshold {calibration.threshold:g}")
    if calibration.reject == "energy":
        parts.append(f"out of scope below energy {calibration.energy:g}")
    if calibration.ece_before is not None:
        parts.append(f"ECE {calibration.ece_before:.3f} without it")
    if calibration.ece_after is not None:
        parts.append(f"ECE {calibration.ece_after:.3f} with it")
    return ", ".join(parts) + (f" (n={calibration.n:,})" if calibration.n else "")


def _score_lines(score: Score, task: Task) -> Iterator[str]:
    """The score with its 95 % interval, then what it beats, and where it is worst."""
    low_high = score.interval
    interval = f" [{low_high[0]:.3f}, {low_high[1]:.3f}]" if low_high else ""
    yield f"{score.words(task)} {score.value:.3f}{interval} on {score.gold} (n={score.n:,})"
    for name, value in sorted(score.baselines.items(), key=lambda item: -item[1]):
        yield f"  {value:.3f} baseline: {name}"
    worst = sorted(score.by_category.items(), key=lambda item: item[1].value)
    for name, category in worst[:_WORST]:
        bound = "" if category.lower is None else f", at least {category.lower:.3f}"
        yield f"  {category.value:.3f} {name}{bound} (n={category.n:,})"
    if len(worst) > _WORST:
        yield f"  and {len(worst) - _WORST} that are no worse"


def _provenance_rows(made: Provenance) -> dict[str, str]:
    return {
        "made from": made.base or "",
        "base sha256": made.base_sha256 or "",
        "adapter sha256": made.adapter_sha256 or "",
        "recipe sha256": made.recipe_sha256 or "",
        "data sha256": made.data_sha256 or "",
        "data": ", ".join(made.sources),
        "tools": ", ".join(f"{name} {version}" for name, version in made.tools.items()),
    }


def task_summary(card: Card) -> str:
    """What a model does, in a few words, from its card."""
    if isinstance(card.task, ClassifyTask):
        names = [label.name for label in card.task.labels]
        other = card.task.out_of_scope
        rest = f"; {other} where no other is sure enough" if other else ""
        return f"classify into {len(names)} labels: {_some(names)}{rest}"
    if isinstance(card.task, TagTask):
        return "; ".join(
            f"tag {head.name} with {'any' if head.multi_label else 'one'} of {len(head.labels)} "
            f"labels: {_some([label.name for label in head.labels])}"
            for head in card.task.heads
        )
    fields = card.task.json_schema.get("properties")
    of = f" with the fields {_some(list(fields))}" if isinstance(fields, dict) and fields else ""
    return f"{card.task.kind} JSON{of}"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
