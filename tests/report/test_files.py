"""The section on the files of the run folder."""

from __future__ import annotations

import dataclasses

from nni_hypens.report.content import RunContent
from nni_hypens.report.files import section
from tests.support.report_page import parse


def test_files_that_are_there_are_linked(run: RunContent) -> None:
    page = parse(section(run))
    assert {attrs["href"] for attrs in page.named("a")} == run.files and "ensemble/model.onnx" not in run.files
    assert "results.json" in run.files and "nni-hypens view" not in page.text
    assert "nni-hypens view" in parse(section(dataclasses.replace(run, has_experiments=True))).text


def test_without_files_there_is_no_section(run: RunContent) -> None:
    assert section(dataclasses.replace(run, files=frozenset())) is None
