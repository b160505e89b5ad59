"""transformers on torch's CPU kernels, alone and under outlines, with the same weights in float."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any


class Transformers:
    """``generate`` on the dequantized file, float32, with its fixed prompt evaluated once.

    ``kind`` is outlines' backend. Without one a schema is asked for in the prompt alone, as
    transformers has nothing that holds it; labels are held by ``prefix_allowed_tokens_fn``.
    """

    def __init__(self, model: str, kind: str, threads: int) -> None:
        self._torch: Any = import_module("torch")
        self._torch.set_num_threads(threads)
        library: Any = import_module("transformers")
        path = Path(model)
        source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        self._tokenizer: Any = library.AutoTokenizer.from_pretrained(**source)
        # outlines would put the prompt, which is rendered already, into the template again
        self._tokenizer.chat_template = None
        self._end: int = self._tokenizer.eos_token_id
        self._model: Any = library.AutoModelForCausalLM.from_pretrained(
            **source, dtype=self._torch.float32
        ).eval()
        self._new_cache: Any = library.DynamicCache
        self._kind = kind
        self._held: dict[tuple[int, ...], list[int]] = {}
        self._prefix: Any = None
        self._generator: Any = None
        torch = f"transformers {version('transformers')}, torch {version('torch')}, float32"
        self.about = f"outlines {version('outlines')} on {torch}" if kind else torch

    def prepare(self, wanted: dict[str, Any]) -> None:
        with self._torch.no_grad():
            ids = self._ids(wanted["prefix"])
            self._prefix = self._model(ids, past_key_values=self._new_cache()).past_key_values
        if self._kind:
            from benchmarks.peers.local_llama import output_type

            outlines: Any = import_module("outlines")
            model = outlines.from_transformers(self._model, self._tokenizer)
            kind = output_type(wanted, self._kind)
            self._generator = outlines.Generator(model, kind, backend=self._kind)
        else:
            self._held = allowed_next(
                [
                    [*self._tokenizer.encode(label, add_special_tokens=False), self._end]
                    for label in wanted.get("labels", ())
                ]
            )

    def answer(self, tokens: list[int], text: str, max_tokens: int) -> dict[str, Any]:
        start = time.perf_counter()
        settings = {
            "max_new_tokens": max_tokens,
            "do_sample": False,
            "eos_token_id": self._end,
            "pad_token_id": self._end,
            "past_key_values": copy.deepcopy(self._prefix),
        }
        if self._generator is None:
            answer = self._generate(tokens, settings)
        else:
            answer = self._generator(text, **settings)
        ms = (time.perf_counter() - start) * 1000
        return {
            "text": answer,
            "ms": ms,
            "decodes": None,
            "same_prompt": not self._kind or self._tokenizer.encode(text) == tokens,
        }

    def _generate(self, tokens: list[int], settings: dict[str, Any]) -> str:
        if self._held:
            settings["prefix_allowed_tokens_fn"] = lambda _row, ids: self._held[
                tuple(ids[len(tokens) :].tolist())
            ]
        ids = self._ids(tokens)
        done = self._model.generate(ids, attention_mask=self._torch.ones_like(ids), **settings)
        answer: str = self._tokenizer.decode(done[0, len(tokens) :], skip_special_tokens=True)
        return answer

    def _ids(self, tokens: Sequence[int]) -> Any:
        return self._torch.tensor([list(tokens)])


def allowed_next(labels: Sequence[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
    """The tokens that may follow each beginning of a label."""
    allowed: dict[tuple[int, ...], list[int]] = {}
    for tokens in labels:
        for i, token in enumerate(tokens):
            after = allowed.setdefault(tuple(tokens[:i]), [])
            if token not in after:
                after.append(token)
    return allowed
