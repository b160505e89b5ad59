"""Parity reports: equal sides give none, and what differs is counted and shown."""

import pytest

pytest.importorskip("transformers", reason="needs edgeslm[train]")

import torch

from converters.causal.base import load_base
from converters.causal.encode import Encoded
from converters.causal.gguf_tokenizer import PRE_TOKENIZERS, rebuild_tokenizer
from converters.causal.parity import (
    float_parity,
    fuzzed_texts,
    prompt_parity,
    token_parity,
)
from converters.errors import BaseModelError
from converters.gates.reports import KEPT, Difference
from edgeslm.engines.llama.tokenizer import LlamaTokenizer
from edgeslm.errors import EngineError, ModelFileError
from edgeslm.formats.card import PromptSpec
from tests.helpers.tiny_gguf import CHATML, write_tiny_gguf

ROWS = [Encoded("a", tuple(range(3, 90)), 8), Encoded("b", (5, 6, 7, 8), 3)]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("parity") / "tiny.gguf", pre="smollm")


@pytest.fixture(scope="module")
def hf(gguf):
    return rebuild_tokenizer(gguf)


# --- tokens -------------------------------------------------------------------------


def test_fuzzed_texts_are_the_same_again_and_hold_the_samples():
    samples = ["TOTAL 12.50", "a sample"]
    texts = fuzzed_texts(400, 7, samples)
    assert texts == fuzzed_texts(400, 7, samples)
    assert texts != fuzzed_texts(400, 8, samples)
    assert len(texts) == 400
    assert texts[:2] == samples
    assert any(text in "TOTAL 12.50" for text in texts[2:])
    assert any("<|im_end|>" in text for text in texts)
    "".join(texts).encode()  # no surrogates


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_a_rebuilt_tokenizer_has_llama_cpps_tokens(pre, tmp_path):
    gguf = write_tiny_gguf(tmp_path / "x.gguf", pre=pre)
    report = token_parity(gguf, rebuild_tokenizer(gguf), n=1500)
    assert report.n == 1500
    # runs of space in front of a control character, and for qwen2 what NFC composes
    assert report.differing <= 15, report.first


def test_another_pre_tokenizer_is_found_out(gguf, tmp_path):
    other = rebuild_tokenizer(write_tiny_gguf(tmp_path / "x.gguf", pre="gpt-2"))
    report = token_parity(gguf, other, n=500, samples=["10 05 15", "no digits"])
    assert not report.equal
    assert len(report.first) == min(report.differing, KEPT)
    first = report.first[0]
    assert first.text == "10 05 15"
    assert first.llama[: first.at] == first.hf[: first.at]
    assert first.llama[first.at] != first.hf[first.at]


def test_what_looks_like_a_control_token_stays_text(gguf, hf):
    report = token_parity(gguf, hf, n=1, samples=["a<|im_end|>b"])
    assert report.equal
    assert hf("a<|im_end|>b")["input_ids"].count(2) == 1  # it would be one, if parsed


def test_the_place_of_a_difference():
    assert Difference("", (1, 2, 3), (1, 2, 4)).at == 2
    assert Difference("", (1, 2), (1, 2, 4)).at == 2


# --- the vocabulary alone -------------------------------------------------------------


def test_the_tokenizer_is_the_engines(tiny_model, engine):
    tokenizer = LlamaTokenizer(tiny_model)
    assert tokenizer.vocab == engine.vocab
    assert tokenizer.chat_template == engine.chat_template == CHATML
    for text in fuzzed_texts(200, 3):
        tokens = tokenizer.tokenize(text)
        assert tokens == engine.tokenize(text)
        assert tokenizer.detokenize(tokens) == text.encode()
    assert tokenizer.tokenize("<|im_end|>", special=True) == [2]
    tokenizer.close()
    tokenizer.close()
    with pytest.raises(EngineError, match="closed"):
        tokenizer.tokenize("a")


def test_sentencepiece_puts_no_space_in_front(tmp_path):
    tokenizer = LlamaTokenizer(write_tiny_gguf(tmp_path / "x.gguf", vocab="spm"))
    assert tokenizer.detokenize(tokenizer.tokenize("the")) == b"the"


def test_a_file_without_a_vocabulary(tmp_path):
    with pytest.raises(ModelFileError):
        LlamaTokenizer(write_tiny_gguf(tmp_path / "x.gguf", vocab="none"))


# --- the prompt -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [PromptSpec(), PromptSpec(system="Be brief.", user="Read this:\n{{ text }}\nNow answer.")],
)
def test_the_prompt_is_that_of_apply_chat_template(spec, gguf, hf):
    report = prompt_parity(spec, LlamaTokenizer(gguf), hf)
    assert report.equal, report.first
    assert report.n == 4


def test_a_system_message_that_the_template_refuses(tmp_path):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    gguf = write_tiny_gguf(tmp_path / "x.gguf", chat_template=template + CHATML)
    tokenizer, hf = LlamaTokenizer(gguf), rebuild_tokenizer(gguf)
    report = prompt_parity(PromptSpec(system="Be brief."), tokenizer, hf)
    for difference in report.first:  # in the line ends between system message and text, no more
        assert tokenizer.detokenize(difference.llama) == tokenizer.detokenize(difference.hf)
        assert difference.llama[difference.at] == tokenizer.tokenize("\n\n")[0]


def test_another_template_is_found_out(gguf, hf, tmp_path):
    other = write_tiny_gguf(tmp_path / "x.gguf", chat_template="Q: " + CHATML)
    report = prompt_parity(PromptSpec(), LlamaTokenizer(other), hf, texts=["one", "two"])
    assert report.differing == 2


def test_a_tokenizer_without_a_template(gguf, tmp_path):
    bare = rebuild_tokenizer(write_tiny_gguf(tmp_path / "x.gguf", chat_template=None))
    with pytest.raises(BaseModelError, match="cannot render"):
        prompt_parity(PromptSpec(), LlamaTokenizer(gguf), bare)


# --- logits -----------------------------------------------------------------------------


def test_equal_weights_give_equal_logits_and_others_do_not(gguf):
    model = load_base(gguf).eval()
    parity = float_parity(model, gguf, ROWS)
    assert (parity.n, parity.top1) == (80, 1.0)
    assert parity.mean_kl < 2e-5
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(0.5)
    assert float_parity(model, gguf, ROWS).mean_kl > 1e-3


def test_rows_that_cannot_be_compared(gguf):
    model = load_base(gguf)
    with pytest.raises(BaseModelError, match="no rows"):
        float_parity(model, gguf, [])
    with pytest.raises(BaseModelError, match="row x: its tokens are not those of both"):
        float_parity(model, gguf, [Encoded("x", (1, 2, 100_000, 3), 2)])
