"""RapidOCR: finds and reads lines with three small models that lie in its wheel."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final, cast

from edgeslm.documents.libraries import rapidocr
from edgeslm.documents.ocr.pieces import Corners, ReadLine
from edgeslm.documents.raw import OCR_LONGEST, Picture
from edgeslm.errors import MachineError

#: pixels that a page is read with: more take longer, and A4 has 180 dots an inch with these
PIXELS: Final = 3_000_000
#: how narrow a picture may be; narrower ones get a margin
_NARROWEST: Final = 32
#: what it says goes nowhere, and it makes no picture smaller again
_SETTINGS: Final = {"Global.log_level": "critical", "Global.max_side_len": 20_000}
#: one engine for this process: its models take a second to load, and one picture uses all cores
_lock: Final = threading.Lock()
_engines: Final[list[Any]] = []


def read_picture(picture: Picture) -> list[ReadLine]:
    """The lines of a picture. Raises MissingExtraError, MachineError."""
    import numpy as np

    pixels = np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)
    least = max(_NARROWEST, *(-(-side // OCR_LONGEST) for side in pixels.shape[:2]))
    margins = [(0, max(0, least - side)) for side in pixels.shape[:2]]
    blue_first = np.pad(pixels[:, :, ::-1], (*margins, (0, 0)), constant_values=255)
    with _lock:
        if not _engines:
            _engines.append(_engine())
        read = _engines[0](blue_first)
    if read.boxes is None or read.txts is None:
        return []
    return [
        ReadLine(str(text), cast(Corners, tuple((float(x), float(y)) for x, y in box)))
        for text, box in zip(read.txts, read.boxes, strict=True)
        if str(text).strip()
    ]


def _engine() -> Any:
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
