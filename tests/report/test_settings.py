"""The section on what was run."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.settings import section
from tests.support.report_page import parse, with_results


def test_settings_data_and_outcome(run: RunContent) -> None:
    page = parse(section(run))
    assert page.row("data") == ["digits"] and page.row("seed") == ["0"] and page.row("epochs") == ["20"]
    assert page.row("sizes") == ["train 1077, validation 120, test 200"]
    assert page.row("candidates") == ["8"] and page.row("candidates failed") == ["1"]
    assert "greedy" in page.row("selection")[0]
    heads = [row[0] for row in page.rows]
    assert heads.count("epochs") == 1 and not {"versions", "command"} & {*heads}
    assert run.base and {*run.base} <= {*heads}


@pytest.mark.parametrize("method", ["none", "spread", "ensemble", "promising", None])
def test_ranking_is_named(run: RunContent, method: str | None) -> None:
    ranking: dict[str, Any] = {"spearman": 0.5, "candidates": 7, "method": method}
    page = parse(section(with_results(run, ranking=ranking)))
    assert [row[1].split(":")[0] for row in page.rows if row[0] == "candidates chosen by"] == [method][: bool(method)]
    assert "+0.50" in page.text


def test_what_adaptive_training_chose_is_counted(run: RunContent) -> None:
    sources = ("neighbour", "random", "replica", "further")
    added = [{**run.candidates[0], "source": source, "expected_gain": 0.1} for source in sources]
    first = [{name: value for name, value in run.candidates[0].items() if name != "expected_gain"}]
    shown = with_results(run, ranking={"method": "none"})
    (said,) = parse(section(dataclasses.replace(shown, candidates=first * 3 + added))).row("candidates chosen by")
    assert said.endswith("then 4 of 7 by adaptive training (2 new architectures, 1 new seed, 1 further training)")


def test_what_is_unknown_is_left_out(run: RunContent) -> None:
    bare = dataclasses.replace(run, results={}, config={}, base=None)
    page = parse(section(bare))
    assert not page.named("details")
    assert not {"selection", "temperature", "data"} & {row[0] for row in page.rows}
