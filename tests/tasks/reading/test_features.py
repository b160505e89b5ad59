"""Features of units: the same for the same text, few enough, quick for any text, never changed."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.formats.onnx.reader_spec import MAX_UNIT_FEATURES
from edgeslm.tasks.reading.features import BUCKETS, unit_features
from edgeslm.tasks.reading.layout import TYPED, lay_out
from edgeslm.tasks.reading.tokens import unit_spans
from tests.helpers.tiny_reader import receipts
from tests.tasks.reading.test_layout import TEXTS

ROOT = Path(__file__).resolve().parents[3]
RECEIPTS = "receipts.jsonl.gz"


def checksum(text: str, *, words: bool = False) -> int:
    own = unit_features(lay_out(text, TYPED, words=words))
    return crc32(own.counts.tobytes(), crc32(own.ids.tobytes()))


@given(TEXTS, st.booleans())
def test_the_same_text_has_the_same_features_whatever_came_before(text: str, words: bool) -> None:
    layout = lay_out(text, TYPED, words=words)
    first = unit_features(layout)
    unit_features(lay_out(text + " more: 12.50", TYPED, words=words))
    again = unit_features(lay_out(text, TYPED, words=words))
    assert np.array_equal(first.ids, again.ids)
    assert np.array_equal(first.counts, again.counts)
    assert len(first.ids) == len(unit_spans(layout)) == layout.units
    assert first.ids.dtype == first.counts.dtype == np.int64
    assert first.ids.shape[1] == first.counts.max() <= MAX_UNIT_FEATURES
    for ids, count in zip(first.ids, first.counts, strict=True):
        assert ids[:count].min() > 0  # 0 is padding
        assert ids.max() < BUCKETS
        assert not ids[count:].any()


def test_features_follow_the_units() -> None:
    """A line that changes changes its own unit, and none that is far away."""
    lines = [f"WORD{number} {number}.50" for number in range(20)]
    before = unit_features(lay_out("\n".join(lines), ["number"]))
    lines[10] = "OTHER10 10.50"
    after = unit_features(lay_out("\n".join(lines), ["number"]))
    sets = [[{*row.tolist()} - {0} for row in features.ids] for features in (before, after)]
    changed = [at for at, (a, b) in enumerate(zip(*sets, strict=True)) if a != b]
    pieces = [at - 1 for at in changed if at <= 20]
    assert pieces == [8, 9, 10, 11, 12]
    lines_of = {(at - 21) // 2 for at in changed if at > 20}  # two amounts a line
    assert {8, 9, 10, 11, 12, 13} <= lines_of <= {*range(8, 14)}


@pytest.mark.parametrize("words", [False, True])
def test_features_are_those_that_readers_were_trained_with(words: bool) -> None:
    """Weights belong to these numbers: where one changes, all readers must be trained again."""
    sums = [checksum(text, words=words) for text, _ in receipts()]
    assert crc32(repr(sums).encode()) == {False: 3015545548, True: 3850854674}[words]


def test_features_of_real_texts_are_those_that_readers_were_trained_with() -> None:
    path = Path(os.environ.get("EDGESLM_DATA", ROOT.parent / "shared" / "data")) / RECEIPTS
    if not path.exists():
        pytest.skip("EDGESLM_DATA names no folder with receipts")
    whole = 0
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        for row in rows:
            text = json.loads(row)["text"]
            whole = crc32(repr([checksum(text), checksum(text, words=True)]).encode(), whole)
    assert whole == 131256688


@pytest.mark.parametrize(
    "text",
    ["1.50 " * 9000, "a b c d e f g 1.50 " * 2600, "word " * 10_000, "x" * 50_000, "1.5\n" * 2000],
)
@pytest.mark.parametrize("words", [False, True])
def test_features_of_any_text_are_soon_made(text: str, words: bool) -> None:
    layout = lay_out(text, ["number"], words=words)
    start = time.process_time()
    features = unit_features(layout)
    # a line of 2,000 amounts took 71 s and 4.9 GB while each looked at all words before it
    assert time.process_time() - start < 5
    assert features.ids.nbytes < 20e6
