"""Files of examples: every format reads alike, and what is damaged names its line."""

from __future__ import annotations

import gzip
import json

import pytest

from converters.data import sources
from converters.data.sources import read_sources
from converters.errors import DataError
from converters.recipe.data import DataFile
from tests.helpers.recipes import write_jsonl


def read(folder, name, format_="auto"):
    file = DataFile(path=name, url="https://example.org", licence="MIT", format=format_)
    return list(read_sources(file, folder))


def test_jsonl_csv_and_gzip_give_the_same_rows(tmp_path):
    rows = [{"text": "a, b\nc", "label": "x"}, {"text": "é", "label": "y"}]
    plain = write_jsonl(tmp_path / "a.jsonl", rows)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    table = '\ufefftext,label\r\n"a, b\nc",x\r\n\r\né,y\r\n'
    (tmp_path / "c.csv").write_bytes(table.encode())
    (tmp_path / "d.CSV.GZ").write_bytes(gzip.compress(table.encode(), mtime=0))
    for name in ("a.jsonl", "b.jsonl.gz", "c.csv", "d.CSV.GZ"):
        assert [source.values for source in read(tmp_path, name)] == rows, name


def test_places_are_lines_also_after_blank_ones(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b"}\n')
    assert [source.place for source in read(tmp_path, "a.jsonl")] == ["a.jsonl:1", "a.jsonl:3"]


def test_messages_become_text_and_answer(tmp_path):
    def chat(answer):
        said = [("system", "s"), ("user", "q"), ("assistant", answer)]
        return {"messages": [{"role": role, "content": text} for role, text in said]}

    write_jsonl(tmp_path / "a.jsonl", [chat("yes"), chat('{"total": "5"}'), chat("5")])
    for kind in ("auto", "messages"):
        values = [source.values for source in read(tmp_path, "a.jsonl", kind)]
        assert [row["text"] for row in values] == ["q"] * 3
        assert [row["answer"] for row in values] == ["yes", {"total": "5"}, "5"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": }\n', "line 2: not JSON"),
        ("a.jsonl", b'{"a": 1, "a": 2}\n', "line 1: not JSON: the property 'a' is given twice"),
        ("a.jsonl", b'{"a": NaN}\n', "line 1: not JSON: NaN"),
        ("a.jsonl", b'{"a": "\\ud800"}\n', "line 1: not JSON"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "line 1: not JSON"),
        ("a.jsonl", b"[1]\n", "line 1: a row must be a JSON object"),
        ("a.jsonl", b'{"a": "\xff"}\n', "line 1: not UTF-8"),
        ("a.csv", b"a,b\n1,2\n3\n", "line 3: 1 cells, but line 1 names 2"),
        ("a.csv", b'a,b\n1,"2\n', "not CSV"),
        ("a.csv", b"a,a\n1,2\n", "column 'a' is there twice"),
        ("a.csv", b"", "line 1: no columns"),
        ("a.jsonl.gz", b"no gzip", "damaged gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-9], "damaged gzip"),
        ("a.parquet", b"", "unknown kind of file"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": "q"}]}', "one of the assistant"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": ["q"]}]}', "role and content"),
    ],
)
def test_damage_names_file_and_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as raised:
        read(tmp_path, name)
    assert name in str(raised.value)


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    with pytest.raises(DataError, match=r"no such file; download it from the url"):
        read(tmp_path, "a.jsonl")


def test_lines_and_files_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 50)
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": "x" * 60}) + "\n")
    with pytest.raises(DataError, match="line 1: over the 50 bytes"):
        read(tmp_path, "a.jsonl")
    write_jsonl(tmp_path / "b.jsonl", [{"a": "x" * 20}] * 5)
    with pytest.raises(DataError, match="over the 100 bytes"):
        read(tmp_path, "b.jsonl")
