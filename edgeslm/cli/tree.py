"""The tree of commands: one table of every name, what it is for, and where it is made.

`edgeslm --help` reads this table alone, so that no command is imported to be listed. A name without
a place is reserved: it belongs to a later version, is not listed, and says so when it is used.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args

import click
from click.shell_completion import CompletionItem

Purpose = Literal["answer", "make", "prove", "keep right", "serve"]


@dataclass(frozen=True, slots=True)
class Command:
    """One name of the tree.

    ``summary`` is the first sentence of its help. ``place`` is "module:function" in this folder,
    None where the name is reserved.
    """

    purpose: Purpose
    summary: str = ""
    place: str | None = None


#: by the words behind `edgeslm`; in the order in which they are listed
TREE: dict[str, Command] = {
    "extract": Command("answer", "Read values out of texts.", "ask:extract"),
    "classify": Command("answer", "Put texts into one of several labels.", "ask:classify"),
    "tag": Command("answer", "Give texts labels of several sets at once.", "ask:tag"),
    "run": Command("answer"),
    "build": Command("make", "Make a specialist from a recipe and its data.", "build:build"),
    "schema": Command(
        "make", "Say how each keyword of a JSON Schema is enforced.", "schema:schema"
    ),
    "pack": Command("make", "Write a card into a GGUF file.", "show:pack"),
    "advise": Command("make"),
    "eval": Command("prove", "Score a model on rows with known answers.", "eval:evaluate"),
    "bench": Command("prove", "Measure models on this machine.", "bench:bench"),
    "doctor": Command(
        "prove",
        "Show what is wrong with this machine, or with models.",
        "doctor:doctor",
    ),
    "protocol": Command("prove"),
    "models": Command(
        "keep right",
        "List the models that there are, and where each comes from.",
        "models:models",
    ),
    "pull": Command(
        "keep right",
        "Download models, verify and try them, and make them current.",
        "models:pull",
    ),
    "show": Command("keep right", "Show what a model is.", "show:show"),
    "model": Command(
        "keep right", "Change which version of a model answers, and package models.", "model:model"
    ),
    "model rollback": Command(
        "keep right", "Go back to the version before the current one.", "model:rollback"
    ),
    "model rm": Command("keep right", "Remove pulled models.", "model:remove"),
    "model swap": Command("keep right"),
    "model package": Command(
        "make", "Make a Python package of specialists, for an index of your own.", "model:package"
    ),
    "model sign": Command("make"),
    "model check": Command("prove"),
    "model update": Command("keep right"),
    "log": Command("keep right"),
    "loop": Command("keep right"),
    "loop run": Command("keep right"),
    "loop review": Command("keep right"),
    "loop label": Command("keep right"),
    "loop compare": Command("prove"),
    "loop drift": Command("prove"),
    "outbox": Command("keep right"),
    "serve": Command("serve"),
    "bulk": Command("serve"),
}

#: one example for each purpose
EXAMPLES: dict[Purpose, str] = {
    "answer": "edgeslm extract receipt-fields receipt.txt",
    "make": "edgeslm build recipe.toml --data FOLDER",
    "prove": "edgeslm eval receipt-fields gold.jsonl",
    "keep right": "edgeslm show receipt-fields",
    "serve": "edgeslm serve receipt-fields",
}


class Branch(click.Group):
    """The commands of the tree behind some words: behind none, all of `edgeslm`."""

    def __init__(self, *args: Any, words: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        prefix = f"{words} " if words else ""
        self._entries = {
            name.removeprefix(prefix): command
            for name, command in TREE.items()
            if name.startswith(prefix) and " " not in name.removeprefix(prefix)
        }
        self._words = f"edgeslm {words}".rstrip()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, command in self._entries.items() if command.place is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entries.get(cmd_name)
        if entry is None or entry.place is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command: click.Command = getattr(
            importlib.import_module(f"edgeslm.cli.{module}"), attribute
        )
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        listed = (name for name in self.list_commands(ctx) if name.startswith(incomplete))
        items = [CompletionItem(name, help=self._entries[name].summary) for name in listed]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (
            not ctx.resilient_parsing
            and args[0][:1] != "-"
            and args[0] not in self.list_commands(ctx)
        ):
            self._refuse(ctx, args[0])
        return super().resolve_command(ctx, args)

    def _refuse(self, ctx: click.Context, name: str) -> NoReturn:
        if name in self._entries:
            raise click.UsageError(
                f"`{self._words} {name}` is not in this version of edgeslm; "
                f"`{self._words} --help` lists what is",
                ctx,
            )
        named = {name.rpartition(" ")[2]: f"edgeslm {name}" for name in TREE if TREE[name].place}
        # the same word elsewhere in the tree, such as `rollback`, is meant rather than a near one
        near = difflib.get_close_matches(name, self.list_commands(ctx), 1) or (
            [name] if name in named else difflib.get_close_matches(name, named, 1)
        )
        here = f"{self._words} {near[0]}" if near and near[0] in self._entries else ""
        meant = f"did you mean `{here or named[near[0]]}`?" if near else ""
        raise click.UsageError(
            f"`{self._words}` has no command {name!r}; "
            + (meant or f"`{self._words} --help` lists them"),
            ctx,
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed = {name: self._entries[name] for name in self.list_commands(ctx)}
        width = max(map(len, listed), default=0)
        for purpose in get_args(Purpose):
            # of the same width in each section, so that they read as one table
            rows = [
                (name.ljust(width), command.summary)
                for name, command in listed.items()
                if command.purpose == purpose
            ]
            if rows:
                with formatter.section(purpose.capitalize()):
                    formatter.write_dl(rows)
                    if self._words == "edgeslm":
                        formatter.write_paragraph()
                        formatter.write_text(EXAMPLES[purpose])
