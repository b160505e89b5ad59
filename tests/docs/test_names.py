"""What a page or a docstring calls `edgeslm.something` is there."""

import pkgutil
import re
from pathlib import Path

import pytest

from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.onnx.info import FEATURES_KEY
from edgeslm.formats.onnx.reader_spec import READER_KEY

ROOT = Path(__file__).resolve().parents[2]
PLACES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "edgeslm").rglob("*.py")),
]
#: a name in backticks, which may be called
NAME = re.compile(r"`(edgeslm(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`")
#: keys in the metadata of a model file look the same
KEYS = {CARD_KEY, FEATURES_KEY, READER_KEY}
NAMED = sorted(
    {
        (name, path.relative_to(ROOT).as_posix())
        for path in PLACES
        for name in NAME.findall(path.read_text("utf-8"))
        if name not in KEYS
    }
)


@pytest.mark.parametrize(("name", "page"), NAMED)
def test_a_dotted_name_is_there(name: str, page: str) -> None:
    assert pkgutil.resolve_name(name) is not None


def test_names_are_found() -> None:
    assert ("edgeslm.load", "docs/python.md") in NAMED
