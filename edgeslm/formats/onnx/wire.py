"""The protobuf wire format, as far as reading an .onnx needs it: bounded, never copying."""

from __future__ import annotations

from collections.abc import Iterator

#: wire types of protobuf
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10


class WireError(ValueError):
    """Bytes that are no protobuf message."""


class Fields:
    """The fields of messages in one buffer. ``budget`` bounds how many are read in all.

    A value is an int for a varint, else a view of the buffer.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget

    def of(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Field numbers and values of a message, in its order; raises WireError."""
        at, end = 0, len(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise WireError("it has more parts than a model may have")
            key, at = _varint(message, at)
            number, kind = key >> 3, key & 7
            if number == 0:
                raise WireError("a field has the number 0")
            if kind == VARINT:
                value, at = _varint(message, at)
                yield number, value
                continue
            if kind == BYTES:
                size, at = _varint(message, at)
            elif kind in _FIXED:
                size = _FIXED[kind]
            else:
                raise WireError(f"a field has the unknown type {kind}")
            if size > end - at:
                raise WireError("a field is longer than what holds it")
            yield number, message[at : at + size]
            at += size


def text(value: int | memoryview, limit: int) -> str:
    """A field's text of at most ``limit`` bytes; raises WireError."""
    if isinstance(value, int):
        raise WireError("a number stands where a text belongs")
    if len(value) > limit:
        raise WireError(f"a text has {len(value):,} bytes, {limit:,} are allowed")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise WireError("a text is not UTF-8") from error


def number(value: int | memoryview) -> int:
    """A field's integer, signed as int64; raises WireError."""
    if not isinstance(value, int):
        raise WireError("bytes stand where a number belongs")
    return value - (1 << 64) if value >> 63 else value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The integer at a place, and the place after it."""
    value = 0
    for i in range(_MAX_VARINT):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise WireError("an integer does not end")
