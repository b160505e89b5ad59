"""Answers for people: a table of fields with their evidence, or labels with bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from edgeslm.cli.console import Console
from edgeslm.cli.inputs import Input
from edgeslm.cli.output import printable
from edgeslm.errors import EdgeslmError
from edgeslm.results import Classification, Extraction, Field, Tags, Timing

#: labels that are shown, the likeliest ones
_LABELS = 5
#: characters of a text or of evidence that are shown
_EXCERPT = 60


def show(
    item: Input,
    answer: Extraction[object] | Classification | Tags | EdgeslmError,
    top: int | None = None,
) -> None:
    """Print one answer, or why there is none, under the place of its input; ``top`` labels."""
    count = top or _LABELS
    console = Console()
    console.print(_heading(item))
    if isinstance(answer, EdgeslmError):
        console.print(Text(f"  {printable(str(answer))}", style="red"))
    elif isinstance(answer, Classification):
        console.print(_labels(answer.probabilities, {answer.label}, count))
        console.print(_cost(answer.timing))
    elif isinstance(answer, Tags):
        for name, head in answer.heads.items():
            console.print(Text(f"  {printable(name)}", style="bold"))
            said = {head.label} if isinstance(head, Classification) else set(head.labels)
            console.print(_labels(head.probabilities, said, count))
        console.print(_cost(answer.timing))
    else:
        console.print(_fields(answer, str(item.text)))
        if not answer.complete:
            console.print(
                Text(
                    "  the budget ended before the answer: what has confidence 0 was cut or "
                    "filled; allow more --max-tokens or --deadline-ms",
                    style="yellow",
                )
            )
        if answer.nothing_read:
            console.print(
                Text(
                    "  nothing could be read: no value of the answer stands in the text, so do not "
                    "trust any; give the text that this model is for",
                    style="yellow",
                )
            )
        console.print(_cost(answer.timing))


def _heading(item: Input) -> Text:
    heading = Text(printable(item.place), style="bold")
    if isinstance(item.text, str):
        heading.append(f"  {_excerpt(item.text)}", style="not bold dim")
    return heading


def _fields(answer: Extraction[object], text: str) -> Table:
    from edgeslm.tasks.extraction.leaves import leaves

    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("  field", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("confidence", justify="right", no_wrap=True)
    table.add_column("read from", overflow="fold", style="dim")
    for leaf in leaves(answer.json):
        field = answer.fields[leaf.path]
        written = leaf.value if isinstance(leaf.value, str) else answer.json[leaf.start : leaf.end]
        table.add_row(
            Text(f"  {printable(leaf.path.removeprefix('$.'))}"),
            Text(printable(written)),
            Text(f"{field.confidence:.2f}", style="" if field.confidence >= 0.5 else "yellow"),
            Text(_evidence(field, text)),
        )
    return table


def _evidence(field: Field, text: str) -> str:
    return "not in the text" if field.span is None else _excerpt(text[slice(*field.span)])


def _labels(probabilities: Mapping[str, float], said: Collection[str], count: int) -> Table:
    """Bars of those that are said, then of the likeliest others."""
    table = Table.grid(padding=(0, 1))
    ranked = sorted(probabilities.items(), key=lambda item: (item[0] not in said, -item[1]))
    count = max(count, len(said))
    for label, probability in ranked[:count]:
        chosen = label in said
        table.add_row(
            Text(f"  {printable(label)}", style="bold" if chosen else ""),
            Bar(1, 0, probability, width=24, color="green" if chosen else "default"),
            Text(f"{probability:6.1%}"),
        )
    if len(ranked) > count:
        table.add_row(Text(f"  and {len(ranked) - count} more", style="dim"))
    return table


def _cost(timing: Timing) -> Text:
    if not timing.output_tokens:  # an encoder, which writes nothing
        return Text(f"  {timing.total_ms:.1f} ms: {timing.prompt_tokens} tokens\n", style="dim")
    return Text(
        f"  {timing.total_ms / 1000:.2f} s: prompt of {timing.prompt_tokens} tokens "
        f"({timing.cached_tokens} reused), answer of {timing.output_tokens}\n",
        style="dim",
    )


def _excerpt(text: str) -> str:
    """The beginning of a text in one line."""
    line = printable(" ".join(text[: 4 * _EXCERPT].split()))
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"
