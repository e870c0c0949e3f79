"""The verdict and the tables of results say what the files say, with how much of it may be chance."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.report.content import read_run
from nni_hypens.report.page import write_report
from nni_hypens.report.results import (
    Difference,
    comparison,
    difference_data,
    draw_differences,
    interval,
    verdict,
    verdict_html,
)
from nni_hypens.report.svg import COLOUR_VARIABLES
from tests.support.report_fixture import make_run_folder
from tests.support.report_page import Page, edit


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html")))


@pytest.mark.parametrize(
    ("ours", "best", "outcome", "words"),
    [
        ((0.9, 0.3), (0.85, 0.5), "better", ["more accurate", "+5.00 points", "10 of 200", "and has a lower (better)"]),
        ((0.8, 0.6), (0.85, 0.5), "worse", ["less accurate", "-5.00 points", "and has a higher (worse) NLL"]),
        ((0.8, 0.4), (0.85, 0.5), "mixed", ["less accurate", "but has a lower (better) NLL"]),
        ((0.85, 0.4), (0.85, 0.5), "better", ["is as accurate as", "(85.00% against 85.00%)", "and has a lower"]),
        ((0.85, 0.50001), (0.85, 0.5), "equal", ["is as accurate as", "the same NLL (0.5000 against 0.5000)"]),
    ],
)
def test_verdict(ours: tuple[float, float], best: tuple[float, float], outcome: str, words: list[str]) -> None:
    keys = ("accuracy", "nll")
    results = {"ensemble": dict(zip(keys, ours, strict=True)), "best_member": dict(zip(keys, best, strict=True))}
    found, sentence, chance, _ = verdict({**results, "members": [{}, {}]}, 200)
    assert (
        found == outcome
        and not chance
        and sentence.startswith("The ensemble of 2 members ")
        and sentence.count(". ") == 0
    )
    for word in words:
        assert word in sentence


def test_better_members_and_baselines_are_named(copy: Path) -> None:
    def change(results: Any) -> None:
        results["baselines"] = [{"name": "deep", "accuracy": 0.5, "nll": 0.0123}, {"name": "random", "nll": 9.0}]
        results["members"][1]["nll"] = results["best_member"]["nll"] - 0.01

    edit(copy / "results.json", change)
    text = Page(write_report(copy)).text
    assert "On test data these baselines have a lower NLL than the ensemble: deep (0.0123)." in text
    name = json.loads((copy / "results.json").read_text(encoding="utf-8"))["members"][1]["id"]
    assert re.search(rf"these members have a lower NLL than the best member: [^.]*{name} \(", text)


@pytest.mark.parametrize(("spearman", "said"), [(0.71, False), (0.05, True), (-0.4, True), (None, False)])
def test_a_ranking_that_says_little_is_warned_of(copy: Path, spearman: float | None, said: bool) -> None:
    edit(copy / "results.json", lambda value: {**value, "ranking": {"spearman": spearman, "candidates": 7}})
    page = Page(write_report(copy))
    assert ("close to chance" in page.text) == said and (spearman is None) == ("supernet's ranking" not in page.text)
    if spearman is not None:
        assert f"{spearman:+.2f} with the NLL after training" in page.text


def _against_best(results: Any, accuracy: list[float], nll: list[float]) -> Any:
    """Set numbers of the ensemble and the intervals of its difference from the best member."""
    results["ensemble"] |= {"accuracy": 0.95, "nll": 0.4}
    results["best_member"] |= {"accuracy": 0.9, "nll": 0.5}
    row = next(row for row in results["intervals"]["rows"] if row["name"].startswith("best member ("))
    row["accuracy"] |= {"difference": 0.05, "difference_interval": accuracy}
    row["nll"] |= {"difference": -0.1, "difference_interval": nll}
    return results


@pytest.mark.parametrize(
    ("accuracy", "nll", "head", "look"),
    [
        ([0.01, 0.09], [-0.2, -0.05], "Better.", "better"),
        ([-0.01, 0.09], [-0.2, -0.05], "Better, though the difference in accuracy may be chance.", "better"),
        ([0.01, 0.09], [-0.2, 0.05], "Better, though the difference in NLL may be chance.", "better"),
        ([-0.01, 0.09], [-0.2, 0.05], "Better, but it may be chance.", "equal"),
    ],
)
def test_verdict_says_how_sure_it_is(copy: Path, accuracy: list[float], nll: list[float], head: str, look: str) -> None:
    edit(copy / "results.json", lambda results: _against_best(results, accuracy, nll))
    page = Page(write_report(copy))
    assert f'<div class="verdict {look}"><p><strong>{head}</strong>' in page.source
    low, high = (100 * end for end in accuracy)
    assert f"95% interval {low:+.2f} to {high:+.2f}) and" in page.text
    assert f"-0.1000; 95% interval {nll[0]:+.4f} to {nll[1]:+.4f})." in page.text


def test_calibrated_best_member_stands_beside_the_verdict(copy: Path) -> None:
    def change(results: Any) -> None:
        row = next(row for row in results["intervals"]["rows"] if row["name"] == "best member, calibrated")
        row["nll"] |= {"difference": 0.002, "difference_interval": [-0.01, 0.02]}

    edit(copy / "results.json", change)
    text = Page(write_report(copy)).text
    assert "own, the ensemble's NLL is 0.0020 higher (95% interval -0.0100 to +0.0200): that may be chance." in text


def test_comparison_has_every_interval(copy: Path, run_dir: Path) -> None:
    page = Page(write_report(copy))
    found = json.loads((run_dir / "results.json").read_text(encoding="utf-8"))["intervals"]
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 5}
    for item in found["rows"]:
        accuracy, nll = item["accuracy"], item["nll"]
        low, high = accuracy["interval"]
        cells = rows[item["name"]]
        assert cells[0] == f"{accuracy['value']:.2%} ({low:.2%} to {high:.2%})"
        assert cells[2] == f"{nll['value']:.4f} ({nll['interval'][0]:.4f} to {nll['interval'][1]:.4f})"
        if item["name"] == "ensemble":
            assert cells[1] == cells[3] == "–"
        else:
            ends = accuracy["difference_interval"]
            assert cells[1] == f"{100 * accuracy['difference']:+.2f} ({100 * ends[0]:+.2f} to {100 * ends[1]:+.2f})"
    assert "bootstrap over the 200 test images, paired, 500 resamples, seed 0" in page.text


@pytest.mark.parametrize(
    "value", [None, {}, {"rows": 3}, {"rows": [1, {"name": "x", "accuracy": 1, "nll": {"value": []}}]}]
)
def test_older_and_malformed_folders_do_without(run_dir: Path, value: Any) -> None:
    run = read_run(run_dir)
    assert "95% interval" in verdict_html(run) and "<svg" in comparison(run)
    without = dataclasses.replace(run, results={**run.results, "intervals": value})
    assert "95% interval" not in verdict_html(without) and "<svg" not in comparison(without)


def rows() -> list[Any]:
    def measure(value: float, low: float, high: float) -> dict[str, Any]:
        return {"value": 0.9, "interval": [0.8, 0.95], "difference": value, "difference_interval": [low, high]}

    return [
        {"name": "ensemble", "accuracy": {"value": 0.9, "interval": [0.8, 0.95]}, "nll": {"value": 0.3}},
        {"name": "a", "accuracy": measure(0.02, 0.01, 0.03), "nll": measure(-0.1, -0.2, -0.05)},
        {"name": "b", "accuracy": measure(-0.02, -0.03, -0.01), "nll": measure(0.1, 0.05, 0.2)},
        {"name": "c", "accuracy": measure(0.0, -0.01, 0.01), "nll": measure(0.01, -0.1, 0.1)},
    ]


def test_data_is_exact() -> None:
    found = {"rows": [*rows(), 3, {"name": "x"}, {"name": "y", "nll": {"difference": 1, "difference_interval": [1]}}]}
    assert difference_data(found, "accuracy") == (
        Difference("a", 0.02, 0.01, 0.03, 1),
        Difference("b", -0.02, -0.03, -0.01, -1),
        Difference("c", 0, -0.01, 0.01, 0),
    )
    assert [row.sign for row in difference_data(found, "nll")] == [1, -1, 0]  # less NLL is better
    assert difference_data({}, "nll") == ()


@pytest.mark.parametrize("value", [None, 3, [1], [1, 2, 3], [1, None], ["1", "2"], [float("nan"), 1]])
def test_what_is_no_interval(value: Any) -> None:
    assert interval(value) is None and interval([1, 2]) == (1.0, 2.0)


def test_drawing_says_what_it_shows() -> None:
    found = difference_data({"rows": rows()}, "accuracy")
    svg = draw_differences(found, "accuracy", "d")
    assert 'role="img"' in svg and "a: +2.00 points (+1.00 to +3.00). b: -2.00 points" in svg
    assert "right of zero the ensemble is better" in svg and ">c</text>" in svg
    assert "var(--first)" in svg and "var(--second)" in svg and "var(--ink)" in svg
    assert not any(colour in svg for colour in COLOUR_VARIABLES)
    svg = draw_differences(difference_data({"rows": rows()}, "nll"), "nll", "d")
    assert "left of zero the ensemble is better" in svg and "a: -0.1000 (-0.2000 to -0.0500)." in svg


def test_colour_and_filling_say_which_way() -> None:
    """Filled in the colour of better or worse; open, in the colour of text, where the interval holds zero."""
    for sign, colour in ((1, "first"), (-1, "second"), (0, "ink")):
        svg = draw_differences([Difference("a", 0.1 * (sign or 1), 0.05 * sign, 0.2, sign)], "accuracy", "d")
        assert (f"fill: var(--{colour}); stroke: var(--{colour})" in svg) == (sign != 0)
        assert f"stroke: var(--{colour})" in svg
