"""A tokenizer for synthetic models: byte-level BPE of a given size that reads English."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice, pairwise
from string import ascii_lowercase
from typing import Any, Final

#: they come last, as in the models whose shapes are copied
CONTROL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML: Final = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'"
    " + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_NORMAL, _CONTROL_TYPE = 1, 3

#: Parts of words and of JSON that become one token each, in the order of their merging. They are
#: far fewer than a real tokenizer has, so that a text has some more tokens than it would have.
_PIECES: Final = """
th in er an on re he or en at es al it ar st nd is le ou ng ed ro se me ve ic as ti de ri om ch
ll el ra la ta ur ne ea ec ion ing ent the and for ter her est all ver ate ore int com pro con not
are you was that with this from have your will one ment able ight ound date total name number
address company amount price order item invoice text label value user system assistant street road
account card payment please message return answer field json string true false null 19 20 00 10
"""
_SPACED: Final = """
the of and to in a is for on that with as it be are this you not or from by an at your I we my
was have can one please order date total
"""
_JSON: Final = ('":', '{"', '",', '"}', '": "', '", "', "\n\n", "  ", "},")


def tokenizer(size: int) -> dict[str, Any]:
    """The ``tokenizer.ggml`` metadata of a vocabulary of ``size`` tokens.

    Tokens that no text is split into fill it up: made-up words, so that generated text looks
    like text, and masking has as much to do as with a real vocabulary.

    Raises:
        ValueError: ``size`` is too small for the bytes, the pieces and the control tokens.
    """
    pieces, merges = _pieces()
    fill = size - len(pieces) - len(CONTROL)
    if fill < 0:
        raise ValueError(f"a vocabulary must have at least {size - fill} tokens")
    tokens = [*pieces, *islice(_made_up(set(pieces)), fill)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*tokens, *CONTROL],
        "tokenizer.ggml.token_type": [_NORMAL] * len(tokens) + [_CONTROL_TYPE] * len(CONTROL),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": len(tokens) + 1,
        "tokenizer.ggml.eos_token_id": len(tokens) + 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }


def _pieces() -> tuple[list[str], list[str]]:
    """Tokens and merges: each piece is joined with the merges there are so far, then with a new."""
    spelled = _byte_characters()
    tokens = dict.fromkeys(spelled)
    ranks: dict[tuple[str, str], int] = {}
    for piece in (*_PIECES.split(), *(f" {word}" for word in _SPACED.split()), *_JSON):
        symbols = [spelled[byte] for byte in piece.encode()]
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            pair = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            ranks.setdefault(pair, len(ranks))
            tokens.setdefault("".join(pair))
            at = pairs.index(pair)
            symbols[at : at + 2] = ["".join(pair)]
    return list(tokens), [" ".join(pair) for pair in ranks]


def _byte_characters() -> list[str]:
    """GPT-2's printable spelling of each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {byte: chr(byte) for byte in printable}
    spelled |= {byte: chr(256 + rank) for rank, byte in enumerate(others)}
    return [spelled[byte] for byte in range(256)]


def _made_up(taken: set[str]) -> Iterator[str]:
    """Endless different words of letters, every other one with the space in front of it."""
    space = _byte_characters()[ord(" ")]
    for number in count():
        word = (space if number % 2 else "") + _letters(number // 2)
        if word not in taken:
            yield word


def _letters(number: int) -> str:
    """At least two letters, another word for each number."""
    letters = ""
    number += len(ascii_lowercase)
    while number:
        number, last = divmod(number, len(ascii_lowercase))
        letters = ascii_lowercase[last] + letters
    return letters
