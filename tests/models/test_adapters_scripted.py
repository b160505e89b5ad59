"""Whatever the order of calls with several adapters, each answers as if it were the only one"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.decoding.prompt import Prompt
from edgeslm.decoding.sequences.prefix_files import MIN_TOKENS, PrefixCache, Weights
from edgeslm.decoding.session import WORK, Session
from edgeslm.engines.engine import Batch, Logits
from edgeslm.errors import EngineError, ModelFileError
from edgeslm.testing import ScriptedEngine
from tests.helpers.engines import prefill

NAMES = (None, "one.gguf", "two.gguf")
SCRIPTS = {"one.gguf": "one", "two.gguf": "two"}
#: fixed prompts, all but the last begin alike; the first is too short to be saved
PROMPTS = [
    Prompt(tuple(range(40, 40 + length)), (7,)) for length in (5, MIN_TOKENS, 50, 90, 150)
] + [Prompt((9,) * 60, ())]

#: adapter, prompt, text
Call = tuple[str | None, int, bytes]
CALLS = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.integers(0, len(PROMPTS) - 1), st.binary(min_size=1, max_size=40)
    ),
    min_size=2,
    max_size=20,
)


def file_of(name: str) -> Weights:
    return Weights(Path(name), sha256=name[0] * 64)


def sessions(saved: PrefixCache | None = None, **engine: int) -> dict[str | None, Session]:
    base = Session(ScriptedEngine("base", adapters=SCRIPTS, **engine), saved)
    return {None: base, **{name: base.with_adapter(file_of(name)) for name in SCRIPTS}}


def answer(session: Session, call: Call) -> Logits:
    """The logits after the prompt, and after two tokens more."""
    _, prompt, text = call
    with session.request(None):
        filled = prefill(session, PROMPTS[prompt], list(text), 10)
        rows = [filled.row.copy()]
        for at in range(2):
            batch = Batch.run([65 + at], filled.length + at, WORK)
            rows.append(session.engine.evaluate(batch)[0].copy())
    return np.stack(rows)


def check(logits: Sequence[Logits], calls: Sequence[Call]) -> None:
    for call, rows in zip(calls, logits, strict=True):
        assert np.array_equal(rows, answer(sessions()[call[0]], call)), call


def test_each_adapter_answers_otherwise() -> None:
    shared = sessions()
    rows = [answer(session, (None, 1, b"x")) for session in shared.values()]
    assert len({row.tobytes() for row in rows}) == len(NAMES)


@settings(max_examples=15, deadline=None)
@given(calls=CALLS, size=st.sampled_from([300, 4096]))
def test_any_order_of_calls_equals_each_call_alone(calls: list[Call], size: int) -> None:
    # a context of 300 cells grows, and then drops prompts
    shared = sessions(context_size=size, batch_size=64)
    check([answer(shared[call[0]], call) for call in calls], calls)


@settings(max_examples=6, deadline=None)
@given(calls=CALLS)
def test_so_it_is_with_saved_prompts(calls: list[Call]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = PrefixCache(Path(folder), 10**9, Weights(Path("m.gguf"), "a" * 64), {})
        for _ in range(2):  # the second engine restores what the first evaluated
            shared = sessions(saved)
            check([answer(shared[call[0]], call) for call in calls], calls)


def test_so_it_is_from_eight_threads() -> None:
    calls: list[Call] = [
        (name, prompt, bytes([text])) for text in range(4) for prompt in (1, 2) for name in NAMES
    ]
    shared = sessions()
    with ThreadPoolExecutor(8) as pool:
        check(list(pool.map(lambda call: answer(shared[call[0]], call), calls)), calls)


def test_a_closed_adapter_leaves_no_prompt_and_may_come_back() -> None:
    shared = sessions()
    call: Call = ("one.gguf", 2, b"x")
    first = answer(shared["one.gguf"], call)
    shared["one.gguf"].close()
    shared["one.gguf"].close()
    with pytest.raises(EngineError, match="the adapter is closed"):
        answer(shared["one.gguf"], call)
    again = shared[None].with_adapter(file_of("one.gguf"))
    assert np.array_equal(answer(again, call), first)
    shared[None].close()
    again.close()
    with pytest.raises(EngineError, match="the model is closed"):
        answer(again, call)


def test_an_adapter_whose_file_changed_meanwhile_is_taken_out_again(tmp_path: Path) -> None:
    path = tmp_path / "one.gguf"
    path.write_bytes(b"factors")
    file = Weights(path)
    path.write_bytes(b"other factors")
    session = sessions()[None]
    with pytest.raises(ModelFileError, match="changed since it was opened"):
        session.with_adapter(file)
    with pytest.raises(EngineError, match="closed"):  # the next number: two adapters are there
        session.engine.use_adapter(2)
    with pytest.raises(ModelFileError, match="not one of this engine's adapters"):
        session.with_adapter(Weights(tmp_path / "three.gguf"))
