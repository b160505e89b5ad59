"""Known inputs: what training texts decide beside a model, and files that say nonsense of them"""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.errors import CardError
from edgeslm.formats.onnx.known_inputs import known_inputs, read_known, text_hash

SHARES = np.array([0.7, 0.2, 0.1])
KNOWN = known_inputs(
    [("Tesco store", 1, 8), ("tesco  STORE", 2, 1), ("shell", 0, 2)], prior_rows=2.0
)


def test_rows_of_a_text_and_the_models_answer_are_added_up():
    posterior = KNOWN.posterior("TESCO store ", SHARES)
    np.testing.assert_allclose(posterior, (np.array([0, 8, 1]) + 2 * SHARES) / 11)
    np.testing.assert_allclose(KNOWN.posterior("shell", SHARES), [3.4 / 4, 0.4 / 4, 0.2 / 4])


def test_of_another_text_nothing_is_known():
    assert KNOWN.posterior("tesco", SHARES) is None
    assert KNOWN.posterior("", SHARES) is None


def test_case_and_white_space_are_no_other_text():
    assert text_hash(" Straße\t1 ") == text_hash("STRASSE 1")
    assert text_hash("a b") != text_hash("ab")
    assert text_hash("\ud800")  # no valid Unicode, which a program may hand over


@given(
    st.lists(st.tuples(st.text(max_size=5), st.integers(0, 4), st.integers(1, 10**6)), max_size=30),
    st.floats(0.01, 1000),
)
def test_what_is_written_is_read_again(counted, prior):
    known = known_inputs(counted, prior_rows=prior)
    assert read_known(known.to_json(), 5, where="x") == known
    shares = np.full(5, 0.2)
    for text, label, _ in counted:
        posterior = known.posterior(text, shares)
        assert posterior is not None
        assert posterior.sum() == pytest.approx(1)
        rows = sum(
            n for other, own, n in counted if (text_hash(other), own) == (text_hash(text), label)
        )
        everything = sum(n for other, _, n in counted if text_hash(other) == text_hash(text))
        assert posterior[label] == pytest.approx((rows + prior / 5) / (everything + prior))


GOOD = {"format": 1, "prior_rows": 2, "texts": {"a": [0, 1, 2, 9]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 3}, "format must be one of 1, 2"),
        ({"format": True}, "format must be one of 1, 2"),
        ({"more": 1}, "its keys"),
        ({"prior_rows": 0}, "prior_rows"),
        ({"prior_rows": True}, "prior_rows"),
        ({"prior_rows": float("nan")}, "prior_rows"),
        ({"prior_rows": float("inf")}, "prior_rows"),
        ({"texts": [1]}, "texts must be an object"),
        ({"texts": {"a": {}}}, "at 'a'"),
        ({"texts": {"a": []}}, "at 'a'"),
        ({"texts": {"a": [0]}}, "at 'a'"),
        ({"texts": {"a": [0, 1, 0, 1]}}, "each once"),
        ({"texts": {"a": [3, 1]}}, "0 to 2"),
        ({"texts": {"a": [-1, 1]}}, "0 to 2"),
        ({"texts": {"a": [0, 0]}}, "a count"),
        ({"texts": {"a": [0, 1.5]}}, "a count"),
        ({"texts": {"a": [0, True]}}, "a count"),
        ({"texts": {"a": [0, 10**10]}}, "a count"),
        ({"texts": {"a" * 99: "01"}}, "at 'aaaaaaaaaaaaaaaaaaaa'"),
    ],
)
def test_what_says_nonsense_is_one_clear_error(change, words):
    read_known(json.dumps(GOOD), 3, where="x.onnx")
    with pytest.raises(CardError, match=words) as caught:
        read_known(json.dumps({**GOOD, **change}), 3, where="x.onnx")
    assert str(caught.value).startswith("x.onnx: edgeslm.known: ")


@pytest.mark.parametrize("text", ["", "[", "null", "[" * 100_000, '{"format": ' + "1" * 9999 + "}"])
def test_what_is_no_json_is_one_clear_error(text):
    with pytest.raises(CardError, match=r"x\.onnx: edgeslm\.known"):
        read_known(text, 3, where="x.onnx")


def test_a_file_of_the_first_format_keeps_what_it_knows():
    text = "Ｃａｆｅ\u0301 Ni\u00adce"
    old = json.dumps({"format": 1, "prior_rows": 2.0, "texts": {text_hash(text, 1): [0, 3]}})
    known = read_known(old, 2, where="old.onnx")
    assert known.knows(text) and known.knows(text.upper())
    assert not known.knows("Café Nice")  # its hashes do not say what else the text was
    assert read_known(known.to_json(), 2, where="again").format == 1


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_what_is_known_is_known_in_all_forms_of_its_characters(form):
    known = known_inputs([("Ｃａｆé 서울 nice", 0, 1)], prior_rows=1.0)
    assert known.knows(unicodedata.normalize(form, "cafe\u0301 서울 ni\u00adce"))
