"""The section on the search."""

from __future__ import annotations

import dataclasses

from nni_hypens.report.content import RunContent
from nni_hypens.report.history import History, draw_history, history_data, section
from tests.support.report_page import parse
from tests.support.report_svg import check_svg


def test_history_data_averages_steps_and_counts_epochs_through_phases() -> None:
    rows = [
        {"epoch": "0", "phase": "warmup", "loss": "2", "weight": ""},
        {"epoch": "0", "phase": "warmup", "loss": "4", "weight": ""},
        {"epoch": "1", "phase": "warmup", "loss": "nan", "weight": ""},
        {"epoch": "0", "phase": "hypernetwork", "loss": "1", "weight": "0.3"},
        {"epoch": "1", "phase": "hypernetwork", "loss": "text", "weight": "3"},
    ]
    data = history_data(rows, ["loss", "weight", "temperature"])
    assert data.series == {"loss": ((1, 3.0), (3, 1.0)), "weight": ((3, 0.3), (4, 3.0))}
    assert data.phases == (("warmup", 1, 2), ("hypernetwork", 3, 4))
    assert history_data([], ["loss"]) == ({}, ())


def test_one_epoch_can_be_drawn() -> None:
    one = History({"loss": ((1, 2.0),)}, (("", 1, 1),))
    parsed = check_svg(draw_history(one, {"loss": "training"}, "Loss", "l"), "l")
    assert "training from 2 to 2 over 1 epoch." in parsed.label


def test_a_figure_for_each_recorded_quantity(run: RunContent) -> None:
    assert len(parse(section(run)).named("svg")) == 5
    without = [{key: value for key, value in row.items() if key != "weight"} for row in run.history]
    assert len(parse(section(dataclasses.replace(run, history=without))).named("svg")) == 4
    assert section(dataclasses.replace(run, history=[])) is None
