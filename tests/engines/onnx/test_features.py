"""Features of a linear specialist: those of scikit-learn, number by number, and bounded input."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.engines.onnx.features import FeatureSpec, LinearFeatures, Terms
from edgeslm.errors import CardError

TEXTS = [
    "Where is my card? I ordered it two weeks ago",
    "the card the card THE CARD",
    "Überweisung fehlt seit gestern, bitte prüfen",
    "a b c I",
    "tabs\tand\nlines\r\n  and   more\u00a0blanks",
    "İstanbul ǅ ﬁ straße ΣΊΣΥΦΟΣ",
    "punctuation-only: !!! ??? ... don't e-mail a.b@c.de",
    "数字 १२३ 42 x2",
]

SPEC = FeatureSpec(
    documents=3,
    words=Terms(terms=("card", "my card"), frequencies=(2, 1)),
    letters=Terms(terms=(" c", "ca", "zz"), frequencies=(3, 2, 1)),
)


@pytest.fixture(scope="module")
def fitted():
    """scikit-learn's pair of vectorizers, and the spec of the same texts."""
    pytest.importorskip("sklearn", reason="the train extra is not installed")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    from converters.onnx.linear import fit_features

    pair = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    pair.fit(TEXTS)
    return pair, LinearFeatures(fit_features(TEXTS))


def dense(features, texts):
    ids, values = features(texts)
    table = np.zeros((len(texts), features.size))
    for row, own, weights in zip(table, ids, values, strict=True):
        np.add.at(row, own, weights)
    return table


def test_the_training_texts_have_scikit_learns_features(fitted):
    pair, features = fitted
    expected = pair.transform(TEXTS).toarray()
    assert features.size == expected.shape[1] > 300
    np.testing.assert_allclose(dense(features, TEXTS), expected, atol=1e-6)


@given(
    text=st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from([*" ".join(TEXTS).split(), "  ", "\n", "x"]), max_size=12).map(
            " ".join
        ),
    )
)
@settings(deadline=None, max_examples=300)
def test_any_text_has_scikit_learns_features(fitted, text):
    pair, features = fitted
    np.testing.assert_allclose(dense(features, [text]), pair.transform([text]).toarray(), atol=1e-6)


def test_rows_are_padded_with_nothing():
    ids, values = LinearFeatures(SPEC)(["my card", "none of it"])
    assert (ids.dtype, values.dtype) == (np.int64, np.float32)
    assert ids.shape == values.shape == (2, 4)
    assert values[1].tolist() == [0, 0, 0, 0]
    assert sorted(ids[0].tolist()) == [0, 1, 2, 3]
    assert np.linalg.norm(values[0, :2]) == pytest.approx(1)
    assert np.linalg.norm(values[0, 2:]) == pytest.approx(1)


def test_a_text_without_a_known_term_has_one_column_of_nothing():
    ids, values = LinearFeatures(SPEC)(["xyz"])
    assert (ids.tolist(), values.tolist()) == ([[0]], [[0.0]])
    assert LinearFeatures(SPEC)([])[0].shape == (0, 1)


def test_threads_share_features():
    features = LinearFeatures(SPEC)
    texts = [f"my card {i} card" for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda text: dense(features, [text])[0], texts))
    np.testing.assert_array_equal(np.array(rows), dense(features, texts))


def test_a_sentence_takes_less_than_a_millisecond(fitted):
    _, features = fitted
    text = " ".join(TEXTS[:3]) + " and so on until there are thirty words in this sentence here ok"
    times = []
    for _ in range(30):
        start = time.perf_counter()
        features([text])
        times.append(time.perf_counter() - start)
    assert min(times) < 0.001


def test_a_spec_is_the_same_after_json():
    assert FeatureSpec.from_json(SPEC.to_json(), where="here") == SPEC


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format must be 1"),
        ({"extra": 1}, "its keys"),
        ({"documents": 0}, "documents"),
        ({"documents": True}, "documents"),
        ({"documents": 1e9}, "documents"),
        ({"words": {"terms": ["a", "a"], "frequencies": [1, 1]}}, "words: .*given twice"),
        ({"words": {"terms": ["a"], "frequencies": []}}, "words: .*the same length"),
        ({"words": {"terms": ["a"]}}, "the keys of words"),
        ({"words": ["a"]}, "the keys of words"),
        ({"words": {"terms": "ab", "frequencies": [1, 1]}}, "words holds no lists"),
        ({"letters": {"terms": [""], "frequencies": [1]}}, "letters: .*1 to 1000 characters"),
        ({"letters": {"terms": [1], "frequencies": [1]}}, "letters: .*text"),
        ({"letters": {"terms": ["a"], "frequencies": [-1]}}, "letters: .*frequency"),
        ({"letters": {"terms": ["a"], "frequencies": ["1"]}}, "letters: .*frequency"),
        ({"letters": {"terms": ["a"], "frequencies": [4]}}, "from 0 to documents"),
    ],
)
def test_a_damaged_spec_is_one_clear_error(change, words):
    content = {**json.loads(SPEC.to_json()), **change}
    with pytest.raises(CardError, match=words) as caught:
        FeatureSpec.from_json(json.dumps(content), where="x.onnx")
    assert str(caught.value).startswith("x.onnx: edgeslm.features")


@pytest.mark.parametrize("text", ["", "[", "null", "[" * 100_000])
def test_what_is_no_json_is_one_clear_error(text):
    with pytest.raises(CardError, match=r"x\.onnx: edgeslm\.features"):
        FeatureSpec.from_json(text, where="x.onnx")
