"""A plain text file -> its text."""

from __future__ import annotations

from edgeslm.errors import DocumentError, InputError
from edgeslm.formats.text import decoded


def read_plain(data: bytes) -> str:
    """The text of a file in UTF-8, or in what its mark says, with newlines of one kind.

    Raises:
        DocumentError: it is no text.
    """
    try:
        text = decoded(data)
    except InputError as error:
        raise DocumentError(
            f"{error}. What is read: PDF, JPEG, PNG, TIFF, WebP, BMP, mail (.eml), HTML and text",
            reason="unsupported",
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
