"""`edgeslm model`: which version of a model answers, and removing one."""

from __future__ import annotations

from pathlib import Path

import click

from edgeslm.cli.arguments import PulledName, model_name
from edgeslm.cli.output import for_people, print_line, say
from edgeslm.cli.progress import bars
from edgeslm.cli.several import for_each
from edgeslm.cli.tree import Branch
from edgeslm.formats.files import megabytes
from edgeslm.store.announced import package_of
from edgeslm.store.store import Store

_PATH = click.Path(path_type=Path)

model = Branch(
    "model",
    words="model",
    help="""Change which version of a model answers, and package models.

    \b
    edgeslm model rollback receipt-fields
    edgeslm model rm smollm2-135m
    edgeslm model package router.onnx --name acme-router
    """,
)


@click.command()
@model_name(kind=PulledName(before=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON line, also on a terminal.")
def rollback(name: str, as_json: bool) -> None:
    """Go back to the version before the current one.

    \b
    edgeslm model rollback receipt-fields

    `edgeslm pull` keeps one version before. Called twice, it is as it was.
    """
    path = Store().rollback(name)
    if for_people(as_json):
        say(f"{name} is at {path}")
    else:
        print_line({"name": name, "path": str(path)})


@click.command(name="rm")
@model_name("NAME...", kind=PulledName(), nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal.")
def remove(names: tuple[str, ...], as_json: bool) -> int:
    """Remove pulled models.

    \b
    edgeslm model rm smollm2-135m

    The current version goes, and the one before it. `edgeslm pull` brings a model back. One that a
    Python package brings goes with its package: pip uninstall.
    """
    store = Store()

    def act(name: str) -> None:
        freed = store.remove(name)
        package = package_of(name)
        if not for_people(as_json):
            print_line({"name": name, "freed": freed, "package": package})
            return
        say(f"{name} is removed, {megabytes(freed)} are free again")
        if package is not None:
            say(f"next: pip uninstall {package}, which still brings it")

    failures = for_each(names, act, as_json=as_json)
    return failures[0].exit_code if failures else 0


@click.command(name="package")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
@click.option(
    "--name",
    required=True,
    metavar="NAME",
    help="Of the package, and of its model if it is one.",
)
@click.option(
    "--version",
    metavar="VERSION",
    help="Of the package. Default: that of the card of the one FILE.",
)
@click.option(
    "--licence",
    metavar="SPDX",
    help="Of files without a card, such as a base; a card says its own.",
)
@click.option(
    "--out",
    type=_PATH,
    default=Path(),
    metavar="FOLDER",
    help="The folder for the wheel. Default: this one.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line, also on a terminal.")
def package(
    *,
    files: tuple[Path, ...],
    name: str,
    version: str | None,
    licence: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Make a Python package of specialists, for an index of your own.

    \b
    edgeslm model package router.onnx --name acme-router
    pip install acme_router-1-py3-none-any.whl
    edgeslm classify acme-router mail.txt

    The wheel holds the files and no code, and the same files give the same bytes. Where it
    is installed, the model is loaded by its name without a pull. With several FILEs each is
    known by the name in its card. An adapter requires the package that brings its base.
    """
    from edgeslm.store.package import package as make  # here, for it reads models

    with bars("", unit="bytes", lines=True) as progress:
        wheel = make(files, name, version=version, licence=licence, out=out, progress=progress)
    if for_people(as_json):
        say(f"{wheel} has {megabytes(wheel.stat().st_size)}")
        say(f"next: pip install {wheel}")
    else:
        print_line({"name": name, "wheel": str(wheel), "size": wheel.stat().st_size})
