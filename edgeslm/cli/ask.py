"""`edgeslm extract`, `classify` and `tag`: one answer for each input, in order."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from edgeslm.cli.answering import Shape, answer_all
from edgeslm.cli.arguments import Choice, ModelName, model_name
from edgeslm.cli.inputs import Input, Source, check_columns, columns_of, decode
from edgeslm.cli.record_page import RecordPage, check_page
from edgeslm.cli.schema import read_schema
from edgeslm.errors import CardError, InputError, LabelError
from edgeslm.formats.files import read_small
from edgeslm.models.ask import Result

if TYPE_CHECKING:
    from edgeslm.models.model import Model

C = TypeVar("C", bound=Callable[..., Any])
Truncate = Literal["middle"] | None

#: a file of labels larger than this is none
_MAX_LABEL_BYTES = 1024 * 1024
_DAY_MS = 24 * 60 * 60 * 1000
#: what an answer is made of, which no column that is kept may stand for
_ANSWER_KEYS = {"complete", "confidence", "error", "fields", "heads"} | {
    "label",
    "probabilities",
    "timing",
    "value",
}

_READING = (
    click.option(
        "--text",
        "texts",
        multiple=True,
        metavar="TEXT",
        help="A text to answer, instead of a FILE; may be given several times.",
    ),
    click.option("--jsonl", is_flag=True, help='Read lines {"text": …}, also where no .jsonl is.'),
    click.option(
        "--column",
        metavar="NAME",
        help="The column of a table (.csv, .tsv) that has the texts, or the key of JSON lines.",
    ),
    click.option(
        "--keep",
        metavar="A,B",
        default="",
        help="Other columns or keys that each answer carries, beside the id.",
    ),
    click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal."),
)
_RUNNING = (
    click.option(
        "--deadline-ms", type=click.IntRange(1, _DAY_MS), help="Time that one answer may take."
    ),
    click.option(
        "--truncate",
        type=Choice(["middle"]),
        help="Drop the middle of a text that is too long, instead of an error.",
    ),
    click.option(
        "--adapter",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="A LoRA adapter of the model, to answer with; its card then counts.",
    ),
    click.option(
        "--unproven",
        is_flag=True,
        help="Answer with an --adapter whose card was proven as one file alone.",
    ),
    click.option(
        "--threads", type=click.IntRange(1, 256), help="Threads to compute on. Default: chosen."
    ),
    click.option(
        "--gpu-layers",
        type=click.IntRange(0, 10_000),
        help="Layers on a GPU; 0 is the processor alone. Default: all that fit.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the three commands are asked alike."""

    name: str
    source: Source
    shape: Shape
    deadline_ms: int | None
    truncate: Truncate
    adapter: str | None
    unproven: bool
    threads: int | None
    gpu_layers: int | None

    @contextmanager
    def model(self) -> Iterator[Model]:
        """The model, loaded; with an adapter, what answers with it."""
        from edgeslm.models.load import load

        with load(self.name, threads=self.threads, gpu_layers=self.gpu_layers) as base:
            if self.adapter is None:
                yield base
            else:
                yield base.adapter(Path(self.adapter), unproven=self.unproven)


def _top(of_what: str) -> Callable[[C], C]:
    """The option that shortens the probabilities of each answer."""
    words = f"Only the K likeliest of the {of_what}."
    return click.option("--top", type=click.IntRange(1), metavar="K", help=words)


def _asking(command: C) -> C:
    """The arguments and options that the three commands have; they come as one `_Asked`.

    The name of the command is the task that its models do.
    """

    @functools.wraps(command)  # with the options that the command has already
    def gathered(
        *,
        name: str,
        files: tuple[str, ...],
        texts: tuple[str, ...],
        jsonl: bool,
        column: str | None,
        keep: str,
        as_json: bool,
        top: int | None,
        deadline_ms: int | None,
        truncate: Truncate,
        adapter: str | None,
        unproven: bool,
        threads: int | None,
        gpu_layers: int | None,
        **own: Any,
    ) -> Any:
        source = _source(files, texts, jsonl, column, keep)
        shape = Shape(as_json=as_json, top=top)
        asked = _Asked(
            name, source, shape, deadline_ms, truncate, adapter, unproven, threads, gpu_layers
        )
        return command(asked, **own)

    decorated: Callable[..., Any] = gathered
    for decorate in reversed(
        (model_name(kind=ModelName(does=command.__name__)), _FILES, *_READING, *_RUNNING)
    ):
        decorated = decorate(decorated)
    return cast(C, decorated)


