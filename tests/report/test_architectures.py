"""The section on architectures: drawings of cells, and choices outside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nni_hypens.report.architectures import assign_tracks, draw_cell, section
from nni_hypens.report.cell_graph import cell_graphs, cell_inputs
from nni_hypens.report.content import RunContent, read_run
from tests.support.report_fixture import darts_edges, make_run_folder
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg

pytestmark = pytest.mark.filterwarnings("error")


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=16))
def test_no_two_overlapping_spans_share_a_track(drawn: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in drawn]
    tracks = assign_tracks(spans)
    for i, (a, b) in enumerate(spans):
        for j, (c, d) in enumerate(spans[:i]):
            assert tracks[i] != tracks[j] or b < c or d < a


def test_drawing_names_nodes_and_operations() -> None:
    rng = np.random.default_rng(0)
    edges, base = darts_edges(rng), darts_edges(rng)
    graph = cell_graphs(edges, base, cell_inputs(edges + base))[0][0]
    parsed = check_svg(draw_cell(graph, "c"), "c")
    assert {"input 0", "node 2", "node 5", graph.edges[0].operation} <= set(parsed.text)
    assert "node 5 takes" in parsed.label and "(differs)" in parsed.label


def test_large_cells_and_choices(tmp_path: Path) -> None:
    page = parse(section(read_run(make_run_folder(tmp_path, cells="darts", n_members=5))))
    labels = [attrs["aria-label"] for attrs in page.named("svg")]
    assert sum(label.startswith("normal cell: ") for label in labels) == 5
    assert sum(label.startswith("reduce cell: ") for label in labels) == 5
    assert sum(row[0] == "stem" for row in page.rows) == 5


def test_edges_are_compared_with_a_base_that_is_no_candidate(run: RunContent) -> None:
    """With adaptive training the base seldom is one."""
    labels = {attrs["aria-label"] for attrs in parse(section(run)).named("svg")}
    assert run.base_candidate is not None
    renamed = dataclasses.replace(run, candidates=[{**row, "source": "large"} for row in run.candidates])
    page = parse(section(with_results(renamed, base_edges=run.base_candidate["edges"])))
    assert {attrs["aria-label"] for attrs in page.named("svg")} == labels and "Solid" in page.text


def test_without_a_base_nothing_is_compared(run: RunContent) -> None:
    page = parse(section(dataclasses.replace(run, candidates=[{**r, "source": "draw"} for r in run.candidates])))
    assert page.named("svg") and "Solid" not in page.text
    assert not any("(differs)" in attrs["aria-label"] for attrs in page.named("svg"))


def test_a_run_without_edges_has_no_section(run: RunContent) -> None:
    assert section(dataclasses.replace(run, candidates=[{"id": row["id"]} for row in run.candidates])) is None
