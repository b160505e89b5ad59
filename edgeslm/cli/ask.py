"""`edgeslm extract` and `edgeslm classify`: one answer for each input, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from edgeslm.cli.inputs import Input, read_files, read_lines, total_bytes
from edgeslm.cli.output import for_people, print_line, tell_error
from edgeslm.cli.progress import bars
from edgeslm.cli.schema import read_schema
from edgeslm.errors import EdgeslmError, InputError, LabelError, OutputError, ResourceError
from edgeslm.formats.files import Progress, read_small, silent
from edgeslm.models.ask import Ask, Result

if TYPE_CHECKING:
    from edgeslm.models.model import Model

A = TypeVar("A")
C = TypeVar("C", bound=Callable[..., Any])

#: what can go wrong with one input while the next may well be answered
_IN_PLACE = (InputError, OutputError, ResourceError)
#: a file of labels larger than this is none
_MAX_LABEL_BYTES = 1024 * 1024
#: seconds after which a Ctrl-C is heard at the latest
_HEARS_EVERY = 0.1
_DAY_MS = 24 * 60 * 60 * 1000

_COMMON = (
    click.argument("name"),
    click.argument("files", nargs=-1, metavar="[FILE]..."),
    click.option("--jsonl", is_flag=True, help='Inputs are lines {"text": …}, not whole files.'),
    click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal."),
    click.option(
        "--deadline-ms",
        type=click.IntRange(1, _DAY_MS),
        help="Time that one answer may take.",
    ),
    click.option(
        "--truncate",
        type=click.Choice(["middle"]),
        help="Drop the middle of a text that is too long, instead of an error.",
    ),
    click.option(
        "--adapter",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="A LoRA adapter of the model, to answer with; its card then counts.",
    ),
    click.option(
        "--threads", type=click.IntRange(1, 256), help="Default: chosen for this machine."
    ),
    click.option(
        "--gpu-layers",
        type=click.IntRange(0, 10_000),
        help="Layers on a GPU; 0 is the processor alone. Default: all that fit.",
    ),
)


def _common(command: C) -> C:
    for decorate in reversed(_COMMON):
        command = decorate(command)
    return command


@click.command()
@_common
@click.option(
    "--schema",
    "schema_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="JSON Schema of the value. Default: the one in the model's card.",
)
@click.option("--max-tokens", type=click.IntRange(1, 65_536), help="Tokens of one answer.")
@click.option(
    "--on-budget",
    type=click.Choice(["close", "raise"]),
    default="close",
    show_default=True,
    help="When tokens or time run out: complete the JSON and flag it, or an error in its place.",
)
@click.option(
    "--grounded/--free",
    default=None,
    help="Let strings, numbers and dates only be ones that stand in the text, or any. "
    "Default: as the model's card says, else free.",
)
def extract(
    *,
    name: str,
    files: tuple[str, ...],
    jsonl: bool,
    as_json: bool,
    deadline_ms: int | None,
    truncate: Literal["middle"] | None,
    adapter: str | None,
    threads: int | None,
    gpu_layers: int | None,
    schema_file: str | None,
    max_tokens: int | None,
    on_budget: Literal["close", "raise"],
    grounded: bool | None,
) -> int:
    """Read values out of texts, with the model NAME (or a .gguf file).

    \b
    edgeslm extract smollm2-135m receipt.txt --schema receipt.schema.json
    edgeslm extract smollm2-135m --jsonl mails.jsonl --schema mail.schema.json > out.jsonl

    Each FILE is one input; without one, or with -, it is stdin. Each input has one JSON line
    on stdout with value, complete, fields and timing; on a terminal, a table. One that
    cannot be answered has an error in its place, and the exit code is 4 at the end.
    """
    from edgeslm.models.load import load

    files = _inputs(files, "extract smollm2-135m receipt.txt --schema receipt.schema.json")
    schema = None if schema_file is None else read_schema(schema_file)
    with load(name, threads=threads, gpu_layers=gpu_layers) as base:
        model = base if adapter is None else base.adapter(Path(adapter))
        extractor = model.extractor(schema, grounded=grounded)

        def answer(text: str) -> Result:
            return extractor(
                text,
                max_tokens=max_tokens,
                deadline_ms=deadline_ms,
                on_budget=on_budget,
                truncate=truncate,
            )

        return _answer_all(model, answer, files, jsonl, as_json)


@click.command()
@_common
@click.option(
    "--labels",
    metavar="A,B,C",
    help="Labels to choose from, or @FILE with one a line. Default: those of the model's card.",
)
def classify(
    *,
    name: str,
    files: tuple[str, ...],
    jsonl: bool,
    as_json: bool,
    deadline_ms: int | None,
    truncate: Literal["middle"] | None,
    adapter: str | None,
    threads: int | None,
    gpu_layers: int | None,
    labels: str | None,
) -> int:
    """Put texts into one of several labels, with the model NAME (or a .gguf or .onnx file).

    \b
    edgeslm classify smollm2-135m mail.txt --labels billing,refund,shipping
    edgeslm classify smollm2-135m --jsonl mails.jsonl --labels @labels.txt > out.jsonl

    Each FILE is one input; without one, or with -, it is stdin. Each input has one JSON line
    on stdout with label, confidence and the probability of every label; on a terminal, bars.
    A model that answers with several label sets has an object of these by name, heads.
    One that cannot be answered has an error in its place, and the exit code is 4 at the end.
    """
    from edgeslm.formats.card import TagTask
    from edgeslm.models.load import load

    files = _inputs(files, "classify smollm2-135m mail.txt --labels billing,refund,shipping")
    names = None if labels is None else _label_names(labels)
    with load(name, threads=threads, gpu_layers=gpu_layers) as base:
        model = base if adapter is None else base.adapter(Path(adapter))
        tags = names is None and model.card is not None and isinstance(model.card.task, TagTask)
        classifier = model.tagger() if tags else model.classifier(names)

        def answer(text: str) -> Result:
            return classifier(text, deadline_ms=deadline_ms, truncate=truncate)

        return _answer_all(model, answer, files, jsonl, as_json)


def _inputs(files: tuple[str, ...], example: str) -> tuple[str, ...]:
    if not files and sys.stdin.isatty():
        raise click.UsageError(
            f"name a FILE, or pipe a text in; for example:\n  edgeslm {example}\n"
            "To type the text yourself, give - as the FILE."
        )
    return files or ("-",)


def _label_names(labels: str) -> list[str]:
    if not labels.startswith("@"):
        return [name.strip() for name in labels.split(",")]
    path = Path(labels[1:])
    try:
        lines = read_small(path, _MAX_LABEL_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise LabelError(f"{path}: {error.strerror or error}; --labels @FILE reads it") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 at byte {error.start}") from error
    return [line.strip() for line in lines if line.strip()]


def _answer_all(model: Model, answer: Ask, files: Sequence[str], jsonl: bool, as_json: bool) -> int:
    """Answer every input and show it; the exit code."""
    inputs = read_lines(files) if jsonl else read_files(files)
    people = for_people(as_json)
    show = _show_table if people else _show_line
    asked = failed = done = 0
    total = total_bytes(files)
    first = ""
    with answering_thread(model) as answered, _bars(files, jsonl) as progress:
        for item in inputs:
            asked += 1
            try:
                result: Result | EdgeslmError = answered(answer, _text_of(item))
            except _IN_PLACE as error:
                result = error
                failed += 1
                first = first or f"{item.place}: {error}"
            show(item, result)
            done += item.size
            failures = f", {failed:,} failed" if failed else ""
            progress(f"{asked - failed:,} answered{failures}", done, total)
    if failed and (asked > 1 or not people):  # the one table has said it
        of = f"{failed:,} of {asked:,} inputs could not be answered; the first, " * (asked > 1)
        tell_error(f"{of}{first}")
    return InputError.exit_code if failed else 0


@contextmanager
def answering_thread(model: Model) -> Iterator[Callable[[Callable[[str], A], str], A]]:
    """A thread to answer on, so that Ctrl-C does not wait for llama.cpp to come back.

    What it gives calls a function there, with a text, and returns what that returns.
    """
    with ThreadPoolExecutor(1) as worker:

        def answered(answer: Callable[[str], A], text: str) -> A:
            future = worker.submit(answer, text)
            # A Ctrl-C that comes just before a wait is not heard before its end
            while wait([future], timeout=_HEARS_EVERY).not_done:
                pass
            return future.result()

        try:
            yield answered
        except KeyboardInterrupt:
            idle = worker.submit(int)  # done when the answer at work is
            while wait([idle], timeout=0.05).not_done:  # again: one that begins forgets a cancel
                model.cancel()
            raise


def _text_of(item: Input) -> str:
    if isinstance(item.text, InputError):
        raise item.text
    return item.text


def _show_line(item: Input, result: Result | EdgeslmError) -> None:
    if isinstance(result, EdgeslmError):
        error = result.to_dict()
        print_line({"error": {**error, "message": f"{item.place}: {error['message']}"}})
    else:
        print_line(result.to_dict())


def _show_table(item: Input, result: Result | EdgeslmError) -> None:
    from edgeslm.cli import answer_tables

    answer_tables.show(item, result)


def _bars(files: Sequence[str], jsonl: bool) -> AbstractContextManager[Progress]:
    """A bar over the bytes of the inputs, where a person sees stderr but not the answers."""
    several = jsonl or len(files) > 1
    return bars(one=True) if several and not sys.stdout.isatty() else nullcontext(silent)
