"""The child process of `export`: a Hugging Face folder becomes a GGUF, by auto-round's converter.

auto-round bundles llama.cpp's converter. Only the converter is imported: the package around it
changes torch and transformers when it is imported, and brings in much else.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

#: by the names of our options
_FILE_TYPES = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "BF16": "MOSTLY_BF16"}
_BUNDLE = ("export", "export_to_gguf")


def bundled_converter() -> Any:
    """The module ``conversion`` that auto-round bundles.

    Raises:
        ImportError: auto-round is missing, or of a version that has no such folder.
    """
    spec = importlib.util.find_spec("auto_round")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("auto-round is not installed")
    root = Path(next(iter(spec.submodule_search_locations)))
    for name in ("auto_round", "auto_round.utils"):
        package = importlib.machinery.ModuleSpec(name, None, is_package=True)
        package.submodule_search_locations = [str(root.joinpath(*name.split(".")[1:]))]
        # finds its submodules, and runs no __init__
        sys.modules[name] = importlib.util.module_from_spec(package)
    folder = root.joinpath(*_BUNDLE)
    _name_unknown_architectures(folder / "conversion")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("conversion")
    finally:
        sys.path.remove(str(folder))


def _name_unknown_architectures(folder: Path) -> None:
    """Give `gguf` the names of architectures that the converter knows and it does not.

    The converter is newer than the newest gguf package, and a class of an architecture that
    gguf lacks would keep its neighbours in the same file from being imported.
    """
    import gguf

    for path in folder.glob("*.py"):
        for name in re.findall(r"gguf\.MODEL_ARCH\.(\w+)", path.read_text(encoding="utf-8")):
            if not hasattr(gguf.MODEL_ARCH, name):
                setattr(gguf.MODEL_ARCH, name, None)


def convert(
    folder: Path, target: Path, dtype: str, *, name: str | None = None, pre: str | None = None
) -> None:
    """Write ``target``; ``pre`` names the pre-tokenizer where the converter would not know it."""
    conversion = bundled_converter()
    import gguf
    import torch

    hparams = conversion.ModelBase.load_hparams(folder, False)
    architecture = conversion.get_model_architecture(hparams, conversion.ModelType.TEXT)
    model_class = conversion.get_model_class(architecture)
    if pre is not None:
        model_class.get_vocab_base_pre = lambda _self, _tokenizer: pre
    file_type = gguf.LlamaFileType[_FILE_TYPES[dtype]]
    with torch.inference_mode():
        model_class(folder, file_type, target, model_name=name).write()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("dtype", choices=_FILE_TYPES)
    parser.add_argument("--name")
    parser.add_argument("--pre")
    given = parser.parse_args()
    try:
        convert(given.folder, given.target, given.dtype, name=given.name, pre=given.pre)
    except Exception as error:  # noqa: BLE001  the parent turns any of them into one message
        sys.stdout.write(json.dumps({"type": type(error).__name__, "message": str(error)}) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
