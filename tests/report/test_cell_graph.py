"""Edges read into the graphs of cells, and compared with the base."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens.report.cell_graph import Choice, GraphEdge, cell_graphs, cell_inputs, operation_name
from tests.support.report_fixture import darts_edges, one_cell_edges


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
    (graph,), choices = cell_graphs(edges, base, cell_inputs(edges + base))
    assert graph.nodes == ("input 0", "node 0", "node 1", "node 2") and not choices and graph.name == "cell"
    assert graph.edges == (
        GraphEdge("input 0", "node 0", "skip", True),
        GraphEdge("node 0", "node 1", "max pool 3×3", False),
        GraphEdge("node 1", "node 2", "skip", True),
    )


def test_number_of_inputs_is_read_from_the_whole_pool() -> None:
    edges = [["node_0", 0, "skip"], ["node_1", 2, "skip"]]
    pool = [*edges, ["node_0", 1, "skip"]]  # so the cell has two inputs, and input 2 is node 0
    assert cell_graphs(edges, None, cell_inputs(pool))[0][0].edges[1] == GraphEdge("node 0", "node 1", "skip", None)


def test_nni_cells_share_one_numbering_and_choices_stand_apart() -> None:
    edges = [["normal/2", 0, "a"], ["normal/3", 2, "b"], ["reduce/2", 1, "c"], ["depth", None, 3], ["odd", 1, "d"]]
    graphs, choices = cell_graphs(edges, [["depth", None, 3]], cell_inputs(edges))
    assert [graph.name for graph in graphs] == ["normal cell", "reduce cell"]
    assert graphs[0].edges[1] == GraphEdge("node 2", "node 3", "b", False)
    assert graphs[1].nodes == ("input 1", "node 2")
    assert choices == (Choice("depth", "choice 3", True), Choice("odd", "1, d", False))


def test_an_edge_is_shared_as_often_as_the_base_holds_it() -> None:
    edges = [["normal/2", 0, "a"], ["normal/2", 0, "a"], ["normal/2", 0, "a"]]
    base = [["normal/2", 0, "a"], ["normal/2", 0, "a"], ["normal/2", 1, "a"]]
    (graph,), _ = cell_graphs(edges, base, cell_inputs(edges + base))
    assert [edge.shared for edge in graph.edges] == [True, True, False]


def test_inputs_named_by_text() -> None:
    edges = [["node_0", "stem", "a"], ["node_1", "node_0", "b"]]
    (graph,), _ = cell_graphs(edges, None, cell_inputs(edges))
    assert [edge.source for edge in graph.edges] == ["stem", "node 0"] and graph.nodes == ("stem", "node 0", "node 1")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from([one_cell_edges, darts_edges]))
def test_shared_edges_are_the_multiset_intersection(first: int, second: int, make: Any) -> None:
    edges, base = (make(np.random.default_rng(seed)) for seed in (first, second))
    graphs, choices = cell_graphs(edges, base, cell_inputs(edges + base))
    marked = sum(edge.shared for graph in graphs for edge in graph.edges) + sum(choice.shared for choice in choices)
    assert marked == (Counter(map(json.dumps, edges)) & Counter(map(json.dumps, base))).total()
    assert sum(len(graph.edges) for graph in graphs) + len(choices) == len(edges)
