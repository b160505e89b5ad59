"""What a file's tokenizer may be: bounded before the library that runs it sees it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from edgeslm.errors import unreadable

#: parts of a tokenizer that may be, by what they do. What is not here can make much of little
#: text (Replace, Prepend), or runs patterns of the file's own (Split).
_NORMALIZERS: Final = {
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled"),
    *("Strip", "StripAccents"),
}
_PRE_TOKENIZERS: Final = {
    *("BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation"),
    *("UnicodeScripts", "Whitespace", "WhitespaceSplit"),
}
_POST_PROCESSORS: Final = {"BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"}
_MODELS: Final = {"BPE", "Unigram", "WordLevel", "WordPiece"}
#: parts of one sequence of them
_MAX_PARTS: Final = 8
#: tokens beside the model's, and characters of one
_MAX_ADDED: Final = 10_000
_MAX_ADDED_CHARACTERS: Final = 256
#: special tokens around a text
_MAX_TEMPLATE: Final = 16
_MAX_PREFIX: Final = 16
#: characters of a word that is looked up part by part, which takes their square
_MAX_WORD: Final = 200
#: bytes that stand for one character after a Precompiled normalizer
_MAX_REPLACEMENT: Final = 64


class TokenizerError(ValueError):
    """Why a tokenizer is refused."""


def check_tokenizer(tokenizer_json: str) -> int:
    """Refuse a tokenizer that may take much more memory or time than its text and its file.

    Returns:
        The highest token id that a text can have.

    Raises:
        TokenizerError: it is none, or has a part that is not allowed.
    """
    try:
        whole = json.loads(tokenizer_json, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(unreadable(error)[:300]) from error
    if not isinstance(whole, dict):
        raise TokenizerError("it is no object")
    _parts(whole.get("normalizer"), "normalizers", _NORMALIZERS, _normalizer)
    _parts(whole.get("pre_tokenizer"), "pretokenizers", _PRE_TOKENIZERS, _pass)
    _parts(whole.get("post_processor"), "processors", _POST_PROCESSORS, _post_processor)
    return max(_model(whole.get("model")), _added(whole.get("added_tokens")))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; two values of one key would be read in two ways."""
    whole = dict(pairs)
    if len(whole) < len(pairs):
        raise TokenizerError("an object has a key twice")
    return whole


def _parts(part: Any, sequence: str, allowed: set[str], check: Callable[[Any], None]) -> None:
    """A part of the tokenizer, or a sequence of them, no deeper."""
    if part is None:
        return
    parts: Sequence[Any] = [part]
    if isinstance(part, dict) and part.get("type") == "Sequence":
        parts = part.get(sequence, ())
        if not isinstance(parts, list) or len(parts) > _MAX_PARTS:
            raise TokenizerError(f"a sequence must be a list of at most {_MAX_PARTS} parts")
    for one in parts:
        kind = one.get("type") if isinstance(one, dict) else None
        if not isinstance(kind, str) or kind not in allowed:
            raise TokenizerError(
                f"it has the part {str(kind)[:40]!r}, which must be one of "
                f"{', '.join(sorted(allowed))}"
            )
        check(one)


def _pass(_part: Any) -> None:
    pass


def _normalizer(part: Mapping[str, Any]) -> None:
    if part["type"] != "Precompiled":
        return
    try:
        table = base64.b64decode(part.get("precompiled_charsmap") or "", validate=True)
    except (ValueError, TypeError) as error:
        raise TokenizerError("its table of characters is damaged") from error
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    if max(map(len, texts.split(b"\0")), default=0) > _MAX_REPLACEMENT:
        raise TokenizerError(f"a character becomes more than {_MAX_REPLACEMENT} bytes")


def _post_processor(part: Mapping[str, Any]) -> None:
    if part["type"] != "TemplateProcessing":
        return
    single, special = part.get("single"), part.get("special_tokens")
    if (
        not isinstance(single, list)
        or len(single) > _MAX_TEMPLATE
        or sum(isinstance(piece, dict) and "Sequence" in piece for piece in single) != 1
    ):
        raise TokenizerError(
            f"its template must have the text once and at most {_MAX_TEMPLATE} tokens"
        )
    if not isinstance(special, dict) or any(
        not isinstance(token, dict) or len(token.get("ids") or ()) > _MAX_TEMPLATE
        for token in special.values()
    ):
        raise TokenizerError("a special token of its template stands for too many")


def _added(tokens: Any) -> int:
    """The highest id of the added tokens."""
    if tokens is None:
        return 0
    if not isinstance(tokens, list) or len(tokens) > _MAX_ADDED:
        raise TokenizerError(f"added_tokens must be a list of at most {_MAX_ADDED:,}")
    for token in tokens:
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or len(content) > _MAX_ADDED_CHARACTERS:
            raise TokenizerError(
                f"an added token must be text of at most {_MAX_ADDED_CHARACTERS} characters"
            )
    return _highest(token.get("id") for token in tokens)


def _model(model: Any) -> int:
    """The highest id of the model's tokens."""
    if not isinstance(model, dict) or model.get("type") not in _MODELS:
        raise TokenizerError(f"its model must be one of {', '.join(sorted(_MODELS))}")
    if model.get("dropout"):
        raise TokenizerError("its model drops tokens by chance")
    longest = model.get("max_input_chars_per_word", 0)
    if type(longest) is not int or not 0 <= longest <= _MAX_WORD:
        raise TokenizerError(f"max_input_chars_per_word must be at most {_MAX_WORD}")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if len(str(model.get(name) or "")) > _MAX_PREFIX:
            raise TokenizerError(f"{name} must have at most {_MAX_PREFIX} characters")
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        return _highest(vocabulary.values())
    if not isinstance(vocabulary, list):
        raise TokenizerError("its model has no vocabulary")
    return max(0, len(vocabulary) - 1)


def _highest(ids: Iterable[Any]) -> int:
    numbers = [*ids]
    if {*map(type, numbers)} - {int}:
        raise TokenizerError("a token's id must be a number")
    return max(numbers, default=0)
