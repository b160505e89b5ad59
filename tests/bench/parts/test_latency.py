"""Requests of a bench run: which texts, in what order, what is kept, and when they are wrong"""

import json
import re
from collections import Counter
from itertools import islice

import pytest

import edgeslm
from edgeslm.bench.parts.correctness import judge
from edgeslm.bench.parts.latency import Answered, ask_all, shuffled, summarize, unanswered
from edgeslm.bench.report.statistics import median, percentiles
from edgeslm.bench.workload import invented
from edgeslm.bench.workload.workload import Row, Workload, choose
from edgeslm.errors import CancelledError, InputError, InputTooLongError
from edgeslm.evaluation.matches import Prediction
from edgeslm.formats.card import Card
from edgeslm.models.gguf import GgufModel
from edgeslm.results import Timing
from edgeslm.testing import ScriptedEngine
from tests.helpers import tiny_onnx

SCHEMA = {
    "type": "object",
    "properties": {"company": {"type": "string", "maxLength": 20}},
    "required": ["company"],
}
READ = {"kind": "extract", "json_schema": SCHEMA}
SORT = {"kind": "classify", "labels": ["billing", "refund"]}
EXAMPLES = [{"input": "at Nook", "expected": {"company": "Nook"}}]
LABELLED = [{"input": "a refund", "expected": "refund"}]


def card(task, **more):
    return Card.from_dict({"name": "c", "licence": "MIT", "task": task, **more}, where="test")


def score(**changes):
    fields = {"metric": "accuracy", "value": 0.9, "interval": [0.8, 0.95], "n": 99, "gold": "g"}
    return {**fields, **changes}


def silent(_done, _all):
    pass


def answered(said, expected="refund", text="t", valid=True):
    return Answered(Row(text, expected), Prediction(said), valid, 1.0, TIMING)


TIMING = Timing(
    prefill_ms=20, decode_ms=60, total_ms=90, prompt_tokens=50, cached_tokens=10,
    output_tokens=4, decodes=2,
)  # fmt: skip


# --- statistics ---------------------------------------------------------------


def test_percentiles_are_ordered_and_lie_in_their_intervals():
    by_name = percentiles([float(n) for n in range(1, 101)])
    assert [by_name[p].value for p in ("p50", "p90", "p95", "p99")] == pytest.approx(
        [50.5, 90.1, 95.05, 99.01]
    )
    assert all(each.low <= each.value <= each.high and each.n == 100 for each in by_name.values())
    assert by_name["p50"].low > 40
    assert by_name["p50"].high < 60


def test_one_value_is_its_own_interval():
    assert median([7.0]).model_dump() == {"value": 7.0, "low": 7.0, "high": 7.0, "n": 1}


# --- the package's texts ------------------------------------------------------


def test_invented_texts_are_the_same_each_time_and_all_differ():
    texts = [invented.receipt(n)[0] for n in range(200)]
    assert texts == [invented.receipt(n)[0] for n in range(200)]
    assert len(set(texts)) == 200
    assert len({invented.message(n)[0] for n in range(200)}) > 190
    assert max(map(len, texts)) > 4 * min(map(len, texts))


def test_what_is_expected_of_a_receipt_stands_in_it():
    for number in range(50):
        text, value = invented.receipt(number)
        year, month, day = value["date"].split("-")
        assert f"DATE {day}/{month}/{year}" in text
        assert f"TOTAL {value['total']}\n" in text
        assert f"{value['company']}\n{value['address']}\n" in text
        prices = re.findall(r" (\d) X (\d+)\.(\d\d)$", text, re.MULTILINE)
        cents = sum(int(n) * (100 * int(whole) + int(part)) for n, whole, part in prices)
        assert value["total"] == f"{cents // 100}.{cents % 100:02}"


# --- which inputs -------------------------------------------------------------


def test_without_a_card_the_task_is_the_packages():
    read, sort = choose(None, 3), choose(None, 3, task="classify")
    assert (read.kind, read.schema, read.labels) == ("extract", invented.RECEIPT_SCHEMA, None)
    assert (sort.kind, sort.schema, sort.labels) == ("classify", None, invented.MESSAGE_LABELS)
    assert all(row.expected in invented.MESSAGE_LABELS for row in sort.rows)
    assert len(read.rows) == 3
    assert read.bar is None


def test_the_cards_examples_must_all_be_right():
    workload = choose(card(SORT, examples=LABELLED, scores=[score()]), 9)
    assert workload.rows[0] == Row("a refund", "refund")
    assert (workload.all_right, workload.bar) == (True, None)


def test_a_classifier_is_also_asked_for_longer_texts():
    rows = choose(card(SORT, examples=LABELLED), 9).rows
    assert len(rows) == 9
    assert {row.expected for row in rows[1:]} == {None}
    assert len({len(row.text) for row in rows}) > 5


