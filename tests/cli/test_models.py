"""`edgeslm models` and `edgeslm pull`: lines and tables, several names, exit codes."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from edgeslm.cli import models as command
from edgeslm.cli import several
from edgeslm.cli.main import main
from edgeslm.store import places
from tests.helpers.tiny_gguf import write_tiny_gguf


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty store, and a registry with `tiny` (verified), `pin` (not), `gone` (no file)."""
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(places, "user_registry", lambda: tmp_path / "none.toml")
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", seed=1)
    write_tiny_gguf(tmp_path / "other.gguf", seed=2)
    (tmp_path / "text.gguf").write_text("<html>not found</html>")
    sha256 = hashlib.sha256(tiny.read_bytes()).hexdigest()
    rows = [("tiny", "tiny", sha256), ("pin", "other", "unverified"), ("gone", "gone", "0" * 64)]
    rows.append(("text", "text", "unverified"))
    text = "".join(
        f'[[model]]\nname = "{name}"\nsource = "file:{file}.gguf"\nsha256 = "{hashed}"\n'
        'licence = "MIT"\nmin_memory = 1_500_000_000\n'
        for name, file, hashed in rows
    )
    (tmp_path / "models.toml").write_text(text)
    monkeypatch.setenv("EDGESLM_MODELS", str(tmp_path / "models.toml"))
    return tmp_path


