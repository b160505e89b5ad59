"""A file's tokenizer is bounded before the library that runs it sees it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from edgeslm.engines.onnx.tokens import EncoderTokens
from edgeslm.errors import ModelFileError
from edgeslm.formats.onnx.tokenizer import TokenizerError, check_tokenizer
from tests.helpers.tiny_onnx import LABELS, tokenizer_json

SOUND: dict[str, Any] = json.loads(tokenizer_json(LABELS))
REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
CHARSMAP = base64.b64encode((8).to_bytes(4, "little") + bytes(8) + b"a" * 65 + b"\0").decode()


def template(**changed: Any) -> dict[str, Any]:
    return {"post_processor": {**SOUND["post_processor"], **changed}}


def model(**changed: Any) -> dict[str, Any]:
    return {"model": {**SOUND["model"], **changed}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "replace": ({"normalizer": REPLACE}, "the part 'Replace'"),
    "a chain": ({"normalizer": {"type": "Sequence", "normalizers": [REPLACE] * 30}}, "at most 8"),
    "in a sequence": ({"normalizer": {"type": "Sequence", "normalizers": [REPLACE]}}, "'Replace'"),
    "in two": (
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Sequence"}]}},
        "'Sequence'",
    ),
    "prepend": ({"normalizer": {"type": "Prepend", "prepend": "x" * 1000}}, "'Prepend'"),
    "pattern": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}},
        "'Split'",
    ),
    "no part": ({"normalizer": 5}, "the part 'None'"),
    "characters": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": CHARSMAP}},
        "more than 64 bytes",
    ),
    "no table": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "!"}},
        "is damaged",
    ),
    "a text twice": (template(single=[{"Sequence": {"id": "A"}}] * 2), "the text once"),
    "many tokens": (template(single=[{"SpecialToken": {"id": "[CLS]"}}] * 17), "the text once"),
    "a token for many": (
        template(special_tokens={"[CLS]": {"id": "[CLS]", "ids": [2] * 17}}),
        "stands for too many",
    ),
    "added": ({"added_tokens": [{"id": 1, "content": "x" * 257}]}, "at most 256"),
    "added in millions": ({"added_tokens": [{}] * 10_001}, "at most 10,000"),
    "ids": ({"added_tokens": [{"id": "1", "content": "x"}]}, "must be a number"),
    "chance": (model(dropout=0.5), "by chance"),
    "long words": (model(max_input_chars_per_word=10**9), "at most 200"),
    "a long prefix": (model(continuing_subword_prefix="#" * 17), "at most 16 characters"),
    "no model": ({"model": {"type": "Other"}}, "its model must be one of"),
    "no vocabulary": (model(vocab=None), "no vocabulary"),
    "ids of words": (model(vocab={"a": "b"}), "must be a number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tokenizers_that_are_refused(name: str) -> None:
    changed, says = REFUSED[name]
    with pytest.raises(TokenizerError, match=says):
        check_tokenizer(json.dumps({**SOUND, **changed}))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a":1,"a":2}', "1e9"])
def test_what_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(TokenizerError):
        check_tokenizer(text)


def test_a_part_that_only_the_library_sees_is_refused() -> None:
    hidden = json.dumps(SOUND)[:-1] + ',"normalizer":' + json.dumps(REPLACE) + "}"
    with pytest.raises(ModelFileError, match="a key twice"):
        EncoderTokens(hidden, 16, where="x.onnx")


@pytest.mark.parametrize(
    "tokenizer",
    [
        Tokenizer(models.WordPiece({"[UNK]": 0, "a": 7}, unk_token="[UNK]")),
        Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])),
        Tokenizer(models.Unigram([("a", 0.0), ("b", -1.0)], unk_id=0)),
        Tokenizer(models.WordLevel({"[UNK]": 0, "a": 3}, unk_token="[UNK]")),
    ],
    ids=lambda tokenizer: type(tokenizer.model).__name__,
)
def test_the_tokenizers_of_usual_bases_pass(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["[CLS]"])
    assert check_tokenizer(tokenizer.to_str()) == max(tokenizer.get_vocab().values())
