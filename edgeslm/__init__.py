"""Specialist small language models on the device. The public names, nothing else."""

from __future__ import annotations

import importlib

#: type checkers take this name for true, also where it is not typing's, whose import costs more
#: than all else here
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from edgeslm.documents.document import Document as Document
    from edgeslm.documents.read import read_document as read_document
    from edgeslm.engines.requests import CancelToken as CancelToken
    from edgeslm.errors import EdgeslmError as EdgeslmError
    from edgeslm.formats.card import Card as Card
    from edgeslm.formats.card import PromptSpec as PromptSpec
    from edgeslm.models.cascade.cascade import Cascade as Cascade
    from edgeslm.models.load import load as load
    from edgeslm.models.model import Model as Model
    from edgeslm.results import CascadeAnswer as CascadeAnswer
    from edgeslm.results import Classification as Classification
    from edgeslm.results import Extraction as Extraction
    from edgeslm.results import Field as Field
    from edgeslm.results import Labels as Labels
    from edgeslm.results import Tags as Tags
    from edgeslm.results import Timing as Timing
    from edgeslm.tasks.classifier import Classifier as Classifier
    from edgeslm.tasks.extraction.extractor import Extractor as Extractor
    from edgeslm.tasks.onnx import Tagger as Tagger

__version__: str

#: name -> module; imported at first use, so that `import edgeslm` costs next to nothing
_PUBLIC = {
    "CancelToken": "edgeslm.engines.requests",
    "Card": "edgeslm.formats.card",
    "Cascade": "edgeslm.models.cascade.cascade",
    "CascadeAnswer": "edgeslm.results",
    "Classification": "edgeslm.results",
    "Classifier": "edgeslm.tasks.classifier",
    "Document": "edgeslm.documents.document",
    "EdgeslmError": "edgeslm.errors",
    "Extraction": "edgeslm.results",
    "Extractor": "edgeslm.tasks.extraction.extractor",
    "Field": "edgeslm.results",
    "Labels": "edgeslm.results",
    "Model": "edgeslm.models.model",
    "PromptSpec": "edgeslm.formats.card",
    "Tagger": "edgeslm.tasks.onnx",
    "Tags": "edgeslm.results",
    "Timing": "edgeslm.results",
    "load": "edgeslm.models.load",
    "read_document": "edgeslm.documents.read",
}

__all__ = [*_PUBLIC, "__version__", "errors"]  # noqa: PLE0604  the keys are strings


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("edgeslm.errors")
    if name == "__version__":
        from importlib.metadata import version

        return version("edgeslm-core")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgeslm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
