"""Writes the conformance tables into docs/schema.md: `python -m tests.conformance`."""

from __future__ import annotations

from tests.conformance.report import PAGE, page_with, report

PAGE.write_text(page_with(report()), encoding="utf-8", newline="\n")
