"""docs/python.md is what its sources say, and its examples give what they show."""

import doctest
import inspect
from pathlib import Path

import pytest

import edgeslm
from edgeslm.models.load import load
from scripts import python_page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date():
    kept = python_page.PAGE.read_text(encoding="utf-8")
    assert kept == python_page.page(), "write it anew: python -m scripts.python_page"


def test_the_page_has_every_public_name():
    described = {name for names in python_page.SECTIONS.values() for name in names}
    assert described | {"__version__", "errors", "EdgeslmError"} == set(edgeslm.__all__)


def test_the_examples_give_what_they_show(monkeypatch):
    def load_shipped(name):
        [path] = (path for path in ROOT.glob("**/specialists/**/*.onnx") if path.stem == name)
        return load(path)

    monkeypatch.setattr(edgeslm, "load", load_shipped)
    text = python_page.HEAD.read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, "python_page.md", None, 0)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    said = []
    failed, tried = doctest.DocTestRunner(optionflags=flags).run(page, out=said.append)
    assert tried > 20
    assert not failed, "".join(said)


@pytest.mark.parametrize("name", sorted(set(edgeslm.__all__) - {"__version__", "errors"}))
def test_every_public_thing_has_a_docstring(name):
    thing = getattr(edgeslm, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        bare = [
            member_name
            for member_name, member in vars(thing).items()
            if not member_name.startswith("_")
            and (inspect.isfunction(member) or isinstance(member, property | classmethod))
            and not inspect.getdoc(member)
        ]
        assert bare == []
