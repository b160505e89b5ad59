"""What a file is, by its first bytes: a document, a picture, an archive, text; for messages."""

from __future__ import annotations

from pathlib import Path

#: bytes that `kind_of` wants to see
HEAD_BYTES = 512

_STARTS = (
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF87a", "a GIF picture"),
    (b"GIF89a", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "a Parquet table"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"),
)


def kind_of(head: bytes) -> str | None:
    """A kind of file that is not plain text, with its article; None for all others."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP picture"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and len(head) >= 10:
        return "a BMP picture"
    if head[4:8] == b"ftyp":
        return "a picture or film"
    return None


def kind_of_file(path: Path) -> str:
    """What lies at a path, as words: "a folder", "a PDF document", "a text file", "a file"."""
    if path.is_dir():
        return "a folder"
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return "a file that cannot be read"
    if kind := kind_of(head):
        return kind
    if not head:
        return "an empty file"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        # a character that the end of what was read cuts is no fault of the file
        text = head[: error.start].decode() if error.start > HEAD_BYTES - 4 else "\0"
    return "a file of another kind" if "\0" in text else "a text file"
