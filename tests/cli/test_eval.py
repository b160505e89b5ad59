"""`edgeslm eval` from the outside: JSON and tables, the bar's exit code, bad lines and files"""

import json
import re

import pytest
from click.testing import CliRunner

from edgeslm.cli import eval as command
from edgeslm.cli.main import cli
from edgeslm.errors import CardError, InputError
from edgeslm.models.gguf import GgufModel
from edgeslm.models.load import load
from edgeslm.testing import ScriptedEngine
from tests.evaluation.test_evaluate import (
    FIELDS,
    LABELS,
    TAG_ROWS,
    card,
    lines,
    sorter,
    tagger_file,
)
from tests.helpers.cli import use
from tests.helpers.tiny_onnx import write_mixed_onnx

GOLD = [{"input": "a refund", "answer": "refund"}, {"input": "the bill", "answer": "billing"}]


@pytest.fixture
def gold(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    use(monkeypatch, sorter)
    return lines(tmp_path / "gold.jsonl", *GOLD)


def run(*arguments):
    return CliRunner().invoke(cli, ["eval", "tried", *map(str, arguments)])


def people(monkeypatch):
    monkeypatch.setattr(command, "for_people", lambda _: True)


def test_one_json_line(gold):
    done = run(gold)
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert report["passed"] is True
    assert report["scores"]["accuracy"]["value"] == 1
    assert report["scores"]["labels"]["refund"]["right"]["n"] == 1
    assert report["latency"]["n"] == 2


def test_a_table_for_people(gold, tmp_path, monkeypatch):
    people(monkeypatch)
    other = lines(tmp_path / "other.jsonl", {"input": "a refund", "answer": "billing"})
    shown = run(gold, "--baseline", other, "--min-score", "0.9").stdout
    assert "tried 1 on gold.jsonl, n = 2" in shown
    assert "accuracy 100.0% [15.8%, 100.0%]" in shown
    assert "not enough evidence" in shown
    assert "other.jsonl: accuracy 0.0%" in shown
    assert "1 rows missing" in shown
    assert "difference +100.0 points" in shown
    assert "bar 90.0% (--min-score): reached" in shown


def test_a_table_of_fields(gold, tmp_path, monkeypatch):
    people(monkeypatch)
    answer = '{"shop":"[bold]","total":12}'
    use(monkeypatch, lambda: GgufModel(ScriptedEngine(answer, sharpness=40.0), card(FIELDS)))
    truth = {"shop": "[bold]", "total": 12}
    shown = run(lines(tmp_path / "g.jsonl", {"input": "x", "answer": truth})).stdout
    assert "whole record right 100.0%" in shown
    assert "number" in shown
    assert "\x1b" not in shown


def test_how_texts_are_compared_is_an_option_and_stands_in_the_report(gold, tmp_path, monkeypatch):
    answer = '{"shop":"NO 3 JALAN","total":12}'
    use(monkeypatch, lambda: GgufModel(ScriptedEngine(answer, sharpness=40.0), card(FIELDS)))
    row = {"input": "x", "answer": {"shop": "No. 3, Jalan", "total": 12}}
    rows = lines(tmp_path / "g.jsonl", row)
    for fold, right in (("case", 0), ("punctuation", 1), ("none", 0)):
        report = json.loads(run(rows, "--fold", fold).stdout)
        assert report["fold"] == report["scores"]["fold"] == fold
        assert report["scores"]["exact"]["value"] == right
        assert report["folds"]["punctuation"]["exact"]["value"] == 1
    assert json.loads(run(rows).stdout)["fold"] == "case"
    bar = [rows, "--min-score", "1"]
    assert main_code([*bar, "--fold", "punctuation"]) == 0
    assert main_code(bar) == 1
    assert code_of(run(rows, "--fold", "Case")) == 2
    people(monkeypatch)
    shown = run(rows, "--fold", "punctuation").stdout
    assert "texts compared with case and punctuation ignored (--fold punctuation)" in shown
    assert "with case ignored (--fold case): field F1 50.0%" in shown
    assert "with nothing ignored (--fold none): field F1 50.0%" in shown


def test_labels_have_no_way_of_comparing(gold):
    error = run(gold, "--fold", "punctuation").exception
    assert isinstance(error, InputError)
    assert "which are compared as they are; leave it out" in str(error)
    assert json.loads(run(gold).stdout)["fold"] is None


def test_tags_as_json_and_as_tables_and_below_the_bar(gold, tmp_path, monkeypatch, capsys):
    path = tagger_file(tmp_path / "tags.onnx")
    use(monkeypatch, lambda: load(path))
    rows = lines(tmp_path / "tags.jsonl", *TAG_ROWS)
    assert main_code([rows, "--min-score", "0.6"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["passed"], report["scores"]["exact"]["value"]) == (False, 0.5)
    assert report["scores"]["heads"]["areas"]["macro_f1"]["value"] == 0.75
    assert main_code([rows, "--min-score", "0.5"]) == 0
    people(monkeypatch)
    shown = run(rows, "--min-score", "0.6").stdout
    assert "whole record right 50.0% [6.8%, 93.2%]" in shown
    assert "accuracy 75.0%" in shown
    assert "macro-F1 75.0%" in shown
    assert "1 × bug taken for wish" in shown
    assert "gold labels that the model has not: areas: cli" in shown
    assert "bar 60.0% (--min-score): NOT reached" in shown


def test_people_are_told_how_many_rows_are_known_by_heart(tmp_path, monkeypatch):
    path = write_mixed_onnx(tmp_path / "mixed.onnx")
    use(monkeypatch, lambda: load(path))
    people(monkeypatch)
    rows = [{"input": text, "answer": "shipping"} for text in ("Where is it?", "a parcel")]
    shown = run(lines(tmp_path / "g.jsonl", *rows)).stdout
    assert "1 of the rows have texts that the model knows by heart" in shown


def test_names_of_an_untrusted_card_steer_no_terminal(gold, tmp_path, monkeypatch):
    people(monkeypatch)
    task = {**LABELS, "labels": ["billing", "\x1b[31m[red]"]}
    use(monkeypatch, lambda: GgufModel(ScriptedEngine("billing"), card(task)))
    bad = lines(tmp_path / "bad.jsonl", {"input": "x", "answer": "\x1b[31m[red]"})
    shown = run(bad).stdout
    assert "\x1b" not in shown
    assert "[red] taken for billing" in shown


def code_of(done):
    """What the command line exits with: the command's own number, or the error's."""
    return getattr(done.exception, "exit_code", done.exit_code)


def main_code(arguments):
    from edgeslm.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["eval", "tried", *map(str, arguments)])
    return ended.value.code


def test_below_the_bar_exits_with_1_after_the_report(gold, tmp_path, capsys):
    wrong = lines(tmp_path / "wrong.jsonl", {"input": "the bill", "answer": "refund"})
    assert main_code([wrong, "--min-score", "0.5"]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False
    assert main_code([gold, "--min-score", "0.5"]) == 0


def test_a_bad_line_is_named_and_the_rest_scored(tmp_path, gold, capsys):
    path = lines(tmp_path / "bad.jsonl", GOLD[0], "{", "[]")
    assert main_code([path]) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["scores"]["n"] == 1
    assert "2 lines are not scored; the first, bad.jsonl, line 2" in err


def test_labels_are_no_gold_for_a_model_that_extracts(tmp_path, gold, monkeypatch):
    answer = '{"shop":"x","total":12}'
    use(monkeypatch, lambda: GgufModel(ScriptedEngine(answer, sharpness=40.0), card(FIELDS)))
    error = run(gold).exception
    assert isinstance(error, InputError)
    says = r'gold.jsonl, line 1: the "answer" must be an object of shop, total.*it is "refund"'
    assert re.search(says, str(error))


def test_errors_are_typed(gold, tmp_path, monkeypatch):
    assert isinstance(run(tmp_path / "none.jsonl").exception, InputError)
    assert code_of(run(gold, "--min-score", "1.5")) == 2
    use(monkeypatch, lambda: GgufModel(ScriptedEngine("refund")))
    assert isinstance(run(gold).exception, CardError)
