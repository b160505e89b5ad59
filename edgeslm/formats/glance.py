"""The kind of task in a model file's card, found without reading the file: for a shell's Tab key.

Where the card stands is looked for by its key and nothing is checked, so what is found decides
nothing but which names are offered.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Final

from edgeslm.formats.card_facts import CARD_KEY, MAX_CARD_BYTES

_KEY: Final = CARD_KEY.encode()
#: in a .gguf: the key's length and the key, then the number of the kind "text" and its length
_GGUF: Final = len(_KEY).to_bytes(8, "little") + _KEY + (8).to_bytes(4, "little")
#: how much is looked through of the begin of a .gguf, whose header has some megabytes with a
#: tokenizer, and of the end of an .onnx, where converters write the card
_LOOKED_THROUGH: Final = 32 * 1024 * 1024
#: in an .onnx: a pair of texts, with the length of the second as a varint
_ONNX: Final = b"\x0a" + bytes([len(_KEY)]) + _KEY + b"\x12"


def task_kind(path: Path) -> str | None:
    """The kind of task of a file's card; None where no card is to be seen."""
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole,
        ):
            card = _onnx_card(whole) if path.suffix == ".onnx" else _gguf_card(whole)
        kind = json.loads(card)["task"]["kind"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None


def _gguf_card(whole: mmap.mmap) -> bytes:
    start = _behind(_GGUF, whole.find(_GGUF, 0, _LOOKED_THROUGH))
    return _text(whole, start + 8, int.from_bytes(whole[start : start + 8], "little"))


def _onnx_card(whole: mmap.mmap) -> bytes:
    start = _behind(_ONNX, whole.rfind(_ONNX, max(0, len(whole) - _LOOKED_THROUGH)))
    length = shift = 0
    while True:
        part = whole[start]
        length |= (part & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if part < 0x80 or shift > 28:
            return _text(whole, start, length)


def _behind(key: bytes, place: int) -> int:
    if place < 0:
        raise LookupError("no card")
    return place + len(key)


def _text(whole: mmap.mmap, start: int, length: int) -> bytes:
    if length > MAX_CARD_BYTES:
        raise ValueError("no length of a card")
    return whole[start : start + length]
