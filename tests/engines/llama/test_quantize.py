"""Quantizing: the type asked for, the importance matrix that counts, and clear refusals"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeslm.engines.llama.quantize import quantize
from edgeslm.errors import EngineError
from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.lora import weights_of, write_base

WEIGHT = "blk.0.ffn_up.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 256 and of 512, so that all types fit."""
    folder = tmp_path_factory.mktemp("source")
    return write_base(folder / "f32.gguf", n_layer=1, n_embd=256, n_ff=512)


def types_of(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type_name for tensor in read_gguf(path).tensors}


@pytest.mark.parametrize(
    ("file_type", "tensor_type", "bits"),
    [
        ("Q4_0", "Q4_0", 4.5),
        ("Q4_1", "Q4_1", 5.0),
        ("Q4_K_M", "Q4_K", 4.5),
        ("IQ4_NL", "IQ4_NL", 4.5),
        ("Q5_K_M", "Q5_K", 5.5),
        ("Q8_0", "Q8_0", 8.5),
    ],
)
def test_each_type_is_written(source, tmp_path, file_type, tensor_type, bits):
    quantize(source, tmp_path / "q.gguf", file_type, embeddings="F16")
    info = read_gguf(tmp_path / "q.gguf")
    weight = next(tensor for tensor in info.tensors if tensor.name == WEIGHT)
    assert info.quantization == file_type
    assert types_of(info.path)[WEIGHT] == tensor_type
    assert types_of(info.path)["token_embd.weight"] == "F16"
    assert weight.n_bytes * 8 / (256 * 512) == bits
    assert bits < info.bits_per_weight < 16
    np.testing.assert_allclose(
        weights_of(info.path)[WEIGHT], weights_of(source)[WEIGHT], rtol=0, atol=0.04
    )


@pytest.mark.parametrize("file_type", ["Q4_0", "Q4_K_M", "IQ4_NL"])
def test_the_importance_matrix_spares_the_columns_it_names(source, tmp_path, file_type):
    importance = np.full(256, 1e-3, np.float32)
    importance[::32] = 1.0
    quantize(source, tmp_path / "plain.gguf", file_type)
    quantize(source, tmp_path / "matrix.gguf", file_type, imatrix={WEIGHT: importance})
    exact = weights_of(source)[WEIGHT][:, ::32]
    plain, matrix = (
        float(np.square(weights_of(tmp_path / name)[WEIGHT][:, ::32] - exact).mean())
        for name in ("plain.gguf", "matrix.gguf")
    )
    assert matrix < 0.6 * plain


def test_overrides_go_by_whole_names(source, tmp_path):
    overrides = {WEIGHT: "Q8_0", "*attn_*": "F16", "blk.0.ffn_dow*": "Q5_K"}
    quantize(source, tmp_path / "q.gguf", "Q4_0", overrides=overrides)
    types = types_of(tmp_path / "q.gguf")
    assert types[WEIGHT] == "Q8_0"
    assert types["blk.0.attn_q.weight"] == types["blk.0.attn_v.weight"] == "F16"
    assert types["blk.0.ffn_gate.weight"] == "Q4_0"
    assert types["blk.0.ffn_down.weight"] == "Q5_K"
    assert types["blk.0.attn_norm.weight"] == "F32"


def test_the_first_override_that_fits_counts(source, tmp_path):
    quantize(source, tmp_path / "q.gguf", "Q4_0", overrides={WEIGHT: "Q8_0", "*ffn*": "Q5_K"})
    types = types_of(tmp_path / "q.gguf")
    assert (types[WEIGHT], types["blk.0.ffn_gate.weight"]) == ("Q8_0", "Q5_K")


def test_threads_change_no_bit(source, tmp_path):
    importance = {WEIGHT: np.linspace(0, 1, 256, dtype=np.float32)}
    for threads in (1, 3):
        quantize(
            source, tmp_path / f"{threads}.gguf", "Q4_K_M", imatrix=importance, threads=threads
        )
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"file_type": "Q9"}, "no type that llama.cpp quantizes to"),
        ({"embeddings": "Q9"}, "no type of a tensor"),
        ({"overrides": {"blk.7.*": "Q8_0"}}, "no matrix is called 'blk.7.*'"),
        ({"imatrix": {"blk.7.x": np.ones(256, np.float32)}}, "rows have no"),
        ({"imatrix": {WEIGHT: np.ones(255, np.float32)}}, "255 values for .* rows have 256"),
        ({"imatrix": {WEIGHT: np.full(256, np.nan, np.float32)}}, "no sensible numbers"),
        ({"imatrix": {WEIGHT: np.full(256, -1, np.float32)}}, "no sensible numbers"),
    ],
)
def test_what_cannot_be_is_refused(source, tmp_path, arguments, message):
    with pytest.raises(EngineError, match=message):
        quantize(source, tmp_path / "q.gguf", **{"file_type": "Q4_0", **arguments})
    assert not (tmp_path / "q.gguf").exists()


def test_a_type_that_does_not_divide_the_rows_is_refused(tmp_path):
    narrow = write_base(tmp_path / "f32.gguf")
    with pytest.raises(EngineError, match=r"attn_q.weight must be Q4_K but became .* rows of 64"):
        quantize(narrow, tmp_path / "q.gguf", "Q4_0", overrides={"*attn_q.weight": "Q4_K"})
    assert not (tmp_path / "q.gguf").exists()


def test_a_folder_that_cannot_be_written_is_one_error(source, tmp_path):
    with pytest.raises(EngineError, match="cannot quantize"):
        quantize(source, tmp_path / "no" / "such" / "q.gguf", "Q4_0")
