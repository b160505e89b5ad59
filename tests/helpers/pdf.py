"""Writes small PDFs: text at places, pages that are turned or cropped, pictures, encryption."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field

_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


@dataclass
class PdfPage:
    """A page of text in Helvetica: ``(text, x, y)`` with y from below, or with a size and angle."""

    texts: list[tuple] = field(default_factory=list)
    width: float = 595
    height: float = 842
    rotate: int = 0
    crop: tuple[float, float, float, float] | None = None
    #: a picture over the whole page: its width, height and RGB bytes
    picture: tuple[int, int, bytes] | None = None
    #: what is drawn, instead of texts
    content: bytes | None = None
    #: objects of annotations, as dictionaries
    annotations: tuple[bytes, ...] = ()
    #: the object that holds what is drawn, instead of that
    stream: bytes | None = None


def pdf(*pages: PdfPage, password: str | None = None) -> bytes:
    """The bytes of a PDF with these pages."""
    objects: list[bytes] = [b"", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    key = None if password is None else _key(password)
    kids = []
    for page in pages:
        picture = b""
        if page.picture is not None:
            objects.append(_image(*page.picture))
            picture = b"/XObject<</P %d 0 R>>" % len(objects)
        objects.append(page.stream or _stream(_content(page)))
        crop = b"" if page.crop is None else b"/CropBox[%g %g %g %g]" % page.crop
        if page.annotations:
            crop += b"/Annots[%b]" % b"".join(page.annotations)
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %g %g]%b/Rotate %d/Contents %d 0 R"
            b"/Resources<</Font<</F 3 0 R>>%b>>>>"
            % (page.width, page.height, crop, page.rotate, len(objects), picture)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[0] = b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[]/DA(/F 10 Tf)>>>>"
    objects[1] = b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(kids), b" ".join(kids))
    return _file(objects, key)


def _content(page: PdfPage) -> bytes:
    if page.content is not None:
        return page.content
    parts = []
    if page.picture is not None:
        parts.append(b"q %g 0 0 %g 0 0 cm /P Do Q" % (page.width, page.height))
    for text, x, y, *more in page.texts:
        size, turned = (*more, *(10, 0)[len(more) :])
        cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turned]
        raw = text.encode("cp1252").replace(b"\\", b"\\\\")
        raw = raw.replace(b"(", b"\\(").replace(b")", b"\\)")
        parts.append(
            b"BT /F %g Tf %d %d %d %d %g %g Tm (%b) Tj ET" % (size, cos, sin, -sin, cos, x, y, raw)
        )
    return b"\n".join(parts)


def _image(width: int, height: int, rgb: bytes) -> bytes:
    head = b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8"
    return _stream(rgb, head % (width, height))


def _stream(data: bytes, head: bytes = b"") -> bytes:
    packed = zlib.compress(data)
    return b"<<%b/Filter/FlateDecode/Length %d>>stream\n%b\nendstream" % (head, len(packed), packed)


def _file(objects: list[bytes], key: _Key | None) -> bytes:
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body if key is None else key.hide(number, body))
    extra = b""
    if key is not None:
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (len(places), key.dictionary)
        extra = b"/Encrypt %d 0 R/ID[<%b><%b>]" % (len(places), b"00" * 16, b"00" * 16)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(places) + 1, extra, start,
    )  # fmt: skip
    return bytes(out)


# --- encryption: the standard handler with RC4 and 40 bits ---------------------------


class _Key:
    def __init__(self, key: bytes, dictionary: bytes) -> None:
        self.key, self.dictionary = key, dictionary

    def hide(self, number: int, body: bytes) -> bytes:
        """An object whose stream, if it has one, is encrypted."""
        head, mark, rest = body.partition(b"stream\n")
        if not mark:
            return body
        data = rest.removesuffix(b"\nendstream")
        own = hashlib.md5(self.key + number.to_bytes(3, "little") + b"\0\0").digest()[:10]
        return head + mark + _rc4(own, data) + b"\nendstream"


def _key(password: str) -> _Key:
    padded = (password.encode() + _PADDING)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    rights = (-4).to_bytes(4, "little", signed=True)
    key = hashlib.md5(padded + owner + rights + bytes(16)).digest()[:5]
    user = _rc4(key, _PADDING)
    dictionary = b"<</Filter/Standard/V 1/R 2/O<%b>/U<%b>/P -4>>" % (
        owner.hex().encode(), user.hex().encode(),
    )  # fmt: skip
    return _Key(key, dictionary)


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
