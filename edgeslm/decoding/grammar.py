"""A closed schema -> the tokens it allows next; masks and forced tokens come from llguidance."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper
from numpy.typing import NDArray

from edgeslm.engines.engine import Engine
from edgeslm.errors import EngineError, InputError, SchemaError
from edgeslm.formats.card import Style
from edgeslm.schema.parts import for_mask
from edgeslm.schema.schema import Schema

R = TypeVar("R")

#: llguidance goes down a schema by recursion, some 12 kB a definition, and a stack that is too
#: small ends the process; threads have as little as 512 kB, and a schema 2,000 definitions
_STACK_BYTES = 64 * 1024 * 1024
_stack_lock = threading.Lock()

#: bounds on what an untrusted schema may cost: about a second and some tens of megabytes
_LIMITS = LLParserLimits(
    max_items_in_row=20_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=1_000_000,
    step_max_items=100_000,
    max_lexer_states=100_000,
    max_grammar_size=500_000,
    verbose_errors=False,
)


class _Pieces:
    """The vocabulary as llguidance wants it. Holds the engine's pieces, none of its memory.

    llguidance calls back to tokenize forced text. An engine that was closed meanwhile must
    not be called, nor may an exception pass through the library: a greedy split stands in.
    """

    def __init__(self, engine: Engine) -> None:
        vocab = engine.vocab
        self.eos_token_id = vocab.end[0]
        self.bos_token_id = vocab.bos
        self.special_token_ids = sorted(vocab.control)
        self.tokens = [
            b"\xff" + (piece or b"<%d>" % token) if token in vocab.control else piece
            for token, piece in enumerate(vocab.pieces)
        ]
        self._engine = engine
        self._token_of = {
            piece: token
            for token, piece in reversed(list(enumerate(vocab.pieces)))
            if piece and token not in vocab.control
        }
        self._longest = max(map(len, self._token_of), default=1)

    def __call__(self, text: bytes | str) -> list[int]:
        data = text if isinstance(text, bytes) else text.encode()
        try:
            return self._engine.tokenize(data.decode())
        except (EngineError, UnicodeDecodeError):
            return self._greedy(data)

    def _greedy(self, data: bytes) -> list[int]:
        tokens: list[int] = []
        start = 0
        while start < len(data):
            for end in range(min(len(data), start + self._longest), start, -1):
                token = self._token_of.get(data[start:end])
                if token is not None:
                    tokens.append(token)
                    start = end
                    break
            else:
                start += 1
        return tokens


class GrammarTokenizer:
    """A vocabulary prepared for masks; built once per engine, which it may outlive.

    Preparing 49,152 tokens takes about 0.2 s.
    """

    def __init__(self, engine: Engine) -> None:
        self.vocab = engine.vocab
        self.inner = LLTokenizer(
            TokenizerWrapper(_Pieces(engine)),
            n_vocab=engine.vocab.size,
            eos_token=list(engine.vocab.end),
        )


class Matcher:
    """Where one answer stands in the grammar. Cheap to copy; one per request."""

    def __init__(self, inner: LLMatcher, size: int) -> None:
        self._inner = inner
        self._size = size

    def forced(self) -> list[int]:
        """The tokens that must come next, as a tokenizer would spell them; not consumed."""
        tokens = self._inner.compute_ff_tokens()
        self._raise()
        return tokens

    def accepts(self, token: int) -> bool:
        """Whether this token may come next."""
        return self.valid_prefix([token]) == 1

    def valid_prefix(self, tokens: Sequence[int]) -> int:
        """How many of these tokens could be consumed in a row."""
        count = self._inner.validate_tokens(list(tokens))
        self._raise()
        return count

    def consume(self, tokens: Sequence[int]) -> None:
        """Move on by these tokens; EngineError where the grammar refuses one."""
        self._inner.consume_tokens(list(tokens))
        self._raise()

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next, bool [vocab.size]; end tokens where the value is complete."""
        bits = np.frombuffer(self._inner.compute_bitmask(), dtype=np.uint8)
        self._raise()
        return np.unpackbits(bits, count=self._size, bitorder="little").astype(np.bool_)

    def rollback(self, n: int) -> None:
        """Take back the last ``n`` tokens; EngineError where there are not so many."""
        self._inner.rollback(n)
        self._raise()

    def copy(self) -> Matcher:
        """An independent matcher at the same place."""
        return Matcher(self._inner.deep_copy(), self._size)

    @property
    def is_accepting(self) -> bool:
        """Whether the text so far is a complete value."""
        return self._inner.is_accepting()

    @property
    def is_stopped(self) -> bool:
        """Whether nothing but an end token can follow."""
        return self._inner.is_stopped()

    def _raise(self) -> None:
        if self._inner.is_error():
            raise EngineError(f"the grammar library failed: {_first_line(self._inner.get_error())}")


