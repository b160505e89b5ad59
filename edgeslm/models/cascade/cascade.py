"""Cascade: the first member that is sure enough answers; how sure is proved on held-out rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeslm import arguments
from edgeslm.engines.requests import CancelToken, check_token
from edgeslm.errors import (
    ArgumentError,
    CalibrationError,
    CancelledError,
    CardError,
    EdgeslmError,
    first_fault,
)
from edgeslm.formats.files import publish, read_small
from edgeslm.models.cascade.call import Call
from edgeslm.models.cascade.members import (
    Member,
    MemberLike,
    as_fallback,
    as_members,
    classification,
    close_all,
)
from edgeslm.models.cascade.risk import Bound, fit_thresholds
from edgeslm.results import CascadeAnswer, Classification

#: the version of the file that `Cascade.save` writes
CASCADE_FORMAT: Final = 2
#: a file larger than this is refused before it is parsed
MAX_CASCADE_BYTES: Final = 1024 * 1024
#: texts that `map` asks a member together
MAP_WIDTH: Final = 64

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Fallback = Callable[..., Classification | str]


class _File(BaseModel):
    """What `Cascade.save` writes: whose thresholds these are, and what is proved of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = CASCADE_FORMAT
    members: tuple[Name, ...] = Field(min_length=1, max_length=100)
    bound: Bound

    @model_validator(mode="after")
    def _fit(self) -> _File:
        if len(self.members) != len(self.bound.thresholds):
            raise ValueError("members and thresholds must have the same length")
        return self


