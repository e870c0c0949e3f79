"""The section on known results says what results.json says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.report.page import write_report
from tests.support.report_fixture import make_run_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run_folder(tmp_path / "run")


def page_with(folder: Path, known: Any) -> str:
    path = folder / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "known_results": known}))
    return write_report(folder).read_text(encoding="utf-8")


def test_each_known_result_has_a_row(folder: Path) -> None:
    metrics = {
        "a<b": {
            "supernet_nll": {"spearman": -0.754, "architectures": 7},
            "validation_nll": {"spearman": None, "architectures": 2},
        }
    }
    page = page_with(folder, {"candidates": 8, "found": 7, "metrics": metrics})
    row = re.search(r"<tr[^>]*><th[^>]*>a&lt;b</th>(.*?)</tr>", page)
    assert row and re.findall(r"<td[^>]*>(.*?)</td>", row[1]) == ["-0.75", "7", "–", "2"]
    assert "of 7 of 8 candidates" in page


def test_a_table_that_has_none_and_no_table(folder: Path) -> None:
    assert "<h2>Known results</h2>" not in write_report(folder).read_text(encoding="utf-8")
    page = page_with(folder, {"candidates": 8, "found": 0, "metrics": {}})
    assert "<h2>Known results</h2>" in page and "none of the 8 candidates" in page
