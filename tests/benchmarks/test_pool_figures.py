"""What is computed from the pool, against brute force on a small made-up one; and the page against the results."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from nni_hypens.compare.figures import as_png
from nni_hypens.compare.pool import Pool, encode
from nni_hypens.ensemble.calibration import calibrate, combine, fit_temperature
from nni_hypens.proposals.outlook import pair_gains
from nni_hypens.selection.dispatch import select
from tests.benchmarks import (
    pool_cells,
    pool_figures,
    pool_forecasts,
    pool_gains,
    pool_guide,
    pool_halving,
    pool_pooling,
    pool_proxies,
    pool_selection,
    pool_tables,
    pool_training,
)
from tests.benchmarks.pool_cells import Networks
from tests.benchmarks.pool_file import empty_pool, merged
from tests.benchmarks.test_spaces_text import made_up_candidates, made_up_nasbench
from tests.benchmarks.test_supernet_text import made_up_supernet

VALIDATION, TEST, FIRST, SEVERAL = 60, 90, 20, (2, 5, 7)
SETTINGS = {
    "channels": 4, "train_images": 100, "epochs": 4, "shift": 0, "flip": True, "marks": [0.25, 0.5, 0.7, 1.0],
    "space": "search_spaces:OneCell",
}  # fmt: skip


def made_up(seeds: int = 3) -> Pool:
    """A pool in which larger networks are better; three architectures have several seeds, one training diverged."""
    labels = {part: np.arange(number) % 10 for part, number in (("validation", VALIDATION), ("test", TEST))}
    samples = pool_training.architectures()[:FIRST]
    networks = [(number, 0) for number in range(FIRST)]
    networks += [(number, replica) for replica in range(1, seeds) for number in SEVERAL]
    found = []
    for number, replica in networks:
        rng = np.random.default_rng([number, replica])
        log_probs = {}
        for part, true in labels.items():
            logits = 2 * rng.standard_normal((4, len(true), 10))
            logits[:, np.arange(len(true)), true] += 1.5 + 0.1 * number
            log_probs[part] = log_softmax(logits, axis=-1)
        history = {name: rng.random(4).astype(np.float32) for name in ("train_loss", "validation_nll", "cpu_seconds")}
        if number == FIRST - 1:
            history["validation_nll"][:] = np.nan
        sizes = {"params": np.int64(1_000 + 10 * number), "flops": np.int64(90_000 + 7 * number)}
        found.append(((number, replica), {**log_probs, **history, **sizes, **pool_training.scores(log_probs, labels)}))
    return merged(None, empty_pool(SETTINGS, samples, labels, 4, [25, 50, 70], SEVERAL), found)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return made_up()


@pytest.fixture(scope="module")
def first(pool: Pool) -> Networks:
    return Networks.of("cifar_data", pool)


@pytest.fixture(scope="module")
def every(pool: Pool) -> Networks:
    return Networks.of("cifar_data", pool, replica=None)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pool_pooling, pool_selection):
        monkeypatch.setattr(module, "IMAGES", (40, 60))
    for module in (pool_forecasts, pool_gains):
        monkeypatch.setattr(module, "RESAMPLES", 4)
    monkeypatch.setattr(pool_forecasts, "KNOWN", (3,))
    monkeypatch.setattr(pool_selection, "BAGS", 3)
    monkeypatch.setattr(pool_forecasts, "DRAWS", 2)


def test_diverged_networks_are_left_out(first: Networks, every: Networks) -> None:
    assert first.column("architecture").tolist() == list(range(FIRST - 1))
    assert sorted(zip(every.column("architecture"), every.column("replica"), strict=True)) == sorted(
        [(number, 0) for number in range(FIRST - 1)] + [(number, replica) for number in SEVERAL for replica in (1, 2)]
    )


def test_draws_depend_on_the_cell_and_the_purpose_alone(first: Networks, pool: Pool) -> None:
    drawn = [one.draw(one.generator("a"), 3, 50) for one in (first, Networks.of("cifar_data", pool))]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])
    others = (first.generator("b"), Networks.of("fashion_data", pool).generator("a"))
    assert all(first.draw(other, 3, 50)[1].tolist() != drawn[0][1].tolist() for other in others)


def test_relative_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    reference = rng.random((5, 40)) + 1
    found = pool_cells.relative(1.1 * reference, reference)
    assert found["difference"] == pytest.approx(0.1) and found["nll"] == pytest.approx(1.1 * reference.mean())
    away, mean = 0.1 * reference, reference.mean()
    draws = np.std([row.mean() for row in away], ddof=1) / 5**0.5 / mean
    images = np.std([column.mean() for column in away.T], ddof=1) / 40**0.5 / mean
    assert (found["se_draws"], found["se_images"]) == pytest.approx((draws, images))
    assert found["se"] == pytest.approx((draws**2 + images**2) ** 0.5)


def test_each_way_averages_as_it_says(first: Networks) -> None:
    probs, labels, equal = first.validation[:3].astype(float), first.labels("validation"), np.full(3, 1 / 3)

    def combined(way: str) -> np.ndarray:
        return combine(probs, equal, pool_pooling.fitted(way, probs, labels))

    np.testing.assert_allclose(combined("linear, none"), probs.mean(axis=0))
    np.testing.assert_allclose(combined("log, none"), softmax(np.log(probs).mean(axis=0), axis=1))
    own = [softmax(np.log(one) / fit_temperature(one, labels), axis=1) for one in probs]
    average = np.mean(own, axis=0)
    expected = softmax(np.log(average) / fit_temperature(average, labels), axis=1)
    np.testing.assert_allclose(combined("linear, members"), expected)
    shared = pool_pooling.fitted("linear, shared", probs, labels).members
    assert shared == (pytest.approx(fit_temperature(np.concatenate(probs), np.tile(labels, 3))),) * 3


def test_forward_selection_is_the_products_and_counts_images(first: Networks) -> None:
    seen = pool_selection.Candidates.of(first.validation[:12].astype(float), first.labels("validation"))
    expected = select("greedy", seen.calibrated, seen.labels, 4).members
    assert sorted(pool_selection.forward(seen.true(seen.calibrated), 4)) == sorted(expected)
    counts = np.random.default_rng(0).integers(0, 3, len(seen.labels))
    again = np.repeat(seen.calibrated, counts, axis=1)
    repeated = select("greedy", again, np.repeat(seen.labels, counts), 4).members
    assert sorted(pool_selection.forward(seen.true(seen.calibrated), 4, counts)) == sorted(repeated)


def test_forward_selection_on_the_log_average(first: Networks) -> None:
    raw, labels = first.validation[:6].astype(float), first.labels("validation")
    common = calibrate("ensemble", raw, np.full(6, 1 / 6), labels)

    def nll(members: list[int]) -> float:
        alone = common._replace(members=(1.0,) * len(members))
        probs = combine(raw[members], np.full(len(members), 1 / len(members)), alone)
        return float(-np.log(probs[np.arange(len(labels)), labels]).mean())

    chosen: list[int] = []
    for _ in range(3):
        rest = [number for number in range(6) if number not in chosen]
        chosen.append(min(rest, key=lambda number: nll([*chosen, number])))
    assert pool_selection.forward_log(raw, labels, 3) == chosen


def test_bags_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    true = np.full((6, 30), 0.2) + np.arange(6)[:, None] / 100
    true[4] = 0.9  # better than the others together, on every image
    for rule in (pool_selection.bagged_images, pool_selection.bagged_candidates):
        chosen = rule(true, 3, np.random.default_rng(0))
        assert 4 in chosen and len(set(chosen)) == 3
    votes = iter([[0, 1], [1, 2], [2, 1]])
    monkeypatch.setattr(pool_selection, "BAGS", 3)
    monkeypatch.setattr(pool_selection, "forward", lambda *_: next(votes))
    assert pool_selection.bagged_images(true, 2, np.random.default_rng(0)) == [1, 2]


def test_bootstrap_of_pairs_counts_what_was_drawn() -> None:
    rng = np.random.default_rng(1)
    owner, counts = np.array([0, 0, 1, 2, 3]), np.array([2, 0, 3, 1])
    values = rng.random((5, 5))
    wanted = np.ones((5, 5), dtype=bool)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    weights = [counts[owner[i]] * (1 if owner[i] == owner[j] else counts[owner[j]]) for i, j in pairs]
    expected = sum(w * values[pair] for w, pair in zip(weights, pairs, strict=True)) / sum(weights)
    assert pool_gains.pair_mean(values, wanted, owner)(counts) == pytest.approx(expected)
    assert pool_gains.pair_mean(values, wanted, owner)(np.array([0, 0, 0, 1])) is None


def test_gains_of_seeds_and_architectures(first: Networks, every: Networks, quick: None) -> None:
    found = pool_gains.gain_rows(first, every)
    gains = pair_gains(every.tempered_test)
    numbers = every.column("architecture")
    same, different = [], []
    for i, j in zip(*np.triu_indices(len(every), 1), strict=True):
        if {numbers[i], numbers[j]} <= set(SEVERAL):
            (same if numbers[i] == numbers[j] else different).append(gains[i, j])
    assert found["same"]["mean"] == pytest.approx(np.mean(same), rel=1e-5)
    assert found["different"]["mean"] == pytest.approx(np.mean(different), rel=1e-5)
    assert found["ratio"]["mean"] == pytest.approx(np.mean(same) / np.mean(different), rel=1e-5)
    n_pairs = (FIRST - 1) * (FIRST - 2) // 2
    assert sum(row["pairs"] for row in found["shared"]) == n_pairs == len(found["points"])
    structure = pool_forecasts.structure()
    samples = [first.pool.architectures[number] for number in first.column("architecture")]
    none = [structure.shared_edges(a, b) == 0 for k, a in enumerate(samples) for b in samples[k + 1 :]]
    assert found["shared"][0]["edges"] == "none" and found["shared"][0]["pairs"] == sum(none)


def test_sums_explain_gains_that_are_sums() -> None:
    parts = np.array([0.1, 0.3, 0.2, 0.4, 0.15])
    found = pool_gains.sums(np.add.outer(parts, parts), -parts)
    assert found == {"share": pytest.approx(1.0), "nll": pytest.approx(-1.0)}
    distances = np.abs(np.subtract.outer(parts, parts))
    assert pool_gains.sums(distances, parts)["share"] < 0.9


def test_variance_components(first: Networks, every: Networks, quick: None) -> None:
    found = pool_gains.gain_rows(first, every)["spread"]
    nll = every.final("test")
    numbers, replicas = every.column("architecture"), every.column("replica")
    groups = [nll[(numbers == number) & (replicas > 0)] for number in SEVERAL]
    seeds = np.mean([group.var(ddof=1) for group in groups])
    total = first.final("test").var(ddof=1)
    assert found["seeds"]["mean"] == pytest.approx(seeds**0.5)
    assert found["architectures"]["mean"] == pytest.approx(max(total - seeds, 0) ** 0.5)


def test_without_further_seeds_there_is_no_spread_of_seeds(quick: None) -> None:
    pool = made_up(seeds=1)
    first, every = Networks.of("x", pool), Networks.of("x", pool, replica=None)
    found = pool_gains.gain_rows(first, every)
    assert found["same"] is None and found["spread"]["seeds"] is None and found["spread"]["architectures"] is None


def test_scores_point_upwards(first: Networks, quick: None) -> None:
    proxies = {"nwot": [*(-first.final("test")), 0.0]}
    found = {row["score"]: row for row in pool_forecasts.known_rows(first, proxies)}
    assert found["nwot"]["spearman"] == pytest.approx(1)
    assert found["params"]["spearman"] > 0.5 and found["params"] == {**found["flops"], "score": "params"} | {
        "se": found["params"]["se"]
    }
    assert found.keys() <= pool_guide.KNOWN_TITLES.keys()


def test_scores_that_are_not_finite_are_left_out(first: Networks, quick: None) -> None:
    found = pool_forecasts.known_rows(first, {"nwot": [None, *map(float, range(1, FIRST))]})
    assert next(row for row in found if row["score"] == "nwot")["networks"] == FIRST - 2


def test_a_constant_score_ranks_nothing() -> None:
    assert pool_forecasts.spearman(np.zeros(4), np.arange(4.0)) == 0


def test_forecasts_are_judged_on_the_others(first: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[int], float]] = []
    true = first.final("test")

    class Oracle:
        def __init__(
            self, features: Any, size: Any, owner: list[int], probs: Any, nll: Any, temperatures: Any, flow: Any = None
        ) -> None:
            asked.append((owner, float(np.abs(nll - first.final("validation")[owner]).max())))
            self.mean = true.copy()
            self.mean[owner] = 100.0  # what it says of those that are known does not count

    monkeypatch.setattr(pool_forecasts, "outlook", Oracle)
    rows = pool_forecasts.forecast_rows(first, draws=2)
    assert {row["known"] for row in rows} == {3, 6, 12} and all(error == 0 for _, error in asked)
    assert all(row["mean"] == pytest.approx(1) for row in rows if row["forecast"] in ("outlook", "without sizes"))
    counts = pool_forecasts.operation_counts(first.pool.architectures)
    assert (counts.sum(axis=1) == pool_forecasts.structure().n_edges).all()


def test_proxies_of_a_small_network() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    images = torch.randn(4, 6)
    weight, bias = (p.detach().numpy().astype(float) for p in network[0].parameters())
    on = images.numpy() @ weight.T + bias > 0
    kernel = np.array([[(a == b).sum() for b in on] for a in on], dtype=float)
    nwot, units = pool_proxies.relu_scores(network, images)
    assert nwot == pytest.approx(np.linalg.slogdet(kernel)[1]) and units == 5
    gradients = (network[2].weight.detach().numpy().sum(axis=0) * on) @ weight
    values = np.linalg.eigvalsh(np.corrcoef(gradients)) + 1e-5
    assert pool_proxies.jacobian_score(network, images) == pytest.approx(-np.sum(np.log(values) + 1 / values), rel=1e-3)
    first, second = (np.abs(network[place].weight.detach().numpy()) for place in (0, 2))
    biases = [np.abs(network[place].bias.detach().numpy()) for place in (0, 2)]
    through = first.sum(axis=1) + biases[0]
    flow = (second @ first.sum(axis=1)).sum() + (second @ biases[0]).sum() + (second @ through).sum() + biases[1].sum()
    assert pool_proxies.synaptic_flow(network, (6,)) == pytest.approx(np.log(flow))


def test_proxies_of_architectures_are_those_of_their_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = pool_training.Cell("fashion", "data", 2, 128, 4, architectures=1)
    part = pool_training.Part(torch.randn(70, 1, 14, 14, generator=torch.Generator().manual_seed(0)), torch.zeros(70))
    monkeypatch.setattr(pool_training, "load_images", lambda *_: pool_training.Images(part, part, part))
    found = [pool_proxies.proxy_scores(cell, Path()) for _ in range(2)]
    assert found[0] == found[1] and all(len(found[0][name]) == 1 for name in pool_proxies.PROXIES)
    assert np.isfinite([found[0][name] for name in pool_proxies.PROXIES]).all()


def made_up_results(pool: Pool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Results of one cell, under the numbers of images that the page asks for."""
    (folder / "packed").mkdir()
    pool.save(folder / "packed" / "cifar_data.npz")
    out = folder / "figures.json"
    out.write_text(json.dumps({"proxies": {"cifar_data": {"nwot": list(range(FIRST))}}, "cells": {}}))
    pool_figures.compute(folder / "packed", out, [], draws=2)
    results: dict[str, Any] = json.loads(out.read_text())
    for part in ("pooling", "selection", "sizes"):
        for row in results["cells"]["cifar_data"][part]:
            row["images"] = {40: 100, 60: 1000}[row["images"]]
            for name in pool_pooling.SCORES if part == "pooling" else ():
                row.setdefault(name, {"mean": 0.5, "se": 0.1})
    return results


