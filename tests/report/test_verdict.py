"""The verdict says what the files say, and how much of it may be chance."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Callout
from nni_hypens.report.verdict import verdict, verdict_block
from tests.support.report_page import with_results


@pytest.mark.parametrize(
    ("ours", "best", "outcome", "words"),
    [
        ((0.9, 0.3), (0.85, 0.5), "better", ["more accurate", "+5.00 points", "10 of 200", "lower (better)"]),
        ((0.8, 0.6), (0.85, 0.5), "worse", ["less accurate", "-5.00 points", "higher (worse)"]),
        ((0.8, 0.4), (0.85, 0.5), "mixed", ["less accurate", "but", "lower (better)"]),
        ((0.85, 0.4), (0.85, 0.5), "better", ["is as accurate as", "85.00%", "lower"]),
        ((0.85, 0.50001), (0.85, 0.5), "equal", ["is as accurate as", "the same NLL", "0.5000"]),
    ],
)
def test_verdict(ours: tuple[float, float], best: tuple[float, float], outcome: str, words: list[str]) -> None:
    keys = ("accuracy", "nll")
    results = {"ensemble": dict(zip(keys, ours, strict=True)), "best_member": dict(zip(keys, best, strict=True))}
    found, sentence, chance, _ = verdict({**results, "members": [{}, {}]}, 200)
    assert found == outcome and not chance and "2 members" in sentence
    for word in words:
        assert word in sentence


def said_to_differ(right: float, best: float, n_test: int, **more: Any) -> int | None:
    """Number of test images by which the verdict says that two accuracies differ."""
    results = {"ensemble": {"accuracy": right, "nll": 0.2}, "best_member": {"accuracy": best, "nll": 0.21}, **more}
    found = re.search(rf", or (\d+) of {n_test} test images", verdict(results, n_test).sentence)
    return None if found is None else int(found[1])


def test_the_number_of_images_is_not_that_of_rounded_accuracies() -> None:
    n = 26032
    for right, best in ((25000, 24997), (25000, 24990), (24990, 25000), (20000, 19000)):
        assert said_to_differ(right / n, best / n, n) == abs(right - best)
    assert all(said_to_differ(round(k / 9999, 4), round(9000 / 9999, 4), 9999) == k - 9000 for k in range(9001, 9100))


def test_where_rounding_leaves_the_number_of_images_open_there_is_none() -> None:
    n, old = 26032, (round(25000 / 26032, 4), round(24997 / 26032, 4))
    assert said_to_differ(*old, n) is None and said_to_differ(*old, n, classes={"right": None}) is None
    classes = {"images": [13032, 13000], "right": [12500, 12500], "best_member_right": [12000, 12997]}
    assert said_to_differ(*old, n, classes=classes) == 3


@pytest.mark.parametrize(
    ("accuracy", "more", "n_test", "outcome"),
    [
        (0.33, {"chance": {"accuracy": 0.25}}, 60, "chance"),
        (0.33, {"chance": {"accuracy": 0.25}}, 600, "better"),
        (0.9, {"chance": {"accuracy": 0.9}}, 600, "chance"),  # always the most frequent of two classes
        (0.33, {"data": {"num_classes": 4}}, 60, "chance"),  # results of earlier versions
        (0.2, {"chance": {"accuracy": 0.25}}, None, "chance"),
        (0.33, {}, 60, "better"),
    ],
)
def test_an_ensemble_at_chance_is_not_better(
    accuracy: float, more: dict[str, Any], n_test: int | None, outcome: str
) -> None:
    results = {"ensemble": {"accuracy": accuracy, "nll": 1.3}, "best_member": {"accuracy": 0.1, "nll": 1.4}, **more}
    found, sentence, *_ = verdict(results, n_test)
    assert found == outcome and ("has learned nothing" in sentence) == (outcome == "chance")


def test_a_rare_class_that_is_known_is_not_chance(run: RunContent) -> None:
    accuracy, nll = (run.part("ensemble")[name] for name in ("accuracy", "nll"))
    high = next(row for row in run.rows("intervals") if row["name"] == "ensemble")["nll"]["interval"][1]
    at_chance = with_results(run, chance={"accuracy": accuracy, "nll": high - 1e-6})
    assert verdict_block(at_chance).head == "No better than chance"
    knows = verdict_block(with_results(run, chance={"accuracy": accuracy, "nll": high + 1e-6}))
    assert knows.head != "No better than chance" and "learned nothing" not in knows.text
    (note,) = [note for note in knows.notes if "not measurably more accurate" in note]
    assert f"NLL {nll:.4f} against" in note


def test_a_report_at_chance_says_so_first(run: RunContent) -> None:
    block = verdict_block(with_results(run, chance={"accuracy": run.part("ensemble")["accuracy"]}))
    assert block.head == "No better than chance" and block.look == "worse"


def against_best(run: RunContent, accuracy: list[float], nll: list[float]) -> Callout:
    """The verdict, with other intervals of the ensemble's difference from its best member."""
    rows = [
        {
            **row,
            "accuracy": {**row["accuracy"], "difference": 0.05, "difference_interval": accuracy},
            "nll": {**row["nll"], "difference": -0.1, "difference_interval": nll},
        }
        if row["name"].startswith("best member (")
        else row
        for row in run.rows("intervals")
    ]
    ensemble = {**run.part("ensemble"), "accuracy": 0.95, "nll": 0.4}
    best = {**run.part("best_member"), "accuracy": 0.9, "nll": 0.5}
    intervals = {**run.part("intervals"), "rows": rows}
    return verdict_block(with_results(run, ensemble=ensemble, best_member=best, intervals=intervals))


