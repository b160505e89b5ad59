"""A text: what it must be to be answered, what is done where it is too long, how it is compared."""

from __future__ import annotations

import codecs
import unicodedata
from typing import Final, Literal, NamedTuple

from edgeslm.errors import InputError, InputTooLongError

#: ``"middle"`` keeps the beginning and the end and drops what is between
Truncate = Literal["middle"] | None
#: what it may be
TRUNCATE: Final[tuple[Truncate, ...]] = (None, "middle")

#: how far the spelling of two texts may differ where they count as one: in the case and forms of
#: characters and how much white space there is; in punctuation and white space too; in nothing
Fold = Literal["case", "punctuation", "none"]
#: what it may be
FOLDS: Final[tuple[Fold, ...]] = ("case", "punctuation", "none")
#: each in words
FOLD_WORDS: Final[dict[Fold, str]] = {
    "case": "case ignored",
    "punctuation": "case and punctuation ignored",
    "none": "nothing ignored",
}

#: marks at the beginning of a file, and the encoding that each tells
MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: characters of a text for each token that a language model may read; words have 4 to 6
_CHARACTERS: Final = 32

#: characters that are searched one by one for one that can be seen
_BEGINNING: Final = 1000

#: combining grapheme joiner, Hangul fillers, and variation selectors: invisible as format
#: characters are
_ALSO_INVISIBLE: Final = frozenset(
    [*map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))]
).union("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u180b\u180c\u180d\u180f")


def check_text(text: object) -> str:
    """The caller's text, or an InputError that says what is wrong with it."""
    text = require_text(text)
    if is_blank(text):
        only = ": it has only white space and invisible characters" if text else ""
        raise InputError(f"the input is empty{only}; give it some text")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise InputError(
            f"the input is not text: it has a lone surrogate at code point {e.start}; decode the "
            'bytes that it comes from with errors="replace"'
        ) from e
    return text


def require_text(text: object) -> str:
    """What the caller gave as a text, or an InputError where it is none."""
    if not isinstance(text, str):
        raise InputError(f"the input must be a str, not {type(text).__name__}; decode bytes first")
    return text


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space and invisible characters alone. ``fold`` gives an
    empty text for it."""
    # a text mostly begins with a letter; of one that does not, each character is looked at once
    return not any(map(_is_visible, text[:_BEGINNING])) and not any(map(_is_visible, set(text)))


def _is_visible(character: str) -> bool:
    return not character.isspace() and not is_invisible(character)


def decoded(data: bytes) -> str:
    """The text of a whole file: UTF-8, or what its mark says.

    Raises:
        InputError: it is not in this encoding, or has a zero byte; the message has no place.
    """
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in data:
        odd = data[1:2000:2].count(0) + data[:2000:2].count(0)
        guess = "; is it UTF-16 without a mark?" if 4 * odd > len(data[:2000]) else ""
        raise InputError(f"not text: a zero byte at {data.index(0)}{guess}; convert it to UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        named = encoding.removesuffix("-sig").upper()
        raise InputError(f"not {named} at byte {error.start}; convert it to UTF-8 text") from error


def fold(text: str) -> str:
    """A text as it is compared: without case, invisible characters and forms of a character.

    Case folding under NFKC (the Unicode Standard, section 3.13, ``toNFKC_Casefold``), with each
    run of white space as one space.
    """
    if not text.isascii():
        kept = "".join(c for c in text if not is_invisible(c))
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", kept).casefold())
    return " ".join(text.casefold().split())


def letters_and_digits(text: str) -> str:
    """A folded text without punctuation, symbols and white space.

    Accents and vowel signs belong to their letters. Empty where there is neither letter nor digit.
    """
    kept = "".join(c for c in fold(text) if unicodedata.category(c)[0] in "LMN")
    return fold(kept)  # characters that now stand side by side may be one


def is_invisible(character: str) -> bool:
    """Whether a character only says how others are to be shown: soft hyphens, joiners, marks of
    direction, variation selectors."""
    return not character.isascii() and (
        unicodedata.category(character) == "Cf" or character in _ALSO_INVISIBLE
    )


def without_middle(text: str, limit: int) -> str:
    """The beginning and the end of a text, whole words where it has some, ``limit`` characters."""
    return kept_of(text, limit).text


class Kept(NamedTuple):
    """What is read of a text: all, or its first ``head`` characters and its end.

    ``dropped`` characters of the text stand where ``text`` has one space.
    """

    text: str
    head: int
    dropped: int

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Where in the caller's text a part of this one stands; None where it spans the gap."""
        if not self.dropped or end <= self.head:
            return start, end
        shift = self.dropped - 1
        return (start + shift, end + shift) if start > self.head else None


def kept_of(text: str, limit: int) -> Kept:
    """The beginning and the end of a text, whole words where it has some, ``limit`` characters."""
    if len(text) <= limit:
        return Kept(text, len(text), 0)
    half = limit // 2
    head, tail = _begun(text[: half - 1]), _begun(text[len(text) - half :][::-1])[::-1]
    return Kept(f"{head} {tail}", len(head), len(text) - len(head) - len(tail))


def bounded(text: str, tokens: int, truncate: Truncate) -> Kept:
    """What a language model of so many tokens may read of a text, before it is tokenized.

    Raises:
        InputTooLongError: it has more than 32 characters for each token, and ``truncate`` is None.
    """
    limit = tokens * _CHARACTERS
    if len(text) > limit and truncate is None:
        raise InputTooLongError(
            f"the text has {len(text):,} characters, but this model reads {tokens:,} tokens; "
            'shorten it, or allow truncate="middle"',
            tokens=tokens + 1,  # at least
            limit=tokens,
        )
    return kept_of(text, limit)


def _begun(text: str) -> str:
    """A beginning of a text without its last word, which may be cut, if there is another."""
    words = text.rsplit(None, 1)
    return words[0] if len(words) == 2 and not text[-1].isspace() else text
