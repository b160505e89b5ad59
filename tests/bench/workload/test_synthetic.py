"""Synthetic models: llama.cpp loads them and decodes, they are whole, and their shapes are real"""

from __future__ import annotations

import shutil
from math import prod
from types import SimpleNamespace

import numpy as np
import pytest

from edgeslm.bench.machine.facts import model_facts
from edgeslm.bench.workload import synthetic as module
from edgeslm.bench.workload import vocabulary
from edgeslm.bench.workload.synthetic import SHAPES, Shape, synthetic, tensors, write
from edgeslm.engines.engine import Batch
from edgeslm.errors import InputError, PullError
from edgeslm.formats.gguf.info import read_gguf

LLAMA = Shape("llama", 2, 256, 4, 2, 512, 600, 1024, 10_000.0, tied=False)
QWEN = Shape("qwen2", 2, 96, 3, 1, 160, 600, 1024, 10_000.0, tied=True)


@pytest.fixture
def tiny_shapes(monkeypatch):
    monkeypatch.setattr(module, "SHAPES", {"tiny": LLAMA, "other": QWEN})


@pytest.mark.parametrize("shape", [LLAMA, QWEN], ids=["llama", "qwen2"])
def test_the_engine_loads_a_synthetic_model_and_decodes(tmp_path, shape):
    from edgeslm.engines.llama.engine import LlamaEngine

    path = tmp_path / "tiny.gguf"
    write(shape, path, name="tiny")
    engine = LlamaEngine(path, threads=1)
    try:
        tokens = engine.tokenize("Please return the total amount. Ünï ☂")
        assert engine.detokenize(tokens).decode() == "Please return the total amount. Ünï ☂"
        row = engine.evaluate(Batch.run(tokens, 0, 0))[0].copy()
        assert row.shape == (shape.vocabulary,)
        assert np.isfinite(row).all()
        assert 0.3 < row.std() < 3
        following = engine.evaluate(Batch.run([int(row.argmax())], len(tokens), 0))[0]
        assert np.isfinite(following).all()
        assert not np.array_equal(row, following)
        special = engine.tokenize("<|im_end|>", special=True)
        assert special == [engine.vocab.end[0]]
    finally:
        engine.close()


def test_it_answers_through_the_grammar(tmp_path):
    import edgeslm

    path = tmp_path / "tiny.gguf"
    write(QWEN, path, name="tiny")
    schema = {
        "type": "object",
        "properties": {"total": {"type": "string", "maxLength": 12}},
        "required": ["total"],
        "additionalProperties": False,
    }
    with edgeslm.load(path, threads=1) as model:
        answer = model.extractor(schema)("Total 12.50", max_tokens=30)
        assert isinstance(answer.value["total"], str)
        assert set(model.classifier(["a", "b"])("x").probabilities) == {"a", "b"}


def test_a_synthetic_model_says_so_itself(tmp_path):
    path = tmp_path / "tiny.gguf"
    write(LLAMA, path, name="tiny")
    assert model_facts(path).synthetic is True
    assert "synthetic tiny" in (read_gguf(path).name or "")


def test_types_are_those_of_a_q4_0_file(tmp_path):
    kinds = {}
    for shape in (LLAMA, QWEN):
        path = tmp_path / "tiny.gguf"
        write(shape, path, name="tiny")
        info = read_gguf(path)
        assert info.quantization == "Q4_0"
        kinds[shape.architecture] = {
            t.name: t.type_name for t in info.tensors if len(t.shape) > 1 and "blk.1" not in t.name
        }
    assert kinds["llama"]["output.weight"] == "Q6_K"
    assert kinds["llama"]["token_embd.weight"] == "Q4_0"
    assert "output.weight" not in kinds["qwen2"]
    assert kinds["qwen2"]["token_embd.weight"] == "Q8_0"  # rows of 96 do not divide by 256
    layers = {k for names in kinds.values() for n, k in names.items() if n.startswith("blk.")}
    assert layers == {"Q4_0"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # as the makers count them
        ("llama-8b", 8_030_261_248),
        ("qwen-7b", 7_615_616_512),
        ("qwen-3b", 3_085_938_688),
        ("qwen-1.5b", 1_543_714_304),
        ("qwen-0.5b", 494_032_768),
        ("smollm2-360m", 361_821_120),
        ("smollm2-135m", 134_515_008),
    ],
)
def test_shapes_have_the_parameters_of_the_models_they_copy(name, parameters):
    assert sum(prod(tensor.shape) for tensor in tensors(SHAPES[name])) == parameters


