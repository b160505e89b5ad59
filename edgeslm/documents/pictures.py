"""A picture file -> its pages as pixels, upright and no larger than OCR needs them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, Final

from edgeslm.documents.libraries import pillow
from edgeslm.documents.raw import Picture, RawPage, Reading
from edgeslm.errors import DocumentError

_FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
#: what Pillow's decoders raise for files that are damaged on purpose
_FAULTS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, struct.error),
)
_WHITE: Final = (255, 255, 255)


def picture_pages(data: bytes, reading: Reading) -> Iterator[RawPage]:
    """The pages of a picture; a TIFF may have several.

    Raises:
        DocumentError: it is damaged, or too large by its header.
        MissingExtraError: Pillow is not there.
    """
    image = pillow()
    try:
        opened = image.open(io.BytesIO(data), formats=_FORMATS)
    except image.DecompressionBombError as error:
        raise DocumentError(
            f"has more pixels than max_pixels={reading.limits.pixels:,}", reason="limit"
        ) from error
    except image.UnidentifiedImageError as error:
        raise DocumentError("is damaged: its header is of no picture", reason="damaged") from error
    except _FAULTS as error:
        raise _damaged(error) from error
    with opened:
        try:
            count = getattr(opened, "n_frames", 1)
        except _FAULTS as error:
            raise _damaged(error) from error
        reading.limits.check_pages(count)
        for number in reading.numbers(count):
            try:
                opened.seek(number - 1)
                reading.limits.check_pixels(*opened.size)
                yield _page(opened, reading)
            except DocumentError:
                raise
            except _FAULTS as error:
                raise _damaged(error) from error


def jpeg(picture: Picture) -> bytes:
    """The picture as a JPEG file.

    Raises:
        MissingExtraError: Pillow is not there.
    """
    size = (picture.width, picture.height)
    file = io.BytesIO()
    pillow().frombytes("RGB", size, picture.rgb).save(file, "JPEG", quality=80)
    return file.getvalue()


def _damaged(error: Exception) -> DocumentError:
    return DocumentError(f"is damaged: {type(error).__name__}: {error}"[:300], reason="damaged")


def _page(opened: Any, reading: Reading) -> RawPage:
    from PIL import Image, ImageOps

    width, height = opened.size
    scale = reading.scale(width, height, 1.0)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    if scale < 1:
        opened.draft("RGB", size)  # a JPEG is unpacked no larger than needed
    image = opened.copy()
    if scale < 1:
        image = _smooth(image)
        image.thumbnail(size, Image.Resampling.BOX)
    turned = ImageOps.exif_transpose(image)
    if (turned.width > turned.height) != (image.width > image.height):
        width, height = height, width
    image = _rgb(turned)
    picture = Picture(image.width, image.height, image.tobytes())
    return RawPage(width, height, "px", picture=picture)


def _smooth(image: Any) -> Any:
    """The picture with colours that have others between them; else pixels are left out."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return _grey(image)


def _grey(image: Any) -> Any:
    """The picture, where it has 16 or 32 bits of grey with 8, which `convert` would cut off."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda value: value / 256).convert("L")


def _rgb(image: Any) -> Any:
    """The picture in three colours of eight bits, on white."""
    from PIL import Image

    image = _grey(image)
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (*_WHITE, 255))
        image = Image.alpha_composite(below, image.convert("RGBA"))
    return image.convert("RGB")
