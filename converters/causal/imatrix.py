"""The importance matrix: how strong each input of each linear weight is on the task's rows"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.causal.adapter import tensor_names
from converters.causal.encode import Encoded
from converters.errors import require
from edgeslm.formats.files import Progress, silent
from edgeslm.formats.gguf.adapter import Floats

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def importance_matrix(
    model: PreTrainedModel,
    rows: Sequence[Encoded],
    *,
    architecture: str,
    progress: Progress = silent,
) -> dict[str, Floats]:
    """Mean square of every linear weight's input over all tokens of prompts and answers.

    Args:
        model: in evaluation mode or not; it is left as it was.
        architecture: of the GGUF, such as ``llama``.

    Returns:
        float32 [columns] by GGUF tensor name. The output weight's goes by the name of the
        embeddings where the two are tied. Empty for no rows.
    """
    require("torch", "transformers")
    import torch

    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    hooks = [
        linear.register_forward_pre_hook(_adding(name, sums, counts))
        for name, linear in _linears(model, architecture).items()
    ]
    trained, decoder = model.training, _decoder(model)
    output = "token_embd.weight" if _is_tied(model) else "output.weight"
    add_output = _adding(output, sums, counts)
    try:
        model.train(False)
        with torch.inference_mode():
            for done, row in enumerate(rows):
                progress("weighing inputs", done, len(rows))
                ids = torch.tensor([row.tokens], device=model.device)
                # the head's logits are not needed, only what it reads
                add_output(None, (decoder(ids, use_cache=False).last_hidden_state,))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(trained)
    return {name: (total / counts[name]).numpy().astype(np.float32) for name, total in sums.items()}


def _linears(model: PreTrainedModel, architecture: str) -> dict[str, Any]:
    from torch.nn import Linear

    name_of = tensor_names(architecture, model.config.num_hidden_layers)
    return {
        name_of(path): module
        for path, module in _decoder(model).named_modules(prefix="model")
        if isinstance(module, Linear)
    }


def _decoder(model: Any) -> Any:
    """The model without its head."""
    return model.get_decoder()


def _is_tied(model: Any) -> bool:
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    return bool(head.weight is embeddings.weight)


def _adding(name: str, sums: dict[str, Tensor], counts: dict[str, int]) -> Callable[..., None]:
    """A hook that adds squares of what a module reads, over all positions."""

    def add(_module: object, inputs: tuple[Tensor, ...]) -> None:
        squares = inputs[0].detach().float().square().flatten(end_dim=-2)
        # not every device has float64
        sums[name] = sums.get(name, 0) + squares.sum(dim=0).cpu().double()
        counts[name] = counts.get(name, 0) + len(squares)

    return add
