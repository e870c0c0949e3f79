"""The report's figures as matplotlib axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex, to_rgba_array

from nni_hypens import EnsembleResult, InputError
from nni_hypens.report.content import RunContent
from nni_hypens.report.plots import PLOTS, plot_axes
from nni_hypens.report.svg import COLOUR_VARIABLES
from tests.support.report_page import with_results

COST = {"by": "parameters", "members": ["a"], "parameters": 10, "flops": 1, "validation_nll": 0.5}


@pytest.fixture(autouse=True)
def no_screen() -> Iterator[None]:
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    pyplot.close("all")
    matplotlib.use(before)


@pytest.fixture
def full(run: RunContent) -> RunContent:
    """A run that has measured everything."""
    return with_results(run, cost_front={"rows": [COST, {**COST, "by": "flops"}], "chosen": COST})


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_has_axes_in_the_colours_of_a_light_page(full: RunContent, name: str) -> None:
    axes = plot_axes(full, name)
    many = {"reliability": 2, "corruptions": 2, "history": 5}
    assert len(axes) == many.get(name, 1) and pyplot.get_fignums()
    figure = pyplot.gcf()
    assert {one.get_figure(root=True) for one in axes} == {figure}
    found = set()
    for artist in figure.findobj():
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            read = getattr(artist, f"get_{part}", None)
            found |= {to_hex(row[:3]) for row in to_rgba_array(read())} if read else set()
    assert not found & {*COLOUR_VARIABLES} and found & {"#0b62b8", "#b8480a"}
    figure.canvas.draw()  # it can be drawn again, outside the style


def test_what_was_not_measured_is_named(run: RunContent) -> None:
    nothing = dataclasses.replace(run, results={"ensemble": {"accuracy": 0.5, "nll": 1}, "best_member": {}}, history=[],
                                  candidates=[], trained=[])  # fmt: skip
    for name in PLOTS:
        with pytest.raises(InputError, match=f"^the figure {name}: got no data"):
            plot_axes(nothing, name)
    assert not pyplot.get_fignums()


def test_a_result_plots_itself(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def axes(run: RunContent, name: str) -> tuple[str, ...]:
        assert run.name == run_dir.name
        asked.append(name)
        return (name, "lower")

    monkeypatch.setattr("nni_hypens.run.result.plot_axes", axes)
    result = EnsembleResult.load(run_dir)
    for name in ("dial", "accuracy", "disagreement", "confusion", "uncertainty"):
        assert getattr(result, f"plot_{name}")() == name
    for name in ("reliability", "corruptions", "history"):
        assert getattr(result, f"plot_{name}")() == (name, "lower")
    for cost, measure in (("parameters", "nll"), ("flops", "accuracy")):
        assert result.plot_cost_front(cost) == f"cost_front, {cost}"
        assert result.plot_differences(measure) == f"differences, {measure}"
    assert {*asked} == {*PLOTS}
    for wrong in (lambda: result.plot_differences("ece"), lambda: result.plot_cost_front("watts")):
        with pytest.raises(InputError, match="^(measure|by): got"):
            wrong()
