"""The section on failed candidates."""

from __future__ import annotations

import dataclasses

from nni_hypens.report.content import RunContent
from nni_hypens.report.failures import section
from tests.support.report_page import parse


def test_each_failure_has_its_reason(run: RunContent) -> None:
    assert parse(section(run)).row("c007") == ["RuntimeError: loss is not finite"]
    page = parse(section(dataclasses.replace(run, failed=[{"id": "c001"}])))
    assert page.row("c001")[0]
    assert section(dataclasses.replace(run, failed=[])) is None
