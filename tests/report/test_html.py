"""The building blocks of a page: colours that can be read, tables, sections, and the whole."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens.errors import InputError
from nni_hypens.report import html as report_html
from nni_hypens.report.calibration import HEAT, disagreement_data, reliability_data
from nni_hypens.report.cells import Choice, GraphEdge, cell_graphs, operation_name
from nni_hypens.report.dial import AccuracyPoint, accuracy_data
from nni_hypens.report.history import history_data
from nni_hypens.report.svg import COLOUR_VARIABLES, LIGHT
from tests.support.report_fixture import darts_edges, one_cell_edges
from tests.support.report_page import contrast


def rgb(colour: str) -> tuple[float, ...]:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    return tuple(int(digits[i : i + 2], 16) for i in (0, 2, 4))


SCHEMES = [
    {name: rgb(colour) for name, colour in re.findall(r"--(\w+): (#\w+)", block)}
    for block in report_html.CSS.split("@media (prefers")[:2]
]
each_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])


@each_scheme
def test_text_has_contrast(scheme: dict[str, tuple[float, ...]]) -> None:
    """WCAG AA asks 4.5 of text; the marks of right and wrong images are text as well."""
    assert len(SCHEMES) == 2 and SCHEMES[0].keys() == SCHEMES[1].keys() != set()
    for ink in ("ink", "muted", "first", "second", "good", "bad"):
        for paper in ("page", "card"):
            assert contrast(scheme[ink], scheme[paper]) >= 4.5, (ink, paper)


@each_scheme
def test_figures_have_contrast(scheme: dict[str, tuple[float, ...]]) -> None:
    """WCAG AA asks 3 of lines and marks; every colour of the figures but that of grid and cards' filling is one."""
    assert set(COLOUR_VARIABLES.values()) <= {f"--{name}" for name in scheme}
    for ink in {name.removeprefix("--") for name in COLOUR_VARIABLES.values()} - {"grid", "card"}:
        for paper in ("page", "card"):
            assert contrast(scheme[ink], scheme[paper]) >= 3, (ink, paper)


@each_scheme
def test_numbers_on_a_heat_map_have_contrast(scheme: dict[str, tuple[float, ...]]) -> None:
    for share in (0.25, 0.5, 0.75, 1.0):
        alpha = HEAT * share
        cell = tuple(alpha * a + (1 - alpha) * b for a, b in zip(scheme["first"], scheme["page"], strict=True))
        assert contrast(scheme["ink"], cell) >= 4.5, share


def test_light_pictures_have_the_colours_of_the_light_page() -> None:
    for placeholder, variable in COLOUR_VARIABLES.items():
        assert rgb(LIGHT[placeholder]) == SCHEMES[0][variable.removeprefix("--")]


def test_tables_are_reached_by_the_keyboard_where_they_scroll() -> None:
    wide = report_html.table("A <b>", ("x", "#y"), [report_html.row("h", [("1", True)])])
    assert 'role="region" tabindex="0" aria-label="A &lt;b&gt;"' in wide
    assert '<th scope="col">x</th><th scope="col" class="n">y</th>' in wide and '<th scope="row">h</th>' in wide
    assert "tabindex" not in report_html.pairs("A", {"a": [1, 2.5, None]}) and "<caption>" in wide


def test_document() -> None:
    sections = [
        report_html.section("A & B", "<p>1</p>"),
        report_html.section("None"),
        report_html.section("C", "<p>2</p>"),
    ]
    page = report_html.document("T <i>", "<p>first</p>", sections, "b{}")
    assert (
        "<title>T &lt;i&gt;</title>" in page and page.count("<h1>") == 1 and f"{report_html.CSS}b{{}}</style>" in page
    )
    assert '<li><a href="#part-a-b">A &amp; B</a></li><li><a href="#part-c">C</a></li>' in page
    assert page.index('class="skip" href="#part-a-b"') < page.index("<main>") < page.index("<p>first</p>")
    assert "<nav" not in report_html.document("T", "", sections[:1]) and "skip" in report_html.CSS
    assert 'class="skip"' not in report_html.document("T", "", [])


def test_numbers_and_values() -> None:
    assert report_html.fixed(None) == report_html.fixed(float("nan")) == "–"
    assert report_html.fixed(0.12345) == "0.1235" and report_html.fixed(0.5, percent=True) == "50.00%"
    assert report_html.plain({"a": [1.0, None]}) == "a 1, none" and report_html.plain(list(range(13))).endswith("11 …")


def test_accuracy_data_is_exact() -> None:
    rows = [
        {"id": "b", "test": {"accuracy": 0.5}, "validation": {"accuracy": 0.6}},
        {"id": "m", "lam": None, "shared_edges": 2, "test": {"accuracy": 0.7}, "validation": None, "is_member": True},
        {"id": "n", "shared_edges": 3, "test": None, "validation": {"accuracy": float("nan")}},
    ]
    data = accuracy_data(rows, 0.9, "b")
    assert data == ((AccuracyPoint("m", 2.0, 0.7, None, True),), 0.9, 0.5)
    assert accuracy_data(rows, 0.9, None).base is None


