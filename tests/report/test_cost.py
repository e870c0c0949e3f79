"""The section on what the run cost."""

from __future__ import annotations

from nni_hypens.report.content import RunContent
from nni_hypens.report.cost import section
from tests.support.report_page import parse, with_results


def test_stages_are_summed_and_wall_time_is_not(run: RunContent) -> None:
    page = parse(section(run))
    assert page.row("training") == ["55.0", "55.0%"] and page.row("selection and calibration") == ["2.5", "2.5%"]
    assert page.row("all stages") == ["100.0", "100.0%"] and page.row("wall time") == ["101.2", ""]


def test_other_costs_and_stages_without_a_time(run: RunContent) -> None:
    cost = {"training_s": 0.0, "search_s": None, "new_stage_s": 0.0, "training_wall_s": 2.0, "trials": 8}
    page = parse(section(with_results(run, cost=cost)))
    assert page.row("training") == page.row("new stage") == ["0.0", "–"] and page.row("trials") == ["8"]
    assert page.row("training wall time") == ["2.0", ""]
    assert section(with_results(run, cost=None)) is None
