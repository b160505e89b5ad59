"""`make bench`: every benchmark of docs/benchmarks.md, one after the other."""

from __future__ import annotations

import click

from benchmarks.runs import batches, classify, contention, decode, extract
from benchmarks.runs.console import parts_of

PARTS = ("extract", "decode", "classify", "batches", "contention")


@click.command()
@click.option("--quick", is_flag=True, help="Few inputs, to see that all works; nothing is kept.")
@click.option(
    "--only",
    "parts",
    default=",".join(PARTS),
    show_default=True,
    callback=parts_of(PARTS),
    help="Each has options of its own: python -m benchmarks.runs.decode --help.",
)
@click.option(
    "--model", default=extract.MODEL, show_default=True, help="A pulled model, or a .gguf."
)
@click.option("--note", default="No change noted.", help="What this run is to show, for LOG.md.")
def main(*, quick: bool, parts: tuple[str, ...], model: str, note: str) -> None:
    """Measure edgeslm beside its peers; installs each in an environment of its own first."""
    shared = ["--model", model, *(["--quick"] if quick else [])]
    if "extract" in parts:
        _run(extract.main, *shared, "--note", note)
    if "decode" in parts:
        _run(decode.main, *shared)
    if "classify" in parts:
        _run(classify.main, *shared)
    if "batches" in parts:
        _run(batches.main, *shared)
    if "contention" in parts:
        _run(contention.main, *shared)


def _run(command: click.Command, *arguments: str) -> None:
    """A command with all that it does to its arguments; its failure ends this one."""
    command.main(args=list(arguments), standalone_mode=False)


if __name__ == "__main__":
    main()
