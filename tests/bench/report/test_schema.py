"""Bench files: written and read back the same, refused with their place; the page about them"""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from edgeslm.bench.report import files as saved
from edgeslm.bench.report.files import read
from edgeslm.bench.report.schema import BenchReport
from edgeslm.errors import EdgeslmError, InputError
from edgeslm.formats.files import write_text
from scripts import bench_schema
from tests.helpers.bench import report


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.json"
    write_text(path, report().model_dump_json())
    return path


def changed(file, **changes):
    data = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**data, **changes}), "utf-8")
    return file


def test_a_run_is_read_back_as_it_was(file):
    assert read(file) == report()


def test_what_is_written_fits_the_published_schema(file):
    published = json.loads(bench_schema.SCHEMA.read_text("utf-8"))
    validator = jsonschema_rs.validator_for(published)
    assert validator.is_valid(json.loads(file.read_text("utf-8")))
    assert not validator.is_valid({**json.loads(file.read_text("utf-8")), "more": 1})


def test_the_page_and_the_schema_are_those_of_the_code():
    run = "run: python -m scripts.bench_schema"
    assert bench_schema.SCHEMA.read_text("utf-8") == bench_schema.schema_text(), run
    page = bench_schema.PAGE.read_text("utf-8")
    assert page == bench_schema.page_with(bench_schema.tables()), run
    assert all(f"`{name}`" in page for name in BenchReport.model_fields)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "format 2, this edgeslm reads format 1; update edgeslm"),
        ({"format": 0}, "at format"),
        ({"format": "one"}, "at format"),
        ({"seed": "x"}, "at seed"),
        ({"more": 1}, "at more"),
        ({"machine": None}, "at machine"),
        ({"load": [{"label": "x"}]}, "at load.0"),
    ],
)
def test_what_is_no_run_is_refused_with_its_place(file, changes, says):
    with pytest.raises(InputError) as caught:
        read(changed(file, **changes))
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1", "1e300", "1e400", "9" * 5000])
def test_numbers_that_nothing_can_be_computed_with_are_refused(file, number):
    text = file.read_text("utf-8")
    for key in ("requests_per_second", "size"):
        before, _, after = text.partition(f'"{key}":')
        rest = after[after.index(",") :]
        file.write_text(f'{before}"{key}":{number}{rest}', "utf-8")
        with pytest.raises(InputError):
            read(file)


def test_requests_and_their_lengths_have_to_agree(file):
    data = json.loads(file.read_text("utf-8"))
    data["tasks"][0]["input_tokens"].pop()
    with pytest.raises(InputError, match=r"tasks\.0.*same requests"):
        read(changed(file, tasks=data["tasks"]))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000])
def test_other_files_are_one_clear_error(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no bench run"):
        read(path)


def test_a_file_of_any_size_is_refused_before_it_is_parsed(file, monkeypatch):
    monkeypatch.setattr(saved, "MAX_BYTES", file.stat().st_size - 1)
    with pytest.raises(InputError, match="larger than"):
        read(file)


def test_absent_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json cannot be read"):
        read(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(EdgeslmError, match="nothing was changed"):
        write_text(tmp_path / "absent" / "run.json", "{}")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr("edgeslm.formats.files.publish", full)
    with pytest.raises(EdgeslmError, match="No space left on device"):
        write_text(file, "new")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
