"""docs/specialists.md: equal to what the cards say, and what it says of a card"""

import numpy as np
import pytest

from edgeslm.bench.report import files
from edgeslm.errors import CardError, EdgeslmError, ModelFileError
from edgeslm.formats.card import Calibration, Card, CategoryScore, Provenance, Score
from edgeslm.formats.gguf.adapter import Adapter, Factors, write_adapter
from scripts.specialists_page import (
    PAGE,
    RUNS,
    SHIPPED,
    Specialist,
    page,
    readme,
    specialists,
    write_page,
)

CARD = Card(
    name="support-tried",
    licence="Apache-2.0",
    description="Sorts mail.",
    task={"kind": "classify", "labels": ["a", "b", "c | d"]},
    calibration=Calibration(temperature=1.5, n=300, ece_before=0.1, ece_after=0.02),
    scores=(
        Score(
            metric="accuracy",
            value=0.915,
            interval=(0.89, 0.94),
            n=500,
            gold="mail, held out",
            by_category={
                "a": CategoryScore(n=300, value=0.95, lower=0.92),
                "b": CategoryScore(n=190, value=0.87, lower=0.82),
                "c | d": CategoryScore(n=10, value=0.5, lower=0.2),
            },
            baselines={"majority": 0.6, "lookup": 0.7},
        ),
    ),
    provenance=Provenance(base="small", sources=("mail, CC BY 4.0",), tools={"peft": "0.18"}),
)


def adapter(path, card):
    rank = np.ones((4, 32), np.float32)
    factors = {"blk.0.attn_q.weight": Factors(rank, rank.T.copy())}
    write_adapter(path, Adapter("llama", 8.0, factors, {}), card=card)


def test_the_page_is_what_the_generator_writes():
    made = page(specialists())
    assert PAGE.read_text(encoding="utf-8") == made, "run: python -m scripts.specialists_page"


@pytest.mark.parametrize("one", specialists(), ids=lambda one: one.card.name)
def test_a_specialists_readme_is_what_the_generator_writes(one):
    written = (SHIPPED / one.card.name / "README.md").read_text(encoding="utf-8")
    assert written == readme(one), "run: python -m scripts.specialists_page"


def test_with_none_shipped_the_page_says_so(tmp_path):
    assert "None is shipped yet." in page(specialists(tmp_path / "absent"))


def test_what_is_said_of_a_card(tmp_path):
    adapter(tmp_path / "support-tried.gguf", CARD)
    shipped = specialists(tmp_path)
    assert shipped == [Specialist(CARD, (tmp_path / "support-tried.gguf").stat().st_size)]
    text = page(shipped)
    for words in (
        "## `support-tried`",
        "**accuracy 91.5%** [89.0%, 94.0%], n = 500, on mail, held out.",
        "| lookup | 70.0% |\n| majority | 60.0% |",
        "| c \\| d | 10 | 50.0% | not enough evidence |\n| b | 190 | 87.0% | 82.0% |",
        "worst in accuracy: b (87.0%); not enough evidence for 1 of 3 categories",
        "temperature 1.50, fitted on 300 development rows",
        "**Data:** mail, CC BY 4.0",
        "**Made with:** peft 0.18",
    ):
        assert words in text
    assert "None is shipped" not in text


def test_a_bench_run_of_the_same_version_gives_its_time(tmp_path):
    run = files.read(RUNS / "support-intents-mini.json")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "support-tried.json").write_text(run.model_dump_json(by_alias=True))
    for version, shown in ((run.model.card_version, True), ("0.9", False)):
        adapter(tmp_path / "support-tried.gguf", CARD.model_copy(update={"version": version}))
        text = page(specialists(tmp_path, tmp_path / "runs"))
        assert ("- **Time:** request p50 " in text) is shown


def test_an_adapter_without_a_card_or_no_adapter(tmp_path):
    adapter(tmp_path / "x.gguf", None)
    with pytest.raises(CardError, match=r"x\.gguf: the adapter has no card"):
        specialists(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelFileError):
        specialists(tmp_path)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(EdgeslmError, match="cannot be written"):
        write_page(tmp_path / "none" / "page.md", tmp_path)
    folder = tmp_path / "page.md"
    folder.mkdir()
    with pytest.raises(EdgeslmError, match="cannot be written"):
        write_page(folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]
