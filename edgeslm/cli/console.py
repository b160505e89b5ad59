"""The door for tables and bars: rich's console, which shows what `output.printable` lets through"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from edgeslm.cli.output import printable, wants_colour, writing


class Console(rich.console.Console):
    """A console on which text is only ever text: no markup, no emoji names, no escape sequences."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(
            stderr=stderr,
            markup=False,
            emoji=False,
            highlight=False,
            color_system="auto" if wants_colour() else None,
        )

    def print(self, *objects: Any, **more: Any) -> None:
        with contextlib.nullcontext() if self.stderr else writing():
            super().print(*objects, **more)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control is None and not segment.text.isprintable():
                yield Segment(printable(segment.text), segment.style)
            else:
                yield segment
