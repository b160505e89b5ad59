"""The protobuf wire format, as far as reading an .onnx needs it: bounded, never copying.

Strict: a message that a library could read in another way than this reader is refused. That is a
field that its message does not have, or has as another type, or twice where it holds one value;
an integer longer than it needs to be; and a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

#: wire types of protobuf
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10
#: the bit of a byte that says that an integer goes on
_MORE: Final = 0x80
#: bytes of a message that is copied to be read
_SMALL: Final = 4096


#: bytes of a message or of one of its fields
Message = bytes | memoryview
#: the values of a message by field number, in their order
Values = dict[int, list[int | Message]]


class WireError(ValueError):
    """Bytes that are no protobuf message."""


class Layout:
    """What a message may hold: by wire type the numbers of fields, of one value or of many.

    ``keys`` has them as they are written, number and type in one, and whether they may repeat;
    ``refused`` says why by the numbers of others.
    """

    def __init__(
        self,
        *,
        once: Mapping[int, Iterable[int]] = MappingProxyType({}),
        many: Mapping[int, Iterable[int]] = MappingProxyType({}),
        refused: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.keys = {
            number << 3 | kind: several
            for several, fields in ((False, once), (True, many))
            for kind, numbers in fields.items()
            for number in numbers
        }
        self._refused = refused

    def foreign(self, key: int) -> WireError:
        """Why a message may not hold this key."""
        number = key >> 3
        if any(known >> 3 == number for known in self.keys):
            return WireError(f"field {number} of a message is written as another type")
        return WireError(
            self._refused.get(number, f"a message has the field {number}, which no specialist has")
        )


class Fields:
    """The fields of messages in one buffer. ``budget`` bounds how many are read in all.

    A value is an int for a varint, else bytes of the buffer: a view, or a copy of a few.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget

    def of(self, message: Message, layout: Layout) -> Iterator[tuple[int, int | Message]]:
        """Field numbers and values of a message, in its order; raises WireError."""
        if len(message) <= _SMALL and isinstance(message, memoryview):
            message = bytes(message)  # which is read twice as fast
        keys = layout.keys
        at, end = 0, len(message)
        seen: set[int] = set()
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise WireError("it has more parts than a model may have")
            key = message[at]
            at += 1
            if key >= _MORE:  # most need one byte
                key, at = _varint(message, at - 1)
            repeats = keys.get(key)
            if repeats is None:
                raise layout.foreign(key)
            if not repeats:
                if key in seen:
                    raise WireError(f"field {key >> 3} of a message stands twice")
                seen.add(key)
            kind = key & 7
            if kind in _FIXED:
                size = _FIXED[kind]
            else:
                size = message[at] if at < end else _MORE
                at += 1
                if size >= _MORE:
                    size, at = _varint(message, at - 1)
                if kind == VARINT:
                    yield key >> 3, size
                    continue
            if size > end - at:
                raise WireError("a field is longer than what holds it")
            yield key >> 3, message[at : at + size]
            at += size

    def all(self, message: Message, layout: Layout) -> Values:
        """All values of a message; raises WireError."""
        values: Values = {}
        for number, value in self.of(message, layout):
            if number in values:
                values[number].append(value)
            else:
                values[number] = [value]
        return values


def text(value: int | Message, limit: int) -> str:
    """A field's text of at most ``limit`` bytes; raises WireError."""
    if isinstance(value, int):
        raise WireError("a number stands where a text belongs")
    if len(value) > limit:
        raise WireError(f"a text has {len(value):,} bytes, {limit:,} are allowed")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise WireError("a text is not UTF-8") from error


def number(value: int | Message) -> int:
    """A field's integer, signed as int64; raises WireError."""
    if not isinstance(value, int):
        raise WireError("bytes stand where a number belongs")
    return value - (1 << 64) if value >> 63 else value


def numbers(packed: Message) -> list[int]:
    """The integers of a packed field, signed as int64; raises WireError."""
    at, values = 0, []
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(number(value))
    return values


def _varint(message: Message, at: int) -> tuple[int, int]:
    """The integer at a place, and the place after it."""
    value = 0
    for i in range(_MAX_VARINT):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & _MORE - 1) << (7 * i)
        if byte < _MORE:
            if (byte == 0 and i > 0) or value >> 64:
                raise WireError("an integer is longer than it needs to be")
            return value, at
    raise WireError("an integer does not end")
