"""A build's dry run: which steps would run and why, and what training would take here."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.errors import BaseModelError, require
from converters.steps.causal import CausalWork, encoded
from converters.work import Step, Work

if TYPE_CHECKING:
    from torch import dtype

#: share of the measured matrix speed that training reaches (benchmarks/LOG.md); in bfloat16
#: products are so quick that attention, norms and the optimizer take longer
_EFFICIENCY = {"float32": 0.55, "bfloat16": 0.2}
#: the same of encoders, whose products are narrow and texts short
_ENCODER_EFFICIENCY = 0.32
_BYTES_PER_VALUE = 4
#: copies of a trained value: itself, its gradient, and AdamW's two means
_TRAINED_COPIES = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would do. ``tokens`` are those of one epoch, ``seconds`` and ``memory``
    (bytes) estimates for training; None until the data step has run, and of linear models."""

    steps: dict[Step, str | None]
    rows: dict[str, int] | None
    tokens: int | None
    seconds: float | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class _Cost:
    """What training costs: tokens of each row, bytes of the model and of the optimizer, operations
    per token and values that one token keeps for the way back, the dtype of the products, and the
    share of their speed that is reached."""

    lengths: list[int]
    held: int
    operations: float
    kept: int
    dtype: dtype
    efficiency: float


def plan(work: Work) -> Plan:
    """What `build.build` would run and why, and what training would take on this machine.

    Raises:
        BaseModelError: the base cannot be read.
        DataError: rows are damaged, or one is longer than the model reads.
        MissingExtraError: torch, or for an encoder transformers, are not installed.
    """
    needed = {step: work.needs(step) for step in work.steps}
    if needed["data"] is not None:
        return Plan(needed, None, None, None, None)
    recipe = work.recipe
    rows: dict[str, int] = {part: len(work.rows(part)) for part in recipe.data.split.parts}
    if work.recipe.kind == "linear":  # minutes at most
        return Plan(needed, rows, None, None, None)
    require("torch")
    cost = _causal_cost(work) if isinstance(work, CausalWork) else _encoder_cost(work)
    tokens = sum(cost.lengths)
    speed = cost.efficiency * _matrix_speed(cost.dtype)
    seconds = tokens * recipe.train.epochs * cost.operations / speed
    batch = max(cost.lengths) * recipe.train.batch_rows
    return Plan(needed, rows, tokens, seconds, cost.held + _BYTES_PER_VALUE * batch * cost.kept)


# --- language models ----------------------------------------------------------


def _causal_cost(work: CausalWork) -> _Cost:
    """Every layer goes forward (2 operations a parameter); only the trained ones go back, and
    only through the activations, for their weights are frozen."""
    from converters.causal.base import runtime_gguf
    from converters.training.loop import best_device, best_dtype
    from edgeslm.formats.gguf.info import read_gguf

    info = read_gguf(runtime_gguf(work.base, work.folder))
    layers = [t for t in info.tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    parameters = sum(math.prod(tensor.shape) for tensor in info.tensors)
    share = min(1.0, (work.recipe.lora.layers or info.n_layer) / info.n_layer)
    shapes = [tensor.shape for tensor in layers]
    dtype = best_dtype(best_device())
    return _Cost(
        lengths=[len(row.tokens) for row in encoded(work, "train")],
        held=2 * _BYTES_PER_VALUE * parameters,
        operations=2 * _size(shapes) * (1 + share),
        kept=int(_kept(shapes) * share),
        dtype=dtype,
        efficiency=_EFFICIENCY[str(dtype).removeprefix("torch.")],
    )


# --- encoders -----------------------------------------------------------------


def _encoder_lengths(work: Work) -> list[int]:
    from converters.encoder.heads import encode_texts, heads_of
    from converters.encoder.model import load_tokenizer

    recipe = work.recipe
    if recipe.task.kind == "extract":  # read in windows, however long
        tokenizer = load_tokenizer(work.base)
        return [len(tokenizer.encode(row.input).ids) for row in work.rows("train")]
    rows = encode_texts(
        work.rows("train"),
        heads_of(recipe.task),
        load_tokenizer(work.base),
        max_tokens=recipe.encoder.max_tokens,
    )
    return [len(row.tokens) for row in rows]


def _encoder_cost(work: Work) -> _Cost:
    """Forward and, through the activations, back; where all weights are trained, once more for
    these. In float32: the optimizer's steps are small against what bfloat16 can hold."""
    require("transformers", "tokenizers", "safetensors")
    import torch

    shapes = _encoder_shapes(work)
    layers = [shape for name, shape in shapes.items() if ".layer." in name and len(shape) == 2]
    full = work.recipe.encoder.method == "full"
    parameters = _size(shapes.values())
    trained = parameters if work.recipe.encoder.embeddings else _size(layers)
    copies = (_TRAINED_COPIES - 1) * trained if full else 0
    return _Cost(
        lengths=_encoder_lengths(work),
        held=_BYTES_PER_VALUE * (parameters + copies),
        operations=2 * _size(layers) * (3 if full else 2),
        kept=_kept(layers),
        dtype=torch.float32,
        efficiency=_ENCODER_EFFICIENCY,
    )


def _encoder_shapes(work: Work) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    from converters.encoder.model import WEIGHTS

    path = work.base / WEIGHTS
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no mapping
    except (OSError, SafetensorError) as error:
        raise BaseModelError(f"{path}: cannot be read: {error}") from error


# --- both ---------------------------------------------------------------------


def _size(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes))


def _kept(shapes: Iterable[tuple[int, ...]]) -> int:
    """Values that a token keeps for the way back: what goes in and what comes out of each
    product, once for the product and once for what is between products."""
    return 2 * sum(map(sum, shapes))


def _matrix_speed(dtype: dtype) -> float:
    """Operations per second of a matrix product in a dtype on this machine."""
    import torch

    from converters.training.loop import best_device

    device = best_device()
    a, b = (torch.rand(shape, device=device, dtype=dtype) for shape in ((1024, 576), (576, 1536)))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b).sum().item()  # a GPU is waited for
        best = min(best, time.perf_counter() - start)
    return 2 * 1024 * 576 * 1536 / best
