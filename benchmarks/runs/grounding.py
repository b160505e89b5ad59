"""What grounding brings: free, auto and grounded answers to invoices and receipts, side by side.

python -m benchmarks.runs.grounding --documents invoices
python -m benchmarks.runs.grounding --documents receipts --model receipt-fields --count 80

A language model reads every document in each way, in turning order; receipts are the held-out
rows of the recipe receipt-fields. A model with a card of its own answers by the card's schema and
prompt, any other one by a schema of these fields. A date or an amount is right if it has the
value, a string if it has the letters and digits, of the truth; strings have a share of words too
(F1), which tells more of a model that is seldom all right.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import click
import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from benchmarks.data.business_invoices import BusinessInvoice, Document, make_business_invoice
from benchmarks.data.receipts import ROOT, data_folder
from benchmarks.data.schemas import Receipt
from benchmarks.runs.console import Tick, bar, bars
from edgeslm.errors import EdgeslmError
from edgeslm.evaluation.intervals import Estimate, bootstrap, mcnemar, median_of, share
from edgeslm.evaluation.normalize import normal_amount, normal_date
from edgeslm.formats.files import publish
from edgeslm.formats.text import fold
from edgeslm.models.load import load
from edgeslm.models.model import Model

Kind = Literal["invoices", "receipts"]
#: the ways, by name: what ``grounded`` is
WAYS: Final[Mapping[str, Literal["auto"] | bool]] = {"free": False, "auto": "auto", "all": True}
MAX_TOKENS: Final = 256
#: put before each timed call, so that all hold the fixed prompt and no more
_OTHER: Final = "Corner Kiosk, 3 May 2024, one newspaper, total EUR 2.40"
_SCHEMAS: Final[Mapping[Kind, type[BaseModel]]] = {"invoices": BusinessInvoice, "receipts": Receipt}
_RECIPE: Final = ROOT / "converters" / "recipes" / "receipt-fields.toml"
_WORDS: Final = re.compile(r"\w+")

#: a text -> the values, by field, and seconds
Read = Callable[[str], tuple[Mapping[str, Any], float]]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class FieldOfWay(_Frozen):
    """One field, read in one way. ``words`` is None for what is no string."""

    right: Estimate
    words: Estimate | None


class Pair(_Frozen):
    """Two ways at one field of the same documents: how many only one of them has right, McNemar's
    p-value, and by how much the second has the larger share of words."""

    field: str
    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float
    words: Estimate | None


class Results(_Frozen):
    """All that a run found. ``failed`` counts documents without an answer, by way."""

    model: str
    documents: str
    n: int
    fields: dict[str, dict[str, FieldOfWay]]
    pairs: tuple[Pair, ...]
    seconds: dict[str, Estimate]
    failed: dict[str, int]


# --- documents ------------------------------------------------------------------


def invoices(count: int) -> list[Document]:
    """The first ``count`` invoices of the generator."""
    return [make_business_invoice(number) for number in range(count)]


def receipts(count: int) -> list[Document]:
    """The first ``count`` receipts that the specialist receipt-fields has not learned from.

    Raises:
        DataError: receipts.jsonl.gz is not in the folder EDGESLM_DATA.
    """
    from converters.data.prepare import prepare
    from converters.data.rows import read_rows
    from converters.recipe.recipe import read_recipe

    with tempfile.TemporaryDirectory() as folder:
        prepare(read_recipe(_RECIPE), data_folder(), Path(folder), lambda *_: None)
        rows = read_rows(Path(folder) / "gold.jsonl")[:count]
    return [Document(row.input, dict(row.answer)) for row in rows]


# --- answers --------------------------------------------------------------------


def ways_of(model: Model, kind: Kind) -> dict[str, Read]:
    """The model in each way."""
    schema = None if model.card is not None else _SCHEMAS[kind]
    return {name: _way(model, schema, grounded) for name, grounded in WAYS.items()}


def _way(model: Model, schema: type[BaseModel] | None, grounded: Literal["auto"] | bool) -> Read:
    extractor = model.extractor(schema, grounded=grounded)

    def read(text: str) -> tuple[Mapping[str, Any], float]:
        extractor(_OTHER, max_tokens=1, grounded=False)
        answer = extractor(text, max_tokens=MAX_TOKENS)
        value = answer.value
        return (
            value.model_dump() if isinstance(value, BaseModel) else value,
            answer.timing.total_ms / 1000,
        )

    return read


#: the values, by field, or None where there are none, and seconds
Answer = tuple[Mapping[str, Any] | None, float]
Answers = dict[str, list[Answer]]


def read_all(ways: Mapping[str, Read], documents: Sequence[Document], tick: Tick) -> Answers:
    """Every document in each way; None where there is no answer. Their order turns, so that
    whatever else the machine does meets all alike."""
    answers: Answers = {name: [] for name in ways}
    names = list(ways)
    for i, document in enumerate(documents):
        for turn in range(len(names)):
            name = names[(i + turn) % len(names)]
            try:
                answers[name].append(ways[name](document.text))
            except EdgeslmError:
                answers[name].append((None, 0.0))
            tick()
    return answers


# --- scores ---------------------------------------------------------------------


def kind_of(value: Any) -> Literal["date", "amount", "text"]:
    """What a true value is compared as."""
    if isinstance(value, dt.date):
        return "date"
    if isinstance(value, Decimal):
        return "amount"
    text = str(value or "")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return "date"
    return "amount" if re.fullmatch(r"-?\d+\.\d\d", text) else "text"


def is_right(true: Any, given: Any) -> bool:
    """Whether an answer has the value of the truth; none is right where there is none."""
    if true is None or given is None:
        return true is given
    readers = {"date": normal_date, "amount": normal_amount}
    kind = kind_of(true)
    if kind == "text":
        return "".join(_words(true)) == "".join(_words(given))
    return readers[kind](_spelled(true)) == readers[kind](_spelled(given))


def shared_words(true: Any, given: Any) -> float:
    """The F1 of the words of an answer; 1 where both have none."""
    truth, answer = Counter(_words(true or "")), Counter(_words(given or ""))
    total = truth.total() + answer.total()
    return 2 * (truth & answer).total() / total if total else 1.0


def _words(value: Any) -> list[str]:
    return _WORDS.findall(fold(str(value)))


def _spelled(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def judge(model: str, kind: Kind, documents: Sequence[Document], answers: Answers) -> Results:
    """Score all answers."""
    fields: dict[str, dict[str, FieldOfWay]] = {}
    pairs: list[Pair] = []
    for field in documents[0].truth:
        truth = [document.truth.get(field) for document in documents]
        given = {
            name: [(value or {}).get(field) for value, _ in said] for name, said in answers.items()
        }
        right = {
            name: np.array([is_right(*both) for both in zip(truth, values, strict=True)])
            for name, values in given.items()
        }
        words = {}
        if all(kind_of(value) == "text" for value in truth):
            words = {
                name: np.array([shared_words(*both) for both in zip(truth, values, strict=True)])
                for name, values in given.items()
            }
        fields[field] = {
            name: FieldOfWay(
                right=share(int(hits.sum()), len(hits)),
                words=_mean(words[name]) if words else None,
            )
            for name, hits in right.items()
        }
        for first, second in pairwise(answers):
            ahead = int((right[first] & ~right[second]).sum())
            behind = int((right[second] & ~right[first]).sum())
            pairs.append(
                Pair(
                    field=field,
                    first=first,
                    second=second,
                    only_first=ahead,
                    only_second=behind,
                    p_value=mcnemar(ahead, behind),
                    words=_mean(words[second] - words[first]) if words else None,
                )
            )
    return Results(
        model=model,
        documents=kind,
        n=len(documents),
        fields=fields,
        pairs=tuple(pairs),
        seconds={name: _median(said) for name, said in answers.items()},
        failed={name: sum(value is None for value, _ in said) for name, said in answers.items()},
    )


def _median(said: Sequence[Answer]) -> Estimate:
    """The seconds of documents with an answer."""
    taken = [seconds for value, seconds in said if value is not None]
    return median_of(taken) if taken else Estimate(value=0, low=0, high=0, n=0)


def _mean(values: np.ndarray) -> Estimate:
    return bootstrap(len(values), lambda drawn: values[drawn].mean(axis=1))


# --- what is shown --------------------------------------------------------------


def lines(results: Results) -> Iterator[str]:
    """The results as Markdown: right answers of each field, words of strings, seconds; then what
    differs between one way and the next."""
    ways = list(results.seconds)
    yield f"{results.model}, {results.n} {results.documents}; right, with the 95 % interval"
    yield ""
    yield f"| | {' | '.join(ways)} |"
    yield f"|---|{'---|' * len(ways)}"
    for field, by_way in results.fields.items():
        yield f"| {field} | {' | '.join(_right(by_way[way].right) for way in ways)} |"
    for field, by_way in results.fields.items():
        words = [by_way[way].words for way in ways]
        if words[0] is not None:
            yield f"| {field}, words (F1) | {' | '.join(map(_value, words))} |"
    yield f"| s a document, median | {' | '.join(_value(results.seconds[w]) for w in ways)} |"
    yield f"| without an answer | {' | '.join(str(results.failed[way]) for way in ways)} |"
    yield ""
    yield "| field | ways | only the first right | only the second | p | words, second - first |"
    yield "|---|---|---|---|---|---|"
    for pair in results.pairs:
        yield (
            f"| {pair.field} | {pair.first}, {pair.second} | {pair.only_first} | "
            f"{pair.only_second} | {pair.p_value:.3f} | {_value(pair.words)} |"
        )


def _right(estimate: Estimate) -> str:
    return f"{round(estimate.value * estimate.n)} [{estimate.low:.0%}, {estimate.high:.0%}]"


def _value(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


@click.command()
@click.option("--documents", "kind", type=click.Choice(["invoices", "receipts"]), required=True)
@click.option("--model", "name", default="smollm2-135m", show_default=True, help="Name or .gguf.")
@click.option("--count", type=click.IntRange(1), default=30, show_default=True)
@click.option(
    "--ways",
    "chosen",
    default=",".join(WAYS),
    show_default=True,
    help="Which of them, with commas between.",
)
@click.option("--results", "file", type=click.Path(path_type=Path), help="Write numbers as JSON.")
def main(*, kind: Kind, name: str, count: int, chosen: str, file: Path | None) -> None:
    """Measure what is right in free and in grounded answers, and the time they take."""
    unknown = sorted(set(chosen.split(",")).difference(WAYS))
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(WAYS)}")
    try:
        documents = invoices(count) if kind == "invoices" else receipts(count)
        with load(name) as model, bars(Console(stderr=True)) as progress:
            ways = {
                way: read for way, read in ways_of(model, kind).items() if way in chosen.split(",")
            }
            tick = bar(progress, f"{len(documents)} {kind}", len(ways) * len(documents))
            answers = read_all(ways, documents, tick)
    except (EdgeslmError, OSError) as error:
        raise click.ClickException(str(error)) from error
    results = judge(Path(name).name, kind, documents, answers)
    click.echo("\n".join(lines(results)))
    if file is not None:
        aside = file.with_name(file.name + ".part")
        aside.write_text(results.model_dump_json(indent=1) + "\n", "utf-8", newline="\n")
        publish(aside, file)


if __name__ == "__main__":
    main()
