"""`edgeslm schema`: the certificate, its exit code, and bad files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeslm.cli.main import main


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["schema", *arguments])
    return caught.value.code


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "schema.json"


def test_prints_one_line_a_keyword(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('{"type": "array", "uniqueItems": true}')
    assert _run(str(file)) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["keyword"], row["how"]) for row in rows] == [
        ("type", "mask"),
        ("uniqueItems", "check"),
    ]
    assert set(rows[0]) == {"path", "keyword", "how", "note"}


@pytest.mark.parametrize(
    ("schema", "path", "keyword"),
    [
        ({"properties": {"a": {"foo": 1}}}, "/properties/a", "foo"),
        (
            {"properties": {"a": {"type": "string", "pattern": "^a$", "maxLength": 0}}},
            "/properties/a",
            "pattern",
        ),
    ],
)
def test_a_refusal_exits_with_its_code_and_still_prints_the_rest(
    schema: dict, path: str, keyword: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps(schema))
    assert _run(str(file)) == 7
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["path"], r["keyword"]) for r in rows if r["how"] == "refused"] == [(path, keyword)]
    assert ("", "properties") in [(r["path"], r["keyword"]) for r in rows]
    assert path in err
    assert "Traceback" not in err


def test_a_table_for_people(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('{"properties": {"a": {"type": "integer", "title": "[bold]"}}}')
    monkeypatch.setattr("edgeslm.cli.schema.for_people", lambda as_json: not as_json)
    assert _run(str(file)) == 0
    table = capsys.readouterr().out
    assert "/properties/a" in table
    assert "keyword" in table
    assert _run(str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["keyword"] == "properties"


def test_objects_can_be_left_open(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('{"properties": {"a": {}}}')
    _run(str(file))
    assert "additionalProperties" in capsys.readouterr().out
    _run(str(file), "--open")
    assert "additionalProperties" not in capsys.readouterr().out


def test_reads_stdin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = b'\xef\xbb\xbf{"type": "null"}'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert _run("-") == 0
    assert json.loads(capsys.readouterr().out)["how"] == "mask"


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b'{"type":\n  oops}', 7, "line 2, column 3"),
        (b"", 7, "line 1, column 1"),
        (b"\xfe{", 4, "not UTF-8 at byte 0"),
        (b"\xff\xfe{", 4, "not UTF-16 at byte 2"),
        (b"%PDF-1.7", 4, "is a PDF document"),
        (b"[" * 200_000, 7, "too deep"),
        (b'{"a": "' + b"x" * 1_000_001, 7, "1,000,000 bytes"),
        (b"[1]", 7, "JSON object"),
        (b'{"type": "integer", "minimum": NaN}', 7, "not a JSON number"),
        (b'{"type": "null", "type": "string"}', 7, "'type' is given twice"),
        (b'{"minimum": ' + b"9" * 5000 + b"}", 7, "digits"),
    ],
)
def test_bad_files(
    data: bytes, code: int, message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(data)
    assert _run(str(file)) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_a_file_that_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(str(file)) == 4
    assert str(file) in capsys.readouterr().err.replace("\n", "")
