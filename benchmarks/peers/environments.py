"""Virtual environments of peers, made by pip when first wanted, apart from edgeslm's own."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.data.receipts import ROOT
from benchmarks.report.results.extraction import TUNED
from edgeslm.engines.device import machine
from edgeslm.errors import EdgeslmError

ENVIRONMENTS = ROOT / ".cache" / "peers"
#: compiling llama-cpp-python takes some minutes where pip has no wheel of it
_INSTALL_SECONDS = 1800
_STAMP = "installed"


class PeerError(EdgeslmError):
    """A peer that cannot be installed, does not start, or fails at a task; the rest goes on."""


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """A peer: what it is installed from, and what its process is told.

    ``environment`` is a folder's name; where it is empty, edgeslm's own has all that is needed.
    ``module`` and ``kind`` name the class in worker.py and its variant. ``same_llama`` peers
    get the llama-cpp-python that edgeslm uses, compiled as that is; the others bring a library
    of their own.
    ``classifies`` is False for variants that differ for a schema alone.
    """

    name: str
    environment: str
    requirements: tuple[str, ...]
    same_llama: bool
    module: str
    kind: str = ""
    classifies: bool = True

    def installed_from(self) -> list[str]:
        """Requirements for pip."""
        own = version("llama-cpp-python")
        return [*self.requirements, *([f"llama-cpp-python=={own}"] if self.same_llama else [])]


_OUTLINES_ALONE = ("outlines==1.3.3",)
_OUTLINES = ("outlines[llamacpp]==1.3.3", "llguidance>=1.3,<2")
_SERVER = ("xllamacpp==2026.10.11549",)
_TORCH = (
    "torch==2.13.0",
    "transformers==5.23.0",
    "accelerate==1.15.0",
    "gguf==0.19.0",
    *_OUTLINES_ALONE,
)
#: edgeslm's own environment has it
LLAMA = PeerSpec(TUNED, "", (), True, "llama")
PEERS = (
    PeerSpec("outlines", "outlines", _OUTLINES, True, "outlines", "outlines_core"),
    PeerSpec("outlines on llguidance", "outlines", _OUTLINES, True, "outlines", "llguidance"),
    PeerSpec("guidance", "guidance", ("guidance==0.3.1",), True, "guidance"),
    PeerSpec(
        "llama-server, json_schema", "xllamacpp", _SERVER, False, "server", "json_schema", False
    ),
    PeerSpec("llama-server, no spaces", "xllamacpp", _SERVER, False, "server", "grammar"),
    PeerSpec("transformers", "transformers", _TORCH, False, "transformers"),
    PeerSpec(
        "outlines on transformers", "transformers", _TORCH, False, "transformers", "outlines_core"
    ),
)


def ensure(peer: PeerSpec, folder: Path = ENVIRONMENTS) -> Path:
    """The Python of a peer's environment, which is made unless it is there.

    Raises:
        PeerError: it cannot be made, or pip cannot install the peer; has pip's last words.
    """
    if not peer.environment:
        return Path(sys.executable)
    home, wanted = folder / peer.environment, "\n".join(peer.installed_from())
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = home / _STAMP
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(home, ignore_errors=True)  # half of an environment, or one of other versions
        _run([sys.executable, "-m", "venv", str(home)], peer)
        pip = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        _run([*pip, *peer.installed_from()], peer)
        stamp.write_text(wanted, encoding="utf-8")
    if peer.same_llama:
        share_build(machine.library_files(), home)
    return python


def share_build(own: Sequence[Path], home: Path) -> None:
    """Give the environment at ``home`` these files of llama.cpp in place of those compiled for it.

    The same version compiled with other flags, or found in pip's cache, can be half as fast.
    """
    for theirs in home.glob("**/llama_cpp/lib"):
        names = [file.name for file in own]
        same, _, _ = filecmp.cmpfiles(own[0].parent, theirs, names, shallow=False)
        if len(same) < len(names):
            shutil.rmtree(theirs)
            theirs.mkdir()
            for file in own:
                shutil.copy2(file, theirs)


def _run(command: list[str], peer: PeerSpec) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{peer.name} could not be installed: {error}") from error
    if done.returncode != 0:
        last = done.stdout.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise PeerError(f"{peer.name} could not be installed: {last[0]}")