@pytest.mark.parametrize(
    ("accuracy", "nll", "doubt", "look"),
    [
        ([0.01, 0.09], [-0.2, -0.05], None, "better"),
        ([-0.01, 0.09], [-0.2, -0.05], "accuracy may be chance", "better"),
        ([0.01, 0.09], [-0.2, 0.05], "NLL may be chance", "better"),
        ([-0.01, 0.09], [-0.2, 0.05], "it may be chance", "equal"),
    ],
)
def test_verdict_says_how_sure_it_is(
    run: RunContent, accuracy: list[float], nll: list[float], doubt: str | None, look: str
) -> None:
    block = against_best(run, accuracy, nll)
    assert block.look == look and block.head.startswith("Better")
    assert block.head == "Better" if doubt is None else block.head.endswith(doubt)
    low, high = (100 * end for end in accuracy)
    assert f"95% interval {low:+.2f} to {high:+.2f}" in block.text
    assert f"-0.1000; 95% interval {nll[0]:+.4f} to {nll[1]:+.4f}" in block.text


@pytest.mark.parametrize("value", [None, {}, {"rows": 3}])
def test_without_intervals_there_are_none_in_the_text(run: RunContent, value: Any) -> None:
    def text(block: Callout) -> str:
        return " ".join([block.text, *block.notes])

    assert "95% interval" in text(verdict_block(run))
    assert "interval" not in text(verdict_block(with_results(run, intervals=value)))


def test_better_members_and_baselines_are_named(run: RunContent) -> None:
    baselines = [{"name": "deep", "accuracy": 0.5, "nll": 0.0123}, {"name": "random", "nll": 9.0}]
    notes = " ".join(verdict_block(with_results(run, baselines=baselines)).notes)
    better = [row for row in run.members if row["nll"] < run.part("best_member")["nll"]]
    assert better and all(row["id"] in notes for row in better)
    assert "deep" in notes and "random" not in notes


@pytest.mark.parametrize(
    ("ranking", "warns"),
    [
        ({"spearman": 0.71}, False), ({"spearman": 0.05}, True), ({"spearman": -0.4}, True),
        ({"spearman": None}, False),
        ({"spearman": -0.4, "method": "spread"}, True), ({"spearman": -0.4, "method": "promising"}, False),
        ({"spearman": -0.4, "method": "none"}, False),
    ],
)  # fmt: skip
def test_a_ranking_close_to_chance_is_warned_of(run: RunContent, ranking: dict[str, Any], warns: bool) -> None:
    """Not one that chooses by size, too, and none where the supernet chooses nothing."""
    notes = " ".join(verdict_block(with_results(run, ranking={"candidates": 7, **ranking})).notes)
    assert ("Spearman" in notes) == warns