def test_reliability_data_leaves_out_empty_bins() -> None:
    bins = {"confidence": [None, 0.4, float("nan"), 0.9], "accuracy": [None, 0.5, None, 1.0], "count": [0, 4, 0, 6]}
    curve = reliability_data("ensemble", bins)
    assert curve == ("ensemble", 4, (1, 3), (0.4, 0.9), (0.5, 1.0), (4, 6))
    assert reliability_data("none", {}) == ("none", 0, (), (), (), ())
    with pytest.raises(
        InputError, match="reliability of x: got lists of 1, 2, 1; expected confidence, accuracy, count"
    ):
        reliability_data("x", {"confidence": [0.5], "accuracy": [0.5, 1], "count": [1]})


def test_disagreement_data_must_be_square() -> None:
    assert disagreement_data(["a", "b"], [[0, 0.25], [0.25, 0]]) == (("a", "b"), ((0, 0.25), (0.25, 0)))
    for wrong in ([[0, 0.1]], [[0], [0]], [[0, None], [0.1, 0]]):
        with pytest.raises(InputError, match="diversity.pairwise: got rows of .*expected 2 x 2 finite numbers"):
            disagreement_data(["a", "b"], wrong)


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


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("sep_conv_3x3", "separable conv 3×3"), ("dil_conv_5x5", "dilated conv 5×5"), ("skip_connect", "skip"),
        ("avg_pool_3x3", "average pool 3×3"), ("MyOp", "MyOp"), (3, "choice 3"), (True, "true"), ([1, 2], "[1, 2]"),
        (0.5, "0.5"), (None, "null"),
    ],
)  # fmt: skip
def test_operation_name(raw: Any, read: str) -> None:
    assert operation_name(raw) == read


def test_nodes_from_zero_number_their_inputs_on_their_own() -> None:
    edges = [["node_0", 0, "skip"], ["node_1", 1, "max_pool_3x3"], ["node_2", 2, "skip"]]
    base = [["node_0", 0, "skip"], ["node_1", 0, "max_pool_3x3"], ["node_2", 2, "skip"]]
    (graph,), choices = cell_graphs(edges, base, edges + base)
    assert graph.nodes == ("input 0", "node 0", "node 1", "node 2") and not choices and graph.name == "cell"
    assert graph.edges == (
        GraphEdge("input 0", "node 0", "skip", True),
        GraphEdge("node 0", "node 1", "max pool 3×3", False),
        GraphEdge("node 1", "node 2", "skip", True),
    )


def test_number_of_inputs_is_read_from_the_whole_pool() -> None:
    edges = [["node_0", 0, "skip"], ["node_1", 2, "skip"]]
    pool = [*edges, ["node_0", 1, "skip"]]  # so the cell has two inputs, and input 2 is node 0
    assert cell_graphs(edges, None, pool)[0][0].edges[1] == GraphEdge("node 0", "node 1", "skip", None)


def test_nni_cells_share_one_numbering_and_choices_stand_apart() -> None:
    edges = [["normal/2", 0, "a"], ["normal/3", 2, "b"], ["reduce/2", 1, "c"], ["depth", None, 3], ["odd", 1, "d"]]
    graphs, choices = cell_graphs(edges, [["depth", None, 3]], edges)
    assert [graph.name for graph in graphs] == ["normal cell", "reduce cell"]
    assert graphs[0].edges[1] == GraphEdge("node 2", "node 3", "b", False)
    assert graphs[1].nodes == ("input 1", "node 2")
    assert choices == (Choice("depth", "choice 3", True), Choice("odd", "1, d", False))


def test_an_edge_is_shared_as_often_as_the_base_holds_it() -> None:
    edges = [["normal/2", 0, "a"], ["normal/2", 0, "a"], ["normal/2", 0, "a"]]
    base = [["normal/2", 0, "a"], ["normal/2", 0, "a"], ["normal/2", 1, "a"]]
    (graph,), _ = cell_graphs(edges, base, edges + base)
    assert [edge.shared for edge in graph.edges] == [True, True, False]


def test_inputs_named_by_text() -> None:
    edges = [["node_0", "stem", "a"], ["node_1", "node_0", "b"]]
    (graph,), _ = cell_graphs(edges, None, edges)
    assert [edge.source for edge in graph.edges] == ["stem", "node 0"] and graph.nodes == ("stem", "node 0", "node 1")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from([one_cell_edges, darts_edges]))
def test_shared_edges_are_the_multiset_intersection(first: int, second: int, make: Any) -> None:
    edges, base = (make(np.random.default_rng(seed)) for seed in (first, second))
    graphs, choices = cell_graphs(edges, base, edges + base)
    marked = sum(edge.shared for graph in graphs for edge in graph.edges) + sum(choice.shared for choice in choices)
    assert marked == (Counter(map(json.dumps, edges)) & Counter(map(json.dumps, base))).total()
    assert sum(len(graph.edges) for graph in graphs) + len(choices) == len(edges)
