"""Who imports whom, read from the sources: every import with its line, and circles among them."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, order=True)
class Import:
    """One import statement: the file it stands in, the file it loads, and where it stands."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def imports(root: Path, package: str) -> list[Import]:
    """Every import of a package's files from the package itself.

    Imports inside functions count, and so do those for type checkers: a reader has to follow them
    all the same. A folder whose ``__init__`` holds nothing but a docstring is no target.
    """
    files = sorted(path.relative_to(root).as_posix() for path in (root / package).rglob("*.py"))
    modules = {_dotted(path): path for path in files}
    return sorted(
        {
            Import(path, modules[name], line)
            for path in files
            for name, line in _imported(root / path, modules)
            if modules[name] != path
        }
    )


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(path: Path, modules: dict[str, str]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            if f"{module}.{name}" in modules:
                yield f"{module}.{name}", node.lineno
            elif module in modules:
                yield module, node.lineno


def upward(edges: Iterable[Import], order: str) -> list[Import]:
    """The imports that do not go down: each line of ``order`` may import only lines below it.

    A name of ``order`` is a folder or a file of the package; two on one line are strangers.
    """
    rank = {name: -i for i, line in enumerate(order.strip().splitlines()) for name in line.split()}
    wrong = []
    for item in edges:
        source, target = _box(item.source), _box(item.target)
        for box in (source, target):
            assert box in rank, f"{item}: {box!r} has no line in the order"
        if source != target and rank[source] <= rank[target]:
            wrong.append(item)
    return wrong


def _box(path: str) -> str:
    """The entry of the package that holds a file: ``formats`` for edgeslm/formats/text.py."""
    return PurePosixPath(path).parts[1].removesuffix(".py")


def circles(edges: Iterable[Import]) -> list[str]:
    """The imports that close a circle between two entries of one folder, files or folders."""
    arrows: dict[str, dict[tuple[str, str], list[Import]]] = defaultdict(lambda: defaultdict(list))
    for item in edges:
        source, target = PurePosixPath(item.source).parts, PurePosixPath(item.target).parts
        depth = next(i for i, (a, b) in enumerate(zip(source, target, strict=False)) if a != b)
        folder = "/".join(source[:depth])
        arrows[folder][source[depth], target[depth]].append(item)
    return [
        f"{folder}/ has a circle: {item}"
        for folder, pairs in sorted(arrows.items())
        for (source, target), items in sorted(pairs.items())
        if source in _reached(target, pairs)
        for item in items
    ]


def _reached(start: str, pairs: Iterable[tuple[str, str]]) -> set[str]:
    reached, pending = {start}, [start]
    while pending:
        here = pending.pop()
        following = {target for source, target in pairs if source == here} - reached
        reached |= following
        pending.extend(following)
    return reached
