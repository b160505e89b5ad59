"""A JSON Schema as it came: bounded, plain JSON, with every reference resolved inside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import jsonschema_rs

from edgeslm.arguments import shown
from edgeslm.errors import EmptySchemaError, SchemaError
from edgeslm.schema.budget import Budget
from edgeslm.schema.drafts import GUESSES, Dialect, in_one_spelling, named, with_metaschemas
from edgeslm.schema.regex import validator

MAX_BYTES = 1_000_000
MAX_DEPTH = 100
MAX_VALUES = 100_000
MAX_BITS = 1024
MAX_PATTERNS = 2_000
#: schemas that may look at one value, each as often as references lead to it: the validator of
#: finished values, which nothing can stop, takes a second for ten million
MAX_LOOKS = 1_000_000

#: keywords that hold one schema, a list of schemas, or a map of names to schemas
ONE = (
    "additionalItems", "additionalProperties", "contains", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
LIST = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
MAP = (
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
)

#: keywords that name a place, or refer to one
_NAMES = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$ref")

#: keywords whose schemas look at the very value that their own schema looks at
SAME_PLACE = (
    "allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if", "not", "oneOf", "then",
)  # fmt: skip


def escape(name: str) -> str:
    """A property name as one step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, for ``json.loads``; ValueError where a name is given twice."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the property {twice!r} is given twice")
    return members


def is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


