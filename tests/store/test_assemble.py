"""Assembling: what was sealed is made again bit for bit; what is not that is refused"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gguf
import numpy as np
import pytest

import edgeslm.store.assemble
from edgeslm.errors import CardError, EdgeslmError, ModelFileError, PullError
from edgeslm.formats.files import file_sha256
from edgeslm.formats.gguf.adapter import Adapter, Factors, Quantization, read_adapter, write_adapter
from edgeslm.formats.gguf.info import read_gguf
from edgeslm.store.assemble import TOLERANCE, assemble, merge_float, seal
from edgeslm.store.store import Store
from tests.helpers.lora import CARD, logits_of, random_adapter, weights_of, write_base

Q4 = Quantization(file_type="Q4_0", embeddings="Q8_0")


@pytest.fixture(scope="module", params=["F32", "Q4_1"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return write_base(folder / "base.gguf", quant=request.param, card=CARD)


@pytest.fixture
def draft(base: Path, tmp_path: Path) -> Path:
    write_adapter(tmp_path / "draft.gguf", random_adapter(read_gguf(base), layers=1))
    return tmp_path / "draft.gguf"


@pytest.fixture
def sealed(base: Path, draft: Path, tmp_path: Path) -> Path:
    """A sealed adapter; its model is ``tiny.gguf`` beside it."""
    adapter = tmp_path / "adapter.gguf"
    seal(base, draft, adapter, tmp_path / "tiny.gguf", quantization=Q4, card=CARD)
    return adapter


def test_merging_adds_the_factors_and_keeps_all_else(base: Path, draft: Path, tmp_path: Path):
    merge_float(base, draft, tmp_path / "merged.gguf")
    before, after = weights_of(base), weights_of(tmp_path / "merged.gguf")
    adapter = read_adapter(draft).load()
    assert list(after) == list(before)
    for name, weight in before.items():
        if name in adapter.factors:
            a, b = adapter.factors[name].a, adapter.factors[name].b
            change = 8.0 / 4 * b.astype(np.float64) @ a.astype(np.float64)
            wanted = (weight + change).astype(np.float32)
        else:
            wanted = weight
        np.testing.assert_array_equal(after[name], wanted, err_msg=name)
    assert "blk.0.attn_q.weight" not in adapter.factors
    assert "blk.1.attn_q.weight" in adapter.factors


def test_merging_keeps_the_metadata_byte_for_byte(base: Path, draft: Path, tmp_path: Path):
    target = tmp_path / "merged.gguf"
    merge_float(base, draft, target)
    old, new = read_gguf(base), read_gguf(target)

    def entries(info):
        raw = info.path.read_bytes()
        return {key: raw[slice(*place)] for key, place in info.layout.entries.items()}

    changed = {"edgeslm.card", "general.file_type"}
    kept = {key: raw for key, raw in entries(old).items() if key not in changed}
    assert {key: raw for key, raw in entries(new).items() if key not in changed} == kept
    assert new.quantization == "F32"
    assert new.card is None
    assert {tensor.type_name for tensor in new.tensors} == {"F32"}


def test_a_large_tensor_is_merged_in_parts_as_in_one(base, draft, tmp_path, monkeypatch):
    merge_float(base, draft, tmp_path / "whole.gguf")
    monkeypatch.setattr("edgeslm.formats.gguf.merge._CHUNK_VALUES", 200)
    merge_float(base, draft, tmp_path / "parts.gguf")
    assert (tmp_path / "whole.gguf").read_bytes() == (tmp_path / "parts.gguf").read_bytes()


def test_llama_cpp_answers_alike_beside_and_merged(tmp_path: Path, monkeypatch):
    # in float32 throughout: in front of 16-bit factors llama.cpp rounds the activations too
    monkeypatch.setattr(
        "edgeslm.formats.gguf.adapter._smallest_loss", lambda _: gguf.GGMLQuantizationType.F32
    )
    base, draft = write_base(tmp_path / "base.gguf"), tmp_path / "draft.gguf"
    write_adapter(draft, random_adapter(read_gguf(base)))
    merge_float(base, draft, tmp_path / "merged.gguf")
    merged = logits_of(tmp_path / "merged.gguf")
    np.testing.assert_allclose(logits_of(base, adapter=draft), merged, rtol=0, atol=1e-4)
    assert np.abs(logits_of(base) - merged).max() > 0.1, "the adapter changes nothing"


def test_what_was_sealed_is_made_again(base: Path, sealed: Path, tmp_path: Path):
    steps: list[str] = []
    target = assemble(
        base, sealed, tmp_path / "again.gguf", progress=lambda what, *_: steps.append(what)
    )
    info = read_gguf(target)
    assembly = read_adapter(sealed).assembly
    assert file_sha256(target) == assembly.file_sha256 == file_sha256(tmp_path / "tiny.gguf")
    assert info.card.name == "tiny"
    assert info.card.prompt.chat_template_sha256 == info.chat_template_sha256
    types = {tensor.name: tensor.type_name for tensor in info.tensors}
    assert "output.weight" not in types, "tied embeddings came apart"
    assert types["token_embd.weight"] == "Q8_0"
    assert types["blk.1.attn_q.weight"] == "Q4_0"
    assert list(dict.fromkeys(steps)) == ["verifying", "merging", "quantizing"]
    assert not list(tmp_path.glob(".*")), "work files were left"


def test_a_sealed_adapter_still_loads_beside_its_base(base: Path, draft: Path, sealed: Path):
    np.testing.assert_array_equal(logits_of(base, adapter=sealed), logits_of(base, adapter=draft))


def test_another_base_is_named(base: Path, sealed: Path, tmp_path: Path):
    other = write_base(tmp_path / "other.gguf", seed=5)
    with pytest.raises(CardError, match="an adapter for another base") as caught:
        assemble(other, sealed, tmp_path / "again.gguf")
    assert file_sha256(base) in str(caught.value)
    assert file_sha256(other) in str(caught.value)
    assert not (tmp_path / "again.gguf").exists()


def test_an_adapter_without_its_proof_is_refused(base: Path, draft: Path, tmp_path: Path):
    with pytest.raises(CardError, match="holds no assembly"):
        assemble(base, draft, tmp_path / "again.gguf")


def rewritten(sealed: Path, target: Path, change) -> Path:
    """The sealed adapter with its marks changed."""
    info = read_adapter(sealed)
    marks = change(dict(info.assembly.tensors))
    assembly = info.assembly.model_copy(update={"tensors": marks})
    write_adapter(target, info.load(), card=info.card, assembly=assembly)
    return target


def test_other_rounding_passes_within_the_tolerance(base: Path, sealed: Path, tmp_path: Path):
    name = "blk.1.ffn_up.weight"

    def scaled(factor: float):
        return lambda marks: (
            marks
            | {
                name: marks[name].model_copy(
                    update={"sha256": "0" * 64, "error": marks[name].error * factor}
                )
            }
        )

    near = rewritten(sealed, tmp_path / "near.gguf", scaled(1.001 / TOLERANCE))
    assemble(base, near, tmp_path / "again.gguf")
    far = rewritten(sealed, tmp_path / "far.gguf", scaled(0.999 / TOLERANCE))
    with pytest.raises(EdgeslmError, match=r"blk\.1\.ffn_up\.weight is .* from its float weights"):
        assemble(base, far, tmp_path / "far-again.gguf")
    assert not (tmp_path / "far-again.gguf").exists()
    assert not list(tmp_path.glob(".*"))


def test_other_weights_are_beyond_the_tolerance(base: Path, sealed: Path, tmp_path: Path):
    """One block of one tensor, quantized a little worse, is not what was proven."""
    assembly = read_adapter(sealed).assembly
    made, merged = tmp_path / "tiny.gguf", tmp_path / "merged.gguf"
    merge_float(base, sealed, merged)
    info = read_gguf(made)
    tensor = next(t for t in info.tensors if t.name == "blk.1.ffn_down.weight")
    with made.open("r+b") as file:
        file.seek(info.layout.data + tensor.offset)
        file.write(bytes(18))  # a block of zeros
    with pytest.raises(EdgeslmError, match=r"blk\.1\.ffn_down\.weight"):
        edgeslm.store.assemble._verify(info, read_gguf(merged), assembly)


def test_marks_of_other_tensors_are_refused(base: Path, sealed: Path, tmp_path: Path):
    def without(marks):
        return {name: mark for name, mark in marks.items() if name != "output_norm.weight"}

    odd = rewritten(sealed, tmp_path / "odd.gguf", without)
    with pytest.raises(EdgeslmError, match=r"'output_norm\.weight' is only in one"):
        assemble(base, odd, tmp_path / "again.gguf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda adapter: {"architecture": "qwen2"}, "an adapter for qwen2"),
        (
            lambda adapter: {
                "factors": {"blk.9.attn_q.weight": next(iter(adapter.factors.values()))}
            },
            "'blk.9.attn_q.weight'.*not there",
        ),
        (
            lambda adapter: {
                "factors": {
                    "blk.1.attn_q.weight": Factors(
                        np.ones((4, 32), np.float32), np.ones((64, 4), np.float32)
                    )
                }
            },
            "'blk.1.attn_q.weight' of 32 by 64",
        ),
    ],
)
def test_what_does_not_fit_the_base_is_named(base: Path, tmp_path: Path, change, message):
    adapter: Adapter = random_adapter(read_gguf(base))
    write_adapter(tmp_path / "odd.gguf", dataclasses.replace(adapter, **change(adapter)))
    with pytest.raises(ModelFileError, match=message):
        merge_float(base, tmp_path / "odd.gguf", tmp_path / "merged.gguf")
    assert not list(tmp_path.glob("*merged*"))


def test_a_full_disk_is_one_error_and_leaves_nothing(base, sealed, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "edgeslm.formats.files.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})
    )
    with pytest.raises(PullError, match="needed"):
        assemble(base, sealed, tmp_path / "again.gguf")
    assert not list(tmp_path.glob("*again*"))


def test_an_interrupted_assembly_leaves_nothing(base: Path, sealed: Path, tmp_path: Path):
    def interrupt(what: str, done: int, _total: int | None) -> None:
        if what == "merging" and done == 5:
            raise KeyboardInterrupt

    (tmp_path / ".again.gguf.merged.999999999.part").write_bytes(b"of a process killed before")
    with pytest.raises(KeyboardInterrupt):
        assemble(base, sealed, tmp_path / "again.gguf", progress=interrupt)
    assert not list(tmp_path.glob("*again*"))


@pytest.mark.slow
@pytest.mark.real
def test_a_small_real_adapter_is_small_and_comes_back(tmp_path: Path):
    try:
        base = Store().resolve("smollm2-135m")
    except EdgeslmError as error:
        pytest.skip(f"needs the real model: {error}")
    adapter, sealed = random_adapter(read_gguf(base), rank=16), tmp_path / "adapter.gguf"
    write_adapter(tmp_path / "draft.gguf", adapter)
    assert (tmp_path / "draft.gguf").stat().st_size < 11_000_000
    # without importance llama.cpp rounds at once, with it it searches for half a minute
    write_adapter(tmp_path / "draft.gguf", dataclasses.replace(adapter, imatrix={}))
    model = tmp_path / "model.gguf"
    seal(base, tmp_path / "draft.gguf", sealed, model, quantization=Q4, card=CARD)
    assemble(base, sealed, tmp_path / "again.gguf")
    assert file_sha256(model) == file_sha256(tmp_path / "again.gguf")
