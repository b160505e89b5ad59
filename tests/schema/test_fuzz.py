"""Whatever the schema: compiled or refused with a typed error, within 5 s of work and 2 GB."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeslm.errors import SchemaError
from edgeslm.schema.schema import certify, compile_schema
from tests.helpers.grammars import answers
from tests.helpers.mutated_schemas import DRAFTS, KEYWORDS, VALUES
from tests.helpers.soak import rounds

ROOT = Path(__file__).resolve().parents[2]
#: processor seconds for one schema, so that a busy machine makes no difference
MOST_SECONDS = 5


@pytest.mark.soak
def test_a_damaged_or_hostile_schema_is_compiled_or_refused_in_bounds() -> None:
    seeds = range(1, rounds(1_000) + 1)
    child = subprocess.run(
        [sys.executable, "-m", "tests.helpers.mutated_schemas"],
        input="".join(f"{seed}\n" for seed in seeds),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=3_600,
        check=False,
    )
    rows = [json.loads(line) for line in child.stdout.splitlines()[1:]]
    assert child.returncode == 0, (len(rows), child.stderr[-500:])
    assert [row["seed"] for row in rows] == list(seeds)
    assert [row for row in rows if row["verdict"].startswith("raw")] == []
    assert [row for row in rows if row["seconds"] > MOST_SECONDS] == []


def test_a_value_of_a_wrong_type_is_a_typed_error_for_every_keyword_of_every_draft() -> None:
    raw: list[tuple[Any, ...]] = []
    for draft in (DRAFTS[0], DRAFTS[2], DRAFTS[4]):
        for keyword, value in itertools.product(KEYWORDS, VALUES):
            inner = {"type": "string", keyword: value}
            for schema in (
                {"properties": {"a": inner}, keyword: value},
                # no metaschema of an older draft looks into $defs
                {"$defs": {"a": inner}, "items": {"$ref": "#/$defs/a"}},
            ):
                try:
                    compile_schema({"$schema": draft, **schema})
                except SchemaError:
                    pass
                except Exception as error:  # noqa: BLE001  # whatever it is, the test must tell
                    raw.append((schema, repr(error)))
    assert raw == []


@pytest.mark.parametrize("value", [1, None, [], {}, True])
@pytest.mark.parametrize("draft", [*DRAFTS, None])
def test_a_reference_that_is_no_text_is_refused(draft: str | None, value: Any) -> None:
    schema = {"$ref": value} if draft is None else {"$schema": draft, "$ref": value}
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.keyword == "$ref"


def test_a_reference_beside_the_keywords_leads_to_a_sound_schema_or_is_refused() -> None:
    place = {"$ref": "#/shapes/a", "shapes": {"a": {"type": "integer"}}}
    assert answers(place, "1", close_objects=False)
    place["shapes"] = {"a": {"type": "integer", "minimum": "1"}}
    with pytest.raises(SchemaError, match="sound schema"):
        compile_schema(place, close_objects=False)


def test_patterns_that_hold_together_beyond_bounds_are_checked() -> None:
    patterns = [{"pattern": f"(x{i}.*y)+|(.*a.{{{i * 7}}}b.*)|(c+d+)*{i}"} for i in range(20)]
    rows = certify({"type": "string", "allOf": patterns})
    assert {row.how for row in rows if row.keyword == "pattern"} == {"check"}


def test_many_listed_values_and_many_properties_compile() -> None:
    assert answers({"enum": list(range(50_000))}, "49999")
    names = [f"p{i}" for i in range(5_000)]
    schema = {"properties": {name: {"type": "integer"} for name in names}}
    assert answers(schema, '{"p7":1,"p4999":-2}')


@pytest.mark.parametrize(
    "name",
    [
        "duration", "email", "hostname", "idn-email", "idn-hostname", "iri", "iri-reference",
        "json-pointer", "regex", "relative-json-pointer", "uri", "uri-template", "uuid",
    ],
)  # fmt: skip
@pytest.mark.parametrize("draft", [*DRAFTS, None])
def test_a_known_format_is_asserted_in_every_draft(draft: str | None, name: str) -> None:
    text = '"{(["' if name != "iri-reference" else '"a b"'
    schema = {"type": "string", "format": name}
    items = {"type": "array", "contains": schema}
    for given, answer in ((schema, text), (items, f"[{text}]")):
        named = given if draft is None else {"$schema": draft, **given}
        if draft != DRAFTS[0] or given is schema:  # draft 4 has no contains
            assert not answers(named, answer, close_objects=False)
