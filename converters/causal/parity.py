"""Parity: llama.cpp and transformers agree on tokens, on the prompt, and on the logits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.causal.encode import Encoded
from converters.errors import BaseModelError, require
from converters.gates.reports import KEPT, TIE, Difference, FloatParity, ParityReport
from edgeslm.decoding.prompt import Tokenizer, compile_prompt
from edgeslm.engines.engine import Batch, Engine
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.engines.llama.tokenizer import LlamaTokenizer
from edgeslm.formats.card import PromptSpec
from edgeslm.formats.gguf.info import read_gguf
from edgeslm.formats.gguf.merge import read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Texts that a prompt is compared with. None begins or ends with white space: transformers
#: tokenizes the prompt as a whole, and would merge that with the template's line ends.
PROMPT_TEXTS = (
    "Where is my card?",
    "TOTAL 12.50\nDATE 2024-03-01",
    "naïve café — 中文 😀",
    '{"a": [1, 22, 333]}  two  spaces',
)
#: how far a weight merged by torch may be from the one merged by numpy, relative to its tensor
_WEIGHT_TOLERANCE = 1e-5
#: no text of the parity tests is longer, in characters
_MAX_TEXT = 200

_SCRIPTS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    ".,;:!?'\"`-_/\\|@#$%^&*+=~<>()[]{}",
    "äöüßéèêçñåøœŁžşığ",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي٠١٢٣٤٥٦٧٨٩",
    "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमािीुूे०१२३",
    "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศสหอฮะาิีึืุู๑๒๓",
    "中文字符的一是不了人我在有他这为之大来以个上们到说",
    "あいうえおかきくけこアイウエオカキクケコー",
    "가나다라마바사아자차카타파하한국어",
    "😀🚀👍🏽👨‍👩‍👧🇩🇪❤️✅🦙",
    "\u0301\u0308\u200d\u200b\ufeff\u00ad\u2028\u2029\u202e",
    "½²Ⅷ①㎏ﬁ™",
)
_SPACES = (
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\u00a0",
    "\u3000",
    "\u2009",
    "\v",
    "\f",
)
_CONTROLS = tuple(chr(code) for code in (*range(1, 32), *range(127, 160)))
_WORDS = (
    *("the", "The", "receipt", "total", "I'll", "don't", "WE'VE", "he's", "'s", "naïve", "x1y2"),
    *("2024-03-01", "03/04/2025", "1,234.56", "RM 12.00", "+60 3-1234 5678", "3.14e-10", "0x1F"),
    *('{"a": 1, "b": [null, true]}', '":"', '"},{"', "[]", "\\n", '\\"', "\\u00e9"),
    *("def f(x):\n    return x", "for(int i=0;i<10;i++){", "SELECT * FROM t;", "</div>", "a.b_c"),
    *("https://example.com/a?b=c&d=%20", "me@example.com", "C:\\temp\\x", "--option=value"),
    *("<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "<s>", "</s>", "[INST]", "<|"),
    *("<start_of_turn>", "<end_of_turn>", "<|eot_id|>", "<pad>", "<unk>", "<0x0A>", "<think>"),
)


# --- tokens ---------------------------------------------------------------------


def token_parity(
    gguf: Path, hf_tokenizer: Any, *, n: int = 5000, seed: int = 0, samples: Sequence[str] = ()
) -> ParityReport:
    """Tokenize ``n`` texts with llama.cpp and with transformers, as plain text without BOS.

    ``samples`` and random slices of them come beside the made-up texts; a text that spells a
    control token must stay the characters it is made of on both sides.

    Raises:
        ModelFileError: the GGUF's vocabulary cannot be loaded.
    """
    tokenizer = LlamaTokenizer(gguf)
    try:
        pairs = [
            Difference(text, tuple(tokenizer.tokenize(text)), _hf_tokens(hf_tokenizer, text))
            for text in fuzzed_texts(n, seed, samples)
        ]
    finally:
        tokenizer.close()
    return _report(pairs)


def fuzzed_texts(n: int, seed: int, samples: Sequence[str] = ()) -> list[str]:
    """``n`` texts, the same for the same arguments: all samples that fit, then mixtures."""
    draw = random.Random(seed)
    texts = list(samples[:n])
    while len(texts) < n:
        if samples and draw.random() < 0.3:
            sample = draw.choice(samples)
            start = draw.randrange(len(sample) + 1)
            text = sample[start : start + draw.randint(1, _MAX_TEXT)]
        else:
            text = "".join(_piece(draw) for _ in range(draw.randint(1, 12)))[:_MAX_TEXT]
        texts.append(text)
    return texts


def _piece(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.35:
        alphabet = draw.choice(_SCRIPTS)
        return "".join(draw.choice(alphabet) for _ in range(draw.randint(1, 8)))
    if kind < 0.6:
        return draw.choice(_SPACES) * draw.choice((1, 1, 1, 2, 3, 7, 16))
    if kind < 0.9:
        return draw.choice(_WORDS)
    if kind < 0.95:
        return draw.choice(_CONTROLS)
    return _any_character(draw)


def _any_character(draw: random.Random) -> str:
    code = draw.randrange(0x20, 0x30000)
    return "" if 0xD800 <= code < 0xE000 else chr(code)  # surrogates are no text


def _hf_tokens(hf_tokenizer: Any, text: str) -> tuple[int, ...]:
    encoded = hf_tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    return tuple(encoded["input_ids"])


def _report(pairs: Sequence[Difference]) -> ParityReport:
    differing = [pair for pair in pairs if pair.llama != pair.hf]
    return ParityReport(len(pairs), len(differing), tuple(differing[:KEPT]))


# --- the prompt -----------------------------------------------------------------


def prompt_parity(
    spec: PromptSpec, engine: Tokenizer, hf_tokenizer: Any, *, texts: Sequence[str] = PROMPT_TEXTS
) -> ParityReport:
    """Compare the runtime's prompt with that of transformers' `apply_chat_template`.

    The runtime tokenizes the text by itself, so that what it spells is never a control token
    and never merges with what surrounds it. Where a template refuses a system message, that is
    put before the text and the line ends between them can differ for the same reason.

    Raises:
        BaseModelError: transformers cannot render the template.
        ModelFileError: the runtime cannot.
    """
    prompt = compile_prompt(spec, engine)
    return _report(
        [
            Difference(
                text,
                (*prompt.prefix, *engine.tokenize(text), *prompt.suffix),
                _hf_prompt(spec, hf_tokenizer, text),
            )
            for text in texts
        ]
    )


def _hf_prompt(spec: PromptSpec, hf_tokenizer: Any, text: str) -> tuple[int, ...]:
    import jinja2

    user = spec.user.replace("{{ text }}", text)
    if not spec.system:
        attempts = [[{"role": "user", "content": user}]]
    else:
        attempts = [
            [{"role": "system", "content": spec.system}, {"role": "user", "content": user}],
            [{"role": "user", "content": f"{spec.system}\n\n{user}"}],
        ]
    failure: Exception | None = None
    for messages in attempts:
        try:
            encoded = hf_tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=True,
                enable_thinking=False,
                tokenize=True,
                return_dict=True,
            )
        except (jinja2.TemplateError, ValueError) as error:  # ValueError: no template at all
            failure = error
        else:
            return tuple(encoded["input_ids"])
    raise BaseModelError(
        f"transformers cannot render the chat template: {failure}; take the base's tokenizer files"
    ) from failure


# --- weights ---------------------------------------------------------------------


def weight_distance(merged: Path, exported: Path) -> float:
    """The largest difference of a weight between two float GGUFs of the same model, as a share of
    its tensor's largest weight: one merged without torch, one exported from torch's merge.

    Raises:
        BaseModelError: a tensor is missing in one, or further off than rounding explains.
    """
    ours, theirs = read_gguf(merged), read_gguf(exported)
    names = {tensor.name: tensor for tensor in theirs.tensors}
    odd = set(names) ^ {tensor.name for tensor in ours.tensors}
    if odd:
        raise BaseModelError(f"the tensor {min(odd)} is only in one of both merged models")
    furthest = 0.0
    with ours.path.open("rb") as left, theirs.path.open("rb") as right:
        for tensor in ours.tensors:
            pairs = zip(
                read_rows(left, ours, tensor),
                read_rows(right, theirs, names[tensor.name]),
                strict=True,
            )
            for a, b in pairs:
                off = float(np.abs(a - b).max() / max(1e-12, float(np.abs(a).max())))
                furthest = max(furthest, off)
    if furthest > _WEIGHT_TOLERANCE:
        raise BaseModelError(
            f"torch and the device's own merge differ by {furthest:.2g} in a weight; report this "
            "with the recipe and the base"
        )
    return furthest


# --- logits ---------------------------------------------------------------------


def float_parity(hf_model: PreTrainedModel, gguf: Path, rows: Sequence[Encoded]) -> FloatParity:
    """Compare the logits of both at the answer positions of ``rows``.

    llama.cpp keeps its cells in float16, so equal weights give a KL of about 1e-6, not 0.

    Raises:
        BaseModelError: no rows, or one has a token that is not in both vocabularies.
        ModelFileError, ResourceError: the GGUF cannot be loaded.
    """
    require("torch")
    if not rows:
        raise BaseModelError(f"{gguf}: no rows to compare logits on; give at least one")
    engine = LlamaEngine(gguf, context_size=max(len(row.tokens) for row in rows))
    try:
        _require_shared_tokens(hf_model, engine, rows)
        divergences, agreed = zip(*(_compare(hf_model, engine, row) for row in rows), strict=True)
    finally:
        engine.close()
    kl, same = np.concatenate(divergences), np.concatenate(agreed)
    return FloatParity(len(kl), float(kl.mean()), float(kl.max()), float(same.mean()))


def _require_shared_tokens(
    hf_model: PreTrainedModel, engine: Engine, rows: Sequence[Encoded]
) -> None:
    embeddings: Any = hf_model.get_input_embeddings()
    sizes = embeddings.weight.shape[0], engine.vocab.size
    for row in rows:
        if max(row.tokens) >= min(sizes):
            raise BaseModelError(
                f"row {row.id}: its tokens are not those of both models ({sizes[0]} and {sizes[1]} "
                "tokens); encode it with the tokenizer of the GGUF"
            )


def _compare(
    hf_model: PreTrainedModel, engine: Engine, row: Encoded
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """KL divergence and agreement at each answer position of a row."""
    expected = hf_logits(hf_model, row)
    actual = engine_logits(engine, row)
    shared = min(expected.shape[1], actual.shape[1])  # one side may pad its vocabulary
    p, q = _log_softmax(expected[:, :shared]), _log_softmax(actual[:, :shared])
    worse = p.max(axis=1) - p[np.arange(len(p)), q.argmax(axis=1)]
    return (np.exp(p) * (p - q)).sum(axis=1), worse <= TIE


def hf_logits(model: PreTrainedModel, row: Encoded) -> NDArray[np.float64]:
    """transformers' logits at the answer positions, [answer tokens, vocabulary]."""
    import torch

    with torch.inference_mode():
        tokens = torch.tensor([row.tokens[:-1]], device=model.device)
        logits = model(tokens, logits_to_keep=len(row.answer)).logits[0]
    values: NDArray[np.float64] = logits.double().cpu().numpy()
    return values


def engine_logits(engine: Engine, row: Encoded) -> NDArray[np.float64]:
    """The engine's logits at the answer positions, [answer tokens, vocabulary]."""
    engine.truncate(0, 0)
    first = row.start - 1
    parts = [
        engine.evaluate(batch).astype(np.float64)
        for batch in _batches(row.tokens[:-1], first, min(engine.batch_size, engine.max_outputs))
    ]
    return np.concatenate(parts)


def _batches(tokens: Sequence[int], first: int, size: int) -> Iterator[Batch]:
    for start in range(0, len(tokens), size):
        part = tokens[start : start + size]
        wanted = len(part) - min(max(first - start, 0), len(part))
        yield Batch.run(part, start, 0, wanted)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    values: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return values
