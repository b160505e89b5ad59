"""Renders the chat template of an untrusted model file: sandboxed, bounded in work and size."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from edgeslm.errors import ModelFileError

MAX_TEMPLATE = 64 * 1024
#: lines of Python that one rendering may execute; real templates need some hundred
MAX_LINES = 200_000
#: seconds of this thread's processor time that one rendering may take
MAX_SECONDS = 1.0
#: characters and elements of any value that a template computes, and of all it puts out
MAX_SIZE = 1_000_000
_MAX_INTEGER_BITS = 4096

_FILTERS = [
    "capitalize",
    "default",
    "dictsort",
    "first",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "reject",
    "rejectattr",
    "replace",
    "safe",
    "select",
    "selectattr",
    "string",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
]
#: the methods that templates may call: none makes much out of little but `join` and `replace`
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        [
            "capitalize",
            "casefold",
            "count",
            "endswith",
            "find",
            "index",
            "isalnum",
            "isalpha",
            "isdigit",
            "isnumeric",
            "isspace",
            "join",
            "lower",
            "lstrip",
            "partition",
            "removeprefix",
            "removesuffix",
            "replace",
            "rfind",
            "rpartition",
            "rsplit",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "title",
            "upper",
        ]
    ),
    dict: frozenset(["get", "items", "keys", "values"]),
    list: frozenset(["count", "index"]),
    tuple: frozenset(["count", "index"]),
    int: frozenset(),
    float: frozenset(),
    range: frozenset(),
}


class TemplateRefusedError(Exception):
    """The template called ``raise_exception``, for example for a role it does not know."""


class _Generator(CodeGenerator):
    """Has every list, tuple and dict measured that a template writes.

    Each could hold the one before twice: printed, compared or hashed, the last takes for ever.
    """

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802  jinja's name
        self._measure(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802  jinja's name
        self._measure(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802  jinja's name
        if node.ctx == "load":
            self._measure(super().visit_Tuple, node, frame)
        else:  # the names of a loop or assignment
            super().visit_Tuple(node, frame)

    def _measure(self, visit: Callable[[Any, Frame], None], node: nodes.Node, frame: Frame) -> None:
        self.write("environment.measured(")
        visit(node, frame)
        self.write(")")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Immutable, and no value grows beyond MAX_SIZE: neither at once nor by doubling."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        self._left = MAX_SIZE
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols"],
            optimized=False,  # nothing is computed while compiling, outside the budget
            finalize=self._put_out,
            auto_reload=False,
        )
        self.filters = {name: self.filters[name] for name in _FILTERS} | {
            "join": _join,
            "replace": _replace,
            "safe": _text,
            "string": _text,
            "tojson": _tojson,
        }
        self.globals = {name: self.globals[name] for name in ("range", "namespace", "dict")} | {
            "raise_exception": _raise
        }

    def compile_chat(self, source: str) -> Template:
        """The template, with the joins of jinja's runtime (`~`, macros, set blocks) bounded."""
        template = self.from_string(source)
        names = template.root_render_func.__globals__
        names["concat"] = names["str_join"] = names["markup_join"] = _concat
        return template

    def measured(self, value: Any) -> Any:
        """For the compiled template: the value, if it is not too large."""
        return _measured(value)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, names in _METHODS.items():
            if isinstance(obj, kind):
                return attr in names
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Text has no ``format``: jinja would let it through before it asks what is safe."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"'{operator}' is not allowed")
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, str | list | tuple) and isinstance(times, int):
                    _bound(len(value) * times)
        return _measured(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        of, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(of, str) and name in {"join", "replace"}:
            safe = _replace(of, *args) if name == "replace" else _join(args[0], of)
            return _measured(safe)
        result = super().call(context, obj, *args, **kwargs)
        return result if isinstance(result, Namespace) else _measured(result)

    @pass_context
    def _put_out(self, _context: Context, value: Any) -> Any:
        self._left -= _size(value)
        _bound(MAX_SIZE - self._left)
        return value


def _bound(size: int) -> None:
    if size > MAX_SIZE:
        raise SecurityError("a value has grown too large")


def _size(value: Any) -> int:
    """Characters and elements of a value, those of shared parts as often as they occur."""
    size = 0
    stack = [value]
    while stack:
        item = stack.pop()
        size += 1
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, dict):
            stack += item.keys()
            stack += item.values()
        elif isinstance(item, list | tuple):
            size += len(item)
            _bound(size)
            stack += item
        elif isinstance(item, Namespace):
            raise SecurityError("a namespace is no value")  # it may hold others, and so on
        elif isinstance(item, int) and item.bit_length() > _MAX_INTEGER_BITS:
            raise SecurityError("a number has grown too large")
        _bound(size + len(stack))
    return size


def _measured(value: Any) -> Any:
    """The value, if it is not too large."""
    _size(value)
    return value


def _text(value: Any) -> str:
    return str(_measured(value))


def _concat(values: Iterable[Any]) -> str:
    return _join(values, "")


def _join(values: Iterable[Any], d: Any = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise SecurityError("join by attribute is not allowed")
    separator = _text(d)
    texts: list[str] = []
    size = 0
    for value in values:
        texts.append(_text(value))
        size += len(texts[-1]) + len(separator)
        _bound(size)
    return separator.join(texts)


def _replace(text: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = _text(text), _text(old), _text(new)
    _bound((text.count(old) + 1) * len(new) + len(text))
    return str(text).replace(old, new, count)


def _tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    """As training's templates spell JSON, which is not as HTML wants it."""
    return json.dumps(
        _measured(value), ensure_ascii=ensure_ascii, indent=min(indent or 0, 8) or None
    )


def _raise(message: str) -> None:
    raise TemplateRefusedError(message)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Render a chat template.

    Raises:
        ModelFileError: not a template, or it does what a chat template has no need to.
        TemplateRefusedError: it refused these messages.
    """
    if len(template) > MAX_TEMPLATE:
        raise ModelFileError(
            f"the chat template has {len(template)} characters, over the {MAX_TEMPLATE} allowed"
        )
    try:
        compiled = _Sandbox().compile_chat(template)
        with _Budget():
            parts: list[str] = []
            size = 0
            for part in compiled.generate(**variables):
                size += len(part)
                _bound(size)
                parts.append(part)
            return "".join(parts)
    except TemplateRefusedError:
        raise
    except RecursionError as error:
        raise ModelFileError("the model's chat template is nested too deeply") from error
    except Exception as error:  # a template can make jinja raise nearly anything
        raise ModelFileError(
            f"the model's chat template cannot be rendered: {error}. Pull the model again, or set "
            "another template in its metadata"
        ) from error


class _Budget:
    """Ends endless or costly templates: counts this thread's lines of Python, and its time.

    A debugger's or coverage's trace function is set aside meanwhile.
    """

    def __enter__(self) -> None:
        self._lines = MAX_LINES
        self._end = time.thread_time() + MAX_SECONDS
        self._outer = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._outer)

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self._lines -= 1
            if self._lines < 0 or time.thread_time() > self._end:
                raise SecurityError("it runs too long")
        return self._trace
