"""The members of a cascade: what may be one, what it is called, and how it is asked in time."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, cast

from edgeslm import arguments
from edgeslm.engines.requests import CancelToken
from edgeslm.errors import CalibrationError, DeadlineError, EdgeslmError
from edgeslm.formats.card import Card
from edgeslm.models.load import load
from edgeslm.results import Classification

#: what a member or a fallback is in the end: text in, answer out
Answers = Callable[..., Any]


class Loaded(Protocol):
    """What `edgeslm.load` gives, as far as a cascade needs it."""

    @property
    def card(self) -> Card | None: ...

    def classifier(self) -> Answers: ...


#: what a cascade takes for a member
MemberLike = Callable[..., Classification] | Loaded | str | Path


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody who was asked said, or the error instead, and the milliseconds it took."""

    answer: Any
    error: Exception | None
    ms: float


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is asked.

    ``takes`` are the keyword arguments of a call that it knows: "deadline_ms", "cancel".
    ``close`` frees what was loaded for it, or is None.
    """

    name: str
    answer: Answers
    takes: frozenset[str] = frozenset()
    close: Callable[[], None] | None = None

    def ask(self, text: str, left_ms: float | None, cancel: CancelToken | None = None) -> Any:
        """The answer to one text; whatever it raises is raised.

        One that takes no ``deadline_ms`` is left behind on a thread when time is up.

        Raises:
            DeadlineError: ``left_ms`` (None: no limit) passed before the answer came.
        """
        options = self._options(left_ms, cancel, self.takes)
        if left_ms is None or "deadline_ms" in self.takes:
            return self.answer(text, **options)
        return _within(lambda: self.answer(text, **options), left_ms, self.name)

    @staticmethod
    def _options(
        left_ms: float | None, cancel: CancelToken | None, takes: frozenset[str]
    ) -> dict[str, Any]:
        """The arguments that there are and that are known."""
        given = {"deadline_ms": left_ms, "cancel": cancel}
        return {name: value for name, value in given.items() if value is not None and name in takes}

    def ask_all(
        self,
        texts: Sequence[str],
        left_ms: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Said]:
        """What it says to each text, within ``left_ms`` (None: no limit) for all together. One
        with a ``map`` gets all of them at once; each then has its part of the time.

        Raises:
            whatever it raises that is no EdgeslmError.
        """
        start = time.perf_counter()
        if not hasattr(self.answer, "map"):
            return [self._timed(text, left_ms, start, cancel) for text in texts]
        try:
            answers = self._mapped(texts, left_ms, cancel)
        except DeadlineError as error:
            answers = [error] * len(texts)
        ms = _ms_since(start) / max(1, len(texts))
        return [
            Said(None, answer, ms) if isinstance(answer, EdgeslmError) else Said(answer, None, ms)
            for answer in answers
        ]

    def _mapped(
        self, texts: Sequence[str], left_ms: float | None, cancel: CancelToken | None
    ) -> list[Any]:
        many = cast(Any, self.answer).map
        takes = _takes(many)
        options = self._options(left_ms, cancel, takes)
        if left_ms is None or "deadline_ms" in takes:
            return list(many(texts, **options))
        return cast(list[Any], _within(lambda: list(many(texts, **options)), left_ms, self.name))

    def _timed(
        self, text: str, left_ms: float | None, since: float, cancel: CancelToken | None
    ) -> Said:
        start = time.perf_counter()
        left = None if left_ms is None else left_ms - _ms_since(since)
        if left is not None and left <= 0:
            return Said(None, DeadlineError(f"{self.name} was not asked: time was up"), 0.0)
        answer, failed = None, None
        try:
            answer = self.ask(text, left, cancel)
        except EdgeslmError as error:
            failed = error
        return Said(answer, failed, _ms_since(start))


def as_members(given: Sequence[MemberLike]) -> tuple[Member, ...]:
    """Members of what a caller gave; names and paths are loaded, and freed where a later fails.

    Raises:
        CalibrationError: none, or one that is no member. Errors of `load` and `classifier`.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise CalibrationError(
            f"a cascade takes a list of members, not {arguments.shown(given)}; put it in a list"
        )
    given = list(given)
    if not given:
        raise CalibrationError("a cascade takes a list of at least one member")
    members: list[Member] = []
    try:
        for one in given:
            members.append(_with_own_name(_as_member(one), members))
    except BaseException:
        close_all(members)
        raise
    return tuple(members)


def as_fallback(given: Answers) -> Member:
    """A fallback, which any callable can be."""
    return Member("fallback", given, _takes(given))


def classification(name: str, answer: Any) -> Classification:
    """What a member answered.

    Raises:
        TypeError: it is no Classification, nor has it a label and a confidence.
    """
    label, confidence = getattr(answer, "label", None), getattr(answer, "confidence", None)
    if not isinstance(label, str) or not isinstance(confidence, Real):
        raise TypeError(f"{name} gave {type(answer).__name__}, not a Classification")
    return cast(Classification, answer)


def close_all(members: Iterable[Member]) -> None:
    """Free the models that were loaded for members."""
    for member in members:
        if member.close is not None:
            member.close()


def _as_member(given: MemberLike) -> Member:
    if isinstance(given, str | Path):
        model = load(given)
        try:
            return replace(_of_model(model), close=model.close)
        except BaseException:
            model.close()
            raise
    if callable(getattr(given, "classifier", None)):
        return _of_model(cast(Loaded, given))
    if not callable(given):
        raise CalibrationError(
            f"{type(given).__name__} is no member; give a classifier, a loaded model, or a name"
        )
    name = getattr(given, "__name__", type(given).__name__)
    return Member(name, given, _takes(given))


def _of_model(model: Loaded) -> Member:
    answer = model.classifier()
    card = model.card
    name = "model" if card is None else f"{card.name} {card.version}"
    return Member(name, answer, _takes(answer))


def _with_own_name(member: Member, others: Sequence[Member]) -> Member:
    """Numbers a member whose name is taken."""
    if member.name in {other.name for other in others}:
        return replace(member, name=f"{member.name} #{len(others) + 1}")
    return member


def _takes(answer: Answers) -> frozenset[str]:
    """The names of a callable's parameters."""
    try:
        return frozenset(inspect.signature(answer).parameters)
    except (TypeError, ValueError):  # some callables of C have no signature
        return frozenset()


def _within(answer: Callable[[], Any], left_ms: float, name: str) -> Any:
    """The answer if it comes in time, from a thread that does not keep the process alive."""
    outcome: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((answer(), None))
        except BaseException as error:  # noqa: BLE001  raised again on the caller's thread
            outcome.append((None, error))

    thread = threading.Thread(target=work, name=f"edgeslm {name}", daemon=True)
    thread.start()
    thread.join(min(left_ms / 1000, threading.TIMEOUT_MAX))
    if not outcome:
        raise DeadlineError(f"{name} did not answer within the {left_ms:.0f} ms that were left")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
