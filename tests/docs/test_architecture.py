"""docs/architecture.md names only modules, classes and functions that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
NAMES = sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", PAGE.read_text("utf-8"))))


def module_of(parts: list[str]) -> tuple[Path, list[str]] | None:
    """The file of the longest module that a dotted name begins with, and the rest of the name."""
    package = ROOT if parts[0] == "converters" else ROOT / "edgeslm"
    for end in range(len(parts), 0, -1):
        path = package.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file, parts[end:]
    return None


def is_there(name: str) -> bool:
    place = module_of(name.split("."))
    if place is None:
        return False
    file, rest = place
    body: list[ast.stmt] = ast.parse(file.read_text("utf-8")).body
    for part in rest:
        defined = {
            node.name: getattr(node, "body", [])
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }
        defined |= {
            target.id: []
            for node in body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if part not in defined:
            return False
        body = defined[part]
    return True


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_names_is_there(name):
    assert is_there(name), f"docs/architecture.md names {name}, which is not there"


def test_a_name_that_is_not_there_is_noticed():
    assert len(NAMES) > 50
    assert is_there("decoding.session.Session.answer")
    assert not is_there("decoding.session.Session.gone")
    assert not is_there("decoding.gone.Session")