def test_blocks_hold_numbers_of_the_size_that_was_asked_for():
    gguf = pytest.importorskip("gguf")
    random = np.random.default_rng(0)
    for kind in ("Q4_0", "Q6_K", "Q8_0"):
        blocks = module._blocks(kind, 400, 0.02, random)
        values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])
        assert np.isfinite(values).all()
        assert 0.018 < values.std() < 0.022, kind


# --- the file -------------------------------------------------------------------


def test_it_is_written_once_and_kept(tmp_path, tiny_shapes):
    told = []
    path = synthetic("tiny", folder=tmp_path, progress=lambda *told_: told.append(told_))
    assert told[-1][1] == told[-1][2] == sum(t.n_bytes for t in tensors(LLAMA))
    written = path.stat().st_mtime_ns
    assert synthetic("tiny", folder=tmp_path) == path
    assert path.stat().st_mtime_ns == written
    assert synthetic("other", folder=tmp_path) != path


def test_the_same_shape_gives_the_same_bytes(tmp_path):
    paths = [tmp_path / f"{i}.gguf" for i in range(2)]
    for path in paths:
        write(LLAMA, path, name="tiny")
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_damaged_file_is_written_again(tmp_path, tiny_shapes):
    path = synthetic("tiny", folder=tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert synthetic("tiny", folder=tmp_path).read_bytes() == whole


def test_chunks_do_not_show_in_the_file(tmp_path, monkeypatch):
    write(LLAMA, tmp_path / "one.gguf", name="tiny")
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1000)
    write(LLAMA, tmp_path / "many.gguf", name="tiny")
    one, many = (read_gguf(tmp_path / f"{name}.gguf") for name in ("one", "many"))
    assert one.tensors == many.tensors
    assert one.size == many.size


def test_without_room_nothing_is_written(tmp_path, tiny_shapes, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(PullError, match="needed"):
        synthetic("tiny", folder=tmp_path)
    assert not list(tmp_path.glob("*.gguf")) + list(tmp_path.glob("*.part"))


def test_an_interrupt_leaves_nothing_half_written(tmp_path, tiny_shapes):
    def interrupt(what: str, done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic("tiny", folder=tmp_path, progress=interrupt)
    assert not list(tmp_path.glob("*.gguf")) + list(tmp_path.glob("*.part"))


def test_what_a_killed_process_left_is_removed(tmp_path, tiny_shapes):
    left = tmp_path / f"synthetic-tiny-v{module.VERSION}.part"
    left.write_bytes(b"GGUF half")
    synthetic("tiny", folder=tmp_path)
    assert not left.exists()


def test_an_unknown_shape_names_those_there_are(tmp_path):
    with pytest.raises(InputError, match="llama-8b, qwen-7b"):
        synthetic("gpt-5", folder=tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path, tiny_shapes):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PullError, match="cannot be written"):
        synthetic("tiny", folder=tmp_path / "file" / "folder")


# --- the tokenizer --------------------------------------------------------------


def test_the_vocabulary_has_the_size_asked_for_and_no_token_twice():
    for size in (600, 152_064):
        tokens = vocabulary.tokenizer(size)["tokenizer.ggml.tokens"]
        assert len(tokens) == len(set(tokens)) == size


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="at least"):
        vocabulary.tokenizer(200)


def test_rows_that_no_block_divides_are_not_silently_cut():
    for shape in (*SHAPES.values(), LLAMA, QWEN):
        for tensor in tensors(shape):
            assert tensor.shape[-1] % module._BLOCKS[tensor.kind][0] == 0, tensor
