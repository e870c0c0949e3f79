"""NNI's one-shot strategies and EdgeNES on a workbench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_hypens import InputError
from nni_hypens.compare import searches as one_shot
from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.searches import fixed_lam_search, hypernetwork_search, nni_search, supernet_truth
from nni_hypens.search import JensenShannon
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import random_architectures
from nni_hypens.utils.files import read_json
from tests.support.comparison_fixture import SETTINGS, SimulatedBench, SimulatedSearch, make_plan
from tests.support.tianshou import needs_tianshou

STRATEGIES = ["darts", "gumbel_darts", pytest.param("enas", marks=needs_tianshou)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_chooses_from_the_space_and_repeats(strategy: str, tmp_path: Path) -> None:
    found = []
    for folder in ("a", "b"):
        bench = Workbench(make_plan(SETTINGS), tmp_path / folder)
        sample, seconds = nni_search(bench, strategy)
        assert seconds > 0
        assert bench.structure.table.validate(sample) == sample
        assert set(sample) == set(bench.structure.table.options)
        again, cost = nni_search(bench, strategy)
        assert bench.structure.key(again) == bench.structure.key(sample) and cost == seconds  # read, not run
        found.append(sample)
    assert found[0] == found[1]


def test_searches_have_seeds_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    sample = EdgeStructure.from_space(make_plan(SETTINGS).space).table.to_sample([[0]] * 14)
    monkeypatch.setattr(Workbench, "search", lambda self, name, seed, prepare: seeds.append(seed) or (sample, 1.0))
    for seed, index in ((0, 0), (0, 1), (1, 0)):
        nni_search(Workbench(make_plan(replace(SETTINGS, seed=seed)), tmp_path), "darts", index)
    assert len(set(seeds)) == 3


def test_an_unknown_strategy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^strategy: got 'nas'; expected one of darts, gumbel_darts, enas"):
        nni_search(Workbench(make_plan(SETTINGS), tmp_path), "nas")


# ---- EdgeNES ------------------------------------------------------------------------------------------------------


def test_hypernetwork_search_runs_once_and_is_charged_for_rankings(tmp_path: Path) -> None:
    bench = Workbench(make_plan(SETTINGS), tmp_path)
    search = hypernetwork_search(bench)
    seconds = search.clock.seconds
    assert seconds > 0
    samples = [search.sampler.base, *search.sampler.pool(3, None, 0)[1:]]
    samples = [getattr(sample, "architecture", sample) for sample in samples]
    probs = search.predict(samples)
    assert probs.shape == (3, 100, 10)
    np.testing.assert_allclose(probs.sum(axis=2), 1, atol=1e-5)
    assert search.clock.seconds > seconds
    again = hypernetwork_search(bench)
    assert again.clock.seconds == seconds and again.sampler.base == search.sampler.base
    np.testing.assert_array_equal(again.predict(samples), probs)
    assert again.clock.seconds == search.clock.seconds  # the ranking costs what it cost the first time


def test_an_interrupted_search_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted search has computed would otherwise be charged to nobody."""
    bench, seen = Workbench(make_plan(SETTINGS), tmp_path), []

    def killed(plan: Any, folder: Path, progress: Any) -> None:
        seen.append((folder / "search").exists())
        (folder / "search").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(one_shot, "search_stage", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            hypernetwork_search(bench)
    assert seen == [False, False]


def test_a_search_at_one_lam_goes_on_from_base_and_supernet(tmp_path: Path) -> None:
    bench = Workbench(make_plan(replace(SETTINGS, search_epochs=3)), tmp_path)
    search = hypernetwork_search(bench)
    sample, seconds = fixed_lam_search(bench, search, 2.0)
    folder = tmp_path / "searches" / "edgenes-lam-2" / "search"
    assert EdgeStructure.from_space(bench.plan.space).table.validate(sample) == sample
    assert read_json(folder / "base.json") == read_json(search.folder / "base.json")
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 2  # warm-up is not done again
    assert seconds == read_json(tmp_path / "searches" / "edgenes-lam-2" / "cost.json") > 0
    assert fixed_lam_search(bench, search, 2.0) == (sample, seconds)
    assert bench.plan.search_evaluator.trainer.max_epochs == 3  # the plan is as it was
    assert "lam" not in bench.plan.strategy


def test_a_search_at_one_lam_has_the_regulariser_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(make_plan(replace(SETTINGS, search_epochs=3)), tmp_path)
    other, seen = JensenShannon(), []
    search = hypernetwork_search(bench, diversity=other)
    stage = one_shot.search_stage
    monkeypatch.setattr(one_shot, "search_stage", lambda plan, *args: seen.append(plan.diversity) or stage(plan, *args))
    fixed_lam_search(bench, search, 2.0)
    assert seen == [other]


class ToldSearch(SimulatedSearch):
    """Its supernet gives the true class the probability that it is told, architecture by architecture."""

    def __init__(self, bench: SimulatedBench, told: list[tuple[Sample, float]]) -> None:
        super().__init__(bench)
        self.told, self.asked = told, 0

    def predict(self, samples: list[Sample], charged: bool = True) -> np.ndarray:
        assert not charged
        self.asked += len(samples)
        labels = self.bench.validation_labels
        probs = np.zeros((len(samples), len(labels), 10))
        for place, sample in enumerate(samples):
            level = next(level for one, level in self.told if one == sample)
            probs[place] = (1 - level) / 9
            probs[place, np.arange(len(labels)), labels] = level
        return probs


def test_architectures_are_counted_once_and_the_diverged_not_at_all(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, diverging=[15])
    samples = random_architectures(bench.structure, 6, 0)
    networks = [bench.network(sample, replica) for sample in samples[:5] for replica in range(3)]
    assert not bench.network(samples[5]).finite
    after = [np.mean([network.nll for network in networks[3 * k : 3 * k + 3]]) for k in range(5)]
    level = [0.3, 0.1, 0.5, 0.2, 0.4]
    search = ToldSearch(bench, list(zip(samples, level, strict=False)))
    ranks = np.argsort(np.argsort(after)) - np.argsort(np.argsort([-one for one in level]))
    expected = 1 - 6 * (ranks**2).sum() / (5 * 24)
    assert supernet_truth(bench, search) == (pytest.approx(expected), 5)
    assert supernet_truth(bench, search) == (pytest.approx(expected), 5) and search.asked == 5  # nothing twice


def test_few_or_equal_architectures_give_no_correlation(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    samples = random_architectures(bench.structure, 5, 0)
    search = ToldSearch(bench, [(sample, 0.5) for sample in samples])
    assert supernet_truth(bench, search) == (None, 0)
    for n, sample in enumerate(samples, 1):
        bench.network(sample)
        assert supernet_truth(bench, search) == (None, n)
