"""The benchmarks' own logic: normalising, scores, intervals, regular expressions, the report."""

import datetime as dt
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.data.receipts import (
    FIELDS,
    SCORED,
    data_file,
    normal,
    read_receipts,
    score,
)
from benchmarks.report import extraction as report
from benchmarks.report import page
from benchmarks.report.results.extraction import (
    DEFAULTS,
    INVOICE,
    OWN,
    RECEIPT,
    TUNED,
    Comparison,
    PeerResult,
    Receipts,
    Run,
    StartUp,
)
from converters.gates import receipt_rules as rules
from edgeslm.errors import EngineError
from edgeslm.evaluation.intervals import Estimate, median_of
from edgeslm.evaluation.normalize import normal_amount, normal_date
from tests.helpers.benchmark_setting import made_up_setting

ROOT = Path(__file__).resolve().parents[3]
TRUE = {"company": "A B SDN BHD", "date": "05/06/2018", "address": "1 JALAN X", "total": "RM 9.50"}


# --- normalising ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "iso"),
    [
        ("05/06/2018", "2018-06-05"),
        ("5/6/2018", "2018-06-05"),
        ("05-06-18", "2018-06-05"),
        ("11.02.18", "2018-02-11"),
        ("(06/12/2016)", "2016-12-06"),
        ("25 MAR 2018", "2018-03-25"),
        ("24 mar 18", "2018-03-24"),
        ("15/APR/2017", "2017-04-15"),
        ("05-Jan-2017", "2017-01-05"),
        ("OCT 3, 2016", "2016-10-03"),
        ("2018/02/22", "2018-02-22"),
        ("2018-03-23", "2018-03-23"),
        ("20180428", "2018-04-28"),
        ("12/28/2017", "2017-12-28"),  # no 28th month: month first
    ],
)
def test_dates_are_read_day_first(printed, iso):
    assert normal_date(printed) == iso


@pytest.mark.parametrize("printed", ["", "31/02/2018", "99/99/9999", "TOTAL 9.50", "1234"])
def test_what_is_no_date(printed):
    assert normal_date(printed) is None


@given(st.dates(dt.date(1970, 1, 1), dt.date(2068, 12, 31)))
def test_every_spelling_of_a_date_gives_the_date(date):
    spellings = ("%d/%m/%Y", "%d-%m-%y", "%Y-%m-%d", "%d %b %Y", "%b %d, %Y", "%d.%m.%Y")
    for spelling in spellings:
        assert normal_date(date.strftime(spelling)) == date.strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("printed", "amount"),
    [
        ("60.30", "60.30"),
        ("RM 60.30", "60.30"),
        ("$7.6", "7.60"),
        ("1,234.50", "1234.50"),
        ("-9.99", "-9.99"),
        ("80", "80.00"),
        ("RM", None),
        ("1-2", None),
    ],
)
def test_amounts_lose_currency_and_get_two_decimals(printed, amount):
    assert normal_amount(printed) == amount


def test_an_amount_in_exponent_form_keeps_its_value():
    assert normal("total", Decimal("1.2E+3")) == "1200.00"


def test_words_are_compared_without_case_and_white_space():
    assert normal("address", "27,JALAN\tDedap 13") == normal("address", "27, Jalan  DEDAP 13")
    assert normal("address", "27 JALAN") != normal("address", "28 JALAN")


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_no_value(nothing):
    assert [normal(field, nothing) for field in FIELDS] == [None] * 4


# --- scores ---------------------------------------------------------------------


def test_all_right():
    answer = {
        "company": "a b sdn bhd",
        "date": dt.date(2018, 6, 5),
        "address": "1  Jalan X",
        "total": Decimal("9.5"),
    }
    scores = score([answer], [TRUE])
    assert [e.value for e in scores.fields.values()] == [1, 1, 1, 1]
    assert scores.overall.value == scores.records.value == 1


