"""Drive an engine by runs of tokens, and compare what it answers."""

from __future__ import annotations

import numpy as np

from edgeslm.decoding.prompt import Prompt
from edgeslm.decoding.session import WORK, Prefilled, Session
from edgeslm.engines.engine import Batch, Engine, Logits, drive


def tokens_of(length: int, start: int = 0) -> list[int]:
    return [3 + (start + 7 * i) % 400 for i in range(length)]


def feed(engine: Engine, tokens: list[int], start: int = 0, sequence: int = 0) -> Logits:
    """Evaluate a run in full batches; a copy of the last row."""
    for at in range(0, len(tokens), engine.batch_size):
        rows = engine.evaluate(Batch.run(tokens[at : at + engine.batch_size], start + at, sequence))
    return rows[-1].copy()


def prefill(session: Session, prompt: Prompt, text: list[int], reserve: int) -> Prefilled:
    """Evaluate a prompt into WORK, with room for an answer. Call within ``request``."""
    session.make_room(prompt, text, reserve)
    return drive(session.engine, session.fill_steps(prompt, text, WORK))


def same(left: Logits, right: Logits) -> bool:
    """Equal but for the rounding of a float16 cache; logits spread by 2 to 3 here."""
    return bool(np.allclose(left, right, rtol=0, atol=0.02))
