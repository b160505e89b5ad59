"""The section of benchmarks.runs.decode: what it says, what counts as sound, what runs add up."""

import pytest

from benchmarks.peers import questions
from benchmarks.report import decode as decode_report
from benchmarks.report.results import decode as decode_results
from benchmarks.report.results.decode import Comparison, DecodeRun, Drafts, Overhead, PeerResult
from benchmarks.report.results.extraction import OWN, TUNED
from benchmarks.runs import decode
from edgeslm.evaluation.intervals import Estimate, share
from tests.helpers.benchmark_setting import made_up_setting


def estimate(value):
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=20)


def result(name, ratio, *, valid=20):
    return PeerResult(
        name=name,
        about=f"{name} 1.0",
        ms=1500,
        ratio=None if ratio is None else estimate(ratio),
        output_tokens=60,
        ms_per_token=25,
        decodes=None if name == "guidance" else 40,
        valid=valid,
        agreement=0.5,
        same_prompt=20,
        prepare_ms=12,
    )


def made_up_run(*, valid=20, identical=100, model="a model"):
    receipts = Comparison(
        task=questions.RECEIPTS,
        inputs="20 receipts",
        n=20,
        peers=[result(OWN, None, valid=valid), result(TUNED, 1.8)],
        unavailable={"guidance": "no wheel"},
        prefill=estimate(1.4),
        prefill_ms=900,
    )
    peers = [result(OWN, None), result(TUNED, 5.5), result("guidance", 1.9)]
    invoices = Comparison(
        task=questions.INVOICES,
        inputs="20 invoices",
        n=20,
        peers=peers,
        unavailable={},
        prefill=None,
        prefill_ms=None,
    )
    return DecodeRun(
        setting=made_up_setting(model=model),
        comparisons=[receipts, invoices],
        drafts=[
            Drafts(
                kind=kind,
                steady=kind == "Q4_0",
                inputs="100 receipts",
                identical=share(n, 100),
                ratio=estimate(1.3),
                decodes=40,
                decodes_exact=80,
                scores=None,
                scores_exact=None,
            )
            for kind, n in (("Q4_0", identical), ("F16", 97))
        ],
        overheads=[
            Overhead(
                task=name, n=20, ratio=estimate(ratio), output_tokens=9, decodes=9, decodes_exact=9
            )
            for name, ratio in (("grades", 1.02), ("free", 1.04))
        ],
        right=[
            Overhead(
                task="right", n=20, ratio=estimate(0.4), output_tokens=9, decodes=5, decodes_exact=9
            )
        ],
        seconds=600,
    )


def test_the_section_says_what_was_found():
    section = decode_report.section([made_up_run()])
    assert "takes 1.40 × [1.30, 1.50] the bare evaluation" in section
    assert "Aim: at most 1.35; missed." in section
    assert "- guidance: not available: no wheel" in section
    assert (
        f"| {TUNED} | 1.50 s | 5.50 × [5.40, 5.60] | 60 | 25.0 ms | 40 | 20 of 20 | 50% " in section
    )
    assert "| 12 ms | 5: reached |" in section
    assert "| 25.0 ms | not told | 20 of 20 | 50% | 20 of 20 | 12 ms | 2: missed |" in section
    assert "| Q4_0 | 100 | yes | 1.000 [0.964, 1.000] | 1.30 × [1.20, 1.40] | 40 | 80 |" in section
    assert "| right | 20 | 0.40 × [0.30, 0.50] | 9 | 5 | 9 |" in section
    assert section.count("| reached |") == section.count("| missed |") == 1


def test_tables_of_the_section_have_even_rows():
    section = decode_report.section([made_up_run()])
    tables = [part for part in section.split("\n\n") if part.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_without_a_run_there_is_no_section():
    assert decode_report.section([]) == ""


def test_a_run_is_sound_where_edgeslm_kept_its_promises():
    assert made_up_run().sound
    assert not made_up_run(valid=19).sound
    assert not made_up_run(identical=99).sound


def test_a_part_that_was_left_out_comes_from_the_run_before():
    before = made_up_run()
    whole = DecodeRun.model_validate_json(before.model_dump_json())
    receipts = whole.model_copy(
        update={
            "comparisons": whole.comparisons[:1],
            "drafts": [],
            "overheads": [],
            "right": [],
            "seconds": 1,
        }
    )
    merged = decode.completed(receipts, before, ("receipts",))
    assert merged.comparisons == before.comparisons
    assert merged.drafts == before.drafts
    assert (merged.overheads, merged.right) == (before.overheads, before.right)
    assert merged.seconds == 601
    assert decode.completed(receipts, made_up_run(model="another"), ("receipts",)) == receipts
    assert decode.completed(receipts, None, ("receipts",)) == receipts


def test_quantizations_that_were_measured_apart_add_up():
    before = made_up_run()
    later = before.drafts[1].model_copy(update={"identical": share(30, 40)})
    more = later.model_copy(update={"kind": "Q8_0"})
    run = before.model_copy(update={"comparisons": [], "overheads": [], "drafts": [later, more]})
    merged = decode.completed(run, before, ("drafts",))
    assert [(d.kind, d.identical.n) for d in merged.drafts] == [
        ("Q4_0", 100),
        ("Q8_0", 40),
        ("F16", 40),
    ]


def test_each_model_has_a_file_of_its_own(tmp_path):
    runs = [made_up_run(model="b-model, requantized to Q4_0"), made_up_run(model="a-model")]
    for run in runs:
        path = decode_results.file_of(run, tmp_path)
        path.write_text(run.model_dump_json())
        assert path.stem in {"a-model", "b-model"}
    assert decode_results.kept(tmp_path) == runs[::-1]
    section = decode_report.section(runs)
    assert section.count("### b-model, requantized to Q4_0") == 1
    assert section.count("#### Receipts: long text, short answer") == 2
    assert decode_results.kept(tmp_path / "none") == []


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        decode.main(["--only", "receipts,prices"])
    assert refused.value.code == 2
    assert (
        "prices: choose from receipts, invoices, right, overhead, drafts" in capsys.readouterr().err
    )