_FILES = click.argument("files", nargs=-1, type=click.Path(), metavar="[FILE]...")


@click.command()
@_asking
@_top("values that the schema lists for a field")
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
    type=Choice(["close", "raise"]),
    default="close",
    show_default=True,
    help="When tokens or time run out: complete the JSON and flag it, or an error in its place.",
)
@click.option(
    "--grounded/--free",
    default=None,
    help="Let strings, numbers and dates only be ones that stand in the text, or any. "
    "Default: as the model's card says, else dates, times and numbers where the text has some.",
)
@click.option(
    "--untrained",
    is_flag=True,
    help="Let a specialist that was trained for another task read values with a --schema.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT",
    help="Also write a page that shows each input with the place, value and confidence of every "
    "field.",
)
def extract(
    asked: _Asked,
    *,
    schema_file: str | None,
    max_tokens: int | None,
    on_budget: Literal["close", "raise"],
    grounded: bool | None,
    untrained: bool,
    html: Path | None,
) -> int:
    """Read values out of texts.

    \b
    edgeslm extract receipt-fields receipt.txt
    edgeslm extract smollm2-135m receipt.txt --schema receipt.schema.json
    edgeslm extract receipt-fields mails.csv --column body --keep sender > out.jsonl
    edgeslm extract receipt-fields scan.jpg bill.pdf --html records.html

    Each FILE is one input; a .jsonl has one in each line, and a .csv or .tsv one in each row.
    Without a FILE, or with -, it is stdin. Each input has one JSON line on stdout with value,
    complete, fields and timing; on a terminal, a table. One that cannot be answered has an
    error in its place, and the exit code is 4 at the end.
    """
    if untrained and schema_file is None:
        raise click.UsageError("--untrained needs a --schema: it is for one that the card lacks")
    if html is not None:
        check_page(html, asked.source)
    schema = None if schema_file is None else read_schema(schema_file)
    with asked.model() as model:
        if schema is None:
            _require_task(asked.name, model, "extract")
        extractor = model.extractor(schema, grounded=grounded, untrained=untrained)

        def answer(item: Input) -> Result:
            return extractor(
                item.source,
                max_tokens=max_tokens,
                deadline_ms=asked.deadline_ms,
                on_budget=on_budget,
                truncate=asked.truncate,
            )

        if html is None:
            return answer_all(model, answer, asked.source, asked.shape)
        records = RecordPage(html, asked.name)
        code = answer_all(model, answer, asked.source, asked.shape, records.add)
        records.write()
        return code


@click.command()
@_asking
@_top("labels")
@click.option(
    "--labels",
    metavar="A,B,C",
    help="Labels to choose from, or @FILE with one a line. Default: those of the model's card. "
    "Of a specialist's own labels, some may be given: their probabilities then add up to 1, and "
    "its out-of-scope label is answered only if it is listed.",
)
@click.option(
    "--untrained",
    is_flag=True,
    help="Let a specialist that is a language model answer with --labels that it was not trained "
    "for; its confidence is then worth little. An encoder refuses such labels.",
)
def classify(asked: _Asked, *, labels: str | None, untrained: bool) -> int:
    """Put texts into one of several labels.

    \b
    edgeslm classify support-intents mail.txt
    edgeslm classify support-intents --text "where is my card?" --top 3
    edgeslm classify smollm2-135m mails.jsonl --labels billing,refund,shipping > out.jsonl

    Each FILE is one input; a .jsonl has one in each line, and a .csv or .tsv one in each row.
    Without a FILE, or with -, it is stdin. Each input has one JSON line on stdout with label,
    confidence and the probability of every label; on a terminal, bars. One that cannot be
    answered has an error in its place, and the exit code is 4 at the end.
    """
    if untrained and labels is None:
        raise click.UsageError("--untrained needs --labels: it is for some that the card lacks")
    names = None if labels is None else _label_names(labels)
    with asked.model() as model:
        if names is None:
            _require_task(asked.name, model, "classify")
        classifier = model.classifier(names, untrained=untrained)

        def answer(item: Input) -> Result:
            return classifier(
                str(item.source), deadline_ms=asked.deadline_ms, truncate=asked.truncate
            )

        return answer_all(model, answer, asked.source, asked.shape)


