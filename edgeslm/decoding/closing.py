"""Closes an answer that a budget cut: the cheapest valid ending, found on a copy of the matcher."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeslm.decoding.grammar import Matcher
from edgeslm.engines.engine import Vocab
from edgeslm.errors import EngineError, OutputInvalidError

R = TypeVar("R")

#: steps an ending may take; only a pathological pattern needs more
MAX_STEPS = 4096
#: after so many steps of always the first choice, other choices are tried, too
_PATIENCE = 256

# Outside strings: close what is open, then go on to what is still required, and say
# as little as possible there. 1 before 0, so that a forced date is one that exists.
_STRUCTURE = b'}],: nul1234567890.ftasre"[{-'
# Inside a string: end it, or else the plainest characters.
_STRING = b'"1234567890TaebcdfghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSUVWXYZ -_:./@'
# What ends a string that a quotation mark alone cannot: times, durations, addresses.
_STRING_ENDINGS = (b'Z"', b'D"', b'S"', b'M"', b'1D"', b'1S"', b':"', b'@a.co"')


def close_validly(
    matcher: Matcher, vocab: Vocab, tokens: Sequence[int], read: Callable[[str], R]
) -> tuple[R, str, int]:
    """Complete a cut answer into one that ``read`` takes.

    Where the ending breaks a rule that the grammar does not hold, ever more of the answer's
    end is given up, all of it at last. The matcher must have consumed ``tokens``; it is left
    as it was.

    Returns:
        what was read, the whole answer, and how many of its bytes are of ``tokens``.

    Raises:
        EngineError: as ``closing_tokens``. OutputInvalidError: ``read`` takes none of them.
    """
    matcher = matcher.copy()
    kept, step = len(tokens), 1
    refusal: OutputInvalidError | None = None
    while True:
        data = _bytes(vocab, tokens[:kept])
        answer = (data + _bytes(vocab, closing_tokens(matcher, vocab, data))).decode()
        try:
            return read(answer), answer, len(data)
        except OutputInvalidError as error:
            refusal = refusal or error
        if not kept:
            raise refusal
        step = min(step, kept)
        matcher.rollback(step)
        kept, step = kept - step, 2 * step


def closing_tokens(matcher: Matcher, vocab: Vocab, so_far: bytes) -> list[int]:
    """Tokens that complete ``so_far`` into a whole answer of the grammar.

    The matcher must have consumed ``so_far``; it is left as it was. At every step the
    first allowed byte of a preference list is taken; the model is not asked. The answer
    may still break a rule that the grammar does not hold.

    Raises:
        EngineError: no ending was found within MAX_STEPS steps.
    """
    copy = matcher.copy()
    single = _single_byte_tokens(vocab)
    state = _string_state(so_far)
    tokens: list[int] = []
    rng = random.Random(0)
    for step in range(MAX_STEPS):
        if copy.is_accepting or copy.is_stopped:
            return tokens
        # where the bytes are forced, the mask holds only their canonical token
        chosen = copy.forced() or _string_ending(copy, single, state)
        if not chosen:
            order = _STRING if state[0] else _STRUCTURE
            byte = _pick(copy.mask(), single, order, rng if step >= _PATIENCE else None)
            if byte is None:
                break
            chosen = [single[byte]]
        copy.consume(chosen)
        tokens += chosen
        state = _string_state(_bytes(vocab, chosen), state)
    raise EngineError(
        f"the schema has no ending within {MAX_STEPS} steps of the cut answer; allow more "
        'max_tokens, or use on_budget="raise"'
    )


def _bytes(vocab: Vocab, tokens: Sequence[int]) -> bytes:
    return b"".join(vocab.pieces[token] for token in tokens)


def _single_byte_tokens(vocab: Vocab) -> dict[int, int]:
    return {
        piece[0]: token
        for token, piece in enumerate(vocab.pieces)
        if len(piece) == 1 and token not in vocab.control
    }


def _string_ending(matcher: Matcher, single: dict[int, int], state: tuple[bool, bool]) -> list[int]:
    """Tokens that end the string at once, if it needs more than a quotation mark."""
    quote = single.get(0x22)
    if state != (True, False) or quote is None or matcher.accepts(quote):
        return []
    for ending in _STRING_ENDINGS:
        tokens = [single[byte] for byte in ending if byte in single]
        if len(tokens) == len(ending) == matcher.valid_prefix(tokens):
            return tokens
    return []


def _pick(
    mask: NDArray[np.bool_],
    single: dict[int, int],
    order: Sequence[int],
    rng: random.Random | None,
) -> int | None:
    allowed = [byte for byte, token in single.items() if mask[token]]
    if not allowed:
        return None
    if rng is not None and order[0] not in allowed:
        return rng.choice(allowed)
    rank = {byte: i for i, byte in enumerate(order)}
    return min(allowed, key=lambda byte: (rank.get(byte, 256 if byte != 92 else 512), byte))


def _string_state(data: bytes, state: tuple[bool, bool] = (False, False)) -> tuple[bool, bool]:
    """Whether a JSON text ends within a string, and behind a backslash there."""
    for byte in data:
        state = _advance(byte, *state)
    return state


def _advance(byte: int, in_string: bool, escaped: bool) -> tuple[bool, bool]:
    if not in_string:
        return byte == 0x22, False
    if escaped:
        return True, False
    return byte != 0x22, byte == 0x5C
