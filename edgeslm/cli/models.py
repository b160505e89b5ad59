"""`edgeslm models` and `edgeslm pull`: what there is, and bringing it onto this device."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from edgeslm.cli.arguments import model_name
from edgeslm.cli.console import Console
from edgeslm.cli.output import for_people, print_line, say, tell
from edgeslm.cli.progress import bars
from edgeslm.cli.several import for_each
from edgeslm.errors import PullError
from edgeslm.formats.files import megabytes
from edgeslm.store.entry import Entry
from edgeslm.store.install import install
from edgeslm.store.packages import Packaged, Refused, survey
from edgeslm.store.registry import Registry
from edgeslm.store.store import Installed, Store

#: characters of the columns whose cells go on in a second line where a terminal is narrow
_NARROW = {"licence": 16, "from": 20, "pulled": 8}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal.")
def models(as_json: bool) -> None:
    """List the models that there are, and where each comes from.

    \b
    edgeslm models
    edgeslm models --json > models.jsonl

    Your own entries go into models.toml in the platform's configuration folder,
    or into files that EDGESLM_MODELS names. A narrow terminal shows fewer columns; --json
    has everything.
    """
    installed = {model.name: model for model in Store().installed()}
    entries = dict(Registry.load().entries)
    brought, refused = survey()
    packaged = {one.entry.name: one for one in brought if one.entry.name not in entries}
    wrong = {one.name: one for one in refused if _is_asked(one, entries, installed)}
    entries.update({name: one.entry for name, one in packaged.items()})
    rows = [
        _row(name, entries, installed.get(name), packaged.get(name))
        for name in dict.fromkeys([*entries, *installed])
        if name not in wrong
    ]
    rows += [_refused_row(one) for one in wrong.values()]
    if not for_people(as_json):
        for row in rows:
            print_line(row)
        return
    _show(rows)
    for one in wrong.values():
        tell(str(one.error), mark="warning", colour="yellow")


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the columns that fit; no name is cut, for it is typed again, and each says where
    it comes from."""
    console = Console()
    columns = {
        "name": [row["name"] for row in rows],
        "made of": [row["made_of"] for row in rows],
        "size": [_bytes_for_people(row["size"]) for row in rows],
        "licence": [
            row["licence"] or ("" if row["error"] else "not in the registry") for row in rows
        ],
        "min. memory": [_bytes_for_people(row["min_memory"]) for row in rows],
        "from": [row["from"].split()[0] for row in rows],
        "pulled": [row["pulled"] for row in rows],
    }
    for left_out in ("made of", "min. memory", "size", "licence"):
        if _total(columns, _NARROW) > console.width:
            del columns[left_out]
    bounds = _NARROW if _total(columns, {}) > console.width else {}
    table = Table(box=None, pad_edge=False)
    for name, cells in columns.items():
        bound = bounds.get(name)
        whole = name == "size" or (name == "name" and 2 * max(map(len, cells)) <= console.width)
        table.add_column(name, overflow="fold", no_wrap=whole, max_width=bound)
        if bound is not None:
            columns[name] = ["\n".join(textwrap.wrap(cell, bound)) for cell in cells]
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)


def _total(columns: Mapping[str, Sequence[str]], bounds: Mapping[str, int]) -> int:
    """The characters that a table wants where the cells of some columns go on in a second line."""
    wanted = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
    within = [min(width, bounds.get(name, width)) for name, width in wanted.items()]
    return sum(within) + 2 * (len(within) - 1)


