"""What the figures of a report show."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens import plot_data
from nni_hypens.errors import InputError
from nni_hypens.plot_data import Choice, GraphEdge
from tests.support.report_fixture import darts_edges, one_cell_edges


def test_accuracy_data_is_exact() -> None:
    rows = [
        {"id": "b", "test": {"accuracy": 0.5}, "validation": {"accuracy": 0.6}},
        {"id": "m", "lam": None, "shared_edges": 2, "test": {"accuracy": 0.7}, "validation": None, "is_member": True},
        {"id": "n", "shared_edges": 3, "test": None, "validation": {"accuracy": float("nan")}},
    ]
    data = plot_data.accuracy_data(rows, 0.9, "b")
    assert data == ((plot_data.AccuracyPoint("m", 2.0, 0.7, None, True),), 0.9, 0.5)
    assert plot_data.accuracy_data(rows, 0.9, None).base is None


def test_reliability_data_leaves_out_empty_bins() -> None:
    bins = {"confidence": [None, 0.4, float("nan"), 0.9], "accuracy": [None, 0.5, None, 1.0], "count": [0, 4, 0, 6]}
    curve = plot_data.reliability_data("ensemble", bins)
    assert curve == ("ensemble", 4, (1, 3), (0.4, 0.9), (0.5, 1.0), (4, 6))
    assert plot_data.reliability_data("none", {}) == ("none", 0, (), (), (), ())
    with pytest.raises(
        InputError, match="reliability of x: got lists of 1, 2, 1; expected confidence, accuracy, count"
    ):
        plot_data.reliability_data("x", {"confidence": [0.5], "accuracy": [0.5, 1], "count": [1]})


def test_disagreement_data_must_be_square() -> None:
    assert plot_data.disagreement_data(["a", "b"], [[0, 0.25], [0.25, 0]]) == (("a", "b"), ((0, 0.25), (0.25, 0)))
    for wrong in ([[0, 0.1]], [[0], [0]], [[0, None], [0.1, 0]]):
        with pytest.raises(InputError, match="diversity.pairwise: got rows of .*expected 2 x 2 finite numbers"):
            plot_data.disagreement_data(["a", "b"], wrong)


def test_history_data_averages_steps_and_counts_epochs_through_phases() -> None:
    rows = [
        {"epoch": "0", "phase": "warmup", "loss": "2", "weight": ""},
        {"epoch": "0", "phase": "warmup", "loss": "4", "weight": ""},
        {"epoch": "1", "phase": "warmup", "loss": "nan", "weight": ""},
        {"epoch": "0", "phase": "hypernetwork", "loss": "1", "weight": "0.3"},
        {"epoch": "1", "phase": "hypernetwork", "loss": "text", "weight": "3"},
    ]
    data = plot_data.history_data(rows, ["loss", "weight", "temperature"])
    assert data.series == {"loss": ((1, 3.0), (3, 1.0)), "weight": ((3, 0.3), (4, 3.0))}
    assert data.phases == (("warmup", 1, 2), ("hypernetwork", 3, 4))
    assert plot_data.history_data([], ["loss"]) == ({}, ())


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("sep_conv_3x3", "separable conv 3×3"), ("dil_conv_5x5", "dilated conv 5×5"), ("skip_connect", "skip"),
        ("avg_pool_3x3", "average pool 3×3"), ("MyOp", "MyOp"), (3, "choice 3"), (True, "true"), ([1, 2], "[1, 2]"),
        (0.5, "0.5"), (None, "null"),
    ],
)  # fmt: skip
def test_operation_name(raw: Any, read: str) -> None:
    assert plot_data.operation_name(raw) == read


def test_nodes_from_zero_number_their_inputs_on_their_own() -> None:
    edges = [["node_0", 0, "skip"], ["node_1", 1, "max_pool_3x3"], ["node_2", 2, "skip"]]
    base = [["node_0", 0, "skip"], ["node_1", 0, "max_pool_3x3"], ["node_2", 2, "skip"]]
    (graph,), choices = plot_data.cell_graphs(edges, base, edges + base)
    assert graph.nodes == ("input 0", "node 0", "node 1", "node 2") and not choices and graph.name == "cell"
    assert graph.edges == (
        GraphEdge("input 0", "node 0", "skip", True),
        GraphEdge("node 0", "node 1", "max pool 3×3", False),
        GraphEdge("node 1", "node 2", "skip", True),
    )


def test_number_of_inputs_is_read_from_the_whole_pool() -> None:
    edges = [["node_0", 0, "skip"], ["node_1", 2, "skip"]]
    pool = [*edges, ["node_0", 1, "skip"]]  # so the cell has two inputs, and input 2 is node 0
    assert plot_data.cell_graphs(edges, None, pool)[0][0].edges[1] == GraphEdge("node 0", "node 1", "skip", None)


def test_nni_cells_share_one_numbering_and_choices_stand_apart() -> None:
    edges = [["normal/2", 0, "a"], ["normal/3", 2, "b"], ["reduce/2", 1, "c"], ["depth", None, 3], ["odd", 1, "d"]]
    graphs, choices = plot_data.cell_graphs(edges, [["depth", None, 3]], edges)
    assert [graph.name for graph in graphs] == ["normal cell", "reduce cell"]
    assert graphs[0].edges[1] == GraphEdge("node 2", "node 3", "b", False)
    assert graphs[1].nodes == ("input 1", "node 2")
    assert choices == (Choice("depth", "choice 3", True), Choice("odd", "1, d", False))


def test_an_edge_is_shared_as_often_as_the_base_holds_it() -> None:
    edges = [["normal/2", 0, "a"], ["normal/2", 0, "a"], ["normal/2", 0, "a"]]
    base = [["normal/2", 0, "a"], ["normal/2", 0, "a"], ["normal/2", 1, "a"]]
    (graph,), _ = plot_data.cell_graphs(edges, base, edges + base)
    assert [edge.shared for edge in graph.edges] == [True, True, False]


def test_inputs_named_by_text() -> None:
    edges = [["node_0", "stem", "a"], ["node_1", "node_0", "b"]]
    (graph,), _ = plot_data.cell_graphs(edges, None, edges)
    assert [edge.source for edge in graph.edges] == ["stem", "node 0"] and graph.nodes == ("stem", "node 0", "node 1")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from([one_cell_edges, darts_edges]))
def test_shared_edges_are_the_multiset_intersection(first: int, second: int, make: Any) -> None:
    edges, base = (make(np.random.default_rng(seed)) for seed in (first, second))
    graphs, choices = plot_data.cell_graphs(edges, base, edges + base)
    marked = sum(edge.shared for graph in graphs for edge in graph.edges) + sum(choice.shared for choice in choices)
    assert marked == (Counter(map(json.dumps, edges)) & Counter(map(json.dumps, base))).total()
    assert sum(len(graph.edges) for graph in graphs) + len(choices) == len(edges)
