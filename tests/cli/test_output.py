"""The one door to people: nothing out of a file steers a terminal, and there is no other door."""

import ast
import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from edgeslm.cli import output
from edgeslm.cli.console import Console
from edgeslm.cli.main import main
from tests.helpers.cli import work

__all__ = ["work"]  # fixtures

ROOT = Path(__file__).resolve().parents[2]
#: what may write to a stream by itself: the doors
DOORS = {"edgeslm/cli/output.py", "edgeslm/cli/console.py"}
#: what writes past them
PAST = {"echo", "secho", "print_exception", "excepthook", "warn", "basicConfig"}

hostile = st.text(
    st.one_of(
        st.sampled_from("\x1b\x07\x08\r\x7f\x9b\x9d\u202e\u2066\u200b\x00\ud800[]0;m\n\t a"),
        st.characters(),
    )
)


def steers(text):
    """The characters of a text that a terminal obeys instead of showing them."""
    return {
        c for c in text if not c.isprintable() and unicodedata.category(c) != "Zs" and c != "\n"
    }


@given(hostile)
def test_no_text_steers_a_terminal(text):
    assert not steers(output.printable(text))
    assert "\t" not in output.printable(text)


@given(hostile)
def test_harmless_text_stays_as_it_is(text):
    harmless = "".join(c for c in text if c.isprintable())
    assert output.printable(harmless) == harmless
    assert output.printable(output.printable(text)) == output.printable(text)


@given(st.dictionaries(hostile, hostile))
def test_json_lines_keep_their_values_and_steer_no_terminal(value):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        output.print_line(value)
    (line,) = out.getvalue().split("\n")[:-1]
    assert not steers(line)
    assert json.loads(line) == value


@given(hostile, hostile)
def test_tables_steer_no_terminal(name, cell):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        table = Table(name)
        table.add_row(cell)
        Console().print(table)
        Console().print(cell)
    assert not steers(out.getvalue())


@given(hostile)
def test_messages_steer_no_terminal(text):
    err = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "stdout", err)
        output.tell_error(text)
        output.tell(text, mark="INVALID", colour="red")
        output.say(text, colour="red")
    assert not steers(err.getvalue())


def test_markup_in_a_file_is_text(capsys):
    Console().print("[red]x[/red] :smile: [/]")
    assert capsys.readouterr().out == "[red]x[/red] :smile: [/]\n"


HOSTILE = "\x1b]0;owned\x07\x9b2J\u202e"


def test_hostile_bytes_of_files_reach_no_terminal(work, capsys, monkeypatch):
    """Names of files, options, schemas, registry entries, and wrong uses that repeat them."""
    Path("s.json").write_text(
        json.dumps({"type": "object", "properties": {HOSTILE: {"$ref": "#/x"}}})
    )
    Path("t.json").write_text('{"type": "\x1b[2J"}')
    Path("models.toml").write_text(
        f'[[model]]\nname = "m"\n"{json.dumps(HOSTILE)[1:-1]}" = 1\n', encoding="utf-8"
    )
    Path("card.toml").write_text(f'"{json.dumps(HOSTILE)[1:-1]}" = 1\n', encoding="utf-8")
    Path(f"{HOSTILE}.csv").write_text(f"id,{HOSTILE}\n1,2\n")
    Path(f"{HOSTILE}.txt").write_text("text")
    uses = [
        ["schema", "s.json"],
        ["schema", "t.json"],
        ["pack", "none.gguf", "--card", "card.toml"],
        ["classify", "m", f"{HOSTILE}.csv"],
        ["show", f"./{HOSTILE}.txt"],
        ["show", HOSTILE],
        ["show", f"--{HOSTILE}"],
        [HOSTILE],
        ["extract", "m", "--on-budget", HOSTILE],
        ["bench", "compare", f"{HOSTILE}.txt", f"{HOSTILE}.csv"],
        ["eval", f"./{HOSTILE}.txt", f"{HOSTILE}.csv"],
        ["doctor", HOSTILE, f"./{HOSTILE}.txt"],
        ["pull", HOSTILE, "x"],
    ]
    for arguments in uses:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        out, err = capsys.readouterr()
        assert stopped.value.code, arguments
        assert err, arguments
        assert not steers(out + err), arguments
    monkeypatch.setenv("EDGESLM_MODELS", "models.toml")
    with pytest.raises(SystemExit):
        main(["models"])
    assert not steers("".join(capsys.readouterr()))


def calls(path):
    """The names of everything that a file calls, and whether it writes to a standard stream."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last = name.rpartition(".")[2]
            if name == "print" or last in PAST or name.startswith(("sys.stdout.", "sys.stderr.")):
                yield name
        elif isinstance(node, ast.ImportFrom) and node.module == "rich.console":
            yield from (alias.name for alias in node.names if alias.name == "Console")


def test_there_is_no_other_door():
    files = [*(ROOT / "edgeslm" / "cli").rglob("*.py"), *(ROOT / "converters").rglob("*.py")]
    harmless = {"sys.stdout.isatty", "sys.stderr.isatty", "sys.stdout.fileno"}
    doors = {
        path.relative_to(ROOT).as_posix(): past
        for path in files
        if path.relative_to(ROOT).as_posix() not in DOORS and (past := {*calls(path)} - harmless)
    }
    # a child that converts writes what its parent reads
    doors.pop("converters/causal/hf_to_gguf.py", None)
    assert doors == {}
