"""How often a forced run of tokens is not what the tokenizer makes of its text: target 0"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from benchmarks.data.schemas import Invoice, Receipt
from edgeslm.decoding.grammar import Grammar, GrammarTokenizer, Matcher
from edgeslm.engines.engine import Engine, Vocab
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.formats.card import Style
from edgeslm.schema.schema import compile_schema
from edgeslm.store.store import Store

ANSWERS = 1000
#: tokens after which a walk is given up; its runs up to there count
_LONGEST = 400


@dataclass(slots=True)
class Count:
    """Answers walked, forced runs and tokens in them, and runs that are spelled otherwise."""

    answers: int = 0
    runs: int = 0
    tokens: int = 0
    different: int = 0


def count_forced(
    engine: Engine, schemas: Sequence[type[BaseModel]], answers: int, seed: int = 0
) -> Count:
    """Walk answers at random, no model asked, and tokenize the text of every forced run again."""
    grammar_tokenizer = GrammarTokenizer(engine)
    grammars = [Grammar(compile_schema(s), grammar_tokenizer, Style()) for s in schemas]
    common = _common_tokens(engine.vocab)
    rng = random.Random(seed)
    count = Count()
    for i in range(answers):
        matcher = grammars[i % len(grammars)].matcher()
        count.answers += 1
        length = 0
        while not matcher.is_stopped and length < _LONGEST:
            run = matcher.forced()
            if run:
                count.runs += 1
                count.tokens += len(run)
                count.different += engine.tokenize(engine.detokenize(run).decode()) != run
                matcher.consume(run)
                length += len(run)
                continue
            token = _step(matcher, common, rng)
            if token is None:
                break
            matcher.consume([token])
            length += 1
    return count


def _common_tokens(vocab: Vocab) -> NDArray[np.intp]:
    """Tokens of plain ASCII: what answers are mostly written with."""
    return np.array([t for t, piece in enumerate(vocab.pieces) if piece and piece.isascii()])


def _step(matcher: Matcher, common: NDArray[np.intp], rng: random.Random) -> int | None:
    """A random token that may come next; None where none of the common ones may."""
    for _ in range(3):  # within a string most tokens may, and asking for one spares the mask
        token = int(common[rng.randrange(len(common))])
        if matcher.accepts(token):
            return token
    allowed = common[matcher.mask()[common]]
    return int(allowed[rng.randrange(len(allowed))]) if len(allowed) else None


def main(model: str = "smollm2-135m", answers: str = str(ANSWERS)) -> int:
    """Print the count; 1 where a run differs."""
    engine = LlamaEngine(Path(Store().resolve(model)), context_size=1, threads=1)
    try:
        count = count_forced(engine, (Receipt, Invoice), int(answers))
    finally:
        engine.close()
    print(
        f"{count.answers:,} answers, {count.runs:,} forced runs of {count.tokens:,} tokens: "
        f"{count.different:,} are not what the tokenizer makes of their text"
    )
    return int(count.different > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
