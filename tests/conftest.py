"""Fixtures: a tiny random model, and the real 135M model in the quantizations that must work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from tiny_gguf import write_tiny_gguf

from edgeslm.errors import EdgeslmError
from edgeslm.store import Store

if TYPE_CHECKING:  # the library is loaded only by tests that need it
    from edgeslm.engines.llama import LlamaEngine

REAL_NAME = "smollm2-135m"
CACHE = Path(__file__).parent.parent / ".cache" / "requantized"
# numbers of llama.h's enum llama_ftype
FILE_TYPES = {"Q4_0": 2, "Q4_K_M": 15}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of random weights: 456 tokens of vocabulary, 2,048 of context, ChatML."""
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One full batch of it takes about a second."""
    path = tmp_path_factory.mktemp("slow") / "slow.gguf"
    return write_tiny_gguf(path, n_layer=8, n_embd=256, n_head=8, n_ff=2048, n_ctx=8192)


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[LlamaEngine]:
    """The tiny model, loaded for one test."""
    from edgeslm.engines.llama import LlamaEngine

    opened = LlamaEngine(tiny_model, threads=1)
    yield opened
    opened.close()


@pytest.fixture(scope="session", params=FILE_TYPES)
def real_model(request: pytest.FixtureRequest) -> Path:
    """The pulled model, quantized again; skips where it was not pulled."""
    try:
        source = Store().resolve(REAL_NAME)
    except EdgeslmError as error:
        pytest.skip(f"needs the real model: {error}")
    # the store names a file by its hash
    target = CACHE / f"{source.stem}-{request.param}.gguf"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            _requantize(source, target, FILE_TYPES[request.param])
    return target


def _requantize(source: Path, target: Path, file_type: int) -> None:
    from edgeslm.engines.llama_library import llama_cpp  # its log goes to `logging`

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = file_type
    parameters.allow_requantize = True
    parameters.nthread = os.cpu_count() or 1
    aside = target.with_suffix(".part")
    code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(aside), parameters)
    assert code == 0, f"llama.cpp cannot quantize {source}"
    aside.replace(target)
