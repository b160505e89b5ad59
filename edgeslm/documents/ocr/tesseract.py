"""Tesseract: a program of the system, asked for a table of the words that it reads."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from typing import Final

from edgeslm.arguments import shown
from edgeslm.children import run_program
from edgeslm.documents.ocr.pieces import ReadLine
from edgeslm.documents.raw import Picture
from edgeslm.errors import ArgumentError, DocumentError, MachineError

#: seconds for one page
_SECONDS: Final = 120.0
#: the threads of one page wait for each other longer than they work
_ONE_THREAD: Final = {"OMP_THREAD_LIMIT": "1"}
#: one block of text: of receipts this reads more than the way that looks for columns does
_LAYOUT: Final = "6"
#: columns of the table
_LEVEL, _LEFT, _CONFIDENCE, _TEXT = 0, 6, 10, 11
_WORD_LEVEL: Final = "5"
_LANGUAGE: Final = re.compile(r"[A-Za-z][\w/-]*(\+[A-Za-z][\w/-]*)*", re.ASCII)


def check_language(language: str) -> str:
    """A name of Tesseract's languages, such as "eng" or "deu+fra"; raises ArgumentError."""
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise ArgumentError(
            f'language must be names of Tesseract such as "eng" or "deu+fra", not {shown(language)}'
        )
    return language


def require_tesseract() -> str:
    """Where the program is; raises MachineError."""
    program = shutil.which("tesseract")
    if program is None:
        raise MachineError(
            'ocr="tesseract" needs the program tesseract, which is not installed; install it '
            '(on Debian: apt install tesseract-ocr), or use ocr="rapidocr"'
        )
    return program


def read_picture(picture: Picture, language: str) -> list[ReadLine]:
    """The words of a picture, each as a line of its own.

    Raises:
        MachineError: the program is not there, or does not know the language.
        DocumentError: it takes too long.
    """
    program = require_tesseract()
    head = f"P6 {picture.width} {picture.height} 255\n".encode()
    arguments = ("stdin", "stdout", "-l", language, "--psm", _LAYOUT, "tsv")
    try:
        done = run_program(
            program, *arguments, input=head + picture.rgb, timeout=_SECONDS, env=_ONE_THREAD
        )
    except TimeoutError as error:
        raise DocumentError(str(error), reason="limit") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise MachineError(f"tesseract failed: {' '.join(said[:3])[:300] or done.returncode}")
    return _lines(done.stdout.decode("utf-8", "replace"))


def _lines(table: str) -> list[ReadLine]:
    """The words of the table, each with the lean of the line that it stands on."""
    lines: dict[tuple[str, ...], list[tuple[str, tuple[float, ...]]]] = defaultdict(list)
    for row in table.splitlines()[1:]:
        cells = row.split("\t")
        if len(cells) <= _TEXT or cells[_LEVEL] != _WORD_LEVEL or not cells[_TEXT].strip():
            continue
        if float(cells[_CONFIDENCE]) >= 0:
            place = tuple(map(float, cells[_LEFT:_CONFIDENCE]))
            lines[tuple(cells[1:5])].append((cells[_TEXT].strip(), place))
    return [_read(word, place, _slope(line)) for line in lines.values() for word, place in line]


def _slope(line: list[tuple[str, tuple[float, ...]]]) -> float:
    """How much a line falls for each pixel that it goes on, from the feet of its ends."""
    (_, (x0, y0, wide0, high0)), (_, (x1, y1, wide1, high1)) = line[0], line[-1]
    run = (x1 + wide1 / 2) - (x0 + wide0 / 2)
    return (y1 + high1 - y0 - high0) / run if run > 2 * max(high0, high1) else 0.0


def _read(word: str, place: tuple[float, ...], slope: float) -> ReadLine:
    left, top, wide, high = place
    right, bottom, fall = left + wide, top + high, slope * wide / 2
    return ReadLine(
        word,
        ((left, top - fall), (right, top + fall), (right, bottom + fall), (left, bottom - fall)),
    )
