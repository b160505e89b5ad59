"""The child process of `schema.check`: whether one answer is valid, where that may take long.

It reads a line of JSON with the schema and the answer's text, and writes "valid" or "invalid".
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Judge the answer on stdin."""
    from decimal import Decimal

    from edgeslm.schema.answers import parse
    from edgeslm.schema.regex import validator

    asked = json.load(sys.stdin)
    value = parse(asked["answer"], Decimal)
    valid = validator(asked["schema"]).is_valid(value)
    sys.stdout.write("valid" if valid else "invalid")


if __name__ == "__main__":
    main()
