"""A mail file -> its text: who wrote to whom, when and about what, and then what was written.

The parts are told apart here and not by the email package, whose parser recurses once for each
level that a sender nests: here no level is read twice, and there is a bound on them.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from itertools import pairwise
from typing import Final

from edgeslm.documents.html import decoded_as, html_text, read_html
from edgeslm.errors import DocumentError

#: headers that are lines of the text
_SHOWN: Final = ("From", "To", "Date", "Subject")
#: headers with parameters, which tell what a part is
_STRUCTURED: Final = ("Content-Type", "Content-Disposition", "Content-Transfer-Encoding")
#: bytes of the headers of one part, and characters of one that is used
_MAX_HEADER_BYTES: Final = 256 * 1024
_MAX_HEADER: Final = 2_000
#: parts within parts, and parts in all
_MAX_DEPTH: Final = 10
_MAX_PARTS: Final = 1_000

#: headers by which a mail is known
_KNOWN: Final = re.compile(
    rb"^(from|to|cc|date|subject|sender|reply-to|message-id|mime-version|received|return-path"
    rb"|delivered-to|content-type|dkim-signature|x-[a-z-]+):",
    re.I | re.M,
)
#: of these, those that nobody types into a note
_CERTAIN: Final = frozenset(
    (
        *(b"content-type", b"delivered-to", b"dkim-signature", b"message-id", b"mime-version"),
        *(b"received", b"return-path"),
    )
)
_HEADER: Final = re.compile(rb"[!-9;-~]+:|[ \t]")
_END_OF_HEADERS: Final = re.compile(rb"\r?\n[ \t]*\r?\n|\Z")
#: bytes in which a mail shows itself
_LOOKED_AT: Final = 16 * 1024


def is_mail(data: bytes, *, named: bool) -> bool:
    """Whether this begins as a mail does; ``named`` says that the file's name says so."""
    head = _head(data[:_LOOKED_AT])
    lines = head.removeprefix(b"\n").splitlines()
    if not lines or not all(_HEADER.match(line) for line in lines[:20]):
        return False
    names = {name.lower() for name in _KNOWN.findall(head)}
    return bool(names) if named else len(names) > 1 and not names.isdisjoint(_CERTAIN)