def _refuse(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Name the command of a word that people look for here."""
    if wanted:
        raise click.UsageError(
            "pull has no --rollback; `edgeslm model rollback NAME` brings back the version before",
            context,
        )


@click.command()
@model_name("NAME...", nargs=-1, required=True)
@click.option(
    "--from",
    "from_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Install from this file, for one NAME, without network and pip; verified as well.",
)
@click.option(
    "--accept-new",
    is_flag=True,
    help="For a model without a known hash: fetch anew, and trust and pin what comes.",
)
@click.option(
    "--rollback",
    is_flag=True,
    hidden=True,
    is_eager=True,
    expose_value=False,
    callback=_refuse,
    help="Not here: `edgeslm model rollback` does it.",
)
def pull(names: tuple[str, ...], from_file: Path | None, accept_new: bool) -> int:
    """Download models, verify and try them, and make them current.

    \b
    edgeslm pull receipt-fields
    edgeslm pull receipt-fields --from receipt-fields.gguf

    A model that is a base and an adapter is assembled here into one file; the base is
    pulled first where it is not here. If the card of a model has examples, it must
    answer them as promised, or what was there stays.

    An interrupted download goes on where it stopped, if its source can. The version
    before is kept for `edgeslm model rollback`. With several NAMEs, one that fails does not stop
    the others; the exit code is then 13.
    """
    if from_file is not None and len(names) > 1:
        raise click.UsageError("--from takes one NAME")

    def act(name: str) -> None:
        _report(name, _pull(name, from_file, accept_new))

    return PullError.exit_code if for_each(names, act) else 0


def _pull(name: str, from_file: Path | None, accept_new: bool) -> Path:
    from edgeslm.evaluation.selftest import prove  # here, for it loads what models are made of

    with bars(f"{name}: ", unit="bytes", lines=True) as progress:
        return install(
            name, prove=prove, from_file=from_file, accept_new=accept_new, progress=progress
        )


def _report(name: str, path: Path) -> None:
    if for_people():
        say(f"{name} is at {path}")
        say(f"next: edgeslm show {name}")
    else:
        print_line({"name": name, "path": str(path)})


def _row(
    name: str, entries: Mapping[str, Entry], model: Installed | None, packaged: Packaged | None
) -> dict[str, Any]:
    """One model; ``size`` and ``sha256`` are of the model file, None before it is assembled."""
    entry = entries.get(name)
    if packaged is not None and packaged.entry.base is None and Store().is_from_package(name):
        model = None  # what is loaded is the package's file, whatever was pulled before
    known = None if entry is None or entry.base else entry
    assembled = bool(entry.base if entry else model and model.current.parts)
    current = "yes" if entry is None or model is None else _pulled(entry, entries, model)
    return {
        "name": name,
        "made_of": "base + adapter" if assembled else "one file",
        "base": entry.base if entry else None,
        "size": model.current.size if model else known.size if known else None,
        "licence": entry.licence if entry else None,
        "min_memory": entry.min_memory if entry else None,
        "from": _origin(entry, packaged),
        "pulled": current if model else "in the package" if packaged and known else "no",
        "path": str(model.path) if model else str(packaged.path) if packaged and known else None,
        "sha256": model.current.sha256 if model else known.sha256 if known else None,
        "source": entry.source if entry else model.current.source if model else None,
        "description": entry.description if entry else "",
        "error": None,
    }


def _is_asked(
    one: Refused, entries: Mapping[str, Entry], installed: Mapping[str, Installed]
) -> bool:
    """Whether this name is looked for in packages: not where it is of models.toml or a pull."""
    own = one.name in installed and not Store().is_from_package(one.name)
    return one.name not in entries and not own


def _refused_row(one: Refused) -> dict[str, Any]:
    """A name that no lookup gives a model for, and why."""
    row = _row(one.name, {}, None, None)
    return {**row, "pulled": "error", "error": str(one.error)}


def _origin(entry: Entry | None, packaged: Packaged | None) -> str:
    """Where a model comes from: a Python package that is here, or a kind of source."""
    if packaged is not None:
        return f"{packaged.package} {packaged.version}"
    if entry is None:
        return "unknown"
    return entry.source.partition(":")[0]


def _pulled(entry: Entry, entries: Mapping[str, Entry], model: Installed) -> str:
    """ "yes", or "another version": the registry has moved on, or it was rolled back."""
    here: tuple[str, ...] = (model.current.sha256,)
    named: tuple[str, ...] = (entry.sha256,)
    if model.current.parts is not None:
        here = (model.current.parts.adapter_sha256, model.current.parts.base_sha256)
    if entry.base is not None and entry.base in entries:
        named += (entries[entry.base].sha256,)
    return "another version" if entry.verified and here != named else "yes"


def _bytes_for_people(count: int | None) -> str:
    return "" if count is None else megabytes(count)
