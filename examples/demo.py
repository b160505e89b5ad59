"""What edgeslm does: specialists read receipts and name requests; a general model has a try."""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from rich.bar import Bar
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import edgeslm
from edgeslm.engines.device.machine import describe, show_bytes

HERE = Path(__file__).resolve().parent
TILL = ("till-1.txt", "till-2.txt")
READER = "receipt-fields"
RECEIPTS = ("receipt-1.txt", "receipt-2.txt")
#: files of short texts, and what a specialist says of each
REQUESTS = {
    "merchants.jsonl": "what was paid for",
    "assistant.jsonl": "what is asked",
    "bank.jsonl": "what is asked",
}
SPECIALISTS = ("spend-category-mini", "intents-oos-mini", "support-intents")
SENTENCES = "support.jsonl"
LABELS = ("return", "payment", "delivery")

Answer = Callable[[str], edgeslm.Classification]
Reader = Callable[[str], edgeslm.Extraction[Any]]


class Receipt(BaseModel):
    """What to read from a receipt; every rule holds while the answer is written."""

    company: str = Field(max_length=60)
    date: datetime.date
    address: str = Field(max_length=100)
    total: Decimal = Field(ge=0, lt=100_000, decimal_places=2)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--reader", default=READER, help=f"what reads {' and '.join(TILL)}")
    parser.add_argument(
        "--specialists",
        nargs=len(REQUESTS),
        default=SPECIALISTS,
        help=f"what labels the texts of {', '.join(REQUESTS)}",
    )
    parser.add_argument("--model", default="smollm2-135m", help="what reads and sorts the rest")
    options = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):  # a Windows console or pipe may not be UTF-8
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        show(options.reader, options.specialists, options.model, Console(highlight=False))
    except edgeslm.EdgeslmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def show(reader: str, specialists: Sequence[str], name: str, console: Console) -> None:
    timings = []
    with edgeslm.load(reader) as trained:
        read = trained.extractor()
        for file in TILL:
            title(console, f"{file}: values, and where they were read, says {reader}")
            timings.append((file, show_receipt(file, read, console)))
    for specialist, (file, what) in zip(specialists, REQUESTS.items(), strict=True):
        with edgeslm.load(specialist) as trained:
            title(console, f"{file}: {what}, says the specialist {specialist}")
            console.print(indented(answers_table(trained.classifier(), sentences(file))))
    start = time.perf_counter()
    with edgeslm.load(name) as model:
        loading = time.perf_counter() - start
        title(console, "This machine")
        console.print(indented(machine_words(name, loading)))

        general = partial(model.extractor(Receipt), grounded=True)
        for file in RECEIPTS:
            title(console, f"{file}: the general model {name}")
            timings.append((file, show_receipt(file, general, console)))

        sorter = model.classifier(LABELS)
        title(console, f"{SENTENCES}: {', '.join(LABELS[:-1])} or {LABELS[-1]}?")
        for number, sentence in enumerate(sentences(SENTENCES), 1):
            answer = sorter(sentence)
            console.print(indented(sentence))
            console.print(indented(labels_table(answer), 4))
            timings.append((f"sentence {number}", answer.timing))

    title(console, "Time")
    console.print(indented(timing_table(timings)))
    title(console, "What you saw")
    console.print(indented(closing_words()))
    title(console, "Next, with a text of your own")
    words = next_words(reader, specialists[-1], name)
    console.print(words, soft_wrap=True)  # a command is copied in one piece


def show_receipt(file: str, read: Reader, console: Console) -> edgeslm.Timing:
    text = (HERE / file).read_text(encoding="utf-8")
    result = read(text)
    console.print(indented(fields_table(result, text)))
    return result.timing