def test_a_wrong_value_costs_twice_and_a_missing_one_once():
    # right + wrong: 2 * 1 / (2 found + 2 true)
    wrong = score([TRUE, {**TRUE, "total": "9.51"}], [TRUE, TRUE])
    assert wrong.fields["total"].value == pytest.approx(2 / 4)
    # right + missing: 2 * 1 / (1 found + 2 true)
    missing = score([TRUE, {**TRUE, "total": None}], [TRUE, TRUE])
    assert missing.fields["total"].value == pytest.approx(2 / 3)
    for scores in (wrong, missing):
        assert scores.fields["company"].value == 1
        assert scores.records.value == 0.5
    assert wrong.overall.value == pytest.approx(14 / 16)


def test_a_value_that_is_not_on_the_receipt_is_an_error():
    true = {**TRUE, "address": None}
    assert score([{**TRUE, "address": None}], [true]).records.value == 1
    invented = score([TRUE], [true])
    assert invented.records.value == 0
    assert invented.fields["address"].value == 0


def test_a_receipt_without_answer_counts():
    scores = score([TRUE, None], [TRUE, TRUE])
    assert scores.overall.value == pytest.approx(2 * 4 / (4 + 8))
    assert scores.records.value == 0.5
    assert scores.records.n == scores.overall.n == 2


def test_answers_and_truths_are_pairs():
    with pytest.raises(ValueError, match="zip"):
        score([TRUE], [TRUE, TRUE])


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=30))
def test_the_median_lies_in_its_interval(values):
    estimate = median_of(values)
    assert min(values) <= estimate.low <= estimate.value <= estimate.high <= max(values)
    assert estimate.n == len(values)


def test_more_observations_narrow_the_interval():
    few, many = (median_of([1.0, 2.0, 3.0, 4.0, 5.0] * n) for n in (1, 20))
    assert many.high - many.low < few.high - few.low


# --- the regular expressions ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "receipt-1.txt",
            {
                "company": "HARBOUR LANE BAKERY LTD",
                "date": "2025-03-14",
                "address": "14 HARBOUR LANE WHITBY YO21 3PU",
                "total": "23.65",
            },
        ),
        (
            "receipt-2.txt",
            {
                "company": "COPPER CREEK HARDWARE",
                "date": "2024-11-29",
                "address": "2280 Mill Road, Bozeman, MT 59715",
                "total": "74.05",
            },
        ),
    ],
)
def test_rules_read_the_examples(name, expected):
    assert rules.extract((ROOT / "examples" / name).read_text(encoding="utf-8")) == expected


def test_rules_take_the_total_and_no_neighbour():
    lines = ["SUBTOTAL 10.00", "TAX TOTAL 0.60", "TOTAL QTY 3", "TOTAL", "RM", "10.60", "CASH"]
    assert rules.find_total(lines) == "10.60"
    rounded = [*lines, "ROUNDING ADJ 0.02", "TOTAL ROUNDED", "10.62", "CHANGE 9.38"]
    assert rules.find_total(rounded) == "10.62"


def test_rules_skip_headings_and_registration_numbers():
    lines = ["TAX INVOICE", "POPULAR BOOK", "CO. (M) SDN BHD (113825-W)", "NO 8, JALAN 7"]
    assert rules.find_company(lines) == ("POPULAR BOOK CO. (M) SDN BHD", 3)


@given(st.text())
def test_rules_answer_any_text(text):
    assert set(rules.extract(text)) == set(FIELDS)


def test_rules_on_receipts_they_were_not_scored_on():
    path = data_file()
    if path is None:
        pytest.skip("needs receipts.jsonl.gz in the folder EDGESLM_DATA")
    unscored = read_receipts(path)[SCORED:]
    answers = [rules.extract(receipt.text) for receipt in unscored]
    # what LOG.md says of them
    scores = score(answers, [receipt.truth for receipt in unscored])
    log = (ROOT / "benchmarks" / "LOG.md").read_text(encoding="utf-8")
    said = re.search(r"F1 ([\d.]+) over all\s+fields and ([\d.]+) of whole records", log)
    assert said is not None
    assert f"{scores.overall.value:.3f}" == said[1]
    assert f"{scores.records.value:.3f}" == said[2]


# --- the report -----------------------------------------------------------------


def estimate(value):
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=2)


