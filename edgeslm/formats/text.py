"""What a text must be to be answered, and what may be done with one that is too long."""

from __future__ import annotations

from typing import Final, Literal

from edgeslm.errors import InputError

#: ``"middle"`` keeps the beginning and the end and drops what is between
Truncate = Literal["middle"] | None
#: what it may be
TRUNCATE: Final[tuple[Truncate, ...]] = (None, "middle")


def check_text(text: object) -> str:
    """The caller's text, or an InputError that says what is wrong with it."""
    if not isinstance(text, str):
        raise InputError(f"the input must be a str, not {type(text).__name__}; decode bytes first")
    if not text.strip():
        raise InputError("the input is empty")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise InputError(
            f"the input is not text: it has a lone surrogate at code point {e.start}"
        ) from e
    return text
