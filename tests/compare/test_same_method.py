"""A run and a comparison with the same settings and seed train the same networks.

Both go through the code that users start: the stages of `nni-hypens run` and a cell of `nni-hypens compare`. Only the
search and the trainings are made up, the same for both.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.compare import comparison
from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.comparison import Comparison, cell_name, run_cell
from nni_hypens.proposals.adaptive import AdaptiveTraining
from nni_hypens.run import train_stage
from nni_hypens.run.pipeline import Run
from nni_hypens.run.runtime import Runtime
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.npz import write_arrays
from tests.support.comparison_fixture import SETTINGS, SimulatedBench, make_plan, remember_sizes
from tests.support.made_up_search import save_made_up_search

SEED = 3
CANDIDATES = 8
Network = tuple[object, int]
"""Architecture and seed of the training."""


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made-up") / "search"
    save_made_up_search(make_plan(SETTINGS).space, folder)
    for pool in range(100):
        write_json(folder / f"ranking-{pool}.json", 0.0)  # of a comparison: ranking is free of charge
    return folder


def networks_of_run(settings: Any, search: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[Network]:
    """What a run trains, in this order."""
    plan = make_plan(settings)
    trained: list[Network] = []
    structure, simulated = EdgeStructure.from_space(plan.space), SimulatedBench(out / "simulated", seed=settings.seed)

    def train(spec: Any) -> None:
        trained.append((structure.key(spec.architecture), spec.seed))
        labels = plan.data.labels("validation")
        probs = simulated.simulated(spec.architecture, spec.seed, labels, 0)
        write_arrays(out / "candidates" / spec.id / "predictions.npz", {"val": probs, "test": probs})
        write_json(out / "candidates" / spec.id / "metrics.json", {"status": "trained"})

    def run_trials(space: Any, evaluator: Any, strategy: Any, *_: Any) -> None:
        for spec in strategy.candidates:
            train(spec)
        while strategy.proposals and strategy.proposals.left:
            assert strategy.proposals.ready(set())
            train(strategy.proposals.propose())

    monkeypatch.setattr(train_stage, "run_trials", run_trials)
    shutil.copytree(search, out / "search")
    run = Run(plan, out, Runtime(concurrency=1, quiet=True))
    run.sample()
    run.train()
    assert len(read_json(out / "candidates.json")) == len(trained) == CANDIDATES
    return trained


def networks_of_comparison(
    settings: Any, method: str, budget: float, search: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Network]:
    """What a method of a comparison trains, in this order; each network costs a second."""
    benches: list[SimulatedBench] = []

    def bench(plan: Any, folder: Path, *_: Any) -> SimulatedBench:
        made = SimulatedBench(folder, seed=plan.settings.seed)
        Workbench.__init__(made, plan, folder)  # the plan of the comparison, not that of the fixture
        benches.append(made)
        return made

    monkeypatch.setattr(comparison, "Workbench", bench)
    searched = folder / cell_name("digits", settings.seed) / "searches" / "edgenes"
    shutil.copytree(search, searched / "search")
    write_json(searched / "cost.json", 0.0)
    asked = Comparison(settings, ["digits"], [settings.seed], [method], [3], budget=budget)
    run_cell(asked, "digits", settings.seed, folder)
    return benches[0].begun


@pytest.mark.parametrize(
    ("changes", "method", "budget"),
    [
        ({}, "adaptive", CANDIDATES + 0.75),  # two charges take half a second of it
        ({"ranking": "spread"}, "edgenes", CANDIDATES + 0.5),
        ({"ranking": "spread", "lam_low": 1.0, "lam_high": 3.0}, "edgenes", CANDIDATES + 0.5),
        ({"max_params": 320.0}, "adaptive", CANDIDATES + 0.75),
    ],
    ids=["adaptive", "spread", "lam range", "budget"],
)
def test_a_run_and_a_comparison_train_the_same_networks(
    changes: dict[str, Any], method: str, budget: float, search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_sizes(monkeypatch)
    options: list[list[object]] = []
    begin = AdaptiveTraining.__init__

    def noted(rule: AdaptiveTraining, *arguments: Any, **more: Any) -> None:
        begin(rule, *arguments, **more)
        options.append([rule.structure.key(sample) for sample in rule.options])

    monkeypatch.setattr(AdaptiveTraining, "__init__", noted)
    settings = replace(SETTINGS, seed=SEED, candidates=CANDIDATES, lookahead=1, **changes)  # one network after another
    run = networks_of_run(settings, search, tmp_path / "run", monkeypatch)
    compared = networks_of_comparison(settings, method, budget, search, tmp_path / "compare", monkeypatch)
    assert compared[:CANDIDATES] == run
    assert all(known == options[0] for known in options)  # what either may propose later
    assert len({key for key, _ in run}) > 3  # not all networks are of the start
    assert len(set(run)) == CANDIDATES
