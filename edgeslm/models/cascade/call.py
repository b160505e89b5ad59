"""One text on its way through a cascade: who was asked, what was said, and whose answer it is."""

from __future__ import annotations

import time
from typing import Any, Literal

from edgeslm.engines.requests import CancelToken
from edgeslm.errors import CancelledError, DeadlineError, EdgeslmError
from edgeslm.models.cascade.members import Member, Said, classification
from edgeslm.results import Asked, CascadeAnswer, Classification

Reason = Literal["fallback", "unsure", "fallback failed", "deadline"]


class Call:
    """One text on its way through the members: who was asked, and the best answer so far."""

    def __init__(
        self, text: str, deadline_ms: float | None, cancel: CancelToken | None = None
    ) -> None:
        self.text = text
        #: whether members were left unasked, or left behind, because time was up
        self.cut = False
        self._start = time.perf_counter()
        self._deadline_ms = deadline_ms
        self._cancel = cancel
        self._asked: list[Asked] = []
        self._sure: Asked | None = None
        self._error: EdgeslmError | None = None

    def left_ms(self) -> float | None:
        """The milliseconds until the deadline; None where there is none."""
        return None if self._deadline_ms is None else self._deadline_ms - _ms_since(self._start)

    def late(self) -> bool:
        """Whether the deadline, if there is one, has passed."""
        left = self.left_ms()
        return left is not None and left <= 0

    def ask(self, member: Member) -> Said:
        """Ask within the time that is left; what is raised on purpose is part of what it said."""
        if self._cancel is not None:
            self._cancel.check()
        start = time.perf_counter()
        answer, failed = None, None
        try:
            answer = member.ask(self.text, self.left_ms(), self._cancel)
        except EdgeslmError as error:
            failed = error
        return Said(answer, failed, _ms_since(start))

    def takes(self, name: str, said: Said, threshold: float | None) -> bool:
        """Keep what a member said; True if that is sure enough, so that nobody else is asked."""
        if isinstance(said.error, CancelledError):
            raise said.error
        if isinstance(said.error, EdgeslmError):
            # a member can have a deadline of its own, which says nothing of this call's
            self.cut = isinstance(said.error, DeadlineError) and self.late()
            self._error = self._error or said.error
            self._asked.append(Asked(name, said.ms, threshold=threshold, error=str(said.error)))
            return False
        given = classification(name, said.answer)
        asked = Asked(name, said.ms, given.label, given.confidence, threshold)
        self._asked.append(asked)
        if threshold is not None and given.confidence >= threshold:
            self._sure = asked
        return self._sure is not None

    def finish(self, fallback: Member | None) -> CascadeAnswer:
        """The answer, from the fallback where nobody was sure; raises where there is none."""
        if self._sure is not None:
            return self._answer(self._sure, "sure")
        known = [one for one in self._asked if one.label is not None]
        best = max(reversed(known), key=lambda one: one.confidence or 0.0, default=None)
        reason = self._ask_fallback(fallback)
        if reason == "fallback":
            return self._answer(self._asked[-1], reason)
        if best is not None:
            return self._answer(best, reason)
        if reason == "deadline" or self._error is None:
            raise DeadlineError(
                f"the deadline of {self._deadline_ms:g} ms passed before there was an answer"
            )
        raise self._error

    def _ask_fallback(self, fallback: Member | None) -> Reason:
        if self._cancel is not None:
            self._cancel.check()
        if self.cut:
            return "deadline"
        if fallback is None:
            return "unsure"
        if self.late():
            return "deadline"
        start = time.perf_counter()
        try:
            said = fallback.ask(self.text, self.left_ms(), self._cancel)
            label, confidence = _label_of(said)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  a remote model can fail in any way
            words = f"{type(error).__name__}: {error}"
            self._asked.append(Asked(fallback.name, _ms_since(start), error=words))
            return "deadline" if self.late() else "fallback failed"
        self._asked.append(Asked(fallback.name, _ms_since(start), label, confidence))
        return "fallback"

    def _answer(self, by: Asked, reason: Reason | Literal["sure"]) -> CascadeAnswer:
        assert by.label is not None, "only those who answered are taken"
        total_ms = _ms_since(self._start)
        return CascadeAnswer(
            by.label, by.confidence, by.member, reason, tuple(self._asked), total_ms
        )


def _label_of(said: Any) -> tuple[str, float | None]:
    """What a fallback answered: a Classification, or a label alone."""
    if isinstance(said, str):
        return said, None
    if isinstance(said, Classification):
        return said.label, said.confidence
    raise TypeError(f"it gave {type(said).__name__}, not a Classification or a label")


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
