"""A chain's sums are those over all of its paths, one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.tasks.reading.chain import Chain, _LogSums


def paths(scores, transitions, begin):
    """Each path with its weight."""
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        score = begin[path[0]] + sum(scores[at, tag] for at, tag in enumerate(path))
        score += sum(transitions[a, b] for a, b in itertools.pairwise(path))
        yield path, np.exp(score)


@st.composite
def chains(draw):
    units = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    scores = random.normal(size=(units, 3)) * draw(st.sampled_from([0.1, 2.0, 20.0]))
    transitions, begin = random.normal(size=(3, 3)), random.normal(size=3)
    transitions[0, 2] = begin[2] = -1e4  # an inner tag stands behind its first one alone
    return scores, transitions, begin


@given(chains())
def test_the_best_path_is_the_one_of_most_weight(chain):
    best = max(paths(*chain), key=lambda item: item[1])[0]
    assert tuple(Chain(*chain).best()) == best


@given(chains(), st.data())
def test_a_segment_is_as_likely_as_the_paths_that_have_it(chain, data):
    units = len(chain[0])
    start = data.draw(st.integers(0, units - 1))
    end = data.draw(st.integers(start + 1, units))
    wanted = [1] + [2] * (end - start - 1)
    total = sum(weight for _, weight in paths(*chain))
    having = sum(
        weight
        for path, weight in paths(*chain)
        if list(path[start:end]) == wanted and (end == units or path[end] != 2)
    )
    assert Chain(*chain).segment(start, end, 1, 2) == pytest.approx(having / total, abs=1e-9)


@given(chains())
def test_no_unit_has_a_tag_as_often_as_in_all_paths(chain):
    total = sum(weight for _, weight in paths(*chain))
    without = sum(weight for path, weight in paths(*chain) if 1 not in path)
    assert Chain(*chain).without(1) == pytest.approx(without / total, abs=1e-9)


@pytest.mark.parametrize("apart", [1.0, 300.0, 3000.0, 1e6])
@given(chains(), st.integers(1, 60))
def test_scores_far_apart_have_the_shares_of_any_others(apart, chain, copies):
    """Sums that vanish are no numbers: they were certainties."""
    scores, transitions, begin = chain
    scores = np.tile(scores, (copies, 1)) * apart
    own, units = Chain(scores, transitions, begin), len(scores)
    shares = [own.without(1), *(own.segment(at, at + 1, 1, 2) for at in range(units))]
    assert all(0 <= share <= 1 + 1e-9 for share in shares)


@given(chains())
def test_sums_in_logarithms_are_the_same(chain):
    own, logs = Chain(*chain), _LogSums(*chain)
    assert logs.without(1) == pytest.approx(own.without(1), abs=1e-9)
    for start in range(len(chain[0])):
        for end in range(start + 1, len(chain[0]) + 1):
            assert logs.segment(start, end, 1, 2) == pytest.approx(
                own.segment(start, end, 1, 2), abs=1e-9
            )


def test_a_forbidden_tag_that_is_forced_all_the_same_is_no_certainty():
    """Each path is forbidden by 1,000: their sums vanish, their shares do not."""
    scores = np.zeros((3, 3))
    scores[:, 1] = -1000
    scores[:, 2] = 20_000
    transitions, begin = np.zeros((3, 3)), np.zeros(3)
    transitions[0, 2] = begin[2] = -1e4
    chain = Chain(scores, transitions, begin)
    assert chain.best().tolist() == [2, 2, 2]
    assert chain.segment(0, 3, 1, 2) == pytest.approx(0.0)
    assert chain.without(1) == pytest.approx(1.0)


def test_a_long_chain_neither_overflows_nor_vanishes():
    random = np.random.default_rng(1)
    chain = Chain(random.normal(size=(4000, 5)) * 30, random.normal(size=(5, 5)), np.zeros(5))
    assert 0 <= chain.without(1) <= 1
    assert 0 <= chain.segment(1000, 1003, 1, 2) <= 1