@click.command()
@_asking
@_top("labels")
def tag(asked: _Asked) -> int:
    """Give texts labels of several sets at once.

    \b
    edgeslm tag ticket-tags ticket.txt
    edgeslm tag ./ticket-tags.onnx tickets.csv --column text --keep opened > out.jsonl

    For an .onnx specialist whose card has several label sets. Each FILE is one input; a .jsonl
    has one in each line, and a .csv or .tsv one in each row. Without a FILE, or with -, it is
    stdin. Each input has one JSON line on stdout with heads, the answers by label set, and
    timing; on a terminal, bars. One that cannot be answered has an error in its place, and the
    exit code is 4 at the end.
    """
    with asked.model() as model:
        _require_task(asked.name, model, "tag")
        tagger = model.tagger()

        def answer(item: Input) -> Result:
            return tagger(str(item.source), deadline_ms=asked.deadline_ms, truncate=asked.truncate)

        return answer_all(model, answer, asked.source, asked.shape)


def _require_task(name: str, model: Model, command: str) -> None:
    """Refuse a model whose card is for another command, and say what it does.

    Raises:
        CardError: it does something else.
    """
    card = model.card
    if card is None or card.task.kind == command:
        return
    other = "extract" if card.task.kind == "generate" else card.task.kind
    if other == command:
        return
    from edgeslm.cli.show import task_summary

    raise CardError(
        f"{name} does not {command}; its card says: {task_summary(card)}. "
        f"Use `edgeslm {other} {name}`"
    )


def _source(
    files: tuple[str, ...], texts: tuple[str, ...], jsonl: bool, column: str | None, keep: str
) -> Source:
    """What is to be read.

    Raises:
        click.UsageError: that is not said, or said twice.
        InputError: no row has the column that is said.
    """
    context = click.get_current_context()
    kept = [name.strip() for name in keep.split(",") if name.strip()]
    if clash := sorted(_ANSWER_KEYS.intersection(kept)):
        raise click.UsageError(f"--keep {clash[0]}: an answer has a key of that name; rename it")
    if not files and not texts:
        if sys.stdin is None:
            raise click.UsageError("standard input is closed: name a FILE, or give a --text")
        if sys.stdin.isatty():
            raise click.UsageError(
                f"name a FILE, give a --text, or pipe one in; for example:\n"
                f"  {context.command_path} {context.params['name']} mail.txt\n"
                "To type the text yourself, give - as the FILE."
            )
        files = ("-",)
    source = Source(files, texts, lines=jsonl, column=column, keep=tuple(kept))
    tables = [file for file in files if source.form(file) == "table"]
    if tables and column is None:
        columns = ", ".join(columns_of(tables[0]))
        raise click.UsageError(
            f"{tables[0]} is a table: say which column has the texts with --column NAME"
            + (f"; its columns: {columns}" if columns else "")
        )
    if kept and all(source.form(file) == "whole" for file in files):
        raise click.UsageError("--keep is for rows: give a .jsonl, .csv or .tsv file, or --jsonl")
    check_columns(source)
    return source


def _label_names(labels: str) -> list[str]:
    if not labels.startswith("@"):
        return [name.strip() for name in labels.split(",")]
    path = Path(labels[1:])
    try:
        lines = decode(read_small(path, _MAX_LABEL_BYTES)).splitlines()
    except OSError as error:
        raise LabelError(f"{path}: {error.strerror or error}; --labels @FILE reads it") from error
    except InputError as error:
        raise LabelError(f"{path}: {error}") from error
    return [line.strip() for line in lines if line.strip()]
