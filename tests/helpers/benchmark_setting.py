"""The setting of a made-up run of the benchmarks."""

from __future__ import annotations

from typing import Any

from benchmarks.report.results.extraction import Setting


def made_up_setting(**changes: Any) -> Setting:
    return Setting(
        **{
            "date": "2025-01-02",
            "commit": "abc1234",
            "processor": "A processor",
            "system": "Linux",
            "threads": 2,
            "memory_gb": 8,
            "load_average": 0.25,
            "model": "a model",
            "versions": {"edgeslm": "0.1.0"},
            "peer_defaults": "1 thread",
        }
        | changes
    )
