"""What may stand beside an encoder in its file: features of a linear model, and known texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeslm.engines.onnx.features import FeatureSpec, Terms
from edgeslm.errors import CardError, EdgeslmError, ModelFileError
from edgeslm.formats.onnx.info import FEATURES_KEY, KNOWN_KEY
from edgeslm.formats.onnx.known_inputs import known_inputs
from edgeslm.models.onnx import open_onnx
from edgeslm.tasks.decision import softmax
from tests.helpers.tiny_onnx import (
    HEADS,
    KNOWN,
    LABELS,
    SCOPED,
    SPEC,
    WEIGHT,
    card,
    metadata,
    write_mixed_onnx,
)
from tests.helpers.tiny_onnx import encoder_model as graph_of
from tests.helpers.tiny_onnx import write_model as write


def test_an_encoder_and_features_answer_together(tmp_path: Path) -> None:
    with open_onnx(write_mixed_onnx(tmp_path / "x.onnx"), threads=1) as model:
        classify = model.classifier()
        said = [classify(text).label for text in ("the refund", "the PARCEL", "my bill")]
        both = classify("refund bill")
        mapped = [*classify.map(["the refund", "a parcel and so on, in more words", "bill bill"])]
    assert said == ["refund", "shipping", "billing"]
    wanted = softmax(np.array([WEIGHT / 4, 0, WEIGHT]))  # of four tokens one is known
    assert [*both.probabilities.values()] == pytest.approx([*wanted])
    assert [answer.label for answer in mapped] == said  # type: ignore[union-attr]


def test_a_known_text_has_the_shares_of_its_rows(tmp_path: Path) -> None:
    with open_onnx(write_mixed_onnx(tmp_path / "x.onnx"), threads=1) as model:
        classify = model.classifier()
        known, contradicted, other = map(classify, (" WHERE is  it?", "refund", "where is it"))
        mapped = [*classify.map(["where is it?", "refund", "where is it"])]
    assert known.label == "shipping"
    assert known.confidence == pytest.approx((9 + 2 / 3) / 11)
    own = softmax(np.array([WEIGHT / 3, 0, 0]))
    assert contradicted.label == "billing"
    assert contradicted.probabilities["refund"] == pytest.approx(2 * own[0] / 10)
    assert other.confidence == pytest.approx(1 / 3)
    for answer, wanted in zip(mapped, (known, contradicted, other), strict=True):
        assert answer.probabilities == pytest.approx(wanted.probabilities)  # type: ignore[union-attr]


def test_a_known_text_is_in_scope_however_odd_it_looks(tmp_path: Path) -> None:
    promise = card(task=SCOPED, calibration={"threshold": 0.9})
    known = known_inputs([("so and so", 0, 3), ("nothing", 2, 1)], prior_rows=0.5)
    properties = {**metadata(promise, ["a", "b", "oos"]), KNOWN_KEY: known.to_json()}
    path = write(tmp_path / "x.onnx", graph_of("abc", np.eye(3, dtype=np.float32)), properties)
    with open_onnx(path, threads=1) as model:
        said = [model.classifier()(text).label for text in ("so and so", "nothing", "so and such")]
    assert said == ["a", "oos", "oos"]


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"features": None}, ModelFileError, "its inputs are"),
        ({"features": "{}"}, CardError, "edgeslm.features: its keys"),
        (
            {
                "features": FeatureSpec(
                    9, Terms(("a", "b", "c"), (1, 1, 1)), Terms((), ())
                ).to_json()
            },
            ModelFileError,
            "what its tokenizer and feature list gives",
        ),
        ({"known": "[]"}, CardError, "edgeslm.known: its keys"),
        ({"known": known_inputs([("x", 3, 1)], prior_rows=1).to_json()}, CardError, "0 to 2"),
    ],
)
def test_what_does_not_fit_beside_an_encoder_is_refused(
    tmp_path: Path, changed: dict[str, str | None], error: type[EdgeslmError], says: str
) -> None:
    with pytest.raises(error, match=says):
        open_onnx(write_mixed_onnx(tmp_path / "x.onnx", **changed))


def test_features_without_their_inputs_are_refused(tmp_path: Path) -> None:
    properties = {**metadata(card(), LABELS), FEATURES_KEY: SPEC.to_json()}
    path = write(tmp_path / "x.onnx", graph_of(LABELS, np.eye(3, dtype=np.float32)), properties)
    with pytest.raises(ModelFileError, match="its inputs are"):
        open_onnx(path)


def test_texts_are_known_to_one_label_set(tmp_path: Path) -> None:
    properties = {**metadata(card(task=HEADS), "abcde"), KNOWN_KEY: KNOWN.to_json()}
    path = write(tmp_path / "x.onnx", graph_of("abcde", np.eye(5, dtype=np.float32)), properties)
    with pytest.raises(ModelFileError, match=r"edgeslm\.known, which is for one label set"):
        open_onnx(path)
