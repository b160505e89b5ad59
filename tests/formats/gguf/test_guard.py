"""Headers that would end the process in llama.cpp are refused before it sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeslm.errors import ModelFileError
from edgeslm.formats.gguf.guard import refuse_fatal
from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.tiny_gguf import write_tiny_gguf

TOKENS = [f"t{number}" for number in range(456)]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "alignment": ({"general.alignment": 16}, "aligned to 16"),
    "layers": (
        {"llama.block_count": 513, "llama.attention.head_count_kv": 2},
        "513 layers",
    ),
    "prediction": ({"llama.nextn_predict_layers": 3}, "layers for prediction"),
    "experts without use": ({"llama.expert_count": 4}, "experts"),
    "use without experts": ({"llama.expert_used_count": 1}, "experts"),
    "more used than there are": (
        {"llama.expert_count": 4, "llama.expert_used_count": 5},
        "experts",
    ),
    "too many experts": (
        {"llama.expert_count": 1025, "llama.expert_used_count": 2},
        "experts",
    ),
    "groups without experts": ({"llama.expert_group_count": 2}, "experts"),
    "uneven groups": (
        {"llama.expert_count": 7, "llama.expert_used_count": 2, "llama.expert_group_count": 2},
        "experts",
    ),
    "rope scaling": ({"llama.rope.scaling.type": "x"}, "rope.scaling.type 'x'"),
    "negative epsilon": ({"llama.attention.layer_norm_rms_epsilon": -1.5}, "epsilon' is -1.5"),
    "no epsilon": ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "epsilon' is nan"),
    "no tokenizer": ({"tokenizer.ggml.model": "no_vocab"}, "tokenizer 'no_vocab'"),
    "endless tokenizer": ({"tokenizer.ggml.model": "rwkv"}, "tokenizer 'rwkv'"),
    "doubled token": ({"tokenizer.ggml.tokens": [*TOKENS[:-1], "t0"]}, "occurs twice"),
    "doubled empty token": (
        {"tokenizer.ggml.tokens": ["", "[EMPTY_0]", *TOKENS[2:]]},
        "occurs twice",
    ),
    "no bytes": (
        {"vocab": "spm", "tokenizer.ggml.tokens": TOKENS},
        "no token for the byte 0x00",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_fatal_headers_are_refused(tmp_path: Path, name: str) -> None:
    arguments, message = REFUSED[name]
    info = read_gguf(write_tiny_gguf(tmp_path / "model.gguf", **arguments))
    with pytest.raises(ModelFileError, match=message):
        refuse_fatal(info)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"vocab": "spm"},
        {"llama.rope.scaling.type": "yarn"},
        {"llama.expert_count": 8, "llama.expert_used_count": 2},
        {
            "llama.expert_count": 8,
            "llama.expert_used_count": 2,
            "llama.expert_group_count": 4,
            "llama.expert_group_used_count": 2,
        },
        {"tokenizer.ggml.tokens": ["", *TOKENS[1:]]},
    ],
)
def test_sound_headers_pass(tmp_path: Path, arguments: dict[str, Any]) -> None:
    refuse_fatal(read_gguf(write_tiny_gguf(tmp_path / "model.gguf", **arguments)))


def test_a_file_that_shrank_meanwhile_is_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    info = read_gguf(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelFileError, match="changed while it was read"):
        refuse_fatal(info)