def answers_table(classify: Answer, texts: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("text", overflow="fold")
    table.add_column("answer", style="bold green")
    for heading in ("confidence", "ms"):
        table.add_column(heading, justify="right")
    classify(texts[0])  # so that the first time shown is no first call's
    for text in texts:
        answer = classify(text)
        table.add_row(
            text, answer.label, f"{answer.confidence:.1%}", f"{answer.timing.total_ms:.1f}"
        )
    return table


def machine_words(name: str, loading: float) -> str:
    machine = describe()
    return (
        f"{machine.cpu_model or 'unknown processor'}, {machine.usable_cores} of "
        f"{machine.logical_cores} cores usable\n"
        f"{show_bytes(machine.memory_available)} of {show_bytes(machine.memory_total)} memory "
        f"free, {machine.os}, {machine.python}\n"
        f"{name} loaded in {loading:.2f} s"
    )


def fields_table(result: edgeslm.Extraction[Any], text: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("field")
    table.add_column("value", overflow="fold")
    table.add_column("confidence", justify="right")
    table.add_column("read from", overflow="fold", style="dim")
    for name, value in dict(result.value).items():
        field = result.fields[f"$.{name}"]
        evidence = "not in the text" if field.span is None else text[slice(*field.span)]
        words = "none" if value is None else str(value)
        table.add_row(
            name, Text(words), f"{field.confidence:.1%}", Text(" ".join(evidence.split()))
        )
    return table


def labels_table(answer: edgeslm.Classification) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, probability in answer.probabilities.items():
        style = "bold green" if label == answer.label else "dim"
        table.add_row(
            Text(f"{label:10}", style=style), Bar(1, 0, probability, width=30), f"{probability:.1%}"
        )
    return table


def timing_table(timings: list[tuple[str, edgeslm.Timing]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("input")
    for heading in ("seconds", "reading", "writing", "tokens in", "reused", "tokens out"):
        table.add_column(heading, justify="right")
    for name, timing in timings:
        milliseconds = (timing.total_ms, timing.prefill_ms, timing.decode_ms)
        tokens = (timing.prompt_tokens, timing.cached_tokens, timing.output_tokens)
        table.add_row(name, *(f"{ms / 1000:.2f}" for ms in milliseconds), *map(str, tokens))
    return table


def closing_words() -> str:
    return (
        "The first receipts were read, and the bank's requests named, by specialists of 135 "
        "million parameters, trained for one of these each from the same base as the general "
        "model. "
        "The other requests and the merchants went to specialists of 22 million, one trained for "
        "150 intents and for saying `oos` where none fits, one for 40 ledger categories, which "
        "knows many merchants by heart; how often they are right is in docs/specialists.md. "
        "The other receipts and the sentences went to the general model, trained for neither. "
        "The form is right even so: the fields of the class Receipt in examples/demo.py, values "
        "that stand in the text, probabilities that add up to 1. They can still be the wrong "
        "ones, and a low confidence says so."
    )


def next_words(reader: str, specialist: str, name: str) -> str:
    return (
        f"  {command()} extract {reader} YOUR.txt\n"
        f"  {command()} classify {specialist} YOUR.txt\n"
        f"  {command()} extract {name} YOUR.txt --grounded --schema examples/receipt.schema.json\n"
        f"  {command()} classify {name} YOUR.txt --labels {','.join(LABELS)}"
    )


def command() -> str:
    """How to call edgeslm from here: make's environment is not on the PATH."""
    if shutil.which("edgeslm"):
        return "edgeslm"
    python = Path(sys.executable)
    here = Path.cwd()
    return f"{python.relative_to(here) if python.is_relative_to(here) else python} -m edgeslm"


def sentences(file: str) -> list[str]:
    lines = (HERE / file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def title(console: Console, words: str) -> None:
    console.print()
    console.print(Text(words, style="bold cyan"))


def indented(content: str | Table, by: int = 2) -> Padding:
    return Padding(
        Text(content) if isinstance(content, str) else content, (0, 0, 0, by), expand=False
    )


if __name__ == "__main__":
    sys.exit(main())
