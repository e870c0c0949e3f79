"""The pool of networks: what is packed comes back, training goes on where it stopped, seeds and splits differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_hypens.compare.pool import EARLY_SCALE, Pool, decode, encode
from nni_hypens.compare.residual import Residual
from nni_hypens.space.architecture import Sample
from tests.benchmarks import pool, pool_peers, pool_progress, pool_training
from tests.benchmarks.pool_costs import step_seconds
from tests.benchmarks.pool_training import CELLS, Cell, Images, Part

TINY = Cell("fashion", "data", 2, 128, 4, architectures=12, best=2, others=1, best_of_all=0, more_seeds=2)
IMAGES = 40
Trained = list[tuple[str, int, int]]


def fake_images(*_: Any) -> Images:
    labels = torch.arange(IMAGES) % 10
    return Images(*(Part(torch.zeros(IMAGES, 1, 14, 14), labels) for _ in range(3)))


def fake_result(cell: Cell, architecture: int, replica: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([architecture, replica])
    labels = np.arange(IMAGES) % 10
    logits = {part: 3 * rng.standard_normal((4, IMAGES, 10)) for part in ("validation", "test")}
    for part in logits.values():
        part[:, np.arange(IMAGES), labels] += 4
    log_probs = {part: z - np.log(np.exp(z).sum(-1, keepdims=True)) for part, z in logits.items()}
    history = {key: rng.random(cell.epochs) for key in ("train_loss", "validation_nll", "cpu_seconds")}
    return {
        **{part: values.astype(np.float16) for part, values in log_probs.items()},
        **{key: values.astype(np.float32) for key, values in history.items()},
        "params": np.int64(1_000 + architecture),
        "flops": np.int64(200_000 + architecture),
        **pool_training.scores(log_probs, dict.fromkeys(log_probs, labels)),
    }


def recorded() -> tuple[Trained, Callable[[Cell, Images, int, int], dict[str, np.ndarray]]]:
    """A training that only makes up results, and the list in which it notes what it was asked for."""
    order: Trained = []

    def train_network(cell: Cell, images: Images, architecture: int, replica: int) -> dict[str, np.ndarray]:
        order.append((cell.regime, architecture, replica))
        return fake_result(cell, architecture, replica)

    return order, train_network


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Networks in the order in which they were trained, without training."""
    order, train_network = recorded()

    monkeypatch.setattr(pool_training, "CELLS", (TINY, replace(TINY, regime="short", architectures=11)))
    monkeypatch.setattr(pool_training, "load_images", fake_images)
    monkeypatch.setattr(pool_training, "train_network", train_network)
    monkeypatch.setattr(pool, "BLOCK", 5)
    monkeypatch.setattr(pool, "step_seconds", lambda cell, images, networks: dict.fromkeys(networks, 0.5))
    monkeypatch.setattr(pool, "peer_jobs", lambda cells: iter(()))
    monkeypatch.setattr(pool_peers, "residual_sizes", lambda *_: Residual(5))
    return order


