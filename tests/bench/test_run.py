"""A whole run: which parts it has, in what order, and what an interrupt leaves of it"""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from edgeslm.bench import run as bench
from edgeslm.bench.report.schema import BenchReport, Energy, Footprint, RawTest, Start
from edgeslm.bench.run import Options, Target, run
from edgeslm.errors import InputError, MachineError, ModelFileError
from edgeslm.formats.card import Card
from tests.helpers import bench as bench_help
from tests.helpers import tiny_onnx
from tests.helpers.tiny_gguf import write_tiny_gguf

LABELS = ("billing", "refund")
QUICK = Options(quick=True, requests=2, threads=(1,))


def card(expected):
    examples = [{"input": "where is my money", "expected": expected}]
    task = {"kind": "classify", "labels": list(LABELS)}
    fields = {"name": "sorter", "licence": "MIT", "task": task, "examples": examples}
    return Card.from_dict(fields, where="test")


@pytest.fixture(scope="module")
def sorter(tmp_path_factory):
    """A model whose answer to its example is the one that its card expects, and its file."""
    folder = tmp_path_factory.mktemp("bench")
    path = write_tiny_gguf(folder / "sorter.gguf", card=card(LABELS[0]))
    from edgeslm.models.load import load

    with load(path, threads=1) as model:
        said = model.classifier()("where is my money").label
    return write_tiny_gguf(folder / "sorter.gguf", card=card(said)), said


@pytest.fixture
def parts(monkeypatch):
    """The slow parts at once, and the order in which they were asked for."""
    asked = []

    def instead(module, name, result):
        def part(*_, **__):
            asked.append(name)
            return result

        monkeypatch.setattr(module, name, part)

    monkeypatch.setattr(bench.facts, "machine_facts", lambda: bench_help.machine(gpus=()))
    instead(
        bench.start, "measure", Start(cold=(), dropped=None, warm_load=(), restored_prefix=None)
    )
    instead(bench, "footprint", Footprint(rss=1, vram=None, file=1))
    monkeypatch.setattr(bench.energy, "open_meter", no_meter)
    return asked


@contextmanager
def no_meter(*, gpu):
    yield "this machine tells nothing"


def only(target, options=QUICK, **more):
    [report] = run([target], options, **more)
    return report


def of(path, **more):
    return Target("sorter", path, **more)


def test_a_run_has_its_parts_and_is_valid(sorter, parts):
    ticks = []
    report = only(
        of(sorter[0]), command=("edgeslm", "bench"), progress=lambda *tick: ticks.append(tick)
    )
    assert [task.prefix_cache for task in report.tasks] == [True, False]
    assert [len(task.milliseconds) for task in report.tasks] == [2, 5]
    assert [task.threads for task in report.tasks] == [1, 1]
    assert report.correctness.valid
    assert (report.correctness.checked, report.correctness.right) == (1, 1)
    assert [test.test for test in report.raw] == ["pp512", "tg128"]
    assert (report.footprint.rss, report.load, report.sustained) == (1, (), ())
    assert report.notes == ("energy is not available: this machine tells nothing",)
    assert (report.inputs, report.partial) == (
        "the card's examples and invented messages",
        False,
    )
    assert (report.model.name, report.model.task) == ("sorter", "classify")
    assert parts == ["measure", "footprint"]
    assert ("requests, prefix cache on", 3, 3) in ticks
    assert BenchReport.model_validate_json(report.model_dump_json()) == report


def test_a_baseline_of_another_machine_is_refused_before_anything_is_measured(sorter, parts):
    before = bench_help.report(machine=bench_help.machine(fingerprint="other"))
    ticks = []
    with pytest.raises(InputError, match=r"another machine.*another model.*other inputs"):
        only(
            of(sorter[0]),
            replace(QUICK, baseline=before),
            progress=lambda *tick: ticks.append(tick[0]),
        )
    assert (parts, ticks) == ([], ["machine"])


def test_another_answer_than_the_cards_makes_it_invalid(sorter, parts, tmp_path):
    _, said = sorter
    wrong = next(label for label in LABELS if label != said)
    other = write_tiny_gguf(tmp_path / "m.gguf", card=card(wrong))
    correctness = only(of(other)).correctness
    assert (correctness.valid, correctness.right) == (False, 0)


