"""Importance, divergence and the choice of a quantization, on tiny models"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.causal.divergence import answer_logits, divergence, divergences
from converters.causal.encode import Encoded
from converters.causal.quantize import Speed, measure_speed, quantization, quantize_best
from converters.errors import DataError, GateError
from converters.recipe.recipe import Quantize
from edgeslm.engines.engine import Batch
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.engines.llama.quantize import quantize
from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.lora import TOKENS, write_base
from tests.helpers.tiny_gguf import write_tiny_gguf

ROWS = [
    Encoded("first", tuple(TOKENS), 30),
    Encoded("second", tuple(reversed(TOKENS)), 5),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("base") / "f32.gguf")


@pytest.fixture(scope="module")
def coarse(base: Path) -> Path:
    quantize(base, base.with_name("q4.gguf"), "Q4_0")
    return base.with_name("q4.gguf")


def test_a_model_does_not_diverge_from_itself(base: Path):
    own = divergence(base, base, ROWS)
    assert own.n == 10 + 35
    assert own.kl == pytest.approx(0, abs=1e-9)
    assert own.top1 == 1


def test_divergence_is_that_of_its_definition(base: Path, coarse: Path, tmp_path: Path):
    foreign = write_tiny_gguf(tmp_path / "foreign.gguf", seed=5)
    near, far = divergences(base, [coarse, foreign], ROWS)
    for measured, other, rel in ((near, coarse, 0.02), (far, foreign, 1e-3)):
        kl, same = [], []
        for row in ROWS:
            p, q = (softmax_at(path, row) for path in (base, other))
            kl.extend((p * np.log(p / q)).sum(axis=1))
            same.extend(p.argmax(axis=1) == q.argmax(axis=1))
        assert measured.kl == pytest.approx(float(np.mean(kl)), rel=rel)
        assert measured.top1 == pytest.approx(float(np.mean(same)), abs=1 / 40)
    assert 0 < 10 * near.kl < far.kl
    assert far.top1 < 0.5 < near.top1


def softmax_at(path: Path, row: Encoded) -> np.ndarray:
    """Probabilities of each answer token's position, from one token after the other."""
    engine = LlamaEngine(path, threads=1)
    logits = [engine.evaluate(Batch.run([t], i, 0))[0].copy() for i, t in enumerate(row.tokens)]
    engine.close()
    powers = np.exp(np.array(logits[row.start - 1 : -1], np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_long_rows_are_read_in_parts(base: Path):
    """Longer than a batch of rows, its answer longer than the outputs of one."""
    tokens = tuple(3 + (5 * i) % 400 for i in range(900))
    engine = LlamaEngine(base, threads=1)
    engine.resize(1024)
    logits = answer_logits(engine, Encoded("long", tokens, 700)).copy()
    assert logits.shape == (200, engine.vocab.size)
    assert len(tokens) > engine.batch_size
    alone = answer_logits(engine, Encoded("long", tokens[:851], 850))
    np.testing.assert_allclose(logits[150], alone[0], rtol=0, atol=0.02)
    engine.close()


def test_rows_that_cannot_be_compared_are_named(base: Path):
    with pytest.raises(DataError, match="no rows"):
        divergences(base, [base], [])
    with pytest.raises(DataError, match="row long: 3000 tokens"):
        divergence(base, base, [Encoded("long", (5,) * 3000, 2990)])


SPEC = Quantize(types=("Q8_0", "Q4_0", "Q4_1"), overrides={"*attn_v.weight": "F16"})


def test_the_fastest_that_passes_is_kept(base: Path, tmp_path: Path):
    importance = {"blk.0.ffn_up.weight": np.linspace(0, 1, 64, dtype=np.float32)}
    asked: list[str] = []

    def refuses(path: Path) -> str | None:
        asked.append(read_gguf(path).quantization)
        return None if len(asked) == 2 else "not yet"

    out = tmp_path / "out.gguf"
    report = quantize_best(SPEC, base, importance, ROWS, out, refuses=refuses)
    assert [candidate.file_type for candidate in report.candidates][:2] == asked
    assert [candidate.passed for candidate in report.candidates] == [False, True, None]
    times = [candidate.milliseconds for candidate in report.candidates]
    assert times == sorted(times)
    assert report.chosen == asked[1] == read_gguf(out).quantization
    types = {tensor.name: tensor.type_name for tensor in read_gguf(out).tensors}
    assert (types["blk.0.attn_v.weight"], types["token_embd.weight"]) == ("F16", "Q8_0")
    assert list(tmp_path.iterdir()) == [out]
    by_type = {candidate.file_type: candidate for candidate in report.candidates}
    assert by_type["Q8_0"].divergence.kl < by_type["Q4_0"].divergence.kl
    assert by_type["Q4_0"].size < by_type["Q4_1"].size < by_type["Q8_0"].size
    assert by_type["Q4_0"].bits_per_weight < by_type["Q8_0"].bits_per_weight
    assert [c["file_type"] for c in report.to_dict()["candidates"]] == [
        c.file_type for c in report.candidates
    ]


def test_where_none_passes_nothing_is_written(base: Path, tmp_path: Path):
    with pytest.raises(GateError, match=r"passes the gates: .*Q4_0 \(too bad\)"):
        quantize_best(SPEC, base, {}, ROWS, tmp_path / "out.gguf", refuses=lambda _: "too bad")
    assert not list(tmp_path.iterdir())


def test_an_assembly_gets_what_the_recipe_says():
    how = quantization(Quantize(embeddings="same", overrides={"*ffn*": "Q8_0"}), "IQ4_NL")
    assert (how.file_type, how.embeddings, how.overrides) == ("IQ4_NL", None, {"*ffn*": "Q8_0"})


def test_speed_counts_prompt_and_answer(base: Path):
    assert Speed(prefill=100, decode=10).milliseconds(50, 2) == pytest.approx(700)
    engine = LlamaEngine(base, threads=1)
    speed = measure_speed(engine, prompt=600)
    engine.close()
    assert speed.prefill > speed.decode > 0


def test_importance_is_the_mean_square_of_what_weights_read(tmp_path: Path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from converters.causal.base import load_base
    from converters.causal.imatrix import importance_matrix

    base = write_base(tmp_path / "tied.gguf")
    model = load_base(base)
    model.train()
    importance = importance_matrix(model, ROWS, architecture="llama")
    matrices = {t.name: t.shape[0] for t in read_gguf(base).tensors if len(t.shape) > 1}
    assert {name: values.shape for name, values in importance.items()} == {
        name: (columns,) for name, columns in matrices.items()
    }
    with torch.inference_mode():
        layer, reads = model.model.layers[0], []
        for row in ROWS:
            embedded = model.model.embed_tokens(torch.tensor(row.tokens))
            reads.append(layer.input_layernorm(embedded))
        last = [
            model(torch.tensor([row.tokens]), output_hidden_states=True).hidden_states[-1][0]
            for row in ROWS
        ]
    for name in ("attn_q", "attn_k", "attn_v"):
        wanted = torch.cat(reads).square().mean(dim=0).numpy()
        np.testing.assert_allclose(importance[f"blk.0.{name}.weight"], wanted, rtol=1e-4)
    wanted = torch.cat(last).square().mean(dim=0).numpy()
    np.testing.assert_allclose(importance["token_embd.weight"], wanted, rtol=1e-4)
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert importance_matrix(model, [], architecture="llama") == {}
