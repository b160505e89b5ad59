"""How often a test that kills or mutates repeats: all of it in `make soak`, else a tenth."""

import os


def rounds(count: int) -> int:
    """``count`` where EDGESLM_SOAK is set, as `make soak` does; otherwise a tenth, at least 1."""
    return count if os.environ.get("EDGESLM_SOAK") else max(1, count // 10)
