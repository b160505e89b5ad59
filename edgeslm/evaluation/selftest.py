"""Self-tests: whether a model still gives the answers that the examples of its card promise."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeslm.errors import CardError, InputError, OutputError
from edgeslm.formats.card import Card, Example
from edgeslm.formats.files import file_sha256
from edgeslm.formats.info import read_info
from edgeslm.models.ask import Ask, asker
from edgeslm.models.load import load
from edgeslm.models.model import Model
from edgeslm.store.store import Store, is_path

#: characters of a value that a message shows
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How one example went. ``number`` is its place in the card, from 1.

    ``expected`` and ``answered`` are a JSON value, or a label; ``answered`` is None where
    ``error`` says why there is no answer. ``ms`` is wall-clock time.
    """

    number: int
    expected: Any
    answered: Any
    error: str | None
    ms: float

    @property
    def passed(self) -> bool:
        """Whether the answer is the expected one."""
        return self.error is None and self.answered == self.expected

    def to_dict(self) -> dict[str, Any]:
        """The test as JSON values."""
        return {
            "example": self.number,
            "passed": self.passed,
            "expected": self.expected,
            "answered": self.answered,
            "error": self.error,
            "ms": round(self.ms, 3),
        }

    def outcome(self) -> str:
        """The answer; or what was expected and came instead, of two objects what differs."""
        if self.passed:
            return _shown(self.answered)
        if self.error is not None:
            return f"expected {_shown(self.expected)}, got an error: {self.error}"
        expected, answered = self.expected, self.answered
        if isinstance(expected, dict) and isinstance(answered, dict):
            missing = object()
            names = [
                name
                for name in {**expected, **answered}
                if expected.get(name, missing) != answered.get(name, missing)
            ]
            expected = {name: expected[name] for name in names if name in expected}
            answered = {name: answered[name] for name in names if name in answered}
        return f"expected {_shown(expected)}, answered {_shown(answered)}"


def self_test(model: Model) -> tuple[SelfTest, ...]:
    """Answer every example of the model's card; () where it has none.

    What concerns one example alone, such as a text too long, is a failed test.

    Raises:
        EdgeslmError: what concerns all of them, such as a schema that cannot be enforced.
    """
    if model.card is None or not model.card.examples:
        return ()
    answer = asker(model, evidence=False)
    return tuple(
        _try(answer, number, example) for number, example in enumerate(model.card.examples, start=1)
    )


@dataclass(frozen=True, slots=True)
class Checked:
    """A model whose examples were answered. ``sha256`` is its file's, all of which was read.

    ``verified`` says that it was held to a hash: that of the registry, the package or the pull. A
    file that is given by its path has none.
    """

    sha256: str
    verified: bool
    tests: tuple[SelfTest, ...]


def check(name_or_path: str | Path) -> Checked:
    """Read all of a model's file and answer the examples of its card; raises what ``load`` does."""
    tests = self_test_of(name_or_path)
    store = Store()
    path = store.resolve(name_or_path)
    known = store.sha256_of(path)
    named = isinstance(name_or_path, str) and not is_path(name_or_path)
    return Checked(known or file_sha256(path), named or known is not None, tests)


def self_test_of(name_or_path: str | Path) -> tuple[SelfTest, ...]:
    """Verify and load a model and answer the examples of its card; raises what ``load`` does.

    The file of a name is hashed in any case, however lately it was.
    """
    with load(name_or_path) as model:
        Store().verify(name_or_path)
        return self_test(model)


def prove(path: Path) -> None:
    """Check that a file is a model and gives the answers that its card's examples promise.

    An .onnx is loaded as well, also where its card has no examples: it is quick.

    Raises:
        ModelFileError, CardError: it is none, or an example has another answer.
        ResourceError, MachineError: this device cannot run it.
    """
    card = _card_of(path)
    if card is None or not card.examples:
        return
    failed = [test for test in self_test_of(path) if not test.passed]
    if failed:
        raise CardError(
            f"{len(failed)} of {len(card.examples)} self-tests of its card fail; "
            f"example {failed[0].number}: {failed[0].outcome()}; take the version before, or write "
            "into its card what it answers"
        )


def _card_of(path: Path) -> Card | None:
    """The card of a file that can be read; an .onnx must also load."""
    info = read_info(path)
    if info.kind != "language":
        load(path).close()
    return info.card


def _try(answer: Ask, number: int, example: Example) -> SelfTest:
    start = time.perf_counter()
    answered, error = None, None
    try:
        answered = answer(example.input).plain()
    except (InputError, OutputError) as problem:
        error = str(problem)
    ms = (time.perf_counter() - start) * 1000
    return SelfTest(number, example.expected, answered, error, ms)


def _shown(value: Any) -> str:
    # repr, for a card may hold characters that would steer a terminal
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
