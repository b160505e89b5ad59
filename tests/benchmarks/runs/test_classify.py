"""Classification beside peers: texts, what peers are told, scores, cold starts, the section."""

import gzip
import json
import os
import re
import sys
import time
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as whole
from benchmarks.data import intents
from benchmarks.data.intents import EIGHT, Intents
from benchmarks.peers import environments, local_llama
from benchmarks.peers.environments import LLAMA, PeerError, ensure
from benchmarks.peers.questions import LabelQuestion
from benchmarks.peers.torch_cpu import allowed_next
from benchmarks.report import classify as classify_report
from benchmarks.report import plot
from benchmarks.report.results.classify import (
    ClassifyRun,
    ColdStarts,
    LabelComparison,
    LabelResult,
    StartResult,
)
from benchmarks.report.results.extraction import OWN, TUNED
from benchmarks.runs import classify, cold_start, first_answer
from benchmarks.runs.cold_start import Starter
from benchmarks.runs.turns import Reply
from edgeslm.evaluation.intervals import Estimate, share
from tests.helpers.benchmark_setting import made_up_setting

LABELS = ("rain", "sun", 'a "storm"')


# --- inputs ---------------------------------------------------------------------


def test_without_data_there_are_texts_of_each_of_eight_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESLM_DATA", str(tmp_path))
    labelled = intents.eight(100)
    assert labelled.labels == EIGHT
    assert {label for _, label in labelled.rows} == set(EIGHT)
    assert "made-up" in labelled.inputs
    assert intents.banking77() is None
    sets, skipped = classify._intents(classify.Plan(("8", "77"), inputs=3, rounds=1))
    assert [len(each.rows) for each in sets] == [3]
    assert "banking77.jsonl.gz" in skipped[0]


