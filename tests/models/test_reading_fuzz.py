"""Damaged and hostile files of readers end in a record or one clear error, within bounds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeslm.formats.onnx.reader_spec import READER_KEY
from tests.helpers.judged import counted, faults, judged
from tests.helpers.mutated_onnx import NUMBERS, damaged, hostile
from tests.helpers.soak import rounds
from tests.helpers.tiny_reader import write_tiny_encoder_reader, write_tiny_reader

MUTANTS = 1000
CODE = """
from pathlib import Path
from edgeslm.engines.onnx.session import load_library
from edgeslm.models.onnx import open_onnx

def warm():
    import tokenizers
    load_library()

def ask(path):
    with open_onnx(Path(path), threads=1, gpu=False, tried=True) as model:
        extract = model.extractor()
        extract("OAK BAKERY\\nTOTAL: 12.50\\n2024-02-01 PAID BY CARD")
        extract("total 12.50 of the bill 2024-02-01 " * 20_000, truncate="middle")
    return "answered"
"""
VALUES: tuple[Any, ...] = (
    None, True, "", "x", [], {}, [[]], *NUMBERS, 0.5, 1e300, "$", "$.a", "$.shop.a", "$['\\\\']",
    "text", "listed", "date", ['"a"'], ["null"], ['"'], "\ud800",
)  # fmt: skip


def bases(folder: Path) -> list[onnx.ModelProto]:
    """Sound readers, whose table of features is all zeros."""
    made = []
    for write in (write_tiny_reader, write_tiny_encoder_reader):
        model = onnx.load(write(folder / "base.onnx"))
        [table] = [t for t in model.graph.initializer if t.name == "features"]
        zeros = np.zeros(tuple(table.dims), np.int8)
        table.CopyFrom(onnx.numpy_helper.from_array(zeros, "features"))
        made.append(model)
    return made


def other_reader(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """The file with another value at one or two places of what it says of its reader."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    [entry] = [entry for entry in changed.metadata_props if entry.key == READER_KEY]
    whole = json.loads(entry.value)
    for _ in range(rng.choice([1, 1, 2])):
        place = whole
        while True:
            keys = [*place] if isinstance(place, dict) else [*range(len(place))]
            key = rng.choice(keys)
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
                break
            place = place[key]
        place[key] = rng.choice(VALUES)
    entry.value = json.dumps(whole)
    return changed.SerializeToString()


def spoilt(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """Damage anywhere but among the zeros of the table, which would change nothing."""
    data = model.SerializeToString()
    start = data.index(bytes(10_000))
    end = len(data) - len(data[start:].lstrip(b"\0"))
    before, behind = data[:start], data[end:]
    if rng.random() < len(before) / (len(before) + len(behind)):
        return damaged(before, rng) + data[start:]
    return data[:end] + damaged(behind, rng)


def write_mutants(folder: Path, count: int) -> Iterator[Path]:
    rng, models = random.Random(0), bases(folder)
    for number in range(count):
        path = folder / f"{number:05}.onnx"
        model = rng.choice(models)
        change = (spoilt, other_reader, lambda m, r: hostile([m], r))[number % 3]
        try:
            path.write_bytes(change(model, rng))
        except (KeyError, IndexError):  # a part that this kind of file does not have
            path.write_bytes(spoilt(model, rng))
        yield path


def test_the_bases_of_mutants_are_sound(tmp_path: Path) -> None:
    paths = []
    for number, model in enumerate(bases(tmp_path)):
        path = tmp_path / f"base{number}.onnx"
        path.write_bytes(model.SerializeToString())
        paths.append(path)
    assert {*judged(paths, CODE).values()} == {"answered"}


@pytest.mark.soak
def test_no_mutant_crashes_hangs_or_takes_too_much(tmp_path: Path) -> None:
    outcomes = judged([*write_mutants(tmp_path, rounds(MUTANTS))], CODE)
    kinds = counted(outcomes)
    print(dict(kinds))
    assert faults(outcomes) == {}
    assert kinds["CardError"] + kinds["ModelFileError"] > len(outcomes) // 3
    assert kinds["answered"] > len(outcomes) // 50
