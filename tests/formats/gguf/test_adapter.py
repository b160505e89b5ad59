"""Adapter files: what is written is read back; what is damaged or hostile is one clear error"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeslm.errors import CardError, EdgeslmError, ModelFileError
from edgeslm.formats.gguf.adapter import Adapter, Assembly, Factors, read_adapter, write_adapter
from tests.helpers.lora import CARD

NAME = "blk.0.attn_q.weight"
ASSEMBLY = {
    "format": 1,
    "base_sha256": "0" * 64,
    "quantization": {"file_type": "Q4_0", "embeddings": "Q8_0", "overrides": {"*.ffn_*": "Q8_0"}},
    "tensors": {NAME: {"sha256": "1" * 64, "error": 0.25}},
    "file_sha256": "2" * 64,
    "build": "llama-cpp-python 0",
}


def adapter(a: float = 0.5, b: float = 0.25, columns: int = 2000) -> Adapter:
    """Rows longer than the arrays that a header's reader keeps."""
    factors = Factors(np.full((2, columns), a, np.float32), np.full((6, 2), b, np.float32))
    importance = np.arange(columns, dtype=np.float32) / 3
    return Adapter("llama", 3.5, {NAME: factors}, {NAME: importance, "short": importance[:5]})


def test_what_is_written_is_read_back(tmp_path: Path):
    path, written = tmp_path / "a.gguf", adapter()
    write_adapter(path, written, card=CARD, assembly=Assembly.model_validate(ASSEMBLY))
    info = read_adapter(path)
    read = info.load()
    assert (read.architecture, read.alpha) == ("llama", 3.5)
    np.testing.assert_array_equal(read.factors[NAME].a, written.factors[NAME].a)
    np.testing.assert_array_equal(read.factors[NAME].b, written.factors[NAME].b)
    assert list(read.imatrix) == [NAME, "short"]
    for name, values in written.imatrix.items():
        np.testing.assert_array_equal(read.imatrix[name], values)
    assert info.card == CARD
    assert info.assembly == Assembly.model_validate(ASSEMBLY)
    assert [file.name for file in tmp_path.iterdir()] == ["a.gguf"]


@pytest.mark.parametrize(("value", "kind"), [(0.1, "F16"), (1e5, "BF16"), (1e-9, "BF16")])
def test_factors_take_the_type_that_loses_least(tmp_path: Path, value: float, kind: str):
    write_adapter(tmp_path / "a.gguf", adapter(a=value))
    tensor, _ = read_adapter(tmp_path / "a.gguf").targets[NAME]
    assert tensor.type_name == kind
    kept = read_adapter(tmp_path / "a.gguf").factors(NAME).a
    np.testing.assert_allclose(kept, value, rtol=2**-8)


def written(path: Path, **changes: Any) -> Path:
    """A valid adapter, but for the changed metadata and tensors; None leaves a key out."""
    metadata = {
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 3.5,
    } | {key: value for key, value in changes.items() if key != "tensors"}
    shapes = changes.get("tensors", {NAME + ".lora_a": (2, 8), NAME + ".lora_b": (6, 2)})
    writer = gguf.GGUFWriter(path, metadata.pop("general.architecture", "llama"))
    for key, value in metadata.items():
        if value is not None:
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name, shape in shapes.items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_plain_adapter_of_these_tests_is_valid(tmp_path: Path):
    info = read_adapter(written(tmp_path / "a.gguf"))
    assert (info.card, info.assembly, info.imatrix()) == (None, None, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.type": "model"}, "not a LoRA adapter"),
        ({"adapter.type": "control_vector"}, "not a LoRA adapter"),
        ({"adapter.lora.alpha": None}, "alpha is no number"),
        ({"adapter.lora.alpha": 0.0}, "alpha is no number"),
        ({"adapter.lora.alpha": float("nan")}, "alpha is no number"),
        ({"adapter.lora.alpha": 16}, "alpha is no number"),
        ({"general.architecture": "x" * 65}, "which architecture"),
        ({"edgeslm.imatrix.x": [1, 2]}, "no list of numbers"),
        ({"edgeslm.imatrix.x": "text"}, "no list of numbers"),
        ({"edgeslm.imatrix.x": [1] * 2000}, "no list of numbers"),
        ({"tensors": {}}, "no pairs"),
        ({"tensors": {NAME + ".lora_a": (2, 8)}}, "no pairs"),
        ({"tensors": {"x.lora_a": (2, 8), "y.lora_b": (6, 2)}}, "no pairs"),
        ({"tensors": {"x.lora_a": (2, 8), "x.lora_b": (6, 2), "other": (1,)}}, "no pairs"),
        ({"tensors": {"x.lora_a": (2, 8), "x.lora_b": (6, 3)}}, "do not fit each other"),
        ({"tensors": {"x.lora_a": (2,), "x.lora_b": (6, 2)}}, "do not fit each other"),
        ({"tensors": {"x.lora_a": (1025, 2), "x.lora_b": (2, 1025)}}, "do not fit each other"),
    ],
)
def test_what_is_no_adapter_is_refused(tmp_path: Path, changes, message: str):
    with pytest.raises(ModelFileError, match=message) as caught:
        read_adapter(written(tmp_path / "a.gguf", **changes))
    assert str(tmp_path / "a.gguf") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format"),
        ({"extra": 1}, "extra"),
        ({"base_sha256": "no hash"}, "base_sha256"),
        ({"quantization": {"file_type": "Q2_K"}}, "file_type"),
        ({"quantization": {"file_type": "Q4_0", "overrides": {"(a+)+$": "Q8_0"}}}, "overrides"),
        ({"tensors": {}}, "tensors"),
        ({"tensors": {NAME: {"sha256": "1" * 64, "error": -1}}}, "error"),
    ],
)
def test_an_assembly_is_closed(tmp_path: Path, change, message: str):
    text = json.dumps(ASSEMBLY | change)
    with pytest.raises(CardError, match=rf"edgeslm\.assembly, at .*{message}"):
        read_adapter(written(tmp_path / "a.gguf", **{"edgeslm.assembly": text}))


def test_numbers_that_are_none_are_refused(tmp_path: Path):
    write_adapter(tmp_path / "a.gguf", adapter(b=float("inf")))
    with pytest.raises(ModelFileError, match="no numbers"):
        read_adapter(tmp_path / "a.gguf").load()


def test_no_file_is_one_error(tmp_path: Path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_adapter(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="not a file"):
        read_adapter(tmp_path)


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_adapters_are_read_or_refused(tmp_path: Path, data: st.DataObject):
    """Cut short or with changed bytes: numbers, or one typed error."""
    good = tmp_path / "good.gguf"
    if not good.exists():
        write_adapter(good, adapter(columns=8), card=CARD)
    raw = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    try:
        loaded = read_adapter(bad).load()
    except EdgeslmError:
        return
    assert all(np.isfinite(half).all() for f in loaded.factors.values() for half in (f.a, f.b))
