"""The note about architectures and seeds."""

from __future__ import annotations

from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.variety import variety_note
from tests.support.report_page import with_results

MEASURED: dict[str, Any] = {
    "networks": 8, "architectures": 6, "between_architectures": 0.05, "between_seeds": 0.02, "different": 0.06,
    "same": 0.05,
}  # fmt: skip


def test_what_being_different_gains_is_said(run: RunContent) -> None:
    note = variety_note(with_results(run, variety=MEASURED))
    assert note is not None
    for words in ("8 networks of 6 architectures", "0.0500 between architectures", "0.0200 between seeds"):
        assert words in note.text
    assert "gain about 0.0133 more" in note.text  # 2 (1 - 1/3) (0.06 - 0.05): three members
    assert "on average" not in note.text
    less = variety_note(with_results(run, variety={**MEASURED, "same": 0.07, "architectures": 8}))
    assert less is not None and "gain about 0.0133 less" in less.text and "No architecture has two seeds" in less.text


@pytest.mark.parametrize("variety", [{}, {**MEASURED, "same": None}, {**MEASURED, "architectures": 1}, {"same": "x"}])
def test_what_was_not_measured_is_left_out(run: RunContent, variety: dict[str, Any]) -> None:
    assert variety_note(with_results(run, variety=variety)) is None
