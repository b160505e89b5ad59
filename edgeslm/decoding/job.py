"""Job: one text to answer with an engine, alone or among others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from edgeslm.decoding.prompt import Prompt
from edgeslm.engines.engine import Steps
from edgeslm.errors import DeadlineError

R_co = TypeVar("R_co", covariant=True)


class Job(Protocol[R_co]):
    """One text to answer."""

    @property
    def prompt(self) -> Prompt: ...

    @property
    def tokens(self) -> list[int]:
        """The text's."""

    @property
    def reserve(self) -> int:
        """Cells for the answer."""

    @property
    def sequences(self) -> int:
        """Sequences that it takes."""

    def steps(self, sequences: Sequence[int], company: Callable[[], int] | None) -> Steps[None]:
        """The work, for which room was made; ``company`` counts the others in progress."""

    def finish(self, late: DeadlineError | None = None) -> R_co:
        """The answer after the work, or after what was done of it before a deadline passed.

        Raises:
            EdgeslmError: there is none.
        """