def read_mail(data: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a mail and the names of its attachments.

    Raises:
        DocumentError: it is nested too deep, or has too many parts or too long headers.
    """
    whole = _Mail()
    head, body = _parted(_without_envelope(data))
    whole.read(head, body, 0)
    text = [f"{name}: {value}" for name in _SHOWN if (value := _header(head, name))]
    return "\n".join([*text, *whole.texts]), tuple(whole.attachments)


def _without_envelope(data: bytes) -> bytes:
    """Without the line "From …" that begins a mail in a mailbox file."""
    return data[data.find(b"\n") + 1 :] if data.startswith(b"From ") else data


def _head(data: bytes) -> bytes:
    data = _without_envelope(data)
    end = _END_OF_HEADERS.search(data)
    return data[: end.start()] if end else data


def _parted(data: bytes) -> tuple[Message, bytes]:
    """Headers, and what follows them."""
    if data.startswith((b"\n", b"\r\n")):  # a part without headers
        return Message(), data.lstrip(b"\r").removeprefix(b"\n")
    end = _END_OF_HEADERS.search(data)
    at, after = end.span() if end else (len(data), len(data))
    if at > _MAX_HEADER_BYTES:
        raise DocumentError(
            f"a mail's headers have more than {_MAX_HEADER_BYTES:,} bytes", reason="limit"
        )
    head = BytesHeaderParser().parsebytes(data[:at] + b"\n\n")
    for name in _STRUCTURED:
        value = str(head.get(name, ""))
        if len(value) > _MAX_HEADER:  # the email package takes quadratic time for its parameters
            head.replace_header(name, value[:_MAX_HEADER])
    return head, data[after:]


class _Mail:
    """The texts and attachments that are read so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.attachments: list[str] = []
        self._parts = 0

    def read(self, head: Message, body: bytes, depth: int) -> None:
        """Read a part and those within it."""
        self._parts += 1
        if depth > _MAX_DEPTH or self._parts > _MAX_PARTS:
            raise DocumentError(
                f"a mail of more than {_MAX_DEPTH} levels or {_MAX_PARTS:,} parts", reason="limit"
            )
        kind = head.get_content_type()
        if head.get_content_maintype() == "multipart" and (within := _within(head, body)):
            if kind == "multipart/alternative":
                within = _best(within)
            for part in within:
                self.read(*part, depth + 1)
        elif _is_text(head):
            text = _text(head, _decoded(head, body))
            if text.strip():
                self.texts.append(text.strip())
        else:
            self.attachments.append(_name(head))


def _within(head: Message, body: bytes) -> list[tuple[Message, bytes]]:
    """The parts of a multipart; what stands before the first and behind the last is none."""
    boundary = head.get_boundary()
    if not boundary:
        return []
    mark = re.escape(boundary.encode("utf-8", "surrogateescape"))
    lines = re.compile(rb"^--" + mark + rb"(--)?[ \t]*+\r?$", re.M)
    edges: list[tuple[int, int]] = []
    for match in lines.finditer(body):
        edges.append(match.span())
        if match[1] or len(edges) > _MAX_PARTS:
            break
    else:
        edges.append((len(body), len(body)))  # the last one was cut off
    return [
        _parted(body[begin[1] : end[0]].removeprefix(b"\r").removeprefix(b"\n"))
        for begin, end in pairwise(edges)
    ]


def _best(parts: list[tuple[Message, bytes]]) -> list[tuple[Message, bytes]]:
    """Of parts that say the same: the plain text if it has some, or else all others."""
    plain = [
        part
        for part in parts
        if part[0].get_content_type() == "text/plain" and _decoded(*part).strip()
    ]
    return plain[:1] or [part for part in parts if part[0].get_content_type() != "text/plain"]


def _is_text(head: Message) -> bool:
    """Whether a part is read: text that is not attached, or a multipart that has no parts."""
    if head.get_content_maintype() == "multipart":
        return True
    attached = head.get_content_disposition() == "attachment" or _file_name(head) is not None
    return head.get_content_type() in {"text/plain", "text/html"} and not attached


def _file_name(head: Message) -> str | None:
    try:
        return head.get_filename()
    except (ValueError, LookupError, TypeError):  # a name in an encoding that is none
        return None


def _name(head: Message) -> str:
    """An attachment's name: the file's, the subject of a mail, or what it is."""
    name = _file_name(head)
    if name:
        return _words(name)
    return f"unnamed ({head.get_content_type()})"


def _decoded(head: Message, body: bytes) -> bytes:
    """The bytes of a part as they were before it was sent."""
    match str(head.get("Content-Transfer-Encoding", "")).strip().lower():
        case "quoted-printable":
            return quopri.decodestring(body)
        case "base64":
            kept = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
            return binascii.a2b_base64(kept[: len(kept) - (len(kept) % 4 == 1)] + b"===")
        case _:
            return body


def _text(head: Message, data: bytes) -> str:
    charset = head.get_content_charset()
    if head.get_content_type() == "text/html":
        return read_html(data) if charset is None else html_text(decoded_as(data, charset))
    return "\n".join(decoded_as(data, charset).splitlines())


# --- headers ----------------------------------------------------------------------


def _header(head: Message, name: str) -> str:
    """A header on one line, with its encoded words as they are meant."""
    values = (value for key, value in head.raw_items() if key.lower() == name.lower())
    return _words(str(next(values, "")))


def _words(value: str) -> str:
    value = " ".join(value[:_MAX_HEADER].split())
    return " ".join("".join(_pieces(value)).split())


def _pieces(value: str) -> Iterator[str]:
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError, LookupError):
        pieces = [(value, None)]
    for piece, charset in pieces:
        raw = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogateescape")
        yield decoded_as(raw, charset)
