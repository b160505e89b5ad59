"""Fixtures: a tiny random model, and the real 135M model in the quantizations that must work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from benchmarks.data.models import requantized
from edgeslm.decoding.sequences.prefix_files import LIMIT_VARIABLE
from edgeslm.engines.llama import threads as thread_choice
from edgeslm.errors import EdgeslmError
from edgeslm.store.store import Store
from tests.helpers.tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:  # the library is loaded only by tests that need it
    from edgeslm.engines.llama.engine import LlamaEngine

# A busy machine makes one example in a thousand slow; how long a test may take is not its subject.
settings.register_profile("edgeslm", deadline=None)
settings.load_profile("edgeslm")

REAL_NAME = "smollm2-135m"
CACHE = Path(__file__).parent.parent / ".cache" / "requantized"


@pytest.fixture(scope="session", autouse=True)
def _nothing_kept() -> Iterator[None]:
    """Tests leave nothing in the user's cache, and a first answer is a first answer.

    The .onnx files that they write are not tried in processes of their own.

    Nor does what threads are fastest here, or how busy they are, decide what is tested.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LIMIT_VARIABLE, "0")
        patch.setattr(thread_choice, "kept_or_measured", lambda *_: None)
        patch.setattr("edgeslm.models.onnx.require_tried", lambda *_: None)
        yield


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
    from edgeslm.engines.llama.engine import LlamaEngine

    opened = LlamaEngine(tiny_model, threads=1)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tiny_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear reader of made-up receipts: shop, date, total, and how they were paid."""
    from tests.helpers.tiny_reader import write_tiny_reader

    return write_tiny_reader(tmp_path_factory.mktemp("reader") / "tiny-reader.onnx")


@pytest.fixture(scope="session")
def tiny_encoder_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an encoder beside the features, in windows of 24 tokens."""
    from tests.helpers.tiny_reader import write_tiny_encoder_reader

    return write_tiny_encoder_reader(tmp_path_factory.mktemp("reader") / "tiny-encoder.onnx")


@pytest.fixture(scope="session", params=["Q4_0", "Q4_K_M"])
def real_model(request: pytest.FixtureRequest) -> Path:
    """The pulled model, quantized again; skips where it was not pulled."""
    try:
        source = Store().resolve(REAL_NAME)
    except EdgeslmError as error:
        pytest.skip(f"needs the real model: {error}")
    return requantized(source, request.param, CACHE)