def made_up_marks() -> dict[str, Any]:
    """What `tests.benchmarks.marks` writes, for one cell."""
    looks = {"25%": 0.3, "50%": 0.6, "70%": 0.9}
    kinds = {"cosine, the same networks": ["plain"], "can be cut": ["plain", "averaged", "decayed"]}
    cell: dict[str, Any] = {}
    for schedule, names in kinds.items():
        found = {f"{mark} {kind}": {"nll": value} for mark, value in looks.items() for kind in names}
        cell[schedule] = {"networks": 20, "test_nll": 0.5, **found}
    return {"cells": {"cifar_data": cell}}


def test_the_page_is_made_of_the_results(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    results = made_up_results(pool, tmp_path, monkeypatch)
    cell = results["cells"]["cifar_data"]
    assert results["proxies"] == {"cifar_data": {"nwot": list(range(FIRST))}}
    assert cell["about"]["networks"] == FIRST + 5 and cell["about"]["diverged"] == 1
    names = re.findall(r"<!-- pool: (\w+) -->", pool_guide.TEMPLATE.read_text(encoding="utf-8"))
    measured = results, made_up_marks(), made_up_supernet(), made_up_candidates(), made_up_nasbench()
    made = pool_guide.parts(*measured)
    assert sorted(names) == sorted(made)
    page = pool_guide.written(*measured)
    assert "| constant rate, averaged, 50% | 0.60 |" in made["marks"] and "cosine: 0.30 at 25%" in made["say_marks"]
    assert "nan" not in page and all(text in page for text in made.values())
    row = pool_tables.one(cell["pooling"], way="log, none", members=5, images=1000)
    assert row is not None
    assert f"| log, none | {100 * row['difference']:+.1f} ± {100 * row['se']:.1f} |" in made["pooling_5"]
    for draw in (pool_guide.calibration_figure, pool_guide.gains_figure):
        assert as_png(draw(results)).startswith(b"\x89PNG")


def test_halving_keeps_the_better_half_twice() -> None:
    rng = np.random.default_rng(0)
    looks, costs = rng.random((24, 2)), rng.random(24) + 1
    kept, spent = pool_halving.halved(looks, costs)
    half = [one for one in range(24) if (looks[:, 0] < looks[one, 0]).sum() < 12]
    left = [one for one in half if (looks[half, 1] < looks[one, 1]).sum() < 6]
    assert sorted(kept) == left
    epochs = [1.0 if one in left else 0.5 if one in half else 0.25 for one in range(24)]
    assert spent == pytest.approx(float((costs * epochs).sum()))


def test_halving_is_compared_at_about_equal_cost(pool: Pool) -> None:
    found = {row["method"]: row for row in pool_halving.halving_rows("cifar_data", pool, range(2))}
    assert list(found) == ["adaptive_random", "random_pool", "halving", "known end"]
    assert "difference" not in found["adaptive_random"] and all(row["seeds"] == 2 for row in found.values())
    assert all(0.5 < row["cost"] < 1.5 for row in found.values())


def test_too_few_architectures_are_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_figures, "FEWEST", FIRST)
    with pytest.raises(ValueError, match="cifar_data has 19"):
        pool_figures.figures_of("cifar_data", pool, None)


