"""Calibration of fields: fitted on synthetic answers, written to the card, applied to answers"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeslm.cli.show
from edgeslm.cli.main import main
from edgeslm.errors import CardError
from edgeslm.formats.card import MAX_STEPS, Card, FieldCalibration
from edgeslm.models.gguf import GgufModel
from edgeslm.results import Field
from edgeslm.tasks.calibration import fit_field
from edgeslm.tasks.extraction.evidence import calibrated, field_of
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import PIECES
from tests.helpers.tiny_gguf import write_tiny_gguf

SCHEMA = {
    "properties": {"ok": {"type": "boolean"}, "word": {"type": "string", "maxLength": 4}},
    "required": ["ok", "word"],
}
FIT = {
    "starts": [0.0, 0.5],
    "values": [0.2, 0.7],
    "n": 60,
    "ece_before": 0.3,
    "ece_after": 0.1,
    "brier_before": 0.4,
    "brier_after": 0.2,
}


def card(**changes):
    data = {
        "name": "c",
        "licence": "mit",
        "task": {"kind": "extract", "json_schema": SCHEMA},
        "calibration": {"fields": {"$.ok": FIT, "$.word": FIT}},
        **changes,
    }
    return Card.from_dict(data, where="card.toml")


def overconfident(n: int, seed: int = 0):
    """Confidences near 1, of which the square's share is right."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.3, 1, n)
    return sure, rng.random(n) < sure**4, np.arange(n)


def test_the_error_falls_on_values_it_was_not_fitted_on():
    fit = fit_field(*overconfident(600))
    assert fit.ece_after < fit.ece_before / 3
    assert fit.brier_after < fit.brier_before
    sure, right, _ = overconfident(2000, seed=1)
    worth = np.array([fit.of(c) for c in sure])
    assert ((worth - right) ** 2).mean() < ((sure - right) ** 2).mean()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(50, 900), digits=st.integers(0, 6))
def test_whatever_was_seen_the_function_never_falls_and_stays_a_share(seed, n, digits):
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0, 1, n).round(digits)  # few digits make many ties
    fit = fit_field(sure, rng.random(n) < rng.random(n), range(n))
    if fit is not None:
        worth = [fit.of(c) for c in np.linspace(0, 1, 101)]
        assert worth == sorted(worth)
        assert all(0 <= w <= 1 for w in worth)
        assert len(fit.starts) <= MAX_STEPS


def test_with_too_little_data_a_field_stays_raw():
    sure, right, rows = overconfident(600)
    assert fit_field(sure[:49], right[:49], rows[:49]) is None
    assert fit_field(sure, right, rows % 49) is None  # many values, but of few rows
    assert fit_field(sure, np.ones(600, bool), rows) is None
    assert fit_field(sure, np.zeros(600, bool), rows) is None


def test_what_is_calibrated_already_is_mostly_left_alone():
    fits = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sure = rng.uniform(0, 1, 200)
        fits.append(fit_field(sure, rng.random(200) < sure, np.arange(200)))
    assert fits.count(None) >= 10
    assert all(fit.brier_after < fit.brier_before for fit in fits if fit is not None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"starts": [0.0]}, "the same length"),
        ({"starts": [0.5, 0.5]}, "starts must be strictly increasing"),
        ({"values": [0.7, 0.2]}, "values must not decrease"),
        ({"values": [0.2, 1.1]}, "values"),
        ({"values": [0.2, float("nan")]}, "values"),
        ({"starts": [i / 100 for i in range(51)], "values": [0.5] * 51}, "starts"),
    ],
)
def test_a_card_with_another_function_is_refused(change, says):
    with pytest.raises(CardError, match=says):
        card(calibration={"fields": {"$.ok": {**FIT, **change}}})


def test_a_step_holds_from_its_start_and_the_first_one_below():
    fit = FieldCalibration(**{**FIT, "starts": (0.3, 0.5)})
    assert [fit.of(c) for c in (0.0, 0.3, 0.49, 0.5, 1.0)] == [0.2, 0.2, 0.2, 0.7, 0.7]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("$.a", "$.a"),
        ("$.items[0].price", "$.items[*].price"),
        ("$[3][12]", "$[*][*]"),
        ("$['a[0]'][1]['it\\'s [2]']", "$['a[0]'][*]['it\\'s [2]']"),
    ],
)
def test_items_of_an_array_are_one_field(path, field):
    assert field_of(path) == field


def test_what_a_budget_cut_stays_at_nothing():
    fit = FieldCalibration(**FIT)
    corrected = calibrated(
        {"$[0]": Field(0.0, None), "$[1]": Field(0.6, (1, 2), 0.5)}, {"$[*]": fit}
    )
    assert corrected == {"$[0]": Field(0.0, None), "$[1]": Field(0.7, (1, 2), 0.5)}


def test_the_card_calibrates_its_own_schema_and_nothing_else():
    def answer(model_card, **call):
        extractor = call.pop("extractor", {})
        engine = ScriptedEngine('{"ok":true,"word":"ab"}', pieces=PIECES)
        return GgufModel(engine, model_card).extractor(**extractor)("ab", **call).fields

    fields, raw = answer(card()), answer(card(calibration=None))
    assert raw["$.ok"].confidence > 0.9
    assert {path: field.confidence for path, field in fields.items()} == {
        "$.ok": 0.7,
        "$.word": 0.7,
    }
    assert fields["$.ok"].probabilities == raw["$.ok"].probabilities
    assert fields["$.word"].span == raw["$.word"].span
    for other in ({"extractor": {"schema": SCHEMA}}, {"temperature": 1.0}, {"grounded": True}):
        assert answer(card(), **other) == answer(card(calibration=None), **other)


def test_show_names_the_fields_that_are_calibrated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(edgeslm.cli.show, "for_people", lambda _json=False: True)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["show", str(write_tiny_gguf(tmp_path / "c.gguf", card=card()))])
    out = " ".join(capsys.readouterr().out.split())
    assert "confidence of $.ok, $.word by the share that was right" in out
    assert "temperature" not in out