def test_only_invented_texts_may_lose_their_middle(tmp_path):
    promise = tiny_onnx.card(examples=LABELLED)
    assert choose(promise, 9).cut
    file = tmp_path / "in.jsonl"
    file.write_text('{"text": "a"}\n', "utf-8")
    assert not choose(promise, 9, file=file).cut
    path = tiny_onnx.write_tiny_onnx(tmp_path / "x.onnx", promise, max_tokens=8)
    with edgeslm.load(path) as model:
        asked = ["refund " * 9, "refund"]
        answer = choose(promise, 9).answerer(model)
        assert [answer(text).label for text in asked] == ["refund", "refund"]
        with pytest.raises(InputTooLongError):
            choose(promise, 9, file=file).answerer(model)(asked[0])


def test_a_reader_of_something_else_has_its_examples_alone():
    weigh = {
        "kind": "extract",
        "json_schema": {"type": "object", "properties": {"weight": {"type": "string"}}},
    }
    examples = [{"input": "5 kg", "expected": {"weight": "5 kg"}}]
    assert choose(card(weigh, examples=examples), 9).rows == (Row("5 kg", {"weight": "5 kg"}),)


def test_a_reader_of_receipts_is_also_asked_for_longer_ones():
    workload = choose(card(READ, examples=EXAMPLES), 5)
    assert len(workload.rows) == 5
    assert [row.expected for row in workload.rows] == [{"company": "Nook"}, *[None] * 4]
    assert workload.schema is None


