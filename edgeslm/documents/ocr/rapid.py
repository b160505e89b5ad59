"""RapidOCR: finds and reads lines with three small models that lie in its wheel."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any, Final, cast

from edgeslm.documents.libraries import rapidocr
from edgeslm.documents.ocr.pieces import Corners, ReadLine
from edgeslm.documents.raw import OCR_LONGEST, Picture
from edgeslm.errors import MachineError

#: pixels that a page is read with: more take longer, and A4 has 180 dots an inch with these
PIXELS: Final = 3_000_000
#: RapidOCR takes a line for one on its side from this height on, in its widths
_UPRIGHT: Final = 1.5
#: how sure it is of a line on its head, and in how much of a page's lines, for that to be the page
_SURE: Final = 0.9
_NEARLY_ALL: Final = 0.7
#: how narrow a picture may be; narrower ones get a margin
_NARROWEST: Final = 32
#: what it says goes nowhere, and it makes no picture smaller again
_SETTINGS: Final = {"Global.log_level": "critical", "Global.max_side_len": 20_000}
#: one engine for this process: its models take a second to load, and one picture uses all cores
_lock: Final = threading.Lock()
_engines: Final[list[_Engine]] = []


def read_picture(picture: Picture) -> list[ReadLine]:
    """The lines of a picture. Raises MissingExtraError, MachineError."""
    import numpy as np

    pixels = np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)
    least = max(_NARROWEST, *(-(-side // OCR_LONGEST) for side in pixels.shape[:2]))
    margins = [(0, max(0, least - side)) for side in pixels.shape[:2]]
    blue_first = np.pad(pixels[:, :, ::-1], (*margins, (0, 0)), constant_values=255)
    with _lock:
        if not _engines:
            _engines.append(_Engine())
        return _engines[0].read(blue_first)


class _Engine:
    """RapidOCR, and whether most lines of the picture that it read stand on their head."""

    def __init__(self) -> None:
        self._library = _library()
        self._on_head = False
        turn = self._library.cls_and_rotate

        def watched(crops: list[Any]) -> Any:
            images, told = turn(crops)
            self._on_head = _stand_on_head(crops, told.cls_res)
            return images, told

        self._library.cls_and_rotate = watched

    def read(self, pixels: Any) -> list[ReadLine]:
        """The lines of a picture, with blue as the first of its colours."""
        self._on_head = False
        read = self._library(pixels)
        if read.boxes is None or read.txts is None:
            return []
        boxes = [[(float(x), float(y)) for x, y in box] for box in read.boxes]
        sizes = [(math.dist(box[0], box[1]), math.dist(box[0], box[3])) for box in boxes]
        on_side = sum(high if _on_side(wide, high) else -wide for wide, high in sizes) > 0
        lines = []
        for text, box, size in zip(read.txts, boxes, sizes, strict=True):
            # the corner in which the line begins, as it was turned to be read
            first = int(_on_side(*size))
            if self._on_head and bool(first) == on_side:
                first += 2
            if str(text).strip():
                lines.append(ReadLine(str(text), cast(Corners, (*box[first:], *box[:first]))))
        return lines


def _on_side(wide: float, high: float) -> bool:
    """Whether RapidOCR turns a line by a quarter, against the clock, before it reads it."""
    return high >= _UPRIGHT * wide


def _stand_on_head(crops: list[Any], told: list[tuple[str, float]]) -> bool:
    """Whether nearly all lines do; one alone may be a mistake."""
    wide = [crop.shape[1] for crop in crops]
    turned = [
        size
        for size, (label, score) in zip(wide, told, strict=True)
        if "180" in label and score > _SURE
    ]
    return len(turned) > 1 and sum(turned) > _NEARLY_ALL * sum(wide)


def _library() -> Any:
    """RapidOCR with the models of its wheel, which asks the network for nothing and says nothing.

    Raises:
        MissingExtraError, MachineError: it is not there, or its wheel lacks a model.
    """
    library = rapidocr()
    folder = Path(library.__file__).parent / "models"
    models = {f"{step}.model_path": str(_model(folder, step)) for step in ("Det", "Cls", "Rec")}
    return library.RapidOCR(params={**_SETTINGS, **models})


def _model(folder: Path, step: str) -> Path:
    """The model of one step; where none is named, RapidOCR would download one."""
    models = sorted(folder.glob(f"*_{step.lower()}_*.onnx"))
    if len(models) != 1:
        raise MachineError(
            f"{folder} has {len(models)} models for the step {step} of RapidOCR instead of one; "
            'reinstall it: pip install --force-reinstall --no-deps "rapidocr>=3.10,<4"'
        )
    return models[0]