def made_up_run(*, valid=2, ratio=2.0):
    scores = score([TRUE, None], [TRUE, TRUE])
    results = [
        PeerResult(
            name=OWN, ms=1500, output_tokens=60, ms_per_token=25, decodes=40, valid=valid, same=2
        ),
        PeerResult(
            name=TUNED,
            ms=1500 * ratio,
            output_tokens=70,
            ms_per_token=50,
            decodes=70,
            valid=1,
            same=1,
        ),
        PeerResult(
            name=DEFAULTS, ms=4000, output_tokens=70, ms_per_token=50, decodes=70, valid=1, same=1
        ),
    ]
    ratios = {TUNED: estimate(ratio), DEFAULTS: estimate(2.67)}
    return Run(
        setting=made_up_setting(),
        receipts=Receipts(
            n=2,
            valid=valid,
            complete=1,
            errors={"OutputInvalidError": 1},
            tracebacks=0,
            ms_median=1500,
            ms_p95=2500,
            prefill_share=0.625,
            prompt_tokens=500,
            cached_tokens=47,
            output_tokens=60,
            decodes=40,
            model=scores,
            rules=scores,
        ),
        comparisons=[
            Comparison(task=task, inputs="two", n=2, max_tokens=256, peers=results, ratios=ratios)
            for task in (RECEIPT, INVOICE)
        ],
        start_up=StartUp(
            import_edgeslm=estimate(12.5),
            cold_start=estimate(1600),
            cold_start_parts={"import": 12.0, "load": 900.0},
        ),
        skipped=[],
        seconds=600,
    )


def test_page_says_what_was_found():
    run = made_up_run()
    receipts = run.receipts.model_copy(update={"n": 4, "valid": 3, "complete": 2})
    page = report.page(run.model_copy(update={"receipts": receipts}))
    assert "Valid answers: **3 of 4**, 1 of them closed at the token budget." in page
    assert "Errors: 1 OutputInvalidError; tracebacks: 0." in page
    assert "median 1.50 s, p95 2.50 s; 62% of all time is prefill" in page
    assert (
        f"| {TUNED} | 3.00 s | 2.00 × [1.90, 2.10] | 70 | 50.0 ms | 70 | 1 of 2 | 1 of 2 |" in page
    )
    assert "Aim: 1.5 times faster than the tuned peer; reached with 2.00." in page
    assert "Aim: 3 times faster than the tuned peer; missed with 2.00." in page
    assert "`import edgeslm`: 12.5 ms [12.4, 12.6]" in page
    assert "import 12 ms, load 900 ms" in page


def test_tables_of_the_page_have_even_rows():
    tables = re.findall(r"(?:^\|.*\|\n)+", report.page(made_up_run()), flags=re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_page_without_data_says_why():
    run = made_up_run().model_copy(update={"receipts": None, "skipped": ["receipts, no data"]})
    page = report.page(run)
    assert "Not measured: receipts, no data." in page
    assert "scanned receipts" not in page


def test_log_entry_has_the_note_and_the_headlines():
    entry = report.log_entry(made_up_run(), "Drafts are on.")
    assert entry.startswith("## 2025-01-02 · abc1234\n\nDrafts are on.\n")
    assert "invoice, six line items, time by edgeslm's: Llama, tuned alike 2.00 ×" in entry


def test_a_run_with_an_invalid_answer_is_not_sound():
    assert made_up_run().sound
    assert not made_up_run(valid=1).sound


def test_a_run_survives_its_json():
    run = made_up_run()
    assert Run.model_validate_json(run.model_dump_json()) == run


def test_the_page_is_that_of_the_kept_results():
    assert page.text() == page.PAGE.read_text(encoding="utf-8")
    assert page.plot() == page.PLOT.read_text(encoding="utf-8")


# --- the peer -------------------------------------------------------------------


def test_the_tuned_peer_may_write_no_spaces():
    from benchmarks.peers.llama import without_spaces

    grammar = 'root ::= "{" space a "}" space\nspace ::= " "?\na ::= "x" space'
    assert without_spaces(grammar) == grammar.replace('" "?', '""')
    with pytest.raises(EngineError, match="without one rule for spaces"):
        without_spaces("root ::= x")


# --- the command ----------------------------------------------------------------


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.runs.extract",
            "--quick",
            "--model",
            str(tmp_path / "no.gguf"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 12
    assert "no.gguf: no such file" in done.stderr
    assert "Traceback" not in done.stderr