class Grammar:
    """A schema compiled for one vocabulary and one style; matchers are copies of one original.

    Raises:
        SchemaError: the grammar library refuses the schema, or it is too large for it.
    """

    def __init__(self, schema: Schema[Any], tokenizer: GrammarTokenizer, style: Style) -> None:
        self._size = tokenizer.vocab.size
        grammar = _grammar(schema.closed, style)
        self._pristine = _compile(grammar, tokenizer)
        if self._pristine.is_error():
            raise _refusal(self._pristine.get_error())

    def matcher(self) -> Matcher:
        """A matcher at the beginning of a value."""
        return Matcher(self._pristine.deep_copy(), self._size)


def lark_matcher(grammar: str, tokenizer: GrammarTokenizer) -> Matcher:
    """A matcher at the beginning of a grammar in llguidance's form of Lark.

    For grammars made of one text, so not kept; a page of text takes some 3 ms.

    Raises:
        InputError: the text makes the grammar too large for the grammar library.
    """
    inner = _compile(LLMatcher.grammar_from_lark(grammar), tokenizer)
    if inner.is_error():
        raise InputError(
            f"the text is too long for a grounded answer: {_first_line(inner.get_error())}; give "
            "a shorter one, or answer without grounded"
        )
    return Matcher(inner, tokenizer.vocab.size)


def _compile(grammar: str, tokenizer: GrammarTokenizer) -> LLMatcher:
    return _with_stack(lambda: LLMatcher(tokenizer.inner, grammar, log_level=0, limits=_LIMITS))


def check_grammar(schema: Schema[Any], style: Style | None = None) -> None:
    """Raise SchemaError where the grammar library would refuse; needs no vocabulary."""
    error = _validate(schema.closed, style or Style())
    if error:
        raise _refusal(error)


def _validate(closed: dict[str, object], style: Style) -> str:
    """Why llguidance refuses a schema, or nothing."""
    grammar = _grammar(closed, style)
    failed, messages = _with_stack(
        lambda: LLMatcher.validate_grammar_with_warnings(grammar, limits=_LIMITS)
    )
    return messages[0] if failed else ""


def _with_stack(call: Callable[[], R]) -> R:
    """Run a call on a thread whose stack holds any schema that is let through to here."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        with _stack_lock:
            usual = threading.stack_size(_STACK_BYTES)
            try:
                future = pool.submit(call)
            finally:
                threading.stack_size(usual)
        return future.result()


def _grammar(closed: dict[str, object], style: Style) -> str:
    return LLMatcher.grammar_from_json_schema(
        json.dumps({**for_mask(closed), **json_options(style)}, ensure_ascii=False)
    )


def json_options(style: Style) -> dict[str, object]:
    """What a schema has to hold so that the grammar library spells its values in a style."""
    return {
        "x-guidance": {
            "item_separator": style.item_separator,
            "key_separator": style.key_separator,
            "whitespace_flexible": False,
        }
    }


def _refusal(error: str) -> SchemaError:
    return SchemaError(
        f"schema: it cannot be enforced while decoding: {_first_line(error)}; make it smaller "
        "or simpler",
        path="",
    )


def _first_line(error: str) -> str:
    """The message without the state of the parser that follows it."""
    lines = [line.strip() for line in error.partition("<state>")[0].splitlines() if line.strip()]
    return "; ".join(dict.fromkeys([lines[0], lines[-1]]))[:300] if lines else "no reason given"