def test_a_file_is_held_to_what_the_card_promises(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text('{"text": "a", "expected": "refund"}\n\n{"input": "b"}\n', "utf-8")
    workload = choose(card(SORT, scores=[score()], examples=LABELLED), 9, file=file)
    assert workload.rows == (Row("a", "refund"), Row("b"))
    assert (workload.all_right, workload.bar) == (False, 0.8)
    assert choose(card(SORT, scores=[score(interval=None)]), 9, file=file).bar is None
    assert choose(card(SORT, scores=[score(metric="macro F1")]), 9, file=file).bar is None
    assert choose(None, 9, file=file, min_score=0.5).bar == 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no lines"),
        (b'{"text": 5}', 'line 1: no "text"'),
        (b'{"text": "a"}\n[1]', 'line 2: no "text"'),
        (b"{", "line 1: not JSON"),
        (b'{"text": "\xff"}', "line 1: not JSON"),
        (b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_bad_file_names_its_line(tmp_path, content, message):
    file = tmp_path / "in.jsonl"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        choose(None, 9, file=file)


def test_a_missing_file_and_another_task_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        choose(None, 9, file=tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="leave out --task extract"):
        choose(card(SORT), 9, task="extract")


# --- requests -----------------------------------------------------------------


def test_each_round_has_every_text_once_in_an_order_of_the_seed():
    rows = [Row(str(n)) for n in range(10)]
    order = list(islice(shuffled(rows, 1), 30))
    assert order == list(islice(shuffled(rows, 1), 30))
    assert order != list(islice(shuffled(rows, 2), 30))
    rounds = [order[at : at + 10] for at in (0, 10, 20)]
    assert all(Counter(each) == Counter(rows) for each in rounds)
    assert rounds[0] != rounds[1]


def model():
    return GgufModel(ScriptedEngine('{"company":"Nook"}', sharpness=40.0), card(READ))


def test_the_warm_up_is_not_kept_and_the_cache_is_what_it_says():
    workload = Workload("extract", tuple(Row(f"text {n}") for n in range(4)), "test")
    ticks = []
    with model() as warm:
        kept = {}
        for cached, asked in ((True, warm), (False, warm.without_prefix_cache())):
            done = ask_all(
                workload.answerer(asked),
                workload.rows,
                requests=6,
                warmup=2,
                seed=0,
                tick=lambda done, all_: ticks.append((done, all_)),
            )
            kept[cached] = [each.timing.cached_tokens for each in done]
            assert [each.prediction.answer for each in done] == [{"company": "Nook"}] * 6
        assert len(kept[True]) == len(kept[False]) == 6
        assert min(kept[True]) == max(kept[True]) > 0
        assert set(kept[False]) == {0}
    assert ticks == [(n, 8) for n in range(1, 9)] * 2


def test_the_warm_up_takes_no_text_away_from_what_is_kept():
    rows = [Row(f"text {n}") for n in range(5)]
    with model() as asked:
        answer = Workload("extract", tuple(rows), "test").answerer(asked)
        done = ask_all(answer, rows, requests=5, warmup=2, seed=0, tick=silent)
    assert {each.row for each in done} == set(rows)


def test_without_the_cache_answers_are_the_same():
    with model() as warm:
        texts = ["at Nook", "at Nook I paid 12 and then went home again"]
        for text in texts:
            first = warm.extractor()(text)
            again = warm.without_prefix_cache().extractor()(text)
            assert (first.json, first.fields) == (again.json, again.fields)
            assert first.timing.prompt_tokens == again.timing.prompt_tokens


def test_a_text_that_cannot_be_asked_is_an_answer_with_an_error():
    workload = Workload("extract", (Row("fine"), Row("x" * 100_000, "e")), "test")
    with model() as asked:
        done = ask_all(
            workload.answerer(asked), workload.rows, requests=2, warmup=0, seed=0, tick=silent
        )
    bad = next(each for each in done if each.timing is None)
    assert "fit" in bad.prediction.error or "context" in bad.prediction.error
    assert bad.valid
    assert list(unanswered(done)) == [f"1 of 2 requests had no answer, as: {bad.prediction.error}"]
    assert not list(unanswered([each for each in done if each is not bad]))
    run = summarize(done, prefix_cache=True, threads=1)
    assert len(run.milliseconds) == len(run.input_tokens) == run.first_token.n == 1


def test_if_nothing_is_answered_there_is_no_run():
    def answer(text):
        raise InputError("too long")

    with pytest.raises(InputError, match="none of the inputs was answered; the last: too long"):
        ask_all(answer, [Row("a")], requests=2, warmup=0, seed=0, tick=silent)


def test_a_cancel_ends_the_run():
    def answer(text):
        raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        ask_all(answer, [Row("a")], requests=1, warmup=0, seed=0, tick=silent)


# --- what is made of them -----------------------------------------------------


def test_rates_are_those_of_the_timing():
    run = summarize([Answered(Row("t"), Prediction("x"), True, 100.0, TIMING)] * 3,
                    prefix_cache=False, threads=2)  # fmt: skip
    assert run.first_token.value == 40  # all of it but decoding
    assert run.between_tokens.value == 20  # three gaps between four tokens
    assert run.prefill_tokens_per_second.value == 2000  # 40 of 50 tokens in 20 ms
    assert run.decode_tokens_per_second.value == pytest.approx(4000 / 60)
    assert (run.tokens_per_answer, run.decodes_per_answer) == (4, 2)


def test_a_label_of_one_token_has_no_gaps():
    one = Timing(20, 60, 90, 50, 10, 1, 1)
    run = summarize([Answered(Row("t"), Prediction("x"), True, 100.0, one)],
                    prefix_cache=True, threads=2)  # fmt: skip
    assert run.between_tokens is None
    assert run.decode_tokens_per_second is None


# --- the gate -----------------------------------------------------------------


def sorting(**changes):
    return Workload("classify", (), "test", **changes)


def test_an_example_with_another_answer_makes_the_run_invalid():
    right = answered("refund", text="a")
    verdict = judge([right, answered("billing", text="b")], sorting(all_right=True))
    assert (verdict.checked, verdict.right, verdict.bar, verdict.valid) == (2, 1, 1.0, False)
    assert verdict.reason == "1 of 2 examples of the card have another answer"
    assert judge([right], sorting(all_right=True)).valid


def test_a_text_counts_once_and_as_wrong_if_it_ever_was():
    for order in (("refund", "billing"), ("billing", "refund")):
        verdict = judge([answered(said) for said in order], sorting(all_right=True))
        assert (verdict.checked, verdict.right) == (1, 0)


def test_a_broken_form_makes_any_run_invalid():
    cut = answered({"company": "N"}, expected=None, valid=False)
    verdict = judge([cut, cut], Workload("extract", (), "test"))
    assert (verdict.checked, verdict.invalid, verdict.valid) == (0, 2, False)
    assert verdict.reason == (
        "2 of 2 answers break the promised form: it was cut by its budget of tokens"
    )


def test_only_a_score_that_chance_cannot_explain_is_below_the_bar():
    def of(right, wrong):
        said = ["refund"] * right + ["billing"] * wrong
        many = [answered(each, text=str(n)) for n, each in enumerate(said)]
        return judge(many, sorting(bar=0.8))

    assert of(7, 3).valid
    assert (
        of(3, 7).reason == "accuracy 0.300 (at most 0.652) of 10 inputs is below the bar of 0.800"
    )
    assert judge([answered("billing")], sorting()).valid  # nothing is demanded


def test_values_are_compared_as_the_scores_compare_them():
    said = answered({"total": 12.5}, expected={"total": "12.50", "date": None})
    verdict = judge([said], Workload("extract", (), "test", all_right=True))
    assert json.loads(verdict.model_dump_json())["right"] == 1
