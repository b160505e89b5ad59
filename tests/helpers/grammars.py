"""Drive a text through the real grammar with a byte tokenizer."""

from __future__ import annotations

from functools import cache
from typing import Any

from edgeslm.decoding.grammar import Grammar, GrammarTokenizer, Matcher
from edgeslm.errors import OutputInvalidError
from edgeslm.formats.card import Style
from edgeslm.schema.schema import Schema, compile_schema
from edgeslm.testing import ScriptedEngine


@cache
def tokenizer() -> GrammarTokenizer:
    return GrammarTokenizer(ScriptedEngine())


def matcher(schema: Any, style: Style | None = None, **options: bool) -> Matcher:
    compiled = schema if isinstance(schema, Schema) else compile_schema(schema, **options)
    return Grammar(compiled, tokenizer(), style or Style()).matcher()


def accepts(schema: Any, text: str, style: Style | None = None, **options: bool) -> bool:
    """Whether the mask lets the whole text through and the value is complete then."""
    state = matcher(schema, style, **options)
    tokens = list(text.encode())
    if state.valid_prefix(tokens) < len(tokens):
        return False
    state.consume(tokens)
    return state.is_accepting


def answers(schema: Any, text: str, **options: bool) -> bool:
    """Whether the text could be the answer: through the mask and through the final check."""
    compiled = schema if isinstance(schema, Schema) else compile_schema(schema, **options)
    try:
        compiled.read(text)
    except OutputInvalidError:
        return False
    return accepts(compiled, text)
