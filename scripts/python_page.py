"""Writes docs/python.md: prose and examples of python_page.md, then the API from its docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ForwardRef

import edgeslm
from edgeslm import errors, testing
from edgeslm.tasks.extraction.options import ExtractOptions

ROOT = Path(__file__).resolve().parent.parent
HEAD = Path(__file__).with_suffix(".md")
PAGE = ROOT / "docs" / "python.md"

#: the public names in the order in which one meets them
SECTIONS: dict[str, tuple[str, ...]] = {
    "Models": ("load", "Model", "CancelToken"),
    "Tasks": ("Extractor", "Classifier", "Tagger"),
    "Answers": ("Extraction", "Field", "Classification", "Labels", "Tags", "Timing"),
    "Documents": ("read_document", "Document"),
    "Cascades": ("Cascade", "CascadeAnswer"),
    "Cards": ("Card", "PromptSpec"),
}
#: an object of these is called; so it is named in the examples
_CALLED = "__call__"
_NAMES = {"Extractor": "read", "Classifier": "classify", "Tagger": "tag", "Cascade": "cascade"}
#: how wide a line of a signature may be
_WIDTH = 88
#: a section of a docstring: its title, then entries that are indented once
_SECTION = re.compile(r"^(Args|Raises):$")
_TITLES = {"Args": "Arguments", "Raises": "Raises"}


def page() -> str:
    """The whole page."""
    parts = [HEAD.read_text(encoding="utf-8").rstrip()]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}")
        for name in names:
            parts += _described(name, getattr(edgeslm, name))
    parts += ["## Errors", _error_tree(), "## Tests without weights"]
    parts += _described("scripted_model", testing.scripted_model, module="edgeslm.testing")
    parts += _described("ScriptedEngine", testing.ScriptedEngine, module="edgeslm.testing")
    return "\n\n".join(parts) + "\n"


def _described(name: str, thing: Any, *, module: str = "edgeslm") -> Iterator[str]:
    yield f"### {module}.{name}"
    if not inspect.isclass(thing):
        yield _signature(name, thing)
        yield from _prose(thing)
        return
    if dataclasses.is_dataclass(thing):
        yield _fields(name, thing)
    elif "__init__" in vars(thing) and name in {"Cascade", "ScriptedEngine"}:
        yield _signature(name, thing.__init__).replace(") -> None", ")")
    yield from _prose(thing)
    for member_name, member in _members(thing):
        if isinstance(member, property):
            yield f"**`{member_name}`** (property)"
            yield from _prose(member)
        else:
            yield _signature(_NAMES[name] if member_name == _CALLED else member_name, member)
            yield from _prose(member)


def _members(thing: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that the class itself defines, as it lists them."""
    for name, member in vars(thing).items():
        public = not name.startswith("_") or name == _CALLED
        if isinstance(member, classmethod):
            member = member.__func__  # noqa: PLW2901
        described = callable(member) or isinstance(member, property)
        if public and described and inspect.getdoc(member) and not inspect.isclass(member):
            yield name, member


def _signature(name: str, thing: Callable[..., Any]) -> str:
    """How it is called, one argument a line where they do not fit into one."""
    signature = inspect.signature(thing)
    kept: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            kept += _unpacked(thing, str(parameter.annotation))
        elif parameter.name not in {"self", "cls"}:
            kept.append(parameter)
    bare = [p.replace(annotation=_Bare(p.annotation)) for p in kept]
    gives = _Bare(signature.return_annotation)
    line = f"{name}{signature.replace(parameters=bare, return_annotation=gives)}"
    if len(line) > _WIDTH:
        line = _broken(line)
    return f"```python\n{line}\n```"


def _unpacked(thing: Callable[..., Any], annotation: str) -> Iterator[inspect.Parameter]:
    """The keyword arguments that a function takes as ``**arguments: Unpack[...]``."""
    shared = inspect.getmodule(thing)
    named = getattr(shared, annotation.removeprefix("Unpack[").removesuffix("]"))
    for name, kind in named.__annotations__.items():
        shown = kind.__forward_arg__ if isinstance(kind, ForwardRef) else kind
        default = ExtractOptions.__dataclass_fields__[name].default
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=shown
        )


class _Bare(str):
    """An annotation that is shown as it was written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _broken(line: str) -> str:
    """One argument a line: split at commas that no bracket holds."""
    start, depth, arguments, current = line.index("(") + 1, 0, [], ""
    for i, letter in enumerate(line[start:], start):
        if letter == ")" and depth == 0:
            end = line[i:]
            break
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            arguments.append(current.strip())
            current = ""
        else:
            current += letter
    arguments.append(current.strip())
    return "\n".join([line[:start], *(f"    {argument}," for argument in arguments), end])


def _fields(name: str, thing: type) -> str:
    lines = [f"    {f.name}: {f.type}" for f in dataclasses.fields(thing)]
    return "\n".join(["```python", f"class {name}:", *lines, "```"])


def _prose(thing: Any) -> Iterator[str]:
    """A docstring as Markdown: paragraphs, and a list for each of Args and Raises."""
    for paragraph in (inspect.getdoc(thing) or "").split("\n\n"):
        lines = paragraph.splitlines()
        if lines and (title := _SECTION.match(lines[0])):
            yield f"*{_TITLES[title[1]]}*"
            yield "\n".join(_items(lines[1:]))
        elif lines:
            yield _markdown("\n".join(lines))


def _items(lines: list[str]) -> Iterator[str]:
    item: list[str] = []
    for line in lines:
        if not line.startswith("        ") and item:
            yield _item(item)
            item = []
        item.append(line.strip())
    if item:
        yield _item(item)


def _item(lines: list[str]) -> str:
    name, colon, text = " ".join(lines).partition(": ")
    if not colon or " " in name.replace(", ", ""):
        return f"- {_markdown(' '.join(lines))}"
    return f"- `{name}`: {_markdown(text)}"


def _markdown(text: str) -> str:
    """Double backquotes become single ones, and `edgeslm.x` stays as it is."""
    return text.replace("``", "`")


def _error_tree() -> str:
    rows = ["| Error | Exit code | What it says |", "| --- | --- | --- |"]
    rows += _error_rows(errors.EdgeslmError, 0)
    return "\n".join(rows)


def _error_rows(error: type[errors.EdgeslmError], depth: int) -> Iterator[str]:
    first = (inspect.getdoc(error) or "").split("\n\n")[0].replace("\n", " ")
    indent = "&nbsp;" * 4 * depth
    yield f"| {indent}`{error.__name__}` | {error.exit_code} | {_markdown(first)} |"
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _error_rows(child, depth + 1)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    sys.stdout.write(f"written: {PAGE.relative_to(ROOT)}\n")