def run(capsys, *arguments: str) -> tuple[int, list[dict], str]:
    """Exit code, the JSON lines of stdout, and stderr."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return int(stopped.value.code or 0), [json.loads(line) for line in out.splitlines()], err


def listed(capsys) -> dict[str, dict]:
    code, rows, _ = run(capsys, "models")
    assert code == 0
    return {row["name"]: row for row in rows}


def test_models_are_listed_as_json_lines(home, capsys):
    rows = listed(capsys)
    assert rows["smollm2-135m"]["pulled"] == "no"
    assert rows["tiny"]["path"] is None
    run(capsys, "pull", "tiny")
    row = listed(capsys)["tiny"]
    assert row["pulled"] == "yes"
    assert row["size"] == (home / "tiny.gguf").stat().st_size


def test_models_are_a_table_for_people(home, capsys, monkeypatch):
    monkeypatch.setattr(command, "for_people", lambda _json=False: True)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["models"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "name",
        "made",
        "of",
        "size",
        "licence",
        "min.",
        "memory",
        "from",
        "pulled",
    ]
    demo = next(line for line in lines if line.startswith("smollm2-135m"))
    assert demo.split() == [
        "smollm2-135m",
        "one",
        "file",
        "98.4",
        "MB",
        "Apache-2.0",
        "350.0",
        "MB",
        "pypi",
        "no",
    ]


def test_no_name_is_cut_on_a_narrow_terminal(home, capsys, monkeypatch):
    monkeypatch.setattr(command, "for_people", lambda _json=False: True)
    long = "a-name-of-many-words-" + "x" * 60
    with (home / "models.toml").open("a") as file:
        file.write(
            f'[[model]]\nname = "{long}"\nsource = "file:l.gguf"\nsha256 = "unverified"\n'
            'licence = "MIT"\n'
        )
    for columns in (200, 80, 60, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit):
            main(["models"])
        shown = capsys.readouterr().out
        assert "…" not in shown
        cells = "".join(line[: columns // 2].split(" ")[0] for line in shown.splitlines())
        for name in ("smollm2-135m", "receipt-fields"):
            assert name in cells, columns
        assert "pulled" in " ".join(shown.splitlines()[:2])
        assert ("made of" in shown) == (columns > 120)
        assert "from" in shown.split("pulled")[0]
        assert max(map(len, shown.splitlines())) <= columns


def test_a_table_of_80_columns_says_where_each_model_comes_from(home, capsys, monkeypatch):
    monkeypatch.setattr(command, "for_people", lambda _json=False: True)
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["models"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "size", "licence", "from", "pulled"]
    demo = next(line for line in lines if line.startswith("smollm2-135m"))
    assert demo.split()[-2:] == ["pypi", "no"]
    at = head.index("from")
    own = [line[at:].split()[0] for line in lines if len(line) > at and line[at:].strip()]
    assert {"pypi", "hf", "file", "edgeslm-support-", "intents-mini"} <= set(own)


def test_removed_models_are_gone_and_can_be_pulled_again(home, capsys):
    run(capsys, "pull", "tiny")
    code, lines, _ = run(capsys, "model", "rm", "tiny", "pin")
    assert (code, lines[0]["name"]) == (12, "tiny")
    assert lines[0]["freed"] == (home / "tiny.gguf").stat().st_size
    assert lines[1]["error"]["type"] == "ModelNotFoundError"
    assert not list((home / "home").rglob("*.gguf"))
    assert listed(capsys)["tiny"]["pulled"] == "no"
    assert run(capsys, "model", "rm", "tiny")[0] == 12
    assert run(capsys, "pull", "tiny")[0] == 0


def test_a_pulled_model_that_left_the_registry_is_still_listed(home, capsys, monkeypatch):
    run(capsys, "pull", "tiny")
    monkeypatch.delenv("EDGESLM_MODELS")
    row = listed(capsys)["tiny"]
    assert (row["pulled"], row["licence"]) == ("yes", None)


def test_a_model_that_the_registry_has_moved_on_from_is_told(home, capsys):
    run(capsys, "pull", "tiny")
    toml = home / "models.toml"
    sha256 = hashlib.sha256((home / "tiny.gguf").read_bytes()).hexdigest()
    toml.write_text(toml.read_text().replace(sha256, "1" * 64))
    assert listed(capsys)["tiny"]["pulled"] == "another version"


def test_a_pull_prints_the_path(home, capsys):
    code, (line,), err = run(capsys, "pull", "tiny")
    assert code == 0
    assert line["name"] == "tiny"
    assert Path(line["path"]).read_bytes() == (home / "tiny.gguf").read_bytes()
    assert err.splitlines()[0].startswith("tiny: copying")


def test_people_are_told_the_next_step(home, capsys, monkeypatch):
    monkeypatch.setattr(command, "for_people", lambda _json=False: True)
    with pytest.raises(SystemExit):
        main(["pull", "tiny"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("tiny is at ")
    assert second == "next: edgeslm show tiny"


def test_a_terminal_gets_a_bar(home, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    code, _, err = run(capsys, "pull", "tiny")
    assert code == 0
    assert "tiny: copying" in err


def test_one_that_fails_does_not_stop_the_others(home, capsys):
    code, lines, err = run(capsys, "pull", "gone", "tinny", "tiny")
    assert code == 13
    assert [line["name"] for line in lines] == ["gone", "tinny", "tiny"]
    assert [line.get("error", {}).get("type") for line in lines] == [
        "PullError",
        "ModelNotFoundError",
        None,
    ]
    assert "did you mean tiny" in lines[1]["error"]["message"]
    assert err.splitlines()[-1].startswith("error: 2 of 3 failed; the first, gone: ")
    assert err.count("gone: ") == 1, "a failure is said once"


def test_people_are_told_each_failure_once(home, capsys, monkeypatch):
    monkeypatch.setattr(several, "for_people", lambda _json=False: True)
    with pytest.raises(SystemExit):
        main(["pull", "gone", "tinny"])
    out, err = capsys.readouterr()
    assert out == ""
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1] for line in errors] == [" gone", " tinny", " 2 of 2 failed"]


@pytest.mark.parametrize(("name", "code"), [("tinny", 12), ("gone", 13), ("text", 13)])
def test_a_single_failure_has_its_own_exit_code(home, capsys, name, code):
    stopped, lines, err = run(capsys, "pull", name)
    assert (stopped, lines) == (code, []), "said on stderr, and not again"
    assert err.count("error: ") == 1


def test_what_is_no_model_file_is_refused(home, capsys):
    code, lines, err = run(capsys, "pull", "text")
    assert (code, lines) == (13, [])
    assert "refused and was discarded" in err
    assert not list((home / "home").rglob("*.gguf"))


def test_a_file_from_a_stick_is_verified_too(home, capsys):
    stick = str(home / "tiny.gguf")
    assert run(capsys, "pull", "tiny", "--from", str(home / "other.gguf"))[0] == 13
    assert run(capsys, "pull", "tiny", "--from", stick)[0] == 0


def test_accept_new_and_rollback(home, capsys):
    _, (first,), _ = run(capsys, "pull", "pin")
    write_tiny_gguf(home / "other.gguf", seed=3)
    assert run(capsys, "pull", "pin")[1] == [first]
    code, (second,), _ = run(capsys, "pull", "pin", "--accept-new")
    assert (code, second["path"] != first["path"]) == (0, True)
    assert run(capsys, "model", "rollback", "pin")[1] == [first]
    assert listed(capsys)["pin"]["path"] == first["path"]


@pytest.mark.parametrize("arguments", [["--rollback"], ["m", "--rollback"]])
def test_a_pull_asked_to_roll_back_names_the_command(home, capsys, arguments):
    code, lines, error = run(capsys, "pull", *arguments)
    assert (code, lines) == (2, [])
    assert "`edgeslm model rollback NAME`" in error


def test_rollback_without_a_version_before_is_an_error(home, capsys):
    assert run(capsys, "model", "rollback", "tiny")[0] == 12
    run(capsys, "pull", "tiny")
    assert run(capsys, "model", "rollback", "tiny")[0] == 13


@pytest.fixture
def reader(home, monkeypatch):
    """A further entry `reader`, an adapter for `tiny`, assembled by copying the base."""
    adapter = home / "reader.gguf"
    adapter.write_bytes(b"adapter")
    sha256 = hashlib.sha256(b"adapter").hexdigest()
    with (home / "models.toml").open("a") as file:
        file.write(
            '[[model]]\nname = "reader"\nbase = "tiny"\nsource = "file:reader.gguf"\n'
            f'sha256 = "{sha256}"\nsize = 7\nlicence = "MIT"\n'
        )

    def assemble(base, _adapter, target, *, progress):
        return Path(shutil.copy(base, target))

    monkeypatch.setattr(command, "install", functools.partial(command.install, assemble=assemble))
    return sha256


def test_a_specialist_is_listed_as_base_and_adapter(home, reader, capsys):
    row = listed(capsys)["reader"]
    assert (row["made_of"], row["base"], row["pulled"]) == ("base + adapter", "tiny", "no")
    assert (row["size"], row["sha256"]) == (None, None), "not those of the adapter"
    code, (line,), err = run(capsys, "pull", "reader")
    assert code == 0
    assert "reader: base tiny: copying" in err
    rows = listed(capsys)
    assert rows["reader"]["pulled"] == rows["tiny"]["pulled"] == "yes"
    assert rows["reader"]["path"] == line["path"]
    assert rows["reader"]["size"] == (home / "tiny.gguf").stat().st_size


@pytest.mark.parametrize("part", ["adapter", "base"])
def test_a_specialist_whose_parts_the_registry_has_moved_on_from_is_told(
    home, reader, capsys, part
):
    run(capsys, "pull", "reader")
    base = hashlib.sha256((home / "tiny.gguf").read_bytes()).hexdigest()
    toml = home / "models.toml"
    toml.write_text(toml.read_text().replace({"adapter": reader, "base": base}[part], "1" * 64))
    assert listed(capsys)["reader"]["pulled"] == "another version"


@pytest.mark.parametrize("arguments", [[], ["a", "b", "--from", "x"], ["--nope"]])
def test_wrong_usage_exits_2(home, capsys, arguments):
    assert run(capsys, "pull", *arguments)[0] == 2


def test_a_broken_registry_is_named(home, capsys):
    (home / "models.toml").write_text("[[model]]\nname = 'x'\n")
    code, _, err = run(capsys, "models")
    assert code == 11
    assert "models.toml" in err


def test_a_name_of_two_packages_is_a_row_beside_the_others(home, capsys, monkeypatch):
    site = home / "site-packages"
    for package in ("one", "two"):
        info = site / f"{package}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[edgeslm.models]\nacme = acme\n")
    monkeypatch.syspath_prepend(str(site))
    rows = listed(capsys)
    assert (rows["acme"]["pulled"], rows["acme"]["path"]) == ("error", None)
    assert "two packages" in rows["acme"]["error"]
    assert rows["tiny"]["error"] is None
    assert run(capsys, "pull", "acme")[0] == 11
    assert run(capsys, "pull", "tiny")[0] == 0
    monkeypatch.setattr(command, "for_people", lambda _json=False: True)
    with pytest.raises(SystemExit) as stopped:
        main(["models"])
    out, err = capsys.readouterr()
    assert (stopped.value.code or 0, "acme" in out) == (0, True)
    assert err.startswith("warning: two packages")


def test_a_file_that_is_not_there_is_told_before_any_progress(home, capsys):
    code, lines, err = run(capsys, "pull", "tiny", "--from", str(home / "none.gguf"))
    assert (code, lines) == (13, [])
    (line,) = err.splitlines()
    assert line.endswith("none.gguf: no such file")
