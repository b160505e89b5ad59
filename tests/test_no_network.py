"""Inference opens no socket: not in Python, and with no network there at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.test_gguf import CHILD, run_child

#: every way to the network in Python raises an event; the guard ends the process at the first
GUARD = """
import os, sys

def guard(event, arguments):
    if event.startswith("socket."):
        sys.stderr.write(f"{event} {arguments!r}")
        sys.stderr.flush()
        os._exit(77)

sys.addaudithook(guard)
"""


def test_the_guard_sees_a_socket() -> None:
    child = run_child(GUARD + "import socket; socket.getaddrinfo('localhost', 80)")
    assert child.returncode == 77
    assert "socket.getaddrinfo" in child.stderr


def test_loading_and_answering_open_no_socket(tiny_model: Path) -> None:
    child = run_child(GUARD + CHILD, [str(tiny_model)])
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout.split() == ["answered"]


def unshare() -> list[str]:
    """A command line that runs a child without any network, not even the loopback."""
    program = shutil.which("unshare")
    if sys.platform != "linux" or program is None:
        pytest.skip("only Linux's unshare takes the network from a process")
    command = [program, "--user", "--map-root-user", "--net"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system does not let a process give up its network")
    return command


def test_it_answers_where_there_is_no_network(tiny_model: Path) -> None:
    child = subprocess.run(
        [*unshare(), sys.executable, "-c", CHILD],
        input=str(tiny_model),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        cwd=Path(__file__).resolve().parent.parent,
    )
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout.split() == ["answered"]
