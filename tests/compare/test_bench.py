"""What is trained once, what it costs, and what is read again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_hypens import metrics
from nni_hypens.compare import bench as workbench
from nni_hypens.compare.bench import Clock, Workbench
from nni_hypens.compare.residual import Residual
from nni_hypens.ensemble.calibration import apply_temperature, fit_temperature
from nni_hypens.space.draws import random_architectures
from nni_hypens.trials.training import further_seed, network_seed
from nni_hypens.utils.tensors import read_tensors
from tests.support.comparison_fixture import SETTINGS, SimulatedBench, make_plan, note_labels


def test_a_network_is_trained_once(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, costs=(1.0, 2.0, 4.0))
    first, second = random_architectures(bench.structure, 2, 0)
    networks = [bench.network(first), bench.network(second), bench.network(first, 1)]
    assert [network.cost for network in networks] == [1.0, 2.0, 4.0]
    assert len({(bench.structure.key(n.sample), n.seed) for n in networks}) == 3
    later = SimulatedBench(tmp_path, costs=(100.0,))
    again = [later.network(first), later.network(second), later.network(first, 1)]
    assert len(bench.begun) == 3 and not later.begun
    for one, other in zip(networks, again, strict=True):
        assert (one.nll, one.cost, one.seed) == (other.nll, other.cost, other.seed)
        np.testing.assert_array_equal(one.validation, other.validation)
        np.testing.assert_array_equal(one.test, other.test)


def test_a_network_goes_on_once_and_is_kept(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    sample = random_architectures(bench.structure, 1, 0)[0]
    first = bench.network(sample)
    second = bench.further(first)
    third = bench.further(second)
    assert bench.offers_further(third) and len(bench.begun) == 3
    assert [architecture for architecture, _ in bench.trained()] == [sample]  # the others were trained for longer
    assert [network.seed for network in (second, third)] == [further_seed(first.seed), further_seed(second.seed)]
    again = SimulatedBench(tmp_path)
    assert again.further(again.further(again.network(sample))).place == third.place and not again.begun
    (tmp_path / "networks" / f"{third.place}.safetensors").unlink()  # as of a version that kept no weights
    assert not again.offers_further(third)


def test_a_real_training_goes_on_from_the_weights(tmp_path: Path) -> None:
    bench = Workbench(make_plan(replace(SETTINGS, epochs=1)), tmp_path)
    first = bench.network(random_architectures(bench.structure, 1, 0)[0])
    second = bench.further(first)
    weights = [read_tensors(tmp_path / "networks" / f"{network.place}.safetensors") for network in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    counted = [name for name in weights[0] if name.endswith("num_batches_tracked")]
    assert counted and all(2 * weights[0][name] == weights[1][name] for name in counted)  # batches so far
    assert second.validation.shape == first.validation.shape and (second.validation != first.validation).any()


def test_replicas_and_seeds_of_the_plan_have_seeds_of_their_own(tmp_path: Path) -> None:
    seeds = set()
    for seed in (0, 1):
        bench = SimulatedBench(tmp_path / str(seed), seed=seed)
        sample = random_architectures(bench.structure, 1, 0)[0]
        seeds |= {bench.network(sample, replica).seed for replica in range(3)}
    assert len(seeds) == 6


def test_choices_that_do_not_matter_make_the_same_network(tmp_path: Path) -> None:
    """Two samples of one architecture, which differ in operations on inputs that are not chosen, are one network."""
    bench = SimulatedBench(tmp_path)
    sample = random_architectures(bench.structure, 1, 0)[0]
    key = bench.structure.key(sample)
    others = [
        {**sample, label: value}
        for label, options in bench.structure.table.options.items()
        for value in options
        if label not in bench.structure.table.multiple
    ]
    twin = next(other for other in others if other != sample and bench.structure.key(other) == key)
    bench.network(sample)
    bench.network(twin)
    assert len(bench.begun) == 1


def test_nll_is_that_of_the_validation_images_with_the_networks_own_temperature(tmp_path: Path) -> None:
    bench, labels = SimulatedBench(tmp_path), SimulatedBench(tmp_path).validation_labels
    network = bench.network(random_architectures(bench.structure, 1, 0)[0])
    own = apply_temperature(network.validation, fit_temperature(network.validation, labels))
    np.testing.assert_allclose(network.alone, own, atol=1e-6)
    assert network.nll == pytest.approx(metrics.nll(own, labels)) and network.finite
    assert network.nll != pytest.approx(metrics.nll(network.validation, labels))


def test_a_diverged_network_is_kept_with_its_cost(tmp_path: Path) -> None:
    sample = random_architectures(SimulatedBench(tmp_path).structure, 1, 0)[0]
    for bench in (SimulatedBench(tmp_path, diverging=[0]), SimulatedBench(tmp_path)):  # the second reads the first's
        network = bench.network(sample)
        assert not network.finite and network.nll == float("inf") and network.cost == 1.0
        assert network.alone is None


def test_an_interrupted_training_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = SimulatedBench(tmp_path)
    sample = random_architectures(bench.structure, 1, 0)[0]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workbench, "write_json", killed)  # the arrays are there, the record is not
        with pytest.raises(KeyboardInterrupt):
            bench.network(sample)
    assert bench.network(sample).finite
    assert len(bench.begun) == 2


def test_a_search_runs_once(tmp_path: Path) -> None:
    bench = Workbench(make_plan(SETTINGS), tmp_path)
    runs: list[str] = []

    def prepare() -> Any:
        runs.append("prepared")
        return lambda space, evaluator: {"space": type(space).__name__, "epochs": evaluator.trainer.max_epochs}

    found = bench.search("one", 0, prepare)
    assert found[0] == {"space": "OneCell", "epochs": SETTINGS.search_epochs} and found[1] >= 0
    assert bench.search("one", 0, prepare) == found and runs == ["prepared"]
    assert Workbench(bench.plan, tmp_path).search("one", 0, prepare) == found and runs == ["prepared"]
    bench.search("two", 0, prepare)
    assert len(runs) == 2


def test_a_search_begins_with_weights_of_its_seed(tmp_path: Path) -> None:
    bench = Workbench(make_plan(SETTINGS), tmp_path)

    def prepare() -> Any:
        return lambda space, evaluator: sum(p.sum().item() for p in space.parameters())

    sums = [bench.search(name, seed, prepare)[0] for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert sums[0] == sums[1] != sums[2]


def test_preparing_a_search_is_not_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []

    class Noted(Clock):
        @contextmanager
        def running(self) -> Iterator[None]:
            events.append("on")
            yield
            events.append("off")

    def prepare() -> Any:
        events.append("prepare")
        return lambda space, evaluator: events.append("run")

    monkeypatch.setattr("nni_hypens.compare.bench.Clock", Noted)
    Workbench(make_plan(SETTINGS), tmp_path).search("one", 0, prepare)
    assert events == ["prepare", "on", "run", "off"]


def busy(seconds: float) -> None:
    """Use the processor."""
    start = time.process_time()
    while time.process_time() - start < seconds:
        sum(range(1000))


def test_the_clock_counts_computing_not_waiting() -> None:
    clock = Clock(1.0)
    with clock.running():
        time.sleep(0.2)
    assert clock.seconds == pytest.approx(1.0, abs=0.1)
    with clock.running():
        busy(0.2)
    assert clock.seconds == pytest.approx(1.2, abs=0.1)
    with pytest.raises(ValueError), clock.running():
        busy(0.1)
        raise ValueError
    assert clock.seconds == pytest.approx(1.3, abs=0.1)  # what failed has cost too


def test_a_real_training_repeats_and_reads_no_test_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    for folder in ("a", "b"):
        bench = Workbench(make_plan(replace(SETTINGS, seed=2)), tmp_path / folder)
        asked: list[str] = []
        note_labels(bench, asked, monkeypatch)
        sample = random_architectures(bench.structure, 1, 0)[0]
        networks.append(bench.network(sample))
        assert "test" not in asked
    first, second = networks
    assert first.validation.shape == first.test.shape == (100, 10)
    np.testing.assert_array_equal(first.validation, second.validation)
    np.testing.assert_array_equal(first.test, second.test)
    np.testing.assert_allclose(first.test.sum(axis=1), 1, atol=1e-5)
    assert first.cost > 0 and first.seed == network_seed(2, bench.structure.key(sample), 0)


def test_work_that_is_charged_costs_the_same_again(tmp_path: Path) -> None:
    bench = Workbench(make_plan(SETTINGS), tmp_path)
    first, second = Clock(1.0), Clock(2.0)
    with bench.charged("counting", first):
        sum(range(2_000_000))
    assert first.seconds > 1.0
    with bench.charged("counting", second):
        pass
    assert second.seconds - 2.0 == pytest.approx(first.seconds - 1.0)


def test_a_training_is_timed_ahead_by_its_first_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(replace(SETTINGS, epochs=5))
    ticks = iter(range(10_000))
    monkeypatch.setattr(Clock, "now", staticmethod(lambda: float(next(ticks))))  # a second from step to step
    batches = len(plan.data.train_dataloader()) + len(plan.data.val_dataloader()) / 3
    found = Workbench(plan, tmp_path).training_seconds(lambda: Residual(2).network(1, 10))
    assert found == pytest.approx(5 * batches)
    assert not list(tmp_path.iterdir())  # nothing is kept: it is no training
