"""Renders the chat template of an untrusted model file: sandboxed, bounded in work and size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgeslm.errors import ModelFileError

MAX_TEMPLATE = 256 * 1024
#: lines of compiled template that one rendering may execute; real templates need some hundred
MAX_LINES = 200_000
#: characters or elements of any value that a template computes
MAX_SIZE = 1_000_000

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
#: string methods whose result can be far larger than what they were given
_DENIED = {"format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs", "translate"}


class TemplateRefusedError(Exception):
    """The template called ``raise_exception``, for example for a role it does not know."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Immutable, without the filters and methods that can make a value grow without bound."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols"],
            auto_reload=False,
        )
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters["replace"] = _replace
        self.globals = {name: self.globals[name] for name in ("range", "namespace", "dict")} | {
            "raise_exception": _raise
        }

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _DENIED and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sized = [len(v) for v in (left, right) if isinstance(v, str | list | tuple)]
        if operator in {"*", "%"} and sized:
            times = left if isinstance(left, int) else right
            if operator == "%" or not isinstance(times, int) or max(sized) * times > MAX_SIZE:
                raise SecurityError(f"'{operator}' on text or lists is not allowed at this size")
        if operator == "**":
            raise SecurityError("'**' is not allowed")
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, str | list | tuple) and len(result) > MAX_SIZE:
            raise SecurityError("a value has grown too large")
        return result

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(obj, "__name__", "") == "replace" and isinstance(
            getattr(obj, "__self__", None), str
        ):
            return _replace(obj.__self__, *args, **kwargs)
        return super().call(context, obj, *args, **kwargs)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if (text.count(old) + 1) * max(len(new), 1) + len(text) > MAX_SIZE:
        raise SecurityError("a value has grown too large")
    return str(text).replace(old, new, count)


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
        compiled = _Sandbox().from_string(template)
        with _LineBudget(MAX_LINES):
            parts: list[str] = []
            size = 0
            for part in compiled.generate(**variables):
                size += len(part)
                if size > MAX_SIZE:
                    raise SecurityError("its output has grown too large")
                parts.append(part)
            return "".join(parts)
    except TemplateRefusedError:
        raise
    except (
        TemplateError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as e:
        raise ModelFileError(
            f"the model's chat template cannot be rendered: {e}. Pull the model again, or set "
            "another template in its metadata"
        ) from e
    except RecursionError as e:
        raise ModelFileError("the model's chat template is nested too deeply") from e


class _LineBudget:
    """Ends a template's endless or nested loops: counts executed lines of this thread."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._outer: Callable[..., Any] | None = None

    def __enter__(self) -> None:
        self._outer = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._outer)

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self._left -= 1
            if self._left < 0:
                raise SecurityError("it runs too long")
        return self._trace
