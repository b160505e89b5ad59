"""The text of an answer -> its value: strict JSON, each name once, every digit kept."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from edgeslm.errors import OutputInvalidError, unreadable
from edgeslm.schema.document import distinct


def parse(text: str, number: type[Decimal | float]) -> Any:
    """The value of a JSON text, its decimals of the type ``number``.

    Raises:
        OutputInvalidError: not JSON, or a name given twice.
    """
    try:
        return json.loads(
            text, parse_float=number, parse_constant=_no_constant, object_pairs_hook=distinct
        )
    except (ValueError, RecursionError) as error:
        reason = unreadable(error)
        raise OutputInvalidError(f"the answer is not JSON: {reason}", json=text) from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
