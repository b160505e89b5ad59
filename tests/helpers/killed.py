"""A child that is killed on its way, to see what it leaves."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection


def dies_at(step: int, calls: Collection[str], work: Callable[[], object]) -> bool:
    """In a forked child, kill -9 before the ``step``-th of these C calls; True if it was."""
    child = os.fork()
    if child == 0:
        left = [step]

        def hook(_frame: object, event: str, called: object) -> None:
            if event == "c_call" and getattr(called, "__name__", "") in calls:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), 9)

        sys.setprofile(hook)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