class Document:
    """A schema that is safe to walk: bounded, plain JSON whose references stay inside it.

    Raises:
        SchemaError: too large, too deep, not JSON, of an unknown draft, malformed, with a
            reference that leads nowhere, out of the document, or round in a circle.
    """

    def __init__(self, root: Any) -> None:
        if root is False:
            raise EmptySchemaError("the schema is `false`: no value is valid", path="")
        if root is True:
            root = {}
        if not isinstance(root, dict):
            raise SchemaError(
                f"a schema must be a JSON object or a pydantic class, not {type(root).__name__}",
                path="",
            )
        _bounded(root)
        dialect = _dialect(root)
        self.draft = dialect.number
        #: the schema, with the ``$schema`` by which every validator reads it the same way
        self.root: dict[str, Any] = root
        if root.get("$schema", GUESSES[0].uri) != dialect.uri:
            self.root = {**root, "$schema": dialect.uri}
        self.root = with_metaschemas(self.root, dialect)
        self.budget = Budget()
        self._raw: dict[str, Any] = {"": self.root}
        self._targets: dict[str, str] = {}
        self._seen: dict[str, Any] = {}
        self._origins: dict[str, tuple[str, str]] = {}
        self._bases: dict[str, str] = {}
        self._resources: dict[str, str] = {}
        self._anchors: dict[tuple[str, str], str] = {}
        self._dynamic: dict[str, list[str]] = {}
        self._index([("", "")])
        self._index_referenced(dialect)
        self._few_patterns()
        self._lost: SchemaError | None = None
        self._no_circles()
        try:
            _compiles(self.root)
        except SchemaError as error:
            raise self._lost or error from None

    def at(self, path: str) -> Any:
        """The schema at a JSON pointer, in today's spelling; KeyError where there is nothing."""
        self.budget.spend()
        if path not in self._seen:
            node = self.given(path)
            if isinstance(node, dict) and self.origin(path) is None:
                node = in_one_spelling(node, self.draft)
                self._point(node)
            self._seen[path] = node
        return self._seen[path]

    def given(self, path: str) -> Any:
        """The value at a JSON pointer as the author wrote it; KeyError where there is none."""
        if path not in self._raw:
            known, steps = path, []
            while known not in self._raw:
                known, slash, step = known.rpartition("/")
                if not slash:
                    raise KeyError(path)
                steps.append(step)
            value = self._raw[known]
            for step in reversed(steps):
                value = inside(value, step.replace("~1", "/").replace("~0", "~"))
            self._raw[path] = value
        return self._raw[path]

    def derive(self, schema: Any, origin: tuple[str, str]) -> str:
        """Stores a schema that follows from a keyword of another; returns the path to find it at.

        ``schema`` is in today's spelling and without references; ``origin`` is the JSON pointer
        and the keyword that it stands for.
        """
        name = f"derived-{len(self._origins)}"
        self._origins[name] = origin
        self._raw[name] = schema
        return name

    def origin(self, path: str) -> tuple[str, str] | None:
        """The schema and the keyword that a derived schema stands for; None for the author's."""
        name = path.partition("/")[0]
        return self._origins[name] if name else None

    def _point(self, node: dict[str, Any]) -> None:
        """Spell a dynamic reference as ``$ref`` where it can lead to one place only."""
        for keyword in ("$dynamicRef", "$recursiveRef"):
            reference = node.get(keyword, "")
            if keyword == "$recursiveRef" and reference != "#":
                continue  # the standard knows no other
            if reference and "$ref" not in node and len(self._meant(reference)) <= 1:
                node["$ref"] = node.pop(keyword)

    def _meant(self, reference: str) -> list[str]:
        """The places that a dynamic reference may lead to, besides the one it names."""
        return self._dynamic.get(unquote(urldefrag(reference).fragment), [])

    def target(self, path: str) -> str:
        """The JSON pointer that the ``$ref`` of the schema at ``path`` leads to."""
        if path not in self._targets:
            self._targets[path] = self._target(path)
        return self._targets[path]

    def _target(self, path: str) -> str:
        reference = self.at(path)["$ref"]
        base = self._bases.get(path, "")
        uri, fragment = _split(base, reference, path, "$ref")
        resource = self._resources.get(uri)
        if resource is None:
            raise SchemaError(
                f"{where(path)}: $ref {reference!r} leads out of the schema; put what it names "
                "under $defs",
                path=path,
                keyword="$ref",
            )
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            pointer = self._anchors.get((uri, fragment))
        else:
            pointer = resource + fragment
        try:
            if pointer is None or not is_schema(self.at(pointer)):
                raise KeyError(pointer)
        except KeyError:
            raise SchemaError(
                f"{where(path)}: $ref {reference!r} leads to no schema", path=path, keyword="$ref"
            ) from None
        return pointer

    def _index(self, pending: list[tuple[str, str]]) -> None:
        self._resources.setdefault("", "")
        while pending:
            path, base = pending.pop()
            node = self.at(path)
            if not isinstance(node, dict):
                continue
            _named_by_text(path, node)
            identifier = node.get("$id", "")
            if not isinstance(identifier, str):
                identifier = ""
            if identifier.startswith("#"):  # draft 7 spells an anchor so
                self._anchors[base, identifier[1:]] = path
            elif identifier:
                base, _ = _split(base, identifier, path, "$id")
                self._resources[base] = path
            self._bases[path] = base
            for keyword in ("$anchor", "$dynamicAnchor"):
                if keyword in node:
                    self._anchors[base, node[keyword]] = path
            if "$dynamicAnchor" in node:
                self._dynamic.setdefault(node["$dynamicAnchor"], []).append(path)
            elif node.get("$recursiveAnchor") is True:
                self._dynamic.setdefault("", []).append(path)
            pending += [(child, base) for child in children(path, node)]
        self._seen.clear()  # only now it is known where dynamic references may lead

    def _index_referenced(self, dialect: Dialect) -> None:
        """Index what references lead to beside the keywords: no metaschema has looked there."""
        pending = list(self._bases)
        while pending:
            path = pending.pop()
            node = self.at(path)
            if not isinstance(node, dict) or "$ref" not in node:
                continue
            try:
                target = self.target(path)
            except SchemaError:  # it matters only where it is in use
                continue
            if target in self._bases:
                continue
            schema = self.given(target)
            if isinstance(schema, dict):
                fault = _fault({**schema, "$schema": dialect.uri}, dialect)
                if fault is not None:
                    message = f"{where(path)}: $ref leads to no sound schema: {fault}"
                    raise SchemaError(message, path=path, keyword="$ref")
            before = set(self._bases)
            self._index([(target, self._base_around(target))])
            self._bases.setdefault(target, "")
            pending += self._bases.keys() - before

    def _few_patterns(self) -> None:
        """Refuse more patterns than the validator can compile in some seconds."""
        patterns: set[Any] = set()
        for path in self._bases:
            node = self.at(path)
            if isinstance(node, dict):
                # not of every place has a metaschema said what these are
                named, pattern = node.get("patternProperties"), node.get("pattern")
                patterns.update(named if isinstance(named, dict) else ())
                patterns.update([pattern] if isinstance(pattern, str) else ())
        if len(patterns) > MAX_PATTERNS:
            raise SchemaError(f"schema: it must have at most {MAX_PATTERNS:,} patterns", path="")

    def _base_around(self, path: str) -> str:
        """The base of the innermost schema that holds a place."""
        while path and path not in self._bases:
            path = path.rpartition("/")[0]
        return self._bases.get(path, "")

    def _no_circles(self) -> None:
        """Refuse references that come back to where they began without going into the value.

        And those that lead to so many schemas at one place that none could look at a value.
        """
        done: dict[str, int] = {}  # how many schemas look at the value where this one does
        for start in list(self._bases):
            route: list[tuple[str, list[str], Iterator[str]]] = []
            upon: set[str] = set()
            step: str | None = start
            while True:
                if step is not None and step in upon:
                    raise SchemaError(
                        f"{where(step)}: a $ref must not lead back to itself without an "
                        "object or array in between",
                        path=step,
                        keyword="$ref",
                    )
                if step is not None and step not in done:
                    upon.add(step)
                    beside = self.beside(step)
                    route.append((step, beside, iter(beside)))
                if not route:
                    break
                path, beside, rest = route[-1]
                step = next(rest, None)
                if step is None:
                    route.pop()
                    upon.discard(path)
                    done[path] = 1 + sum(done[other] for other in beside)
                    if done[path] > MAX_LOOKS:
                        raise SchemaError(
                            f"{where(path)}: references must lead to at most {MAX_LOOKS:,} "
                            "schemas at one place, each counted as often as it is reached",
                            path=path,
                        )

    def beside(self, path: str) -> list[str]:
        """The schemas that look at the very value that the one at ``path`` looks at."""
        node = self.at(path)
        if not isinstance(node, dict):
            return []
        targets = []
        if "$ref" in node:
            try:
                targets.append(self.target(path))
            except SchemaError as error:  # it matters only where it is in use
                self._lost = self._lost or error
        for keyword in ("$dynamicRef", "$recursiveRef"):
            targets += self._meant(node[keyword]) if keyword in node else []
        return targets + children(path, node, SAME_PLACE)


