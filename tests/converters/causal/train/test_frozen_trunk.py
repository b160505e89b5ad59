"""The frozen trunk and the fused LoRA: the same numbers as the whole model with peft's own"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from converters.causal.train.attention import FastAttention
from converters.causal.train.frozen_trunk import Trunk
from converters.causal.train.fused_lora import fuse
from tests.helpers.tiny_hf import write_tiny_hf

#: of unlike lengths, longer than the sliding window of the tiny Gemma 3
ROWS = [tuple(3 + (step * i) % 300 for i in range(length)) for step, length in ((7, 40), (11, 23))]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        family: write_tiny_hf(folder / family, family)
        for family in ("llama", "qwen2", "qwen3", "gemma3", "smollm3")
    }


def adapted(base: Any, top: range, **changes: Any) -> Any:
    """A copy of the base with an adapter whose both factors are not zero."""
    torch.manual_seed(1)
    copy = type(base)(base.config)
    copy.load_state_dict(base.state_dict())
    config = LoraConfig(
        r=4, target_modules=LINEAR, layers_to_transform=list(top), layers_pattern="layers",
        **changes,
    )  # fmt: skip
    made = get_peft_model(copy, config)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return made


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def loss_of(states: list[torch.Tensor], head: nn.Module) -> torch.Tensor:
    """The mean loss of every next token."""
    logits = torch.cat([head(state[:-1]) for state in states])
    targets = torch.tensor([token for row in ROWS for token in row[1:]])
    return nn.functional.cross_entropy(logits, targets)


def plain_loss(model: Any) -> torch.Tensor:
    """One row after the other through the whole model."""
    inner = model.get_base_model()
    states = [inner.model(torch.tensor([row])).last_hidden_state[0] for row in ROWS]
    return loss_of(states, inner.lm_head)


def trunk_loss(model: Any, trunk: Trunk) -> torch.Tensor:
    states = trunk.hidden(ROWS)
    return loss_of(
        [states[i, : len(row)] for i, row in enumerate(ROWS)], model.get_base_model().lm_head
    )


def assert_alike(actual: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(actual) == set(wanted)
    for name, gradient in wanted.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(actual[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3", "smollm3"])
@pytest.mark.parametrize("layers", [1, None])
def test_loss_and_gradients_are_those_of_the_whole_model(bases, family, layers):
    depth = bases[family].config.num_hidden_layers
    model = adapted(bases[family], range(depth - (layers or depth), depth))
    expected = plain_loss(model)
    expected.backward()
    wanted = gradients(model)
    fuse(model)
    trunk = Trunk(model.get_base_model(), layers)
    for _ in range(2):  # evaluated, then taken from what was kept
        model.zero_grad()
        loss = trunk_loss(model, trunk)
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
        loss.backward()
        assert_alike(gradients(model), wanted)


def test_gemma_has_both_kinds_of_attention_above_and_below(bases):
    """So that the test above would see a stand-in take the place of another kind."""
    config = bases["gemma3"].config
    assert {*config.layer_types} == {"sliding_attention", "full_attention"}
    model = adapted(bases["gemma3"], range(2, 6))
    assert {*config.layer_types[2:]} == {*config.layer_types}
    trunk = Trunk(model.get_base_model(), 4)
    assert float(trunk_loss(model, trunk)) == pytest.approx(float(plain_loss(model)), rel=1e-5)


def test_the_model_is_whole_again_after_each_pass(bases):
    model = adapted(bases["llama"], range(1, 2))
    layers = list(model.get_base_model().model.layers)
    trunk = Trunk(model.get_base_model(), 1)
    trunk.hidden(ROWS)
    assert list(model.get_base_model().model.layers) == layers
    with pytest.raises(IndexError):
        trunk.hidden([(10**6,)])  # no such token
    assert list(model.get_base_model().model.layers) == layers
    assert isinstance(model.get_base_model().model.norm, type(bases["llama"].model.norm))


def test_kept_rows_skip_the_lower_layers_and_have_a_bound(bases, monkeypatch):
    model = adapted(bases["llama"], range(1, 2))
    runs = []
    lowest = model.get_base_model().model.layers[0]
    lowest.register_forward_hook(lambda *_: runs.append(1))
    trunk = Trunk(model.get_base_model(), 1)
    first, again = trunk.hidden(ROWS), trunk.hidden(ROWS)
    assert len(runs) == 1
    torch.testing.assert_close(first, again)
    monkeypatch.setattr("converters.causal.train.frozen_trunk.CACHE_BYTES", len(ROWS[1]) * 64 * 4)
    small = Trunk(model.get_base_model(), 1)
    small.hidden(ROWS)
    small.hidden(ROWS[1:])  # fits and was kept
    assert len(runs) == 2
    small.hidden(ROWS[:1])
    assert len(runs) == 3


@pytest.mark.parametrize("layers", [1, None])
def test_padding_changes_no_row(bases, layers):
    model = adapted(bases["llama"], range(2 - (layers or 2), 2)).eval()
    rows = [ROWS[1][:9], ROWS[0], ROWS[1]]
    together = Trunk(model.get_base_model(), layers).hidden(rows)
    for i, row in enumerate(rows):
        alone = Trunk(model.get_base_model(), layers).hidden([row])[0]
        torch.testing.assert_close(together[i, : len(row)], alone, rtol=1e-5, atol=1e-5)


# --- attention ------------------------------------------------------------------


@pytest.mark.parametrize("shared", [1, 3])
@pytest.mark.parametrize("length", [2, 40, 150])
def test_attention_and_its_gradients_are_those_of_full_precision(length, shared):
    torch.manual_seed(0)
    shapes = [(2, heads, length, 16) for heads in (6, 6 // shared, 6 // shared)]
    parts = [torch.randn(shape).bfloat16() for shape in shapes]
    weight = torch.randn(shapes[0])

    def attended(dtype: torch.dtype) -> list[torch.Tensor]:
        given = [part.to(dtype, copy=True).requires_grad_() for part in parts]
        with FastAttention():
            out = nn.functional.scaled_dot_product_attention(
                *given, is_causal=True, enable_gqa=shared > 1
            )
        (out.float() * weight).sum().backward()
        assert out.dtype == dtype
        return [out.detach().float(), *(part.grad.float() for part in given)]

    for low, full in zip(attended(torch.bfloat16), attended(torch.float32), strict=True):
        assert float((low - full).norm() / full.norm()) < 0.02


@pytest.mark.parametrize(
    "changes",
    [{"is_causal": False}, {"is_causal": False, "attn_mask": torch.ones(9, 9).tril() > 0}],
)
def test_other_attention_is_left_to_torch(changes):
    query = torch.randn(1, 2, 9, 16).bfloat16()
    settings = {"is_causal": True, **changes}
    wanted = nn.functional.scaled_dot_product_attention(query, query, query, **settings)
    with FastAttention():
        output = nn.functional.scaled_dot_product_attention(query, query, query, **settings)
    assert torch.equal(output, wanted)


# --- fused --------------------------------------------------------------------


@pytest.mark.parametrize("rslora", [False, True])
def test_fused_equals_peft(bases, rslora):
    own = adapted(bases["llama"], range(2), lora_alpha=7, use_rslora=rslora)
    fused = adapted(bases["llama"], range(2), lora_alpha=7, use_rslora=rslora)
    assert fuse(fused) == 2 * len(LINEAR)
    for model in (own, fused):
        plain_loss(model).backward()
    assert_alike(gradients(fused), gradients(own))


def test_the_gradient_is_that_of_finite_differences():
    from converters.causal.train.fused_lora import _LoraLinear

    torch.manual_seed(0)
    x, w, a, b = (
        torch.randn(shape, dtype=torch.float64, requires_grad=grad)
        for shape, grad in (((2, 3, 5), True), ((4, 5), False), ((2, 5), True), ((4, 2), True))
    )
    assert torch.autograd.gradcheck(lambda x, a, b: _LoraLinear.apply(x, w, a, b, 0.7), (x, a, b))


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_layers_of_another_kind_keep_pefts_own(bases, changes):
    assert fuse(adapted(bases["llama"], range(2), **changes)) == 0


def test_layers_with_a_bias_keep_pefts_own(bases):
    model = adapted(bases["qwen2"], range(2))  # queries, keys and values have a bias
    assert fuse(model) == 2 * (len(LINEAR) - 3)


def test_float_factors_beside_weights_of_fewer_bits():
    """Multiplied as the weights are, their gradients are those of full precision, nearly."""
    from converters.causal.train.fused_lora import _LoraLinear

    torch.manual_seed(0)
    x, w, a, b = (torch.randn(shape) for shape in ((20, 64), (48, 64), (8, 64), (48, 8)))
    factors = {}
    for dtype in (torch.float32, torch.bfloat16):
        pair = a.clone().requires_grad_(), b.clone().requires_grad_()
        out = _LoraLinear.apply(x.to(dtype), w.to(dtype), *pair, 0.5)
        assert out.dtype == dtype
        out.float().square().mean().backward()
        factors[dtype] = [factor.grad for factor in pair]
        assert [grad.dtype for grad in factors[dtype]] == [torch.float32] * 2
    for low, full in zip(factors[torch.bfloat16], factors[torch.float32], strict=True):
        assert float((low - full).norm() / full.norm()) < 0.02


def test_a_quantized_weight_keeps_pefts_own(bases):
    model = adapted(bases["llama"], range(2))
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    layer.base_layer.weight = nn.Parameter(torch.zeros(1, dtype=torch.uint8), requires_grad=False)
    assert fuse(model) == 2 * len(LINEAR) - 1


def test_saving_a_fused_model_leaves_what_peft_reads(bases, tmp_path: Path):
    from peft import PeftModel

    model = adapted(bases["llama"], range(2)).eval()
    fuse(model)
    model.save_pretrained(tmp_path)
    copy = type(bases["llama"])(bases["llama"].config)
    copy.load_state_dict(bases["llama"].state_dict())
    read = PeftModel.from_pretrained(copy, tmp_path).eval()
    with torch.no_grad():
        assert float(plain_loss(read)) == pytest.approx(float(plain_loss(model)), rel=1e-5)
