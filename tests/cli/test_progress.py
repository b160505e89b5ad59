"""Progress for people: bars on a terminal, few lines elsewhere, silence where none is wanted."""

import io
import sys

from edgeslm.cli.progress import bars


def test_off_a_terminal_long_work_shows_life_in_few_lines(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("edgeslm.cli.progress.time.monotonic", lambda: now[0])
    with bars("  ", unit="rows", lines=True) as progress:
        for step in range(1, 1001):
            now[0] += 1.0
            progress("training", step, 1000)
            progress("loading", 0, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["  training", "  loading"]
    assert lines[2:] == [f"  training: {done:,} of 1,000" for done in range(100, 1001, 100)]


def test_quick_work_is_one_line(capsys):
    with bars("  ", unit="rows", lines=True) as progress:
        for done in range(101):
            progress("verifying", done, 100)
    assert capsys.readouterr().err == "  verifying\n"


def test_bytes_are_said_as_people_read_them(capsys):
    with bars("m: ", unit="bytes", lines=True) as progress:
        progress("downloading", 0, 1_500_000)
        progress("downloading", 10, 1_500_000)
    assert capsys.readouterr().err == "m: downloading 1.5 MB\n"


def test_without_a_terminal_and_lines_nothing_is_said(capsys):
    with bars(one=True) as progress:
        progress("1 answered", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_words_of_a_file_are_no_markup_and_steer_no_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with bars(one=True) as progress:
        progress("[bold]x[/bold]\x1b]0;owned\x07", 1, 0)
    assert "[bold]x[/bold]" in err.getvalue()
    assert "\x1b]0;" not in err.getvalue()
