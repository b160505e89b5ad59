"""Fitting a cascade on held-out rows, and the file of its thresholds: kept, or refused."""

import json

import pytest

from edgeslm.errors import CalibrationError, CardError, EdgeslmError, InputError
from edgeslm.models.cascade.cascade import MAX_CASCADE_BYTES, Cascade
from tests.models.cascade.test_cascade import refuse, said


def weak(text):
    """Right for even numbers; sure of those that end in 0 to 5."""
    number = int(text)
    return said("even", 0.9 if number % 10 < 6 and number % 2 == 0 else 0.4)


def strong(text):
    return said("even" if int(text) % 2 == 0 else "odd", 0.8)


def rows(n=1200):
    return [(str(i), "even" if i % 2 == 0 else "odd") for i in range(n)]


def test_fitted_thresholds_keep_the_risk_and_leave_the_rest_to_the_stronger():
    cascade = Cascade.fit([weak, strong], rows(), risk=0.02, confidence=0.95)
    assert cascade.members == ("weak", "strong")
    assert cascade.thresholds == (0.9, 0.8)
    assert cascade.bound.coverage == 1.0
    assert cascade("4").member == "weak"
    assert cascade("7").member == "strong"
    assert cascade("7").reason == "sure"


def test_rows_a_member_cannot_answer_count_as_its_errors():
    def picky(text):
        if int(text) % 2:
            raise InputError("odd")
        return said("even", 0.9)

    cascade = Cascade.fit([picky], rows())
    assert cascade.thresholds == (0.9,)
    assert 0.4 < cascade.bound.coverage < 0.6


def test_rows_that_prove_nothing_are_refused():
    with pytest.raises(CalibrationError, match="do not prove"):
        Cascade.fit([weak], rows(40))
    with pytest.raises(CalibrationError, match="at least two rows"):
        Cascade.fit([weak], [])
    with pytest.raises(CalibrationError, match="row 2 is no pair"):
        Cascade.fit([weak], [("1", "odd"), ("2", 2)])


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "cascade.json"
    fitted = Cascade.fit([weak, strong], rows())
    fitted.save(path)
    fitted.save(path)
    loaded = Cascade.load(path, [weak, strong], fallback=refuse)
    assert loaded.bound == fitted.bound
    assert loaded.thresholds == fitted.thresholds
    assert [file.name for file in tmp_path.iterdir()] == ["cascade.json"]


def test_thresholds_of_other_members_are_refused(tmp_path):
    path = tmp_path / "cascade.json"
    Cascade.fit([weak, strong], rows()).save(path)
    with pytest.raises(CardError, match="are of weak, strong, not of strong, weak"):
        Cascade.load(path, [strong, weak])


def test_nothing_fitted_is_nothing_to_save(tmp_path):
    with pytest.raises(CalibrationError, match="nothing was fitted"):
        Cascade([weak]).save(tmp_path / "cascade.json")


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"format": 1},
        {"members": ["weak"]},
        {"bound": {"thresholds": [1.5, 0.8]}},
        {"bound": {"method": "by hand"}},
        {"bound": {"wrong": 10**6}},
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, change):
    path = tmp_path / "cascade.json"
    Cascade.fit([weak, strong], rows()).save(path)
    content = json.loads(path.read_text())
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))
    with pytest.raises(CardError, match=r"cascade\.json"):
        Cascade.load(path, [weak, strong])


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 10_000, b" " * (MAX_CASCADE_BYTES + 1)])
def test_what_is_no_json_is_one_clear_error(tmp_path, raw):
    path = tmp_path / "cascade.json"
    path.write_bytes(raw)
    with pytest.raises(CardError, match=r"cascade\.json"):
        Cascade.load(path, [weak])


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(CardError, match="cannot be read"):
        Cascade.load(tmp_path / "none.json", [weak])


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "cascade.json"
    fitted = Cascade.fit([weak, strong], rows())
    fitted.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("edgeslm.models.cascade.cascade.publish", lambda *_paths: refuse(""))
    with pytest.raises(EdgeslmError, match="no route"):
        fitted.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["cascade.json"]
