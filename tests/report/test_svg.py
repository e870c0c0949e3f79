from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens.report.calibration import (
    Disagreement,
    ReliabilityCurve,
    disagreement_data,
    draw_disagreement,
    draw_reliability,
)
from nni_hypens.report.cells import CellGraph, GraphEdge, _tracks, cell_graphs, draw_cell
from nni_hypens.report.cost import cost_front_data, draw_cost_front
from nni_hypens.report.dial import AccuracyByEdges, AccuracyPoint, Dial, DialPoint, dial_data, draw_accuracy, draw_dial
from nni_hypens.report.history import History, draw_history
from nni_hypens.report.html import clean
from nni_hypens.report.svg import COLOUR_VARIABLES, INK
from nni_hypens.report.uncertainty import EntropyBar, draw_entropy, draw_robustness, entropy_data, robustness_data
from tests.support.report_fixture import darts_edges

pytestmark = pytest.mark.filterwarnings("error")


class _Svg(HTMLParser):
    """Collects the tags, the ids, the text and the references of a drawing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.first: dict[str, Any] = {}
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.handle_startendtag(tag, attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        self.first = self.first or values
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.references += [values["href"][1:]] if "href" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _check(svg: str, name: str) -> _Svg:
    parsed = _Svg(svg)
    assert parsed.tags[0] == "svg" and not parsed.open
    assert parsed.first["role"] == "img" and parsed.first["aria-label"]
    assert len(set(parsed.ids)) == len(parsed.ids) and all(i.startswith(f"{name}-") for i in parsed.ids)
    assert set(parsed.references) <= set(parsed.ids)
    assert "http" not in svg and "<metadata" not in svg
    return parsed


def test_dial_data_is_exact() -> None:
    pool = [
        {"id": "b", "lam": None, "shared_edges": 4, "source": "base"},
        {"id": "m", "lam": 1.5, "shared_edges": 2, "source": "mode"},
        {"id": "t", "lam": 3.0, "shared_edges": 3, "source": "draw"},
        {"id": "p", "lam": -0.25, "shared_edges": 0, "source": "draw"},
    ]
    data = dial_data(pool, {"b", "m", "t"}, {"m"}, 4)
    assert data.points == (
        DialPoint("m", 1.5, 2, "mode", "member"),
        DialPoint("t", 3.0, 3, "draw", "trained"),
        DialPoint("p", -0.25, 0, "draw", "pool"),
    )
    assert (data.n_edges, data.omitted) == (4, 1)
    assert data.mean_absolute_error == pytest.approx((0.5 + 0 + 0.25) / 3)
    with_modes = dial_data(pool, set(), set(), 4, [[0, 1], [0.5, 1], [4, 4]])
    assert with_modes.modes == ((0.0, 1), (0.5, 1), (4.0, 4)) and with_modes.mean_absolute_error == pytest.approx(0.5)
    assert "0.50 edges off" in draw_dial(with_modes, "d")
    assert dial_data(pool[:1], set(), set(), 4) == ((), 4, 1, None, ())


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=16))
def test_no_two_overlapping_spans_share_a_track(drawn: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in drawn]
    tracks = _tracks(spans)
    for i, (a, b) in enumerate(spans):
        for j, (c, d) in enumerate(spans[:i]):
            assert tracks[i] != tracks[j] or b < c or d < a


def test_drawings_are_whole_and_name_their_content() -> None:
    rng = np.random.default_rng(0)
    edges, base = darts_edges(rng), darts_edges(rng)
    graph = cell_graphs(edges, base, edges + base)[0][0]
    parsed = _check(draw_cell(graph, "c"), "c")
    assert {"input 0", "node 2", "node 5", graph.edges[0].operation} <= set(parsed.text)
    assert "node 5 takes" in parsed.first["aria-label"] and "(differs)" in parsed.first["aria-label"]

    data = disagreement_data(["a", "b", "c"], [[0, 0.25, 0.5], [0.25, 0, 0.125], [0.5, 0.125, 0]])
    parsed = _check(draw_disagreement(data, "h"), "h")
    assert {"25.0%", "50.0%", "12.5%", "a", "b", "c"} <= set(parsed.text)
    assert parsed.first["aria-label"].endswith("From 12.5% to 50.0%, most between c and a.")

    curve = ReliabilityCurve("ensemble", 2, (0, 1), (0.4, 0.8), (0.5, 1.0), (1, 3))
    parsed = _check(draw_reliability([curve, curve._replace(name="best", count=(), bins=())], "r"), "r")
    assert "ensemble: mean confidence 70.0%, accuracy 87.5%." in parsed.first["aria-label"]
    assert "best: no examples." in parsed.first["aria-label"]


def test_robustness_and_entropy() -> None:
    rows = [
        {"model": model, "severity": severity, "accuracy": 0.9 - severity * 0.1 * k, "nll": severity * k}
        for model in ("ensemble", "best member") for severity in (0, 1, 1) for k in (1, 2)
    ]  # fmt: skip
    curves = robustness_data([*rows, {"model": "x", "severity": None}, {}])
    assert [curve.model for curve in curves] == ["ensemble", "best member"]
    assert curves[0].points == ((0, pytest.approx(0.9), 0.0), (1, pytest.approx(0.75), 1.5))
    parsed = _check(draw_robustness(curves, "r"), "r")
    assert "ensemble: accuracy 90.0% to 75.0%, NLL 0.000 to 1.500." in parsed.first["aria-label"]
    assert {"ensemble", "best member", "NLL"} <= set(parsed.text)
    bars = entropy_data({"test": {"aleatoric": 0.5, "epistemic": 0.25}, "none": {"aleatoric": None}})
    assert bars == (EntropyBar("test", 0.5, 0.25),)
    assert "test: aleatoric 0.500, epistemic 0.250." in _check(draw_entropy(bars, "e"), "e").first["aria-label"]


def test_drawings_of_next_to_nothing() -> None:
    _check(draw_disagreement(Disagreement(("a", "b"), ((0, 0), (0, 0))), "h"), "h")
    _check(draw_dial(Dial((DialPoint("a", 0.0, 0, "", "pool"),), 0, 0, 0.0), "d"), "d")
    point = AccuracyPoint("a", 1.0, None, 0.5, False)
    _check(draw_accuracy(AccuracyByEdges((point,), 0.5, None), "a"), "a")
    one = History({"loss": ((1, 2.0),)}, (("", 1, 1),))
    assert "training from 2 to 2 over 1 epochs" in draw_history(one, {"loss": "training"}, "Loss", "l")


def test_colours_follow_the_page_and_user_text_does_not_change() -> None:
    svg = draw_cell(
        CellGraph("cell", ("input 0", "node 0"), (GraphEdge("input 0", "node 0", f'{INK} id="x', True),)),
        "c",
    )
    parsed = _check(svg, "c")
    assert f'{INK} id="x' in parsed.text
    assert "var(--ink)" in svg and "var(--first)" in svg and "var(--second)" not in svg
    assert not any(colour in svg.replace(f"{INK} id", "") for colour in COLOUR_VARIABLES)


def test_drawing_is_repeatable_and_leaves_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    data = Dial((DialPoint("a", 0.5, 1, "mode", "member"),), 4, 0, 0.5)
    assert draw_dial(data, "d") == draw_dial(data, "d")
    assert dict(matplotlib.rcParams) == before


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec=None), max_size=12))
def test_any_text_can_be_drawn(text: str) -> None:
    graph = CellGraph("cell", ("input 0", text or "n"), (GraphEdge("input 0", text or "n", text, False),))
    svg = draw_cell(graph, "c")
    svg.encode("utf-8")
    _check(svg.replace("http", ""), "c")
    assert clean(text) == clean(clean(text)) and clean(text).isprintable()


def test_cost_front_data_is_exact() -> None:
    rows = [
        {"by": "parameters", "members": ["a", "b"], "parameters": 30, "flops": 3, "validation_nll": 0.25,
         "chosen": True},
        {"by": "parameters", "members": ["a"], "parameters": 10, "flops": 1, "validation_nll": 0.5, "chosen": False},
        {"by": "parameters", "members": ["a"], "parameters": None, "flops": 1, "validation_nll": 0.5, "chosen": False},
        {"by": "flops", "members": ["a"], "parameters": 10, "flops": 1, "validation_nll": 0.5, "chosen": False},
    ]  # fmt: skip
    found = {"rows": rows, "chosen": rows[0]}
    front = cost_front_data(found, "parameters")
    assert front == ("parameters", ((10, 0.5, 1), (30, 0.25, 2)), (30, 0.25, 2), True)
    assert cost_front_data(found, "flops") == ("flops", ((1, 0.5, 1),), (3, 0.25, 2), False)
    assert cost_front_data({}, "flops") == ("flops", (), None, False)
    for cost in ("parameters", "flops"):
        parsed = _check(draw_cost_front(cost_front_data(found, cost), "front"), "front")
        assert "the chosen ensemble" in parsed.text and "validation NLL" in parsed.text
    assert "2 with 30: 0.2500." in draw_cost_front(front, "f")
    assert "the chosen ensemble" not in draw_cost_front(front._replace(chosen=None), "f")
