"""load: a name or a path -> a ready Model; the composition root."""

from __future__ import annotations

from pathlib import Path

from edgeslm import arguments
from edgeslm.errors import ModelNotPulledError
from edgeslm.formats.info import format_of
from edgeslm.models.model import Model, called
from edgeslm.store.store import Store, is_path


def load(
    name_or_path: str | Path,
    *,
    max_context: int | None = None,
    gpu_layers: int | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model by its name (pulled, or of a Python package), or a .gguf or .onnx file.

    Never downloads, and opens no socket. The file of a name is hashed once and remembered; an
    adapter of a package is assembled with its base at the first load, which takes seconds.

    Args:
        max_context: the most tokens that a call may take, of the text with its prompt and of
            the answer where one is written; default, and the most, is what the model was made
            for. Memory is taken as calls need it.
        gpu_layers: None puts all layers on a GPU where the build has one; 0 keeps to the CPU.
        threads: None chooses for this machine.

    Raises:
        ArgumentError: an argument that has no meaning.
        ModelNotFoundError, ModelNotPulledError: nothing to load; the message has the command.
        RegistryError: a models.toml or a package is damaged. PullError: no room to assemble it.
        ModelFileError, CardError: the file cannot be read, or its card is not kept.
        ResourceError: it does not fit into memory. MachineError: this processor cannot run it.
        EdgeslmError: EDGESLM_PREFIX_CACHE_MB is no number of megabytes.
    """
    max_context = arguments.count_or_none("max_context", max_context)
    gpu_layers = arguments.count_or_none("gpu_layers", gpu_layers, least=0)
    threads = arguments.count_or_none("threads", threads, most=arguments.MOST_THREADS)
    store = Store()
    try:
        path = store.resolve(name_or_path)
    except ModelNotPulledError:
        from edgeslm.store.install import locate  # it loads the registry, which takes a while

        path = locate(name_or_path, store=store)
    name = name_or_path if isinstance(name_or_path, str) and not is_path(name_or_path) else None
    # the two kinds share little, and importing what one needs takes the other a third of a second
    if format_of(path) == "onnx":
        from edgeslm.models.onnx import open_onnx

        model = open_onnx(path, threads=threads, gpu=gpu_layers != 0, max_context=max_context)
        return called(model, name)
    from edgeslm.models.gguf import open_gguf

    sha256 = store.sha256_of(path)
    limits = {"max_context": max_context, "gpu_layers": gpu_layers, "threads": threads}
    return called(open_gguf(path, sha256, **limits), name)