def test_verdicts_count_clear_differences() -> None:
    said = pool_guide.verdict([(-0.03, 0.01), (-0.015, 0.01), (0.09, 0.01)])
    assert said == "+1.5% on average (-3.0 to +9.0), clearly lower in 1 and clearly higher in 1 of 3 columns"
    assert pool_tables.signed(-1e-9) == "0.0" and pool_tables.signed(0.06) == "+0.1"


def test_probabilities_are_those_of_the_pool(first: Networks) -> None:
    again = encode(np.log(first.validation))
    np.testing.assert_array_equal(again, first.pool.codes["validation"][first.rows])


COMMITTED = pytest.mark.skipif(not pool_guide.RESULTS.exists(), reason="no measurements of the pool are committed yet")


@COMMITTED
def test_the_committed_page_matches_the_results() -> None:
    files = pool_guide.RESULTS, pool_guide.MARKS, pool_guide.SUPERNET, pool_guide.CANDIDATES, pool_guide.NASBENCH
    measured = [json.loads(file.read_text()) for file in files]
    assert pool_guide.written(*measured) == pool_guide.GUIDE.read_text(encoding="utf-8")
    assert all((pool_guide.FIGURES / name).is_file() for name in ("calibration.png", "pair_gains.png"))


@COMMITTED
def test_the_committed_results_are_of_the_committed_pool() -> None:
    cells = json.loads(pool_guide.RESULTS.read_text())["cells"]
    found = {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in pool_figures.PACKED.glob("*.npz")}
    assert {name: cell["pool_sha256"] for name, cell in cells.items()} == found
