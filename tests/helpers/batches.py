"""What the tests of batches share: answers that copy from their text, and how to compare them."""

from __future__ import annotations

import json
from typing import Any

from edgeslm.errors import EdgeslmError
from edgeslm.models.gguf import GgufModel
from edgeslm.results import Classification, Extraction
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import PIECES

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"], "maxLength": 12},
        "n": {"type": "integer", "minimum": 0, "maximum": 99999},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 2},
    },
    "required": ["name", "n", "tags"],
}
LABELS = ["a", "ab", "the total", "退款", "card lost"]


def script(prompt: str) -> str:
    """An answer that copies from the text, of another length for each."""
    text = prompt.rpartition("Text:\n")[2].partition("\n\nJSON:")[0].partition("<|im_end|>")[0]
    value = {"name": text[:12], "n": len(text) * 37, "tags": [text[-6:]] * (len(text) % 3)}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def model_of(**options: Any) -> tuple[GgufModel, ScriptedEngine]:
    engine = ScriptedEngine(options.pop("script", script), pieces=PIECES, **options)
    return GgufModel(engine), engine


def plain(result: Extraction[Any] | Classification | EdgeslmError) -> object:
    """All of a result but its times and counts."""
    if isinstance(result, EdgeslmError):
        return type(result), str(result)
    values = result.to_dict()
    del values["timing"]
    return values


def assert_free(model: GgufModel) -> None:
    leases = model._session.leases
    with model._session.request(None):
        assert leases.cells == 0
        lease = leases.lend(leases.size, 0)
        assert lease is not None
        assert not any(map(model._session.engine.save, lease.sequences))
        leases.give_back(lease)
