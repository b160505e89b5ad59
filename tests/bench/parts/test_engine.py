"""The engine alone: what each test evaluates, and a llama-bench result beside it"""

import json
from pathlib import Path

import pytest

from edgeslm.bench.parts.engine import (
    DEPTH,
    MAX_BYTES,
    Agreement,
    Shape,
    agreement,
    measure,
    read_llama_bench,
    shapes,
)
from edgeslm.bench.report.schema import RawTest
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import InputError
from edgeslm.testing import ScriptedEngine

#: of `llama-bench -o json`, with some of the keys that it also has
THEIRS = {
    "build_commit": "abc",
    "model_filename": "m.gguf",
    "n_batch": 2048,
    "n_threads": 2,
    "n_prompt": 512,
    "n_gen": 0,
    "n_depth": 0,
    "avg_ns": 1,
    "avg_ts": 400.0,
    "stddev_ts": 4.0,
    "samples_ts": [396.0, 404.0],
}


def ours(n_prompt=512, n_gen=0, threads=2, avg=388.0):
    return RawTest(
        n_prompt=n_prompt,
        n_gen=n_gen,
        n_depth=0,
        n_threads=threads,
        n_batch=512,
        avg_ts=avg,
        stddev_ts=1.0,
        samples_ts=(avg,),
    )


def saved(tmp_path, text):
    file = tmp_path / "bench.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


# --- our tests ----------------------------------------------------------------


def test_the_tests_are_those_that_the_context_holds():
    assert [str(s) for s in shapes(100_000, depth=True)] == [
        str(s) for s in (Shape(512, 0), Shape(0, 128), Shape(512, 0, DEPTH), Shape(0, 128, DEPTH))
    ]
    assert shapes(100_000, depth=False) == (Shape(512, 0), Shape(0, 128))
    assert shapes(DEPTH + 128, depth=True)[-1] == Shape(0, 128, DEPTH)
    assert Shape(512, 0, DEPTH) not in shapes(DEPTH + 511, depth=True)
    assert shapes(127, depth=True) == ()


def test_a_prompt_comes_at_once_and_an_answer_one_by_one():
    engine = ScriptedEngine(batch_size=8)
    tests = (Shape(20, 0), Shape(0, 3), Shape(0, 2, 10))
    speeds = measure(engine, tests, threads=3, repetitions=2)
    sizes = [len(batch.tokens) for batch in engine.evaluated]
    first, second, third = 3 * [8, 8, 4], 3 * [1, 1, 1], [8, 2, *3 * [1, 1]]
    assert sizes == [*first, *second, *third]  # one of the three repetitions is the warm-up
    assert [test.test for test in speeds] == ["pp20", "tg3", "tg2 @ d10"]
    assert all(len(test.samples_ts) == 2 and test.n_threads == 3 for test in speeds)
    assert [batch.positions for batch in engine.evaluated[-2:]] == [[10], [11]]


def test_tokens_are_random_and_those_of_the_seed():
    def tokens(seed):
        engine = ScriptedEngine()
        measure(engine, [Shape(64, 0)], threads=1, repetitions=1, seed=seed)
        return [batch.tokens for batch in engine.evaluated]

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)
    assert tokens(1)[0] != tokens(1)[1]


def test_mean_and_deviation_are_those_of_the_samples():
    test = measure(ScriptedEngine(), [Shape(8, 0)], threads=1, repetitions=4)[0]
    mean = sum(test.samples_ts) / 4
    squares = sum((sample - mean) ** 2 for sample in test.samples_ts)
    assert test.avg_ts == pytest.approx(mean)
    assert test.stddev_ts == pytest.approx((squares / 3) ** 0.5)
    assert measure(ScriptedEngine(), [Shape(8, 0)], threads=1, repetitions=1)[0].stddev_ts == 0


def test_it_runs_on_llama_cpp(tiny_model):
    engine = LlamaEngine(tiny_model, threads=1)
    try:
        speeds = measure(engine, [Shape(16, 0), Shape(0, 4, 8)], threads=1, repetitions=1)
    finally:
        engine.close()
    assert all(test.avg_ts > 0 for test in speeds)


# --- theirs -------------------------------------------------------------------


def test_json_and_json_lines_are_read_alike(tmp_path):
    more = {**THEIRS, "n_prompt": 0, "n_gen": 128, "avg_ts": 50.0}
    as_list = read_llama_bench(saved(tmp_path, json.dumps([THEIRS, more], indent=2)))
    lines = "\n".join(map(json.dumps, [THEIRS, more])) + "\n"
    assert read_llama_bench(saved(tmp_path, lines)) == as_list
    assert [(test.test, test.avg_ts) for test in as_list] == [("pp512", 400.0), ("tg128", 50.0)]


def test_what_llama_bench_itself_wrote_is_read():
    prompt, answer = read_llama_bench(Path(__file__).with_name("llama_bench.json"))
    assert (prompt.test, prompt.n_threads, prompt.avg_ts) == ("pp512", 1, 7.661424)
    assert (answer.test, answer.n_depth, answer.stddev_ts) == ("tg128", 0, 1.961951)


def test_tests_of_prompt_and_answer_together_are_left_out(tmp_path):
    both = {**THEIRS, "n_gen": 128}
    assert read_llama_bench(saved(tmp_path, json.dumps([both]))) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON of `llama-bench -o json`"),
        (b"\xff\xfe", "not JSON"),
        ("[1]", "no llama-bench result"),
        (json.dumps([{**THEIRS, "avg_ts": 0}]), "at avg_ts"),
        (json.dumps([{**THEIRS, "avg_ts": "fast"}]), "at avg_ts"),
        ("[" * 100_000, "not JSON"),
        (b" " * (MAX_BYTES + 1), "larger than the 16,777,216 bytes"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_llama_bench(saved(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_llama_bench(tmp_path / "none.json")


def test_agreement_is_in_percent_of_theirs(tmp_path):
    theirs = read_llama_bench(saved(tmp_path, json.dumps([THEIRS])))
    agreements = agreement([ours(), ours(n_prompt=0, n_gen=128)], theirs)
    assert agreements == (Agreement("pp512", 388.0, 400.0, same_threads=True),)
    assert str(agreements[0]) == "pp512: 388.0 tokens/s, llama-bench 400.0: 97.0 % of it"


def test_of_several_results_the_one_with_our_threads_counts(tmp_path):
    more = {**THEIRS, "n_threads": 4, "avg_ts": 800.0}
    theirs = read_llama_bench(saved(tmp_path, json.dumps([THEIRS, more])))
    assert agreement([ours(threads=4)], theirs)[0].theirs == 800.0
    other = agreement([ours(threads=1)], theirs)[0]
    assert not other.same_threads
    assert str(other).endswith("with another number of threads")
