"""Writes tiny random Hugging Face folders with a real tokenizer, for tests without downloads."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from converters.causal import export, hf_to_gguf
from tests.helpers.tiny_gguf import CHATML

#: control tokens; the first is BOS, the last EOS
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_TEXT = """
The receipt shows a total of 12.50 and the date 2024-03-01. Refund my card payment, please!
{"company": "ACME Sdn Bhd", "address": null, "total": "1,234.00"} [1, 22, 333, 4444]
Größe überprüfen, café crème, 中文 文本, Привет мир, 😀 emoji, tabs\tand  runs   of    spaces.
def main(argument): return [value for value in range(10)]  # code
"""

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 2,
}

#: family -> config class, number of layers, and what differs
_FAMILIES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "llama": ("LlamaConfig", 2, {"tie_word_embeddings": True}),
    "llama3": (
        "LlamaConfig",
        2,
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "smollm3": ("SmolLM3Config", 4, {"no_rope_layer_interval": 4}),
    "qwen2": ("Qwen2Config", 2, {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", 2, {}),
    "gemma3": ("Gemma3TextConfig", 6, {"sliding_window": 16, "query_pre_attn_scalar": 16}),
    "phi3": ("Phi3Config", 2, {}),
}
FAMILIES = tuple(_FAMILIES)


def train_tokenizer() -> Any:
    """A byte-level BPE of about 400 tokens, as transformers wraps it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(CONTROL),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator(_TEXT.splitlines(), trainer)
    made: Any = PreTrainedTokenizerFast  # its constructor has no types
    return made(
        tokenizer_object=bpe,
        bos_token=CONTROL[0],
        eos_token=CONTROL[2],
        chat_template=CHATML,
    )


def write_tiny_hf(folder: Path, family: str = "llama", *, seed: int = 0, **changes: Any) -> Any:
    """Write config, weights and tokenizer of one of ``FAMILIES``; returns the float32 model."""
    import torch
    import transformers

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    name, layers, different = _FAMILIES[family]
    tokenizer = train_tokenizer()
    config = getattr(transformers, name)(
        **{
            **_SIZES,
            "vocab_size": len(tokenizer),
            "num_hidden_layers": layers,
            **different,
            **changes,
        }
    )
    from_config: Any = transformers.AutoModelForCausalLM.from_config  # has no types
    model = from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():  # the library's 0.02 gives logits that are all alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1 / parameter.shape[1] ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.get_output_embeddings().weight.mul_(2.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if family == "phi3":  # as Phi-4-mini says it; the converter looks for sentencepiece otherwise
        set_json(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    return model


@contextmanager
def converting_here() -> Iterator[None]:
    """Run the converter in this process, where torch is loaded already; a child takes seconds."""

    def convert(command: list[str], *_: object) -> None:
        with patch.object(sys, "argv", command[2:]):
            hf_to_gguf.main()

    before = {*sys.modules}
    with patch.object(export, "_convert", convert):
        yield
    for name in {*sys.modules} - before:
        if name.partition(".")[0] in ("auto_round", "conversion"):
            del sys.modules[name]


def set_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON object; None removes one."""
    data = {**json.loads(path.read_text(encoding="utf-8")), **values}
    data = {key: value for key, value in data.items() if value is not None}
    path.write_text(json.dumps(data), encoding="utf-8")
