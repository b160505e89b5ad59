"""A busy neighbour: a process that keeps one core busy until the process that started it ends.

Its input ends with that process, even where it was killed.
"""

import os
import sys
import threading


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.write("busy\n")
    sys.stdout.flush()
    while True:
        pass
