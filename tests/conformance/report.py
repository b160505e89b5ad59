"""The table of docs/schema.md: how each keyword fares in the official test suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.conformance.official_suite import DRAFTS, ROOT, Case, run

PAGE = ROOT / "docs" / "schema.md"
BEGIN = "<!-- begin: written by `python -m tests.conformance` -->"
END = "<!-- end -->"
_VERDICTS = ("passed", "valid rejected", "refused", "invalid accepted")


def report() -> str:
    """All tables and lists, from a fresh run."""
    parts = []
    for draft in DRAFTS:
        required = list(run(draft))
        formats = list(run(draft, "optional/format"))
        parts += [f"### {draft}, required tests", _table(required), _failures(required)]
        parts += [f"### {draft}, formats (optional tests)", _sum(formats), _failures(formats)]
    return "\n\n".join(parts)


def page_with(tables: str) -> str:
    """The page with these tables in their place."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _table(cases: list[Case]) -> str:
    counts: dict[str, Counter[str]] = {}
    for case in cases:
        counts.setdefault(case.group, Counter())[case.verdict] += 1
    lines = ["| file | " + " | ".join(_VERDICTS) + " |", "|---|" + "---:|" * len(_VERDICTS)]
    for group, count in counts.items():
        lines.append(f"| `{group}` | " + " | ".join(str(count[v]) for v in _VERDICTS) + " |")
    return "\n".join(lines) + "\n\n" + _sum(cases)


def _sum(cases: list[Case]) -> str:
    count = Counter(case.verdict for case in cases)
    others = ", ".join(f"{count[verdict]} {verdict}" for verdict in _VERDICTS[1:])
    return (
        f"**{100 * count['passed'] / len(cases):.1f} %** of {len(cases)} instances are decided "
        f"as the standard says; {others}."
    )


def _failures(cases: Iterable[Case]) -> str:
    """What was not passed, by test."""
    verdicts = Counter(
        f"`{case.group}`, {case.name.partition(': ')[0]}: {case.verdict}"
        for case in cases
        if case.verdict != "passed"
    )
    return "\n".join(f"- {name} ({count})" for name, count in verdicts.items()) or "Nothing failed."
