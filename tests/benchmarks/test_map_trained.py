"""The bench that trains: what it is asked for is trained once, and every method runs on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nni_hypens.compare.methods import pool_recipe
from nni_hypens.compare.pool import Pool
from tests.benchmarks import map_trained, pool_training, trained_bench
from tests.benchmarks.pool import PACKED
from tests.benchmarks.pool_training import CELLS, Cell, Images, Part
from tests.benchmarks.trained_bench import CLEAN, TrainedBench

TINY = replace(CELLS[0], channels=2, train_images=128, epochs=1)


def tiny_images(cell: Cell, cifar_file: Path, seed: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    parts = [Part(torch.rand(n, 1, 14, 14, generator=generator), torch.arange(n) % 10) for n in (128, 60, 40 + 35 * 20)]
    return Images(*parts)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainedBench:
    monkeypatch.setattr(trained_bench, "CORRUPTED", 20)
    monkeypatch.setattr(trained_bench, "RESIDUAL_SEEDS", 3)
    monkeypatch.setattr(trained_bench, "load_images", tiny_images)
    return TrainedBench(TINY, Pool.load(PACKED / "fashion_data.npz"), tmp_path, 3, tmp_path / "none")


def test_networks_are_trained_once_and_come_back(bench: TrainedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = bench.random(2, 0)
    found = bench.network(first), bench.network(first, 1), bench.network(other)
    assert len({network.validation.tobytes() for network in found}) == 3
    monkeypatch.setattr(trained_bench, "train_cycles", None)  # nothing is trained again
    again = bench.network(first, 1)
    np.testing.assert_array_equal(again.test, found[1].test)
    assert again.test.shape == (40, 10) and len(bench.test_labels) == 40
    bench.part = "jpeg 5"
    (corrupted,) = bench.at_part([again])
    assert corrupted.test.shape == (20, 10) and len(bench.test_labels) == 20
    np.testing.assert_array_equal(corrupted.test, corrupted.every[-20:])  # type: ignore[attr-defined]


def test_costs_are_those_of_the_pool(bench: TrainedBench) -> None:
    pool = bench.pool
    rows = pool.rows()
    known = pool.columns["cpu_seconds"][rows, -1]
    fitted = [bench.costs.of(pool.architectures[number]) for number in pool.columns["architecture"][rows]]
    assert np.corrcoef(known, fitted)[0, 1] > 0.95
    assert known.min() <= bench.costs.of_flops(1e5) <= bench.costs.of_flops(1e9) <= known.max()


@pytest.mark.parametrize("method", ["random_pool", "residual_ensemble", "snapshots", "darts_deep_ensemble"])
def test_methods_run_on_it(bench: TrainedBench, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_trained, "SIZES", (3,))
    monkeypatch.setattr(map_trained, "CORRUPTED_SIZE", 3)
    monkeypatch.setattr(map_trained, "NETWORKS", 3)
    rows = map_trained.rows_of(bench, method)
    assert [row["part"] for row in rows] == [CLEAN, *list(bench.parts)[1:]] and len(rows) == 36
    assert len({row["temperature"] for row in rows}) == 1  # fitted on clean validation images alone
    if method != "darts_deep_ensemble":  # on noise, DARTS may choose networks that give every image the same answer
        assert len({row["nll"] for row in rows}) > 30


def test_ours_runs_on_it(bench: TrainedBench) -> None:
    budget = 5 * bench.costs.average
    trained = pool_recipe("adaptive_random")(bench, 3, budget)  # type: ignore[arg-type]
    spent = sum(network.cost for network in trained.networks)
    assert len(trained.networks) >= 4 and spent <= budget * 1.5


def test_seeds_of_our_best_for_twice_the_epochs(bench: TrainedBench) -> None:
    budget = 5 * bench.costs.average
    usual, longer = (
        map_trained.train(bench, method, 3, budget).networks for method in ("best_architecture", "best_architecture@2")
    )
    assert usual[0].sample == longer[0].sample and len(longer) < len(usual)
    assert longer[0].cost == pytest.approx(2 * usual[0].cost)
    assert not np.array_equal(usual[0].test, longer[0].test)


def test_what_is_in_the_table_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_trained, "RESULTS", tmp_path / "map" / "trained.csv")
    asked: list[tuple[int, str]] = []

    def rows_of(bench: TrainedBench, method: str) -> list[dict[str, object]]:
        asked.append((bench.seed, method))
        about = {"data": TINY.name, "seed": bench.seed, "members": 5, "method": method}
        return [{**about, "part": part, "nll": 1.0} for part in ("clean", next(reversed(trained_bench.test_parts(0))))]

    monkeypatch.setattr(map_trained, "rows_of", rows_of)
    monkeypatch.setattr(trained_bench, "load_images", tiny_images)
    map_trained.run([TINY], 1, tmp_path / "first", tmp_path / "none")
    first = map_trained.METHODS[: map_trained.FIRST]
    assert asked == [(0, method) for method in map_trained.METHODS] and asked[: len(first)] == [(0, m) for m in first]
    map_trained.collect(tmp_path / "first")
    map_trained.run([TINY], 2, tmp_path / "second", tmp_path / "none")  # on another machine
    assert asked[len(map_trained.METHODS) :] == [(1, method) for method in map_trained.METHODS]
    map_trained.collect(tmp_path / "second")
    table = map_trained.known_rows()
    assert len(table) == 2 * 2 * len(map_trained.METHODS) and set(table["seed"]) == {0, 1}


def test_splits_differ_between_seeds_and_test_images_do_not() -> None:
    labels = np.repeat(np.arange(10), 500)
    first, second = (pool_training.split(labels, 100, seed) for seed in (0, 1))
    assert not np.array_equal(first[0], second[0]) and not set(first[0]) & set(first[1])
    parts = trained_bench.test_parts(2_000)
    assert len(parts) == 36 and parts[CLEAN] == slice(0, 2_000) and list(parts.values())[-1].stop == 2_000 + 35 * 500