class Cascade:
    """Asks its members in turn until one is sure enough. Safe to call from many threads if
    the members are.

    A member is a callable from a text to a Classification (``model.classifier()``), a loaded
    model whose card has labels, or the name or path of one, which is loaded here and freed by
    ``close``. ``fallback`` is any callable from a text to a Classification or a label, such as a
    remote model; it is asked where no member is sure enough.

    Made directly, a cascade takes confidences at their word: enough is 1 - ``risk``, and
    ``bound`` is None, since nothing is proved. `Cascade.fit` and `Cascade.load` give one whose
    thresholds are proved on held-out rows.
    """

    def __init__(
        self,
        members: Sequence[MemberLike],
        *,
        risk: float = 0.02,
        fallback: Fallback | None = None,
    ) -> None:
        """Raises ArgumentError for a risk outside 0 to 1, CalibrationError for no members, and
        what `load` does.
        """
        risk = arguments.share("risk", risk)
        if fallback is not None and not callable(fallback):
            raise ArgumentError(f"fallback must be callable, not {type(fallback).__name__}")
        self._members = as_members(members)
        self._fallback = None if fallback is None else as_fallback(fallback)
        self._thresholds: tuple[float | None, ...] = (1 - risk,) * len(self._members)
        self._bound: Bound | None = None

    @classmethod
    def fit(
        cls,
        members: Sequence[MemberLike],
        rows: Iterable[tuple[str, str]],
        *,
        risk: float = 0.02,
        confidence: float = 0.95,
        fallback: Fallback | None = None,
    ) -> Cascade:
        """A cascade of whose own answers at most the share ``risk`` is wrong.

        That holds with probability ``confidence`` for texts drawn like ``rows``, by Learn then
        Test with a split fixed sequence and the exact binomial test
        (`edgeslm.models.cascade.risk`). Answers of the fallback, and those marked as unsure, are
        not among the answers it speaks of.

        Args:
            rows: texts with their true labels, of which no member has seen any; every member
                answers each. A row that a member cannot answer counts as its error.

        Raises:
            CalibrationError: the rows prove no threshold; has the number it takes.
        """
        confidence = arguments.share("confidence", confidence)
        cascade = cls(members, risk=risk, fallback=fallback)
        try:
            pairs = _pairs(rows)
            judged = [_judge(member, pairs) for member in cascade._members]
            sure = np.transpose([sure for sure, _ in judged])
            right = np.transpose([right for _, right in judged])
            cascade._take(fit_thresholds(sure, right, risk=risk, probability=confidence))
        except BaseException:
            cascade.close()
            raise
        return cascade

    @classmethod
    def load(
        cls,
        path: Path | str,
        members: Sequence[MemberLike],
        *,
        fallback: Fallback | None = None,
    ) -> Cascade:
        """A cascade with the thresholds of a file, for the members they were fitted with.

        Raises:
            CardError: the file is missing, damaged, or of other members.
        """
        path = Path(path)
        fitted = _read(path)
        cascade = cls(members, risk=fitted.bound.risk, fallback=fallback)
        if cascade.members != fitted.members:
            cascade.close()
            raise CardError(
                f"{path}: its thresholds are of {', '.join(fitted.members)}, not of "
                f"{', '.join(cascade.members)}; give these members in this order, or fit again"
            )
        cascade._take(fitted.bound)
        return cascade

    def save(self, path: Path | str) -> None:
        """Write members' names, thresholds and what is proved of them, as JSON.

        Raises:
            CalibrationError: nothing was fitted. EdgeslmError: it cannot be written.
        """
        if self._bound is None:
            raise CalibrationError("nothing was fitted that could be saved; use Cascade.fit")
        path = Path(path)
        aside = path.parent / f"{path.name}.{os.getpid()}.part"
        text = _File(members=self.members, bound=self._bound).model_dump_json(indent=2)
        try:
            aside.write_text(text + "\n", encoding="utf-8", newline="\n")
            publish(aside, path)
        except (OSError, ValueError) as error:
            raise EdgeslmError(f"{path}: cannot be written: {_reason(error)}") from error
        finally:
            with suppress(OSError, ValueError):
                aside.unlink(missing_ok=True)

    @property
    def members(self) -> tuple[str, ...]:
        """The members' names, in the order in which they are asked."""
        return tuple(member.name for member in self._members)

    @property
    def thresholds(self) -> tuple[float | None, ...]:
        """The confidence from which each member is sure enough; None: it never is."""
        return self._thresholds

    @property
    def bound(self) -> Bound | None:
        """What is proved of the answers; None where nothing was fitted."""
        return self._bound

    def __call__(
        self,
        text: str,
        *,
        deadline_ms: float | None = None,
        cancel: CancelToken | None = None,
    ) -> CascadeAnswer:
        """Answer one text.

        Args:
            deadline_ms: budget of the call, in milliseconds. When it is spent, nobody else is
                asked and the best local answer is returned. A fallback that takes no
                ``deadline_ms`` is left behind on a thread of its own.
            cancel: a token that stops this call; members and a fallback that take a ``cancel``
                get it, others are answered first.

        Raises:
            ArgumentError: ``deadline_ms`` is no time.
            DeadlineError: time was up before there was any answer. CancelledError: a member
                was cancelled. The first member's error, where nobody could answer.
        """
        check_token(cancel)
        call = Call(text, arguments.deadline(deadline_ms), cancel)
        for member, threshold in zip(self._members, self._thresholds, strict=True):
            if call.late():
                call.cut = True
                break
            if call.takes(member.name, call.ask(member), threshold):
                break
        return call.finish(self._fallback)

    def map(
        self,
        texts: Iterable[str],
        *,
        width: int = MAP_WIDTH,
        deadline_ms: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Generator[CascadeAnswer | EdgeslmError, None, None]:
        """Answer many texts, in order; lazy, ``width`` of them together.

        A member that has a ``map`` of its own gets those that are left of them at once. A text
        that nobody can answer has its error in its place.

        Args:
            deadline_ms: budget of each text, in milliseconds, from when it was taken with the
                others of its ``width``. When it is spent, all is as in a call.
            cancel: a token that ends the iterator.

        Raises:
            CancelledError: a member was cancelled; that ends it.
            ArgumentError: ``texts`` is one str, or an argument has no meaning.
        """
        arguments.many(texts)
        width, deadline_ms = arguments.count("width", width), arguments.deadline(deadline_ms)
        check_token(cancel)
        return self._map(iter(texts), width, deadline_ms, cancel)

    def close(self) -> None:
        """Free the models that were loaded here by name."""
        close_all(self._members)

    def __enter__(self) -> Cascade:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, bound: Bound) -> None:
        self._bound, self._thresholds = bound, bound.thresholds

    def _map(
        self,
        texts: Iterator[str],
        width: int,
        deadline_ms: float | None,
        cancel: CancelToken | None,
    ) -> Generator[CascadeAnswer | EdgeslmError, None, None]:
        while batch := list(islice(texts, width)):
            calls = [Call(text, deadline_ms, cancel) for text in batch]
            self._ask_members(calls, cancel)
            # all before the first is given, so that the caller's own work costs nobody time
            yield from [self._finished(call) for call in calls]

    def _ask_members(self, calls: Sequence[Call], cancel: CancelToken | None) -> None:
        """Each member in turn is asked what those before it were not sure enough of."""
        left = list(calls)
        for member, threshold in zip(self._members, self._thresholds, strict=True):
            for call in left:
                call.cut = call.late()
            left = [call for call in left if not call.cut]
            if not left:
                return
            # they were taken together, so the first one's time is that of all
            if cancel is not None:
                cancel.check()
            said = member.ask_all([call.text for call in left], left[0].left_ms(), cancel)
            left = [
                call
                for call, answer in zip(left, said, strict=True)
                if not call.takes(member.name, answer, threshold)
            ]

    def _finished(self, call: Call) -> CascadeAnswer | EdgeslmError:
        try:
            return call.finish(self._fallback)
        except CancelledError:
            raise
        except EdgeslmError as error:
            return error


def _pairs(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise CalibrationError(
            f"rows must be pairs of a text and its label, not {arguments.shown(rows)}"
        )
    pairs = list(rows)
    for number, pair in enumerate(pairs, start=1):
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not all(isinstance(part, str) for part in pair):
            raise CalibrationError(f"row {number} is no pair of a text and its label")
    return pairs


def _judge(member: Member, rows: Sequence[tuple[str, str]]) -> tuple[list[float], list[bool]]:
    """How sure a member is of each row, and whether it is right; where it fails, neither."""
    sure, right = [], []
    for said, (_, label) in zip(member.ask_all([text for text, _ in rows]), rows, strict=True):
        if isinstance(said.error, CancelledError):
            raise said.error
        answer = classification(member.name, said.answer) if said.error is None else None
        # A sum of probabilities can be a rounding above 1
        sure.append(0.0 if answer is None else min(1.0, float(answer.confidence)))
        right.append(answer is not None and answer.label == label)
    return sure, right


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _read(path: Path) -> _File:
    try:
        raw = read_small(path, MAX_CASCADE_BYTES)
    except (OSError, ValueError) as error:  # no file can have such a name
        raise CardError(f"{path}: cannot be read: {_reason(error)}") from error
    try:
        return _File.model_validate_json(raw)
    except ValidationError as error:
        raise CardError(
            f"{path}, at {first_fault(error, whole='the file')}; write it again with Cascade.save"
        ) from error
