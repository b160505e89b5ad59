"""Cascades: who answers and why, what happens offline or late, batches, and threads."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.errors import (
    CalibrationError,
    CancelledError,
    DeadlineError,
    InputError,
    InputTooLongError,
    ModelNotFoundError,
)
from edgeslm.formats.card import Card
from edgeslm.models.cascade.cascade import Cascade
from edgeslm.models.gguf import GgufModel
from edgeslm.results import Classification, Timing
from edgeslm.testing import ScriptedEngine

TIMING = Timing(1.0, 0.0, 1.5, 3, 0, 0, 1)


def said(label, confidence):
    return Classification(label, confidence, {label: confidence}, TIMING)


class Member:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, label="a", confidence=0.99, error=None, takes_ms=0.0):
        self.asked = []
        self._outcome = error or said(label, confidence)
        self._takes_ms = takes_ms

    def __call__(self, text):
        self.asked.append(text)
        time.sleep(self._takes_ms / 1000)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Mapper(Member):
    """One that answers many texts at once; a text that is a number is how sure it is."""

    def __call__(self, text):
        return self._one(text)

    def map(self, texts):
        self.asked.append(list(texts))
        for text in texts:
            try:
                yield self._one(text)
            except InputError as error:
                yield error

    def _one(self, text):
        if not text:
            raise InputError("empty")
        return said("mapped", float(text))


def refuse(_text):
    raise OSError("no route to host")


# --- who answers --------------------------------------------------------------


def test_the_first_member_that_is_sure_enough_answers_and_no_other_is_asked():
    unsure, sure, never = Member("a", 0.9), Member("b", 0.98), Member("c", 1.0)
    fallback = Member()
    answer = Cascade([unsure, sure, never], risk=0.02, fallback=fallback)("text")
    assert (answer.label, answer.confidence, answer.member) == ("b", 0.98, "Member #2")
    assert answer.reason == "sure"
    assert [(step.member, step.label, step.threshold) for step in answer.asked] == [
        ("Member", "a", 0.98),
        ("Member #2", "b", 0.98),
    ]
    assert not never.asked
    assert not fallback.asked


def test_where_nobody_is_sure_the_best_local_answer_is_marked():
    answer = Cascade([Member("a", 0.7), Member("b", 0.6)])("text")
    assert (answer.label, answer.reason, answer.member) == ("a", "unsure", "Member")


def test_of_answers_that_are_as_sure_the_later_member_has_it():
    assert Cascade([Member("a", 0.7), Member("b", 0.7)])("text").label == "b"


@pytest.mark.parametrize("remote", [said("far", 0.8), "far"])
def test_a_fallback_answers_with_a_classification_or_a_label(remote):
    answer = Cascade([Member("a", 0.7)], fallback=lambda _text: remote)("text")
    assert (answer.label, answer.reason, answer.member) == ("far", "fallback", "fallback")
    assert answer.confidence == (None if isinstance(remote, str) else 0.8)


@pytest.mark.parametrize("fallback", [refuse, lambda _text: None, lambda text: text.nothing])
def test_a_fallback_that_fails_leaves_the_best_local_answer(fallback):
    answer = Cascade([Member("a", 0.7), Member("b", 0.6)], fallback=fallback)("text")
    assert (answer.label, answer.reason, answer.member) == ("a", "fallback failed", "Member")
    assert answer.asked[-1].member == "fallback"
    assert answer.asked[-1].error


def test_the_reason_why_a_fallback_failed_is_there_to_read():
    answer = Cascade([Member("a", 0.7)], fallback=refuse)("text")
    assert answer.to_dict()["asked"][-1]["error"] == "OSError: no route to host"
    assert json.loads(json.dumps(answer.to_dict()))["reason"] == "fallback failed"


def test_a_member_that_cannot_answer_is_passed_over():
    short = Member(error=InputTooLongError("129 tokens", tokens=129, limit=128))
    answer = Cascade([short, Member("b", 0.99)])("long text")
    assert (answer.label, answer.reason) == ("b", "sure")
    assert answer.asked[0].error == "129 tokens"


def test_where_nobody_can_answer_the_first_error_is_raised():
    first, second = Member(error=InputError("empty")), Member(error=InputError("also"))
    with pytest.raises(InputError, match="empty"):
        Cascade([first, second], fallback=refuse)("")


def test_a_fallback_answers_what_no_member_can():
    answer = Cascade([Member(error=InputError("too odd"))], fallback=lambda _text: "far")("text")
    assert (answer.label, answer.reason) == ("far", "fallback")


def test_a_cancelled_call_asks_nobody_else():
    other = Member()
    with pytest.raises(CancelledError):
        Cascade([Member(error=CancelledError("stop")), other])("text")
    assert not other.asked


def test_a_confidence_that_is_no_number_is_never_enough():
    answer = Cascade([Member("a", float("nan")), Member("b", 0.1)])("text")
    assert answer.reason == "unsure"


def test_time_is_counted_for_each_member_and_in_all():
    answer = Cascade([Member("a", 0.5, takes_ms=20), Member("b", 0.99, takes_ms=10)])("text")
    assert answer.asked[0].ms >= 19
    assert answer.total_ms >= sum(step.ms for step in answer.asked) >= 29


# --- deadlines ----------------------------------------------------------------


def test_a_fallback_that_hangs_is_left_behind_at_the_deadline():
    release = threading.Event()
    start = time.perf_counter()
    cascade = Cascade([Member("a", 0.7)], fallback=lambda _text: release.wait(30))
    answer = cascade("text", deadline_ms=60)
    release.set()
    assert time.perf_counter() - start < 5
    assert (answer.label, answer.reason) == ("a", "deadline")
    assert "did not answer within" in answer.asked[-1].error


def test_nobody_is_asked_after_the_deadline():
    late, other, fallback = Member("a", 0.5, takes_ms=500), Member(), Member()
    cascade = Cascade([Member("c", 0.6), late, other], fallback=fallback)
    answer = cascade("text", deadline_ms=100)
    assert (answer.label, answer.reason) == ("c", "deadline")
    assert not other.asked
    assert not fallback.asked


def test_a_last_member_that_is_late_leaves_the_answer_before_it_marked_so():
    cascade = Cascade([Member("a", 0.5), Member("b", takes_ms=500)])
    answer = cascade("text", deadline_ms=100)
    assert (answer.label, answer.reason) == ("a", "deadline")
    [mapped] = cascade.map(["text"], deadline_ms=100)
    assert (mapped.label, mapped.reason) == ("a", "deadline")


def test_a_members_own_deadline_is_not_that_of_the_call():
    late = Member(error=DeadlineError("of its own"))
    answer = Cascade([Member("a", 0.5), late], fallback=lambda _: "far")("x", deadline_ms=60_000)
    assert (answer.label, answer.reason) == ("far", "fallback")


def test_a_deadline_before_any_answer_is_an_error():
    with pytest.raises(DeadlineError, match="20 ms"):
        Cascade([Member(takes_ms=500)])("text", deadline_ms=20)


def test_members_are_told_how_much_time_is_left():
    given = []

    def member(_text, *, deadline_ms=None):
        given.append(deadline_ms)
        return said("a", 0.5)

    Cascade([Member("b", 0.5, takes_ms=30), member])("text", deadline_ms=10_000)
    Cascade([member])("text")
    assert 9_000 < given[0] < 9_971
    assert given[1] is None


# --- what may be a member -----------------------------------------------------


def test_loaded_models_are_members_by_their_cards_name():
    card = {"name": "tickets", "licence": "mit", "task": {"kind": "classify", "labels": ["a", "b"]}}
    with GgufModel(ScriptedEngine("a"), Card.from_dict(card, where="here")) as model:
        cascade = Cascade([model, Member("b", 0.99)])
        assert cascade.members == ("tickets 1", "Member")
        assert cascade("text").label == "a"
        cascade.close()  # frees only what it loaded itself
        assert cascade("text").label == "a"


def test_a_name_that_is_none_is_the_error_of_load():
    with pytest.raises(ModelNotFoundError):
        Cascade(["no-such-model-anywhere"])


@pytest.mark.parametrize("members", [[], "name", [42]])
def test_what_is_no_member_is_refused(members):
    with pytest.raises(CalibrationError, match="member"):
        Cascade(members)


# --- many texts ---------------------------------------------------------------


@given(
    texts=st.lists(st.sampled_from(["", "0.1", "0.5", "0.97", "0.98", "1.0"]), max_size=12),
    width=st.integers(1, 5),
)
@settings(deadline=None, max_examples=60)
def test_map_answers_as_single_calls_do(texts, width):
    def plain(text):
        if text == "0.1":
            raise InputError("odd")
        return said("plain", 0.99 if text == "0.5" else 0.3)

    cascade = Cascade(
        [Mapper(), plain], fallback=lambda text: f"far {text}" if text else refuse("")
    )
    together = list(cascade.map(iter(texts), width=width))
    assert len(together) == len(texts)
    for text, mapped in zip(texts, together, strict=True):
        try:
            alone = cascade(text)
        except InputError as error:
            assert str(mapped) == str(error)
            continue
        assert (mapped.label, mapped.member, mapped.reason) == (
            alone.label,
            alone.member,
            alone.reason,
        )
        assert [step.label for step in mapped.asked] == [step.label for step in alone.asked]


def test_map_gives_a_member_only_what_is_left():
    first, second = Mapper(), Mapper()
    answers = list(Cascade([first, second]).map(["0.5", "0.99", "0.6", "1.0", "0.99"], width=4))
    assert first.asked == [["0.5", "0.99", "0.6", "1.0"], ["0.99"]]
    assert second.asked == [["0.5", "0.6"]]
    assert [answer.reason for answer in answers] == ["unsure", "sure", "unsure", "sure", "sure"]


def test_map_is_lazy():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield "1.0"

    answers = Cascade([Mapper()]).map(endless(), width=3)
    next(answers)
    assert len(taken) == 3


def test_map_leaves_behind_who_is_late_and_asks_nobody_after_the_deadline():
    release = threading.Event()

    class Hanging(Mapper):
        def map(self, texts):
            release.wait(30)
            yield from super().map(texts)

    first, other, fallback = Member("a", 0.5), Member(), Member()
    start = time.perf_counter()
    cascade = Cascade([first, Hanging(), other], fallback=fallback)
    answers = list(cascade.map(["0.1", "0.2", "0.3"], deadline_ms=200))
    release.set()
    assert time.perf_counter() - start < 5
    assert [(answer.label, answer.reason) for answer in answers] == [("a", "deadline")] * 3
    assert "did not answer within" in answers[0].asked[1].error
    assert not other.asked
    assert not fallback.asked


def test_map_spends_one_budget_on_texts_taken_together():
    slow = Member("a", 0.5, takes_ms=150)
    answers = list(Cascade([slow]).map(["x"] * 4, width=4, deadline_ms=200))
    assert [type(answer).__name__ for answer in answers[2:]] == ["DeadlineError"] * 2
    assert answers[0].label == "a"
    assert len(slow.asked) <= 2


def test_map_tells_members_how_much_time_is_left():
    given = []

    class Told(Mapper):
        def map(self, texts, *, deadline_ms=None):
            given.append(deadline_ms)
            return super().map(texts)

    cascade = Cascade([Member("b", 0.5, takes_ms=30), Told()])
    assert [one.label for one in cascade.map(["0.99"], deadline_ms=10_000)] == ["mapped"]
    list(cascade.map(["0.99"]))
    assert 9_000 < given[0] < 9_971
    assert given[1] is None


def test_what_the_caller_does_between_answers_costs_no_answer_time():
    fallback_asked = []

    def fallback(text):
        fallback_asked.append(text)
        return "far"

    cascade = Cascade([Member("a", 0.5)], fallback=fallback)
    answers = cascade.map(["x", "y"], deadline_ms=300)
    assert next(answers).reason == "fallback"
    time.sleep(0.4)
    late = next(answers)
    assert late.reason == "fallback"
    assert late.total_ms < 300


def test_threads_share_a_cascade():
    cascade = Cascade([Mapper()], fallback=lambda text: f"far {text}")
    texts = [f"{i / 1000}" for i in range(0, 1000, 5)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(cascade, texts))
    expected = ["mapped" if float(text) >= 0.98 else f"far {text}" for text in texts]
    assert [answer.label for answer in answers] == expected
