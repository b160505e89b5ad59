"""Arguments that several commands take: names of models, and choices with a near miss."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from edgeslm.errors import EdgeslmError

C = TypeVar("C", bound=Callable[..., Any])


class ModelName(click.ParamType[str]):
    """A name from `edgeslm models`, or the path of a model file; a shell completes both."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if "/" in incomplete or "\\" in incomplete:
            return [CompletionItem(incomplete, type="file")]
        names = [name for name in _known_names() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


def _known_names() -> Sequence[str]:
    """The names of registries and of pulled models, as far as they can be read."""
    names: dict[str, None] = {}
    with contextlib.suppress(EdgeslmError, OSError, ValueError):
        from edgeslm.store.registry import Registry

        names.update(dict.fromkeys(Registry.load().entries))
    with contextlib.suppress(EdgeslmError, OSError, ValueError):
        from edgeslm.store.store import Store

        names.update(dict.fromkeys(model.name for model in Store().installed()))
    return sorted(names)


class Choice(click.Choice[str]):
    """One of some words; a near miss is told what was probably meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if isinstance(value, str) and value not in self.choices:
            near = difflib.get_close_matches(value, self.choices, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.fail(f"{value!r} is not one of {', '.join(self.choices)}{hint}", param, ctx)
        return super().convert(value, param, ctx)


def model_name(metavar: str = "NAME", **more: Any) -> Callable[[C], C]:
    """The argument that names a model, or with ``nargs=-1`` several."""
    plural = "names" if more.get("nargs") == -1 else "name"
    return click.argument(plural, type=ModelName(), metavar=metavar, **more)
