"""`edgeslm model`: which version of a model answers, and removing one."""

from __future__ import annotations

import click

from edgeslm.cli.arguments import model_name
from edgeslm.cli.output import for_people, print_line, say
from edgeslm.cli.several import for_each
from edgeslm.cli.tree import Branch
from edgeslm.formats.files import megabytes
from edgeslm.store.store import Store

model = Branch(
    "model",
    words="model",
    help="""Change which version of a model answers.

    \b
    edgeslm model rollback receipt-fields
    edgeslm model rm smollm2-135m
    """,
)


@click.command()
@model_name()
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
@model_name("NAME...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal.")
def remove(names: tuple[str, ...], as_json: bool) -> int:
    """Remove pulled models.

    \b
    edgeslm model rm smollm2-135m

    The current version goes, and the one before it. `edgeslm pull` brings a model back.
    """
    store = Store()

    def act(name: str) -> None:
        freed = store.remove(name)
        if for_people(as_json):
            say(f"{name} is removed, {megabytes(freed)} are free again")
        else:
            print_line({"name": name, "freed": freed})

    failures = for_each(names, act, as_json=as_json)
    return failures[0].exit_code if failures else 0