def where(path: str, keyword: str | None = None) -> str:
    """A place of a schema for people."""
    place = f"schema, at {path}" if path else "schema"
    return f"{place}: {keyword}" if keyword else place


def children(path: str, node: dict[str, Any], keywords: tuple[str, ...] | None = None) -> list[str]:
    """JSON pointers of the schemas directly inside ``node``, of these keywords or of all."""
    pointers: list[str] = []
    for keyword, value in node.items():
        if keywords is not None and keyword not in keywords:
            continue
        inner = f"{path}/{escape(keyword)}"
        if keyword in ONE and is_schema(value):
            pointers.append(inner)
        elif keyword in LIST and isinstance(value, list):
            pointers += [f"{inner}/{i}" for i in range(len(value))]
        elif keyword in MAP and isinstance(value, dict):
            pointers += [
                f"{inner}/{escape(name)}" for name, item in value.items() if is_schema(item)
            ]
    return pointers


def inside(value: Any, name: str) -> Any:
    """The item or property of this name; KeyError where there is none."""
    if isinstance(value, list):
        if not name.isdecimal() or len(name) > 9 or int(name) >= len(value):
            raise KeyError(name)
        return value[int(name)]
    if isinstance(value, dict):
        return value[name]
    raise KeyError(name)


def _named_by_text(path: str, node: dict[str, Any]) -> None:
    """Refuse references and names that are no text: not all metaschemas do."""
    for keyword in _NAMES:
        if not isinstance(node.get(keyword, ""), str):
            raise SchemaError(
                f"{where(path, keyword)}: it must be text, not {type(node[keyword]).__name__}",
                path=path,
                keyword=keyword,
            )


def _bounded(root: dict[str, Any]) -> None:
    """Refuse what is not JSON, or too large, or too deep; a list holds the walk, not the stack."""
    size = count = 0
    pending: list[tuple[str, Any, int]] = [("", root, 1)]
    while pending:
        path, value, depth = pending.pop()
        count += 1
        size += 4
        inner: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            size += sum(_key_size(key, path) for key in value)
            inner = [(f"{path}/{escape(key)}", item) for key, item in value.items()]
        elif isinstance(value, list):
            inner = [(f"{path}/{i}", item) for i, item in enumerate(value)]
        elif isinstance(value, str):
            size += _text_size(value, path)
        else:
            _plain(value, path)
        if depth > MAX_DEPTH:
            raise SchemaError(
                f"schema: it must nest at most {MAX_DEPTH} levels deep; more at {path[:60]}…",
                path=path,
            )
        if size > MAX_BYTES or count > MAX_VALUES:
            raise SchemaError(
                f"schema: it must have at most {MAX_BYTES:,} bytes and {MAX_VALUES:,} values",
                path="",
            )
        pending += [(name, item, depth + 1) for name, item in inner]


