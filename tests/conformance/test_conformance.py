"""The official JSON Schema test suite: no invalid instance is accepted, and the tables are true."""

from __future__ import annotations

import pytest

from tests.conformance.official_suite import DRAFTS, run, suite_folder
from tests.conformance.report import PAGE, page_with, report

pytestmark = pytest.mark.skipif(
    not suite_folder().is_dir(),
    reason=f"the official JSON Schema test suite is not in {suite_folder()}; set EDGESLM_DATA",
)


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("folder", ["", "optional", "optional/format"])
def test_no_invalid_instance_is_accepted(draft: str, folder: str) -> None:
    cases = list(run(draft, folder))
    wrong = [(case.group, case.name) for case in cases if case.verdict == "invalid accepted"]
    assert wrong == []
    passed = sum(case.verdict == "passed" for case in cases)
    assert passed >= 0.95 * len(cases)
    assert max(case.seconds for case in cases) < 5


def test_the_tables_of_the_page_are_those_of_this_run() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_with(report()), (
        "run: python -m tests.conformance"
    )
