"""What the authors of EdgeNES published, and what comes out of their formula, curves and ablation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nni_hypens.search import SharedEdges
from tests.benchmarks import paper_annealing, paper_claims, paper_figures, paper_guide, paper_published as published


@pytest.mark.parametrize("way", paper_claims.EDGE_ROWS)
@pytest.mark.parametrize(("n_edges", "members"), [(4, 3), (3, 1), (4, 7)])
def test_edges_trained_per_step(way: str, n_edges: int, members: int) -> None:
    options = paper_claims.OPTIONS[:n_edges]
    mean, error = paper_claims.simulated_edges(way, n_edges, members, 20_000, seed=3, options=options)
    assert 0 < error < 0.02 * members
    expected = paper_claims.expected_edges(n_edges, members, options)[way]
    assert mean == pytest.approx(expected, abs=4 * error)
    if way in ("search_lam", "nested"):  # and it is another number than the paper's
        assert abs(mean - paper_claims.statement(n_edges, members)) > 4 * error


def test_the_formula_is_the_paper_s() -> None:
    found = paper_claims.expected_edges(4, 3)
    assert found["statement"] == 3 * 25 / 16 == 4.6875
    assert found["once"] < found["search_lam"] < found["statement"] < found["other_edges"] < found["nested"]
    assert found["once"] < 4 < found["statement"]  # fewer than a step of DARTS, if each edge counts once


def test_areas_by_hand() -> None:
    rising = [[*range(10)], [1] * 10]
    assert paper_claims.areas(rising, 15).tolist() == [40.5, 9] and paper_claims.areas(rising, 135).tolist() == [8.5, 1]


def test_one_run_of_darts_is_there_twice_and_one_missing() -> None:
    rows = published.DARTS_ROWS
    assert len(rows) == 5 and len(set(rows)) == 4 and set(published.DARTS_CURVES) - set(rows) == {(0, 10, 11)}
    curves = [*published.DARTS_CURVES.values(), *published.EDGENES_CURVES]
    assert len(curves) == 10 and {len(curve) for curve in curves} == {len(published.ITERATIONS)}


def test_no_area_test_is_significant() -> None:
    right = tuple(published.DARTS_CURVES)
    for first in (15, 75, 90, 105):
        darts, ours, p = paper_claims.area_test(right, first)
        assert p > 0.1 and ours.mean() > darts.mean()
        assert max(published.AREA_P.values()) < paper_claims.area_test(published.DARTS_ROWS, first)[2] < p
    assert paper_claims.area_test(right, 90)[2] == pytest.approx(0.1366, abs=1e-4)
    assert paper_claims.area_test(published.DARTS_ROWS, 90)[2] / 2 < 0.05 < paper_claims.area_test(right, 90)[2] / 2
    # Student's t by hand: difference of the means over the standard error of the slide's numbers, 8 degrees of freedom
    assert -0.12 / np.sqrt((0.19**2 + 0.13**2) / 5) == pytest.approx(-1.1655, abs=1e-4)
    assert paper_claims.p_of_slide() == pytest.approx(0.2774, abs=1e-3)


def test_published_versions_side_by_side() -> None:
    table = paper_claims.versions_table(paper_figures.TITLES, dict.fromkeys(paper_figures.TITLES, "1.0"))
    rows = table.set_index("method")
    assert rows.loc["DartsEns"].tolist() == ["48.2 ± 1.5", "48.9 ± 1.2", "47.5 ± 1.4", "1.0"]
    assert rows.loc["RandomD-NES", "slides %"] == rows.loc["seeds of the base", "paper %"] == "-"
    assert "Table 3" in rows.loc["from", "diploma %"]
    said = paper_claims.say_versions(paper_figures.TITLES)
    assert "-0.1 (paper), -0.8 (diploma), +0.4 (slides)" in said
    alike = next(line for line in said.splitlines() if "paper and diploma differ" in line)
    assert "random, single; DartsEns; Random-NES; RandomD-NES" in alike and "EdgeNES" not in alike


def test_variants_of_annealing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, SharedEdges] = {}

    def search(bench: object, name: str = "edgenes", diversity: SharedEdges | None = None) -> object:
        if diversity is not None:
            made[name] = diversity
        return name

    monkeypatch.setattr(paper_annealing, "hypernetwork_search", search)
    found = paper_annealing.annealing_searches(SimpleNamespace())  # type: ignore[arg-type]
    assert found.pop("both") == "edgenes"  # the search by default
    assert found == {name: f"annealing-{name}" for name in ("constant", "weight", "temperature")}
    made["annealing-both"] = SharedEdges()  # what the default search has
    ends = {
        name.removeprefix("annealing-"): (one.weight.start, one.weight.end, one.temperature.start, one.temperature.end)
        for name, one in made.items()
    }
    assert ends == {
        "constant": (1.65, 1.65, 0.525, 0.525),
        "weight": (0.3, 3.0, 0.525, 0.525),
        "temperature": (1.65, 1.65, 1.0, 0.05),
        "both": (0.3, 3.0, 1.0, 0.05),
    }
    assert ends["both"] == (*paper_annealing.WEIGHT, *paper_annealing.TEMPERATURE)


def test_the_guide_shows_the_ablation_once_it_is_run() -> None:
    rows = [
        {"seed": 0, "variant": variant, "shared": shared, "accuracy": 50.0 + shared}
        for variant in paper_annealing.VARIANTS
        for shared in (1, 2, 3)
    ]
    empty, results = {"rows": {}}, {"rows": {"annealing": rows}}
    assert paper_guide.say_annealing(empty).endswith("1.4 to 4.7 points.")
    assert "both +0.0 points, of one seed; the weight alone" in paper_guide.say_annealing(results)
    before, after = paper_figures.annealing_table(empty), paper_figures.annealing_table(results)
    assert before["paper: both annealed %"].tolist() == ["59.8 ± 1.8", "62.4 ± 2.0", "61.6 ± 0.5"]
    assert [name for name in after if name not in before] == [f"here: {name} %" for name in paper_annealing.VARIANTS]
    assert after["here: constant %"].tolist() == ["51.0", "52.0", "53.0"]