def _plain(value: Any, path: str) -> None:
    """Refuse what is no value of JSON, or a number out of bounds."""
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError(f"{where(path)}: {value} is not a JSON number", path=path)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise SchemaError(f"{where(path)}: a number must have at most {MAX_BITS} bits", path=path)
    if value is not None and not isinstance(value, bool | int | float):
        raise SchemaError(
            f"{where(path)}: a value must be JSON, not of type {type(value).__name__}", path=path
        )


def _key_size(key: Any, path: str) -> int:
    if not isinstance(key, str):
        raise SchemaError(f"{where(path)}: a key must be text, not {shown(key)}", path=path)
    return _text_size(key, path)


def _text_size(text: str, path: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise SchemaError(
            f"{where(path)}: text must not hold half a surrogate pair",
            path=path,
        ) from None


def _dialect(root: dict[str, Any]) -> Dialect:
    """The draft that ``$schema`` names; without it the first one that finds no fault."""
    name = root.get("$schema", "")
    candidates = named(name) if isinstance(name, str) else ()
    if not candidates:
        raise SchemaError(
            f"schema: $schema must name draft 2020-12, 2019-09, 7, 6 or 4, not {str(name)[:100]!r}",
            path="",
            keyword="$schema",
        )
    faults = []
    for dialect in candidates:
        fault = _fault({**root, "$schema": dialect.uri}, dialect)
        if fault is None:
            return dialect
        faults.append(fault)
    raise faults[0] if len({fault.path for fault in faults}) == 1 else _guessed(faults[0])


def _guessed(fault: SchemaError) -> SchemaError:
    """A fault that another draft does not have, in a schema that says of none that it is meant."""
    return SchemaError(
        f"{fault} (read as draft {GUESSES[0].name}, since $schema names none; if another is meant, "
        "name it there)",
        path=fault.path,
        keyword=fault.keyword,
    )


def _fault(root: dict[str, Any], dialect: Dialect) -> SchemaError | None:
    try:
        jsonschema_rs.meta.validate(root)
    except jsonschema_rs.ValidationError as error:
        path, keyword = _place(error.instance_path)
        hint = ""
        if keyword == "items" and dialect.number == 2020 and isinstance(error.instance, list):
            hint = "; a list of schemas is spelled prefixItems, or name draft 7 in $schema"
        return SchemaError(
            f"{where(path, keyword)}: {error.message[:300]}{hint}", path=path, keyword=keyword
        )
    return None


def _compiles(root: dict[str, Any]) -> None:
    """Refuse, before any inference, what the validator of the finished value cannot read."""
    try:
        validator(root)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        path, keyword = _place(getattr(error, "instance_path", []))
        hint = ", or one that compiles to more than 1 MB" if '"regex"' in error.message else ""
        raise SchemaError(
            f"{where(path, keyword)}: {error.message[:300]}{hint}", path=path, keyword=keyword
        ) from None


def _split(base: str, reference: str, path: str, keyword: str) -> tuple[str, str]:
    """The resource and the fragment that a reference means, seen from ``base``."""
    try:
        # urljoin leaves the base of a fragment alone only where it knows the scheme
        joined = base + reference if reference.startswith("#") else urljoin(base, reference)
        uri, fragment = urldefrag(joined)
    except ValueError as error:
        raise SchemaError(
            f"{where(path)}: {keyword} {reference!r} is not a URI: {error}",
            path=path,
            keyword=keyword,
        ) from None
    return uri, fragment


def _place(steps: Sequence[str | int]) -> tuple[str, str | None]:
    """Split a path of the validator into the schema's JSON pointer and its keyword."""
    outer = list(steps)
    keyword = outer.pop() if outer and isinstance(outer[-1], str) else None
    if outer and outer[-1] in MAP:  # what came off was a name, not a keyword
        keyword = outer.pop()
    return "".join(f"/{escape(str(step))}" for step in outer), str(keyword) if keyword else None
