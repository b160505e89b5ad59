"""Pictures of real receipts: what OCR reads of them, and how often the total is among it."""

import difflib
import gzip
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from edgeslm import read_document

pytest.importorskip("rapidocr", reason="the extra documents brings rapidocr")

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("EDGESLM_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def receipts():
    """The first pictures, and the key of each."""
    if not (DATA / "receipt_images").is_dir():
        pytest.skip(
            f"{DATA / 'receipt_images'} is not there; set EDGESLM_DATA to the data's folder"
        )
    with gzip.open(DATA / "receipts.jsonl.gz", "rt", encoding="utf-8") as rows:
        keys = {row["id"]: row["key"] for row in map(json.loads, rows)}
    return [(path, keys[path.stem]) for path in sorted((DATA / "receipt_images").glob("*.jpg"))]


def check(document):
    """Every word is where it says, in the text and on the page."""
    for word in document.words:
        page = document.pages[word.page - 1]
        assert document.text[word.start : word.end] == word.text
        assert 0 <= word.box.left < word.box.right <= page.width
        assert 0 <= word.box.top < word.box.bottom <= page.height


@pytest.mark.slow
@pytest.mark.parametrize(("ocr", "least"), [("rapidocr", 3), ("tesseract", 1)])
def test_totals_of_receipts_are_read_on_a_line_with_their_label(receipts, ocr, least):
    if ocr == "tesseract" and shutil.which(ocr) is None:
        pytest.skip("tesseract is not installed")
    beside = 0
    for path, key in receipts[:3]:
        document = read_document(path, ocr=ocr)
        check(document)
        beside += any(
            key["total"] in line and re.search("total|amount|cash|rounded|sales", line, re.I)
            for line in document.text.splitlines()
        )
    assert beside >= least


@pytest.mark.slow
def test_a_receipt_that_lies_on_its_side_has_the_same_lines(receipts):
    from PIL import Image

    path, _ = receipts[1]
    upright = read_document(path).text.splitlines()
    out = io.BytesIO()
    with Image.open(path) as image:
        image.rotate(90, expand=True).save(out, "PNG")
    turned = read_document(out.getvalue())
    check(turned)
    kept = difflib.SequenceMatcher(a=upright, b=turned.text.splitlines(), autojunk=False)
    assert sum(block.size for block in kept.get_matching_blocks()) > len(upright) / 2