def test_texts_are_bounded_and_no_author_chose_their_order(tmp_path, monkeypatch):
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate((*EIGHT, "other") * 5)]
    for order in (rows, rows[::-1]):
        with gzip.open(tmp_path / "banking77.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in order)
        monkeypatch.setenv("EDGESLM_DATA", str(tmp_path))
        eight, all_of_them = intents.eight(12), intents.all_labels(intents.banking77(), 12)
        assert len(eight.rows) == len(all_of_them.rows) == 12
        assert {label for _, label in eight.rows} <= set(EIGHT)
        assert all_of_them.labels == tuple(sorted((*EIGHT, "other")))
        assert eight.rows == intents.eight(40).rows[:12]
        assert eight.rows[:2] != tuple((row["text"], row["label"]) for row in order[:2])


# --- what a question is -----------------------------------------------------------


def test_a_question_of_labels_gives_all_that_peers_need(engine):
    question = LabelQuestion(engine, LABELS)
    answer = question.own("dark clouds", question.max_tokens)
    assert question.valid(answer.text)
    assert not question.valid("snow")
    assert not question.valid('"rain"')
    assert answer.timing.prompt_tokens == len(question.tokens("dark clouds"))
    assert question.wanted["labels"] == list(LABELS)
    assert question.tokens("x")[: len(question.prefix)] == question.wanted["prefix"]
    assert question.wanted["grammar"] == r'root ::= "rain" | "sun" | "a \"storm\""'
    assert question.max_tokens == 1 + max(len(engine.tokenize(label)) for label in LABELS)


def test_llama_answers_with_a_label(engine, tiny_model):
    question = LabelQuestion(engine, LABELS)
    peer = local_llama.Llama(str(tiny_model), 1, 4096)
    peer.prepare(question.wanted)
    text = "dark clouds"
    answer = peer.answer(question.tokens(text), question.rendered(text), question.max_tokens)
    assert question.valid(answer["text"])
    assert answer["decodes"] >= 1


def test_outlines_is_told_labels_as_literals():
    kind = local_llama.output_type({"labels": list(LABELS)}, "outlines_core")
    assert kind.__args__ == LABELS


def test_transformers_may_only_write_labels_to_their_end():
    end = 9
    allowed = allowed_next([[1, 2, end], [1, 3, end], [1, end]])
    assert allowed == {(): [1], (1,): [2, 3, end], (1, 2): [end], (1, 3): [end]}


def test_a_peer_of_edgeslms_own_environment_needs_none_of_its_own(tmp_path):
    assert str(ensure(LLAMA, tmp_path)) == sys.executable
    assert not list(tmp_path.iterdir())


def test_variants_that_differ_for_schemas_alone_do_not_classify():
    names = {peer.name for peer in classify._CLASSIFIERS}
    assert "llama-server, json_schema" not in names
    assert {"llama-server, no spaces", "guidance", "outlines", "transformers"} <= names
    assert len({peer.name for peer in environments.PEERS}) == len(environments.PEERS)


# --- scores -----------------------------------------------------------------------


class Fixed:
    """A peer that answers by text, in ``ms``, or fails at a text it does not know."""

    def __init__(self, name, ms, answers):
        self.name, self.about, self._ms, self._answers = name, f"{name} 1.0", ms, answers

    def prepare(self, question):
        pass

    def answer(self, question, text, max_tokens):
        if max_tokens > 1 and text not in self._answers:
            raise PeerError(f"{self.name} knows no {text}")
        return Reply(self._answers.get(text, ""), self._ms, None, same_prompt=True)


def test_answers_are_counted_against_truth_and_edgeslm():
    labelled = Intents("three texts", ("rain", "sun"), [("a", "rain"), ("b", "sun"), ("c", "sun")])
    ready = [
        Fixed(OWN, 2.0, {"a": "rain", "b": "rain", "c": "sun"}),
        Fixed("peer", 1.0, {"a": "rain", "b": "sun", "c": "no label"}),
        Fixed("fragile", 1.0, {"a": "rain"}),
    ]
    question = SimpleNamespace(max_tokens=9)
    run = classify.compare(question, labelled, ready, {"absent": "why"}, lambda: None)
    own, peer = run.peers
    assert (run.labels, run.n) == (2, 3)
    assert (own.ratio, own.valid, own.same, own.accuracy.value) == (None, 3, 3, 2 / 3)
    assert (peer.ratio.value, peer.valid, peer.same) == (0.5, 2, 1)
    assert peer.accuracy.value == 2 / 3
    assert peer.decodes is None
    assert run.unavailable == {"absent": "why", "fragile": "fragile knows no b"}


# --- cold starts ------------------------------------------------------------------


def test_starts_take_turns_and_the_first_is_not_counted():
    order = []

    def starter(name, times):
        left = iter(times)

        def once():
            order.append(name)
            return next(left)

        return Starter(name, once)

    ready = [starter(OWN, [99.0, 10.0, 20.0]), starter("peer", [99.0, 30.0, 40.0])]
    starts = cold_start.measure("a task", ready, {"absent": "why"}, 2, lambda: None)
    assert order == [OWN, "peer", "peer", OWN, OWN, "peer"]
    own, peer = starts.results
    assert (own.ms, own.ratio, peer.ms, peer.ratio.value) == (15.0, None, 35.0, 2.5)
    assert starts.unavailable == {"absent": "why"}


def test_a_start_that_fails_takes_its_peer_out_but_never_edgeslm():
    def fail():
        raise PeerError("gone")

    ready = [Starter(OWN, lambda: 1.0), Starter("peer", fail)]
    starts = cold_start.measure("a task", ready, {}, 2, lambda: None)
    assert [one.name for one in starts.results] == [OWN]
    assert starts.unavailable == {"peer": "gone"}
    with pytest.raises(PeerError, match="gone"):
        cold_start.measure("a task", [Starter(OWN, fail)], {}, 1, lambda: None)


def test_a_process_is_timed_to_its_first_line():
    code = "import time; print('answer', flush=True); time.sleep(0.5)"
    begun = time.perf_counter()
    ms = cold_start.first_line([sys.executable, "-c", code], dict(os.environ))
    assert 0 < ms < (time.perf_counter() - begun) * 1000 - 400
    with pytest.raises(PeerError, match="status 3"):
        cold_start.first_line([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))


@pytest.mark.parametrize("labels", [(), LABELS])
def test_a_first_answer_says_what_took_how_long(tiny_model, capsys, labels):
    first_answer.main(str(tiny_model), *labels)
    parts = json.loads(capsys.readouterr().out)
    assert set(parts) == {"import", "load", "answer"}
    assert all(ms > 0 for ms in (parts["load"], parts["answer"]))


# --- the section ------------------------------------------------------------------


def estimate(value, spread=0.1):
    return Estimate(value=value, low=value - spread, high=value + spread, n=10)


def label_result(name, ratio, right):
    return LabelResult(
        name=name,
        about=f"{name} 1.0",
        ms=50,
        ratio=ratio,
        decodes=None if name == "transformers" else 6,
        accuracy=share(right, 10),
        valid=10,
        same=9,
        same_prompt=10,
        prepare_ms=1,
    )


def made_up_run(*, labels=(8, 77), load=0.1, commit="abc1234", starts=True, valid=10):
    results = [
        label_result(OWN, None, 6).model_copy(update={"valid": valid}),
        label_result(TUNED, estimate(0.5), 5),
        label_result("transformers", estimate(0.95), 7),
        label_result("outlines", estimate(3.0), 6),
    ]
    comparisons = [
        LabelComparison(
            labels=n, inputs="10 texts", n=10, peers=results, unavailable={"guidance": "no wheel"}
        )
        for n in labels
    ]  # fmt: skip
    cold = [
        StartResult(name=OWN, ms=900, ratio=None),
        StartResult(name="outlines", ms=4000, ratio=estimate(4)),
    ]
    return ClassifyRun(
        setting=made_up_setting(commit=commit, load_average=load),
        comparisons=comparisons,
        starts=ColdStarts(task="a text", n=2, results=cold, unavailable={}) if starts else None,
        skipped=[],
        seconds=600,
    )  # fmt: skip


def test_the_section_says_where_a_peer_wins():
    section = classify_report.section(made_up_run())
    assert "### One of 8 labels" in section
    assert "### One of 77 labels" in section
    assert (
        f"**Faster than edgeslm: {TUNED} (0.50 × [0.40, 0.60]), "
        "transformers (0.95 × [0.85, 1.05], within the noise).**"
    ) in section
    assert "**Right more often than edgeslm (60%): transformers (70%)**" in section
    assert "None is faster than edgeslm." in section  # of cold starts
    assert "- guidance: not available: no wheel" in section
    assert "| outlines | 4.00 s | 4.00 × [3.90, 4.10] |" in section
    assert "Busy machine" not in section
    for table in re.findall(r"(?:^\|.*\|\n)+", section, flags=re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_a_busy_machine_is_named():
    assert "**Busy machine**" in classify_report.section(made_up_run(load=3.0))
    assert not classify_report.busy(made_up_run(load=None).setting)


def test_without_a_run_there_is_no_section():
    assert classify_report.section(None) == ""


def test_a_run_is_sound_and_survives_its_json():
    run = made_up_run()
    assert run.sound
    assert not made_up_run(valid=9).sound
    assert ClassifyRun.model_validate_json(run.model_dump_json()) == run


def test_parts_of_the_same_code_add_up_and_others_do_not():
    before = made_up_run(labels=(8,))
    both = classify.completed(made_up_run(labels=(77,), starts=False), before)
    assert [c.labels for c in both.comparisons] == [8, 77]
    assert both.starts == before.starts
    assert both.seconds == 1200
    other = made_up_run(labels=(77,), starts=False, commit="def5678")
    assert classify.completed(other, before) == other


# --- the plot ---------------------------------------------------------------------


def test_the_plot_is_whole_and_the_fastest_stands_first():
    drawn = plot.drawn([("<a> & b", [("slow", 2000.0), (OWN, 100.0)]), ("c", [("x", 5.0)])])
    root = ElementTree.fromstring(drawn)
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["<a> & b", OWN, "100 ms", "slow", "2.00 s", "c", "x", "5 ms"]
    widths = [float(bar.get("width")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[1] == pytest.approx(20 * widths[0], rel=0.05)
    height = float(root.get("viewBox").split()[3])
    assert all(float(t.get("y")) < height for t in root.iter("{http://www.w3.org/2000/svg}text"))


# --- the command ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["extract", "decode", "classify", "batches", "contention"]),
        (["--only", "classify,extract"], ["extract", "classify"]),
    ],
)
def test_all_parts_run_one_after_the_other(monkeypatch, arguments, expected):
    asked = []
    commands = {id(getattr(whole, name).main): name for name in whole.PARTS}
    monkeypatch.setattr(
        whole, "_run", lambda command, *options: asked.append((commands[id(command)], options))
    )
    whole.main.main(args=["--quick", *arguments], standalone_mode=False)
    assert [name for name, _ in asked] == expected
    assert all("--quick" in options for _, options in asked)