HEADS = {
    "kind": "tag",
    "heads": [
        {"name": "topic", "labels": ["refund", "billing"]},
        {"name": "flags", "labels": ["angry", "urgent"], "multi_label": True, "threshold": 0.6},
    ],
}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"kind": "classify", "labels": ["refund", "billing"]}, "refund"),
        (HEADS, {"topic": "refund", "flags": ["angry"]}),
    ],
)
def test_an_encoder_has_no_prefix_and_no_engine_tests(parts, tmp_path, task, expected):
    examples = [{"input": "refund angry", "expected": expected}]
    promise = tiny_onnx.card(task=task, examples=examples)
    words = ["refund", "billing", "angry", "urgent"]
    path = tiny_onnx.write_tiny_onnx(tmp_path / "m.onnx", promise, words=words, max_tokens=128)
    report = only(Target("m", path))
    assert [(task.prefix_cache, len(task.milliseconds)) for task in report.tasks] == [(False, 2)]
    assert report.tasks[0].between_tokens is None
    assert report.correctness.valid
    assert (report.raw, report.model.architecture) == ((), "encoder")
    assert report.model.parameters is None


def test_random_weights_are_not_judged(sorter, parts):
    report = only(of(sorter[0], synthetic=True))
    assert report.correctness is None
    assert report.model.synthetic
    assert any("mean nothing" in note for note in report.notes)


def test_load_is_measured_where_it_was_asked_for(sorter, parts, monkeypatch):
    monkeypatch.setattr(bench, "_QUICK", bench.replace(bench._QUICK, seconds=0, repetitions=1))
    options = Options(quick=True, requests=2, threads=(1, 2), busy=1, concurrency=3, sustained=0.01)
    report = only(of(sorter[0]), options)
    conditions = [(point.busy, point.callers, point.threads) for point in report.load]
    assert [each[:2] for each in conditions] == [
        *((0, 1), (1, 1)),
        *((0, 1), (0, 2), (0, 3)),
        *((0, 1), (0, 1)),
    ]
    assert [each[2] for each in conditions[-2:]] == [1, 2]
    assert report.sustained


def test_energy_is_what_the_meter_counted(sorter, parts, monkeypatch):
    energy = Energy(joules=bench_help.measured(2.0), source="rapl")

    @contextmanager
    def meter(*, gpu):
        yield object()  # only handed on

    def measure(request, meter, seconds):
        request(0)
        request(99)  # wherever the texts end
        return energy

    monkeypatch.setattr(bench.energy, "open_meter", meter)
    monkeypatch.setattr(bench.energy, "measure", measure)
    assert only(of(sorter[0])).energy == energy
    monkeypatch.setattr(bench.energy, "measure", lambda *_: None)
    assert any("too short" in note for note in only(of(sorter[0])).notes)


def test_a_llama_bench_result_is_laid_beside(sorter, parts):
    theirs = RawTest(
        n_prompt=512, n_gen=0, n_depth=0, n_threads=1, n_batch=0,
        avg_ts=1.0, stddev_ts=0.0, samples_ts=(),
    )  # fmt: skip

    def notes(*tests):
        return only(of(sorter[0]), bench.replace(QUICK, llama_bench=tests)).notes

    assert any(note.startswith("pp512: ") for note in notes(theirs))
    other = theirs.model_copy(update={"n_prompt": 7})
    assert "the llama-bench file has none of these tests" in notes(other)


def test_an_interrupt_keeps_what_is_finished(sorter, parts, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.start, "measure", interrupted)
    reports = list(run([of(sorter[0]), of(sorter[0])], QUICK))
    assert len(reports) == 1  # nothing is begun after it
    assert reports[0].partial
    assert len(reports[0].tasks) == 2
    assert reports[0].raw
    assert reports[0].footprint is None


def test_a_part_that_fails_leaves_the_others(sorter, parts, monkeypatch):
    path = sorter[0]

    def failing(*_, **__):
        raise MachineError(f"{path}: the child ended with signal 9")

    monkeypatch.setattr(bench.start, "measure", failing)
    report = only(of(path))
    assert (report.start, report.partial) == (None, False)
    assert report.tasks and report.raw and report.footprint
    name = path.name  # without its folder: a run is shared
    assert report.notes[0] == f"starts: not measured: {name}: the child ended with signal 9"


def test_an_interrupt_before_anything_is_none_of_ours(sorter, parts, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.facts, "machine_facts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run([of(sorter[0])], QUICK))


def test_what_cannot_be_run_is_an_error_before_anything_is_measured(sorter, parts, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    with pytest.raises(ModelFileError):
        only(of(bad))
    with pytest.raises(InputError, match="leave out --task"):
        only(of(sorter[0]), bench.replace(QUICK, task="extract"))
    assert parts == []


@pytest.mark.real
def test_the_real_model_is_measured(real_model, parts):
    report = only(Target("real", real_model), Options(quick=True, requests=1))
    assert report.tasks[0].tokens_per_answer > 10
    assert report.tasks[0].between_tokens.value > 0
    assert report.correctness.invalid == 0
    assert report.raw[0].avg_ts > report.raw[1].avg_ts  # a prompt is faster than an answer