def test_calibrated_best_member_is_compared(run: RunContent) -> None:
    measured = {"difference": 0.002, "difference_interval": [-0.01, 0.02]}
    rows = [{"name": "best member, calibrated", "nll": measured}]
    notes = verdict_block(with_results(run, intervals={"level": 0.95, "rows": rows})).notes
    assert any("0.0020 higher" in note and "-0.0100 to +0.0200" in note and "chance" in note for note in notes)


@pytest.mark.parametrize(
    ("accuracy", "nll", "as_good"),
    [
        ([-0.01, 0.02], [-0.02, 0.01], True),  # both include zero
        ([-0.05, -0.01], [0.01, 0.02], True),  # the smaller one is better
        ([0.01, 0.02], [-0.02, 0.01], False),
        ([-0.01, 0.02], [-0.02, -0.01], False),
    ],
)
def test_a_smaller_ensemble_that_is_as_good_is_named(
    run: RunContent, accuracy: list[float], nll: list[float], as_good: bool
) -> None:
    name = "ensemble of 2 (c1, c2)"
    measured = {"accuracy": accuracy, "nll": nll}
    row = {key: {"difference": sum(ends) / 2, "difference_interval": ends} for key, ends in measured.items()}
    intervals = {"level": 0.95, "rows": [{"name": name, **row}]}
    sizes = [
        {"name": "model-of-one", "members": ["c1"]},
        {"name": name, "members": ["c1", "c2"]},
        {"name": "model-of-five", "members": ["c1", "c2", "c3", "c4", "c5"]},
    ]
    intervals["rows"] += [{**intervals["rows"][0], "name": one["name"]} for one in sizes[::2]]  # as good, not smaller
    notes = verdict_block(with_results(run, intervals=intervals, sizes=sizes)).notes
    assert not any("model-of" in note for note in notes)
    found = [note for note in notes if name in note]
    assert len(found) == as_good and all("--members 2" in note for note in found)


def test_one_member_is_no_average(run: RunContent) -> None:
    one = with_results(dataclasses.replace(run, members=run.members[:1]), members=run.results["members"][:1])
    block = verdict_block(one)
    assert "1 member " in block.text and "average" in block.notes[0]


def test_chance_level_is_said_of_every_better_ensemble(run: RunContent) -> None:
    def notes(**parts: Any) -> str:
        return " ".join(verdict_block(with_results(run, **parts)).notes)

    better = {**run.part("ensemble"), "accuracy": 0.9}
    assert "Chance level: 25.00%" in notes(ensemble=better, chance={"accuracy": 0.25})
    assert "3.6 times" in notes(ensemble=better, chance={"accuracy": 0.25})
    assert "Chance level" not in notes(ensemble=better, chance={"accuracy": 0.9})
    assert "Chance level" not in notes(ensemble=better, chance=None, data=None)


def test_the_standard_error_is_said_only_without_an_interval(run: RunContent) -> None:
    assert "standard error" not in " ".join(verdict_block(run).notes)
    assert "standard error" in " ".join(verdict_block(with_results(run, intervals=None)).notes)


@pytest.mark.parametrize(
    ("temperatures", "config", "warns"),
    [
        ((0.5, 0.7, 1.2), {}, True),
        ((0.5, 0.9, 1.2), {}, False),
        ((0.5, 0.7, 1.2), {"label_smoothing": 0.1}, False),
        ((0.5, 0.7, 1.2), {"mixup": 0.2}, False),
        ((), {}, False),
    ],
)
def test_a_brief_training_is_named(
    run: RunContent, temperatures: tuple[float, ...], config: dict[str, float], warns: bool
) -> None:
    members = [{**run.members[0], "own_temperature": value} for value in temperatures]
    members = members or [{key: value for key, value in run.members[0].items() if key != "own_temperature"}]
    block = verdict_block(dataclasses.replace(run, members=members, config={**run.config, **config}))
    assert any("temperatures is 0.70, below 1" in note and "more epochs" in note for note in block.notes) == warns


@pytest.mark.parametrize(
    ("sizes", "warns"), [({"validation": 36}, True), ({"validation": 500}, False), ("many", False)]
)
def test_few_validation_images_are_named(run: RunContent, sizes: object, warns: bool) -> None:
    data = {**run.part("data"), "sizes": sizes}
    notes = verdict_block(with_results(run, data=data)).notes
    assert any(note.startswith("Only 36 validation images to choose") for note in notes) == warns
