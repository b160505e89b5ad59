"""Damaged and hostile .onnx files end in an answer or one clear error, within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.judged import counted, faults, judged
from tests.helpers.mutated_onnx import bases, write_mutants
from tests.helpers.soak import rounds

MUTANTS = 1000

#: without a trial in a further process: the bounds before it must do
CODE = """
from pathlib import Path
from edgeslm.engines.onnx.session import load_library
from edgeslm.models.onnx import open_onnx

def warm():
    import tokenizers
    load_library()

def ask(path):
    with open_onnx(Path(path), threads=1, gpu=False, tried=True) as model:
        classify = model.classifier()
        classify("refund the shipping")
        classify("refund of the bill " * 20_000, truncate="middle")
    return "answered"
"""


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
    assert kinds["ModelFileError"] > len(outcomes) // 2
    assert kinds["answered"] > len(outcomes) // 50  # or the mutations never came to a run
