"""What the logic tests share: a scripted engine with multi-byte tokens, and its parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeslm.decoding.grammar import Grammar, GrammarTokenizer, Matcher
from edgeslm.decoding.session import Session
from edgeslm.engines.engine import Batch
from edgeslm.formats.card import PromptSpec, Style
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.extraction.language import LanguageExtractor
from edgeslm.tasks.extraction.plan import ExtractionPlan
from edgeslm.testing import ScriptedEngine

#: tokens that cross JSON's borders, as real vocabularies have them
PIECES = (
    b'{"',
    b'":',
    b'":"',
    b'","',
    b'"}',
    b"null",
    b"total",
    b"the",
    b"ab",
    b"12",
    "é".encode(),
)


def matcher_for(engine: ScriptedEngine, schema: dict[str, Any] | type) -> Matcher:
    compiled = compile_schema(schema)
    return Grammar(compiled, GrammarTokenizer(engine), Style()).matcher()


def extractor_for(
    script: str, schema: dict[str, Any] | type, **engine: Any
) -> tuple[LanguageExtractor[Any], ScriptedEngine]:
    scripted = ScriptedEngine(script, pieces=PIECES, **engine)
    spec = PromptSpec(user="Read:\n{{ text }}")
    return LanguageExtractor(
        Session(scripted), ExtractionPlan(compile_schema(schema), spec)
    ), scripted


def prefilled(engine: ScriptedEngine, text: str = "x", sequence: int = 0) -> tuple[np.ndarray, int]:
    """A prompt in a sequence: the logits after it, and its length."""
    tokens = engine.tokenize(f"{text}<|im_start|>assistant\n", special=True)
    return engine.evaluate(Batch.run(tokens, 0, sequence))[-1], len(tokens)
