"""What `edgeslm extract` and `classify` show to people: tables, bars, progress."""

import io
import re
import sys
from pathlib import Path

import pytest

import edgeslm.cli.answering
from edgeslm.cli.main import main
from tests.helpers.cli import LABELS, jsonl, reader, sorter, work

__all__ = ["reader", "sorter", "work"]  # fixtures


@pytest.fixture
def table(capsys, monkeypatch):
    """Run as on a terminal: exit code and what stdout shows."""
    monkeypatch.setattr(edgeslm.cli.answering, "for_people", lambda as_json: not as_json)

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
        return caught.value.code, out

    return call


def test_a_table_shows_value_confidence_and_evidence(reader, table):
    Path("steer.txt").write_text("\x1b[2Jat Nook I paid [bold]12[/bold]")
    code, out = table("extract", "m", "steer.txt", "empty.txt", "--schema", "schema.json")
    assert code == 4
    assert re.search(r"^  shop +Nook +[01]\.\d\d +Nook *$", out, re.MULTILINE)
    assert re.search(r"^  total +12 +[01]\.\d\d +12 *$", out, re.MULTILINE)
    assert "\x1b[2J" not in out
    assert "[bold]12[/bold]" in out
    assert "empty.txt\n  cannot be read: No such file" in out
    assert "budget" not in out


def test_a_table_says_that_the_budget_ended(reader, table):
    code, out = table("extract", "m", "a.txt", "--schema", "schema.json", "--max-tokens", "3")
    assert code == 0
    assert "the budget ended" in out
    assert re.search(r"total +\d+ +0\.00", out)


def test_a_table_says_that_nothing_could_be_read(reader, table):
    asked = ("extract", "m", "--schema", "schema.json", "--free", "--text")
    code, out = table(*asked, "good morning")
    assert code == 0
    assert "nothing could be read" in out
    code, out = table(*asked, "at Nook I paid 12")
    assert code == 0
    assert "nothing could be read" not in out


def test_bars_show_the_likeliest_labels(sorter, table):
    labels = ",".join([LABELS, *(f"other{i}" for i in range(9))])
    code, out = table("classify", "m", "--jsonl", "--labels", labels, stdin=jsonl("a refund"))
    assert code == 0
    first, second, *_ = out.splitlines()
    assert re.fullmatch(r"stdin, line 1 +a refund *", first)
    assert re.fullmatch(r"  refund +█+[▉-▏]? +(99\.\d|100\.0)% *", second)
    assert "and 7 more" in out
