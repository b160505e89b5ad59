"""`edgeslm bench` from the outside: what it writes and shows, exit codes, Ctrl-C, wrong usage"""

import json

import pytest

from edgeslm.bench import run as bench
from edgeslm.bench.report.files import read
from edgeslm.cli.main import main
from tests.helpers.bench import report


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """`run` gives what is in this list; each call is noted in ``runs.calls``."""

    class Runs(list):
        calls = []  # noqa: RUF012  one for each test

    scripted = Runs()
    scripted.calls = []

    def run(targets, options, *, command, progress):
        scripted.calls.append((targets, options))
        for each in scripted:
            if isinstance(each, BaseException):
                raise each
            yield each

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("m.gguf", "n.gguf"):
        (tmp_path / name).write_bytes(b"not read")
    return scripted


def call(capsys, *arguments):
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as stop:
        main(["bench", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return stop.value.code, out, err


def invalid():
    made = report().correctness.model_copy(update={"valid": False, "reason": "2 are wrong"})
    return report(correctness=made)


def slower():
    """A run whose requests all take twice as long."""
    tasks = [
        task.model_copy(update={"milliseconds": tuple(2 * ms for ms in task.milliseconds)})
        for task in report().tasks
    ]
    return report(tasks=tasks)


# --- what comes out -----------------------------------------------------------


def test_without_a_terminal_each_model_is_a_line(runs, capsys):
    runs += [report(), report()]
    code, out, _ = call(capsys, "./m.gguf", "./n.gguf")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert lines == [report().model_dump(mode="json")] * 2
    [(targets, options)] = runs.calls
    assert [(target.name, target.synthetic) for target in targets] == [
        ("./m.gguf", False),
        ("./n.gguf", False),
    ]
    assert (options.quick, options.threads, options.llama_bench) == (False, (), ())


def test_a_run_is_saved_drawn_and_shared(runs, capsys, tmp_path):
    runs.append(report())
    code, out, _ = call(capsys, "./m.gguf", "--json", "r.json", "--html", "r.html", "--card")
    assert code == 0
    assert read(tmp_path / "r.json") == report()
    assert "<html" in (tmp_path / "r.html").read_text("utf-8")
    assert not out.startswith("{")
    assert len(out.splitlines()) == 5


def test_several_models_have_a_file_each(runs, capsys, tmp_path):
    named = [
        report(model=report().model.model_copy(update={"name": name}))
        for name in ("a/m.gguf", "synthetic llama-8b")
    ]
    runs += named
    assert call(capsys, "./m.gguf", "./n.gguf", "--json", "r.json")[0] == 0
    assert read(tmp_path / "r-m.gguf.json") == named[0]
    assert read(tmp_path / "r-synthetic-llama-8b.json") == named[1]
    assert not (tmp_path / "r.json").exists()


def test_options_reach_the_run(runs, capsys, tmp_path):
    (tmp_path / "lb.json").write_text(
        '[{"n_prompt":512,"n_gen":0,"n_threads":2,"avg_ts":4.0}]', "utf-8"
    )
    runs.append(report())
    call(
        capsys, "./m.gguf", "--quick", "--threads", "4,1,4", "--busy", "3", "--concurrency", "8",
        "--sustained", "0.5", "--seed", "7", "--requests", "9", "--task", "classify",
        "--min-score", "0.5", "--gpu-layers", "0", "--llama-bench", "lb.json", "--inputs", "x",
    )  # fmt: skip
    [(_, options)] = runs.calls
    assert (options.quick, options.threads, options.busy) == (True, (1, 4), 3)
    assert (options.concurrency, options.sustained, options.seed) == (8, 0.5, 7)
    assert (options.requests, options.task, options.min_score) == (9, "classify", 0.5)
    assert (options.gpu_layers, str(options.inputs)) == (0, "x")
    assert [test.test for test in options.llama_bench] == ["pp512"]


# --- exit codes ---------------------------------------------------------------


def test_wrong_answers_exit_with_3_and_are_still_saved(runs, capsys, tmp_path):
    runs.append(invalid())
    code, _, err = call(capsys, "./m.gguf", "--json", "r.json")
    assert code == 3
    assert "INVALID" in err
    assert "2 are wrong" in err
    assert not read(tmp_path / "r.json").correctness.valid


def test_a_slowdown_exits_with_1_but_wrong_answers_come_first(runs, capsys, tmp_path):
    (tmp_path / "before.json").write_text(report().model_dump_json(), "utf-8")
    runs.append(report())
    assert call(capsys, "./m.gguf", "--baseline", "before.json")[0] == 0
    runs[:] = [slower()]
    code, out, err = call(capsys, "./m.gguf", "--baseline", "before.json")
    assert (code, "SLOWER" in err) == (1, True)
    assert len(out.splitlines()) == 1  # the comparison is no part of the run
    assert call(capsys, "./m.gguf", "--baseline", "before.json", "--max-regression", "150%")[0] == 0
    runs[:] = [slower().model_copy(update={"correctness": invalid().correctness})]
    assert call(capsys, "./m.gguf", "--baseline", "before.json")[0] == 3


def test_the_run_is_held_to_its_baseline_unless_forced(runs, capsys, tmp_path):
    (tmp_path / "before.json").write_text(report().model_dump_json(), "utf-8")
    runs.append(report())
    assert call(capsys, "./m.gguf", "--baseline", "before.json")[0] == 0
    assert call(capsys, "./m.gguf", "--baseline", "before.json", "--force")[0] == 0
    assert [options.baseline for _, options in runs.calls] == [report(), None]


def test_a_baseline_without_a_gated_figure_is_refused_at_once(runs, capsys, tmp_path):
    nothing = report(tasks=(), raw=(), start=None, partial=True)
    (tmp_path / "before.json").write_text(nothing.model_dump_json(), "utf-8")
    code, _, err = call(capsys, "./m.gguf", "--baseline", "before.json")
    assert (code, "none of the figures" in err) == (4, True)
    assert runs.calls == []


def test_an_interrupt_saves_what_there_is_and_exits_with_130(runs, capsys, tmp_path):
    runs.append(report(partial=True))
    code, out, err = call(capsys, "./m.gguf", "--json", "r.json", "--html", "r.html")
    assert (code, "interrupted" in err) == (130, True)
    assert read(tmp_path / "r.json").partial
    assert (tmp_path / "r.html").is_file()
    assert len(out.splitlines()) == 1


def test_an_interrupt_of_a_later_model_keeps_the_first(runs, capsys):
    runs += [report(), KeyboardInterrupt()]
    code, out, _ = call(capsys, "./m.gguf", "./n.gguf")
    assert (code, len(out.splitlines())) == (130, 1)
    runs[:] = [KeyboardInterrupt()]
    assert call(capsys, "./m.gguf")[0] == 130


# --- wrong usage --------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a model"),
        (["./m.gguf", "--threads", "0"], 2, "write auto, or numbers"),
        (["./m.gguf", "--threads", "1,x"], 2, "write auto, or numbers"),
        (["./m.gguf", "./n.gguf", "--baseline", "b.json"], 2, "name one model"),
        (["./m.gguf", "--max-regression", "fast"], 4, "must be written like"),
        (["./m.gguf", "--baseline", "none.json"], 4, "cannot be read"),
        (["./m.gguf", "--llama-bench", "none.json"], 4, "cannot be read"),
        (["./m.gguf", "--json", "none/r.json"], 4, "no folder none"),
        (["--synthetic", "llama-9b"], 4, "llama-9b is no shape"),
        (["./none.gguf"], 12, "no such file"),
        (["unheard-of"], 12, "unheard-of"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_measured(runs, capsys, arguments, code, message):
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (code, "")
    assert message in err
    assert runs.calls == []


def test_compare_is_a_command_beside_names(runs, capsys, tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(report().model_dump_json(), "utf-8")
    code, out, _ = call(capsys, "compare", "a.json", "b.json")
    assert code == 0
    assert len(json.loads(out)["runs"]) == 2
    code, _, err = call(capsys, "compare", "a.json")
    assert (code, "at least two files" in err) == (2, True)
    assert runs.calls == []


def test_a_report_does_not_tell_where_the_program_lies(runs, capsys, monkeypatch):
    seen = []

    def run(targets, options, *, command, **_):
        seen.append(command)
        return [report()]

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr("sys.argv", ["/opt/tools/bin/edgeslm", "bench", "./m.gguf"])
    assert call(capsys, "./m.gguf")[0] == 0
    assert seen == [("edgeslm", "bench", "./m.gguf")]
