"""Numbers and settings in words, as all sections of docs/benchmarks.md have them."""

from __future__ import annotations

from benchmarks.report.results.extraction import Setting
from edgeslm.evaluation.intervals import Estimate


def number(value: float | None) -> str:
    return "not told" if value is None else f"{value:.0f}"


def estimate(e: Estimate) -> str:
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def percent(e: Estimate, digits: int = 0) -> str:
    return f"{e.value:.{digits}%} [{e.low:.{digits}%}, {e.high:.{digits}%}]"


def times(e: Estimate) -> str:
    return f"{e.value:.2f} × [{e.low:.2f}, {e.high:.2f}]"


def seconds(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def load(setting: Setting) -> str:
    """The load average before a run."""
    return "not told" if setting.load_average is None else f"{setting.load_average:.2f}"


def versions(setting: Setting) -> str:
    return ", ".join(f"{name} {version}" for name, version in setting.versions.items())


def circumstances(s: Setting, took_s: float) -> str:
    """When, of what and where a run was made, and how long it took."""
    return (
        f"{s.date}, {s.commit}, {s.processor}, {s.threads} threads, load average before it "
        f"{load(s)}, {took_s / 60:.0f} minutes."
    )
