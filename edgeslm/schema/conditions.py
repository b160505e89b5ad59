"""Conditions between the parts of a value, rewritten exactly as a choice between schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeslm.schema.document import Document, escape, is_schema
from edgeslm.schema.negation import Made, opposites

#: schemas that hold together
Branch = tuple[str, ...]
#: a keyword, and the branches of which one holds for every valid value
Choice = tuple[str, list[Branch]]

#: keywords that are rewritten where that is exact
CONDITIONS = ("if", "not", "dependentRequired", "dependentSchemas", "dependencies")
#: steps of a JSON pointer that lead to what holds only for some of the values
_CONDITIONAL = frozenset({*CONDITIONS, "then", "else"})

_MOST_ALTERNATIVES = 32
_MOST_EXCLUSIVE = 8
_MOST_TRIGGERS = 32


class Rewrites:
    """The choices that stand for the conditions of one document.

    A branch names schemas by JSON pointer: those that the author wrote, and derived ones, such
    as the opposite of an ``if``.
    """

    def __init__(self, document: Document, enabled: bool) -> None:
        self._document = document
        self.enabled = enabled
        self._found: dict[str, list[Choice]] = {}
        self._tests: set[str] = set()
        #: whether anything was rewritten
        self.used = False

    def choices(self, path: str) -> list[Choice]:
        """The choices that stand for the conditions of the schema at ``path``."""
        if path not in self._found:
            node = self._document.at(path)
            usable = self.enabled and isinstance(node, dict)
            self._found[path] = list(self._choices(path, node)) if usable else []
            self.used = self.used or bool(self._found[path])
        return self._found[path]

    def holds(self, path: str, keyword: str) -> bool:
        """Whether choices stand for a keyword of the schema at ``path``."""
        keyword = "if" if keyword in ("then", "else") else keyword
        return any(rewritten == keyword for rewritten, _ in self.choices(path))

    def exact(self, path: str, keyword: str) -> bool:
        """Whether a keyword of the schema at ``path`` is rewritten, or is part of a rewrite."""
        return self._document.origin(path) is not None or self.holds(path, keyword)

    def exclusive(self, path: str, keyword: str, count: int) -> list[Branch] | None:
        """The branches of a ``oneOf``, each with the opposite of all others."""
        if not self.enabled or count > _MOST_EXCLUSIVE:
            return None
        others: list[Made] = []
        for i in range(count):
            alternatives = opposites(self._document, f"{path}/{keyword}/{i}")
            if alternatives is None or len(alternatives) > _MOST_ALTERNATIVES:
                return None
            others.append({"anyOf": alternatives} if alternatives else {"enum": []})
        self.used = True
        return [
            (
                f"{path}/{keyword}/{i}",
                self._derive({"allOf": others[:i] + others[i + 1 :]}, path, keyword),
            )
            for i in range(count)
        ]

    def tests(self, path: str) -> bool:
        """Whether a schema is a test alone, so that it adds no property to the object."""
        return path in self._tests or self._document.origin(path) is not None

    def conditional(self, path: str) -> bool:
        """Whether a schema applies to only some of the values of its place."""
        steps = path.split("/")
        return bool(steps[0]) or not _CONDITIONAL.isdisjoint(steps)

    def _derive(self, schema: Any, path: str, keyword: str) -> str:
        return self._document.derive(schema, (path, keyword))

    def _choices(self, path: str, node: dict[str, Any]) -> Iterator[Choice]:
        if "if" in node and not {"then", "else"}.isdisjoint(node):
            yield from self._if(path, node)
        if "not" in node and self._document.origin(path) is None:
            alternatives = opposites(self._document, f"{path}/not")
            if alternatives and len(alternatives) <= _MOST_ALTERNATIVES:
                yield "not", [(self._derive(other, path, "not"),) for other in alternatives]
        for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
            if keyword == "dependencies" and self._document.draft > 7:
                continue  # no keyword any more
            if len(node.get(keyword, ())) <= _MOST_TRIGGERS:
                for trigger, needed in node.get(keyword, {}).items():
                    yield keyword, self._dependent(path, keyword, trigger, needed)

    def _if(self, path: str, node: dict[str, Any]) -> Iterator[Choice]:
        others = opposites(self._document, f"{path}/if")
        if others is None or len(others) > _MOST_ALTERNATIVES:
            return
        self._tests.add(f"{path}/if")
        then = (f"{path}/then",) if "then" in node else ()
        otherwise = (f"{path}/else",) if "else" in node else ()
        branches: list[Branch] = [(f"{path}/if", *then)]
        branches += [(self._derive(other, path, "if"), *otherwise) for other in others]
        yield "if", branches

    def _dependent(self, path: str, keyword: str, trigger: str, needed: Any) -> list[Branch]:
        absent = self._derive({"properties": {trigger: False}}, path, keyword)
        if is_schema(needed):
            present = self._derive({"required": [trigger]}, path, keyword)
            return [(absent,), (present, f"{path}/{keyword}/{escape(trigger)}")]
        names = [needed] if isinstance(needed, str) else needed
        present = self._derive({"required": [trigger, *names]}, path, keyword)
        return [(absent,), (present,)]