@pytest.fixture
def with_peers(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """As `trained`, of one cell with few networks and all its peers."""
    order, train_network = recorded()

    def train_residual(cell: Cell, images: Images, sizes: Residual, replica: int) -> dict[str, np.ndarray]:
        return train_network(cell, images, pool_peers.RESIDUAL, replica)

    def train_snapshots(cell: Cell, images: Images, number: int, architecture: int) -> list[dict[str, np.ndarray]]:
        return [train_network(cell, images, number, cycle) for cycle in range(pool_peers.CYCLES)]

    def search_darts(cell: Cell, images: Images, number: int) -> dict[str, Any]:
        order.append((cell.regime, number, pool_peers.SEARCH))
        twins = [pool_peers.DARTS[0], pool_peers.DARTS[2]]  # the first and the last search find the same
        return {"sample": pool_training.architectures()[number in twins], "search_cpu_seconds": 7.0, "epochs": 1}

    def train_chosen(cell: Cell, images: Images, number: int, replica: int, sample: Sample) -> dict[str, np.ndarray]:
        return train_network(cell, images, number, replica)

    for peer in (train_residual, train_snapshots, search_darts, train_chosen):
        monkeypatch.setattr(pool_peers, peer.__name__, peer)
    monkeypatch.setattr(pool_training, "CELLS", (replace(TINY, architectures=3, best=1, others=0, more_seeds=1),))
    monkeypatch.setattr(pool_training, "load_images", fake_images)
    monkeypatch.setattr(pool_training, "train_network", train_network)
    monkeypatch.setattr(pool_peers, "residual_sizes", lambda *_: Residual(5))
    return order


def test_log_probabilities_survive_as_bytes() -> None:
    logits = 4 * np.random.default_rng(0).standard_normal((500, 10))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    read = decode(encode(log_probs))
    np.testing.assert_allclose(np.exp(read).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(read), np.exp(log_probs), atol=0.1)
    assert abs((read - log_probs).mean()) < 0.01
    np.testing.assert_array_equal(encode(read), encode(log_probs))


def test_cells_take_turns_and_further_seeds_come_last(trained: Trained, tmp_path: Path) -> None:
    pool.train(tmp_path / "work", tmp_path / "packed", tmp_path / "none")
    first = [("data", n, 0) for n in range(5)] + [("short", n, 0) for n in range(5)]
    assert trained[:10] == first
    assert [number for regime, number, replica in trained if regime == "short" and not replica] == list(range(11))
    assert all(replica == 0 for _, _, replica in trained[:23])
    assert [replica for _, _, replica in trained[23:]] == [1] * 6 + [2] * 6
    assert len(set(trained)) == len(trained)
    scores = {n: fake_result(TINY, n, 0)["calibrated_nll"][0, -1] for n in range(12)}
    again = [number for regime, number, replica in trained if regime == "data" and replica == 1]
    assert again[:2] == sorted(scores, key=scores.__getitem__)[:2]


def test_the_best_of_all_architectures_get_further_seeds_last(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = replace(TINY, first=6, best_of_all=4)
    monkeypatch.setattr(pool_training, "CELLS", (cell,))
    pool.train(tmp_path / "work", tmp_path / "packed", tmp_path / "none")
    scores = {n: fake_result(TINY, n, 0)["calibrated_nll"][0, -1] for n in range(12)}
    best = sorted(scores, key=scores.__getitem__)[:4]
    again = [number for _, number, replica in trained if replica == 1]
    chosen = pool_progress.Progress(cell, tmp_path / "work", tmp_path / "packed").chosen()
    assert again == chosen and set(best) <= set(chosen) and chosen[3:] == [n for n in best if n not in chosen[:3]]
    assert [replica for _, _, replica in trained][:12] == [0] * 6 + [1] * 3 + [2] * 3  # the others only then
    assert len(set(trained)) == len(trained) == 12 + 2 * len(chosen)


def test_packed_results_come_back(trained: Trained, tmp_path: Path) -> None:
    work, packed, none = tmp_path / "work", tmp_path / "packed", tmp_path / "none"
    pool.train(work, packed, none)
    pool.costs(work, packed, none)
    pool.pack(work, packed, none)
    read = Pool.load(packed / "fashion_data.npz")
    assert len(read) == 12 + 3 * 2
    assert read.networks[:12] == [(n, 0) for n in range(12)]
    assert read.architectures[:400] == pool_training.architectures()
    assert read.settings == json.loads(json.dumps(pool_progress.settings_of(TINY)))
    early = read.early_probabilities(50)
    for row, network in enumerate(read.networks):
        result = fake_result(TINY, *network)
        for part in ("validation", "test"):
            expected = decode(encode(result[part][-1]))
            np.testing.assert_allclose(read.probabilities(part)[row], np.exp(expected), rtol=1e-5)
        if network[1] == 0:
            place = read.early_rows.tolist().index(row)
            halfway = decode(encode(result["validation"][1], EARLY_SCALE), EARLY_SCALE)
            np.testing.assert_allclose(early[place], np.exp(halfway), rtol=1e-5)
        for key in ("train_loss", "calibrated_nll", "accuracy", "params"):
            np.testing.assert_array_equal(read.columns[key][row], result[key])
    steps = TINY.train_images // pool_training.BATCH * np.arange(1, TINY.epochs + 1)
    np.testing.assert_array_equal(read.columns["cpu_seconds"], np.tile(0.5 * steps, (len(read), 1)))


def test_steps_are_timed_in_turns() -> None:
    order: list[str] = []

    class Slow(torch.nn.Linear):
        def __init__(self, name: str) -> None:
            super().__init__(1, 2)
            self.name = name

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            order.append(self.name)
            return super().forward(images.mean((1, 2, 3))[:, None])

    part = pool_training.Part(torch.rand(64, 1, 4, 4), torch.randint(0, 2, (64,)))
    images = pool_training.Images(part, part, part)
    found = step_seconds(TINY, images, {3: lambda: Slow("a"), 7: lambda: Slow("b")}, rounds=2)
    assert found.keys() == {3, 7} and all(0 < seconds < 1 for seconds in found.values())
    assert "".join(order) == "ab" + 2 * "aabb"


def test_training_goes_on_from_the_packed_file(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, none = tmp_path / "packed", tmp_path / "none"
    for stop in (7, 30):
        work = tmp_path / f"work_{stop}"
        cells = [pool_progress.Progress(cell, work, packed) for cell in pool_training.CELLS]
        while len(trained) < stop:
            pool.train_next(cells, none)
        pool.costs(work, packed, none)
        pool.pack(work, packed, none)
    halfway = Pool.load(packed / "fashion_data.npz")
    pool.train(tmp_path / "work_last", packed, none)
    pool.costs(tmp_path / "work_last", packed, none)
    pool.pack(tmp_path / "work_last", packed, none)
    assert len(set(trained)) == len(trained) == 12 + 11 + 2 * 3 * 2
    read = Pool.load(packed / "fashion_data.npz")
    assert read.chosen == halfway.chosen and len(read) == 18
    rows = [read.networks.index(network) for network in halfway.networks]
    np.testing.assert_array_equal(read.codes["test"][rows], halfway.codes["test"])
    np.testing.assert_array_equal(read.early[25], halfway.early[25])


def test_peers_follow_the_first_architectures_and_are_listed_after_all(with_peers: Trained, tmp_path: Path) -> None:
    work, packed, none = tmp_path / "work", tmp_path / "packed", tmp_path / "none"
    cells = [pool_progress.Progress(cell, work, packed) for cell in pool_training.CELLS]
    while len(with_peers) < 28:  # amid the searches
        pool.train_next(cells, none)
    pool.costs(work, packed, none)
    pool.pack(work, packed, none)
    pool.train(work, packed, none)
    pool.costs(work, packed, none)
    pool.pack(work, packed, none)
    assert [number for _, number, _ in with_peers[:4]] == [
        0,
        1,
        2,
        pool_progress.Progress(pool_training.CELLS[0], work, packed).chosen()[0],
    ]
    jobs = [400] * 7 + [401] * 5 + [404] * 7 + [402] * 5 + [405] * 7 + [403] * 5 + [406]
    assert [number for _, number, _ in with_peers[4:]] == jobs
    read = Pool.load(packed / "fashion_data.npz")
    assert read.rows().tolist() == [0, 1, 2] and len(read.rows(1)) == 1
    best = read.rows()[read.columns["calibrated_nll"][read.rows(), 0, -1].argmin()]
    assert read.architectures[:400] == pool_training.architectures()
    residual, *others = read.architectures[400:]
    assert residual == {"peer": "residual", "width": 5, "blocks": 1, "stages": 2, "growth": 1}
    assert others[:3] == [{"peer": "snapshots", "run": run, "architecture": best} for run in range(3)]
    found = {"search_cpu_seconds": 7.0, "epochs": 1, "peer": "darts"}
    first, second = pool_training.architectures()[1], pool_training.architectures()[0]
    for search, (sample, networks) in enumerate([(first, 404), (second, 405), (first, 404)]):
        assert others[3 + search] == {**found, "search": search, "sample": sample, "networks": networks}
    again = pool_progress.Progress(
        pool_training.CELLS[0], tmp_path / "other", packed
    )  # nothing but the packed file is needed
    assert again.listed() == read.architectures and all(again.is_done(job) for _, job in pool.peer_jobs([again]))


def test_a_training_of_snapshots_that_was_killed_begins_anew(with_peers: Trained, tmp_path: Path) -> None:
    pool.train(tmp_path, tmp_path, tmp_path)
    progress, number = pool_progress.Progress(pool_training.CELLS[0], tmp_path, tmp_path), pool_peers.SNAPSHOTS[1]
    for cycle in (3, 4):
        progress.file((number, cycle)).unlink()
    with_peers.clear()
    pool.train(tmp_path, tmp_path, tmp_path)
    assert with_peers == [("data", number, cycle) for cycle in range(5)]


def test_the_residual_network_is_as_large_as_the_median() -> None:
    sizes = pool_peers.residual_sizes(TINY, 1_050, 207_100)
    assert sizes == Residual(5)
    with pytest.raises(ValueError, match="times the median"):
        pool_peers.residual_sizes(TINY, 1_000, 2_000)


def test_a_network_that_another_process_is_at_is_left_alone(trained: Trained, tmp_path: Path) -> None:
    cells = [pool_progress.Progress(TINY, tmp_path, tmp_path)]
    with pool.claimed(cells[0].file((0, 0))) as mine:
        assert mine
        pool.train_next(cells, tmp_path)
    pool.train_next(cells, tmp_path)
    assert [number for _, number, _ in trained] == [1, 0]


def test_results_of_other_settings_are_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [pool_progress.Progress(TINY, tmp_path / "work", tmp_path)]
    pool.train_next(cells, tmp_path)
    pool.costs(tmp_path / "work", tmp_path, tmp_path / "none")
    pool.pack(tmp_path / "work", tmp_path, tmp_path / "none")
    pool_progress.Progress(replace(TINY, architectures=50), tmp_path / "work", tmp_path)
    for work, packed in ((tmp_path / "other", tmp_path), (tmp_path / "work", tmp_path / "other")):
        with pytest.raises(ValueError, match="settings"):
            pool_progress.Progress(replace(TINY, epochs=5), work, packed)


def test_seeds_are_distinct() -> None:
    seeds = {pool_training.training_seed(cell, n, r) for cell in CELLS for n in range(100) for r in range(6)}
    assert len(seeds) == 6 * 100 * 6


def test_splits_are_disjoint_and_always_the_same() -> None:
    labels = np.repeat(np.arange(10), 1_000)
    for cell in CELLS:
        train, validation = pool_training.split(labels, cell.train_images)
        assert len(np.unique(train)) == cell.train_images and len(np.unique(validation)) == 1_000
        assert not set(train) & set(validation)
        again = pool_training.split(labels, cell.train_images)
        np.testing.assert_array_equal(train, again[0])


def test_marks_of_every_schedule_are_distinct() -> None:
    for cell in CELLS:
        assert len({round(mark * cell.epochs) for mark in pool_training.MARKS} - {0}) == len(pool_training.MARKS)


def test_architectures_are_distinct() -> None:
    found = pool_training.architectures()
    assert len({json.dumps(sample, sort_keys=True) for sample in found}) == len(found) == pool_training.ARCHITECTURES


def test_pictures_are_moved_and_mirrored() -> None:
    image = torch.arange(2 * 9.0).reshape(1, 2, 3, 3).repeat(300, 1, 1, 1) + 1
    moved = pool_training.augment(image, shift=1, flip=True, generator=torch.Generator().manual_seed(0))
    assert len({tuple(one.flatten().tolist()) for one in moved}) == 9 * 2
    assert any(torch.equal(one, image[0].flip(2)) for one in moved)


def test_a_network_trains_and_repeats() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(128) % 10
    part = Part(torch.rand(128, 1, 14, 14, generator=generator), labels)
    pool_training.architectures()
    results = [pool_training.train_network(TINY, Images(part, part, part), 3, 1)]
    pool_training.architectures.cache_clear()  # as in a process that has trained nothing yet
    results.append(pool_training.train_network(TINY, Images(part, part, part), 3, 1))
    assert results[0]["validation"].shape == (4, 128, 10)
    assert results[0]["train_loss"].shape == (4,)
    for key in results[0].keys() - {"cpu_seconds"}:
        np.testing.assert_array_equal(results[0][key], results[1][key])


def tiny_images(n: int = 128) -> Images:
    generator = torch.Generator().manual_seed(0)
    part = Part(torch.rand(n, 1, 14, 14, generator=generator), torch.arange(n) % 10)
    return Images(part, part, part)


def test_the_learning_rate_of_snapshots_begins_anew_in_each_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = pool_training.Schedule.step

    def noted(schedule: pool_training.Schedule, loss: torch.Tensor) -> None:
        step(schedule, loss)
        rates.append(schedule.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(pool_training.Schedule, "step", noted)
    snapshots = pool_peers.train_snapshots(TINY, tiny_images(), pool_peers.SNAPSHOTS[0], 3)
    steps = 4 * 2  # epochs, batches
    assert rates == rates[:steps] * 5 and rates[0] == 0.01 and rates[:steps] == sorted(rates[:steps], reverse=True)
    assert len(snapshots) == 5 and len({cycle["validation"][-1].tobytes() for cycle in snapshots}) == 5
    assert all(cycle["cpu_seconds"].shape == (4,) for cycle in snapshots)


def test_residual_networks_are_trained_like_others() -> None:
    sizes, images = Residual(3), tiny_images()
    results = [pool_peers.train_residual(TINY, images, sizes, replica) for replica in (0, 0, 1)]
    np.testing.assert_array_equal(results[0]["test"], results[1]["test"])
    assert not np.array_equal(results[0]["test"], results[2]["test"])
    assert results[0]["params"] == sizes.cost((1, 14, 14), 10).params


def test_darts_searches_the_cells_space() -> None:
    found = pool_peers.search_darts(TINY, tiny_images(), pool_peers.DARTS[0])
    assert found["epochs"] == 1 and found["search_cpu_seconds"] > 0
    trained = pool_peers.train_chosen(TINY, tiny_images(), pool_peers.DARTS[0], 0, found["sample"])
    assert trained["test"].shape == (4, 128, 10)
