"""Searches on a workbench: NNI's own one-shot strategies, and EdgeNES."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import numpy as np
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.strategy import OneShotStrategy
from nni.nas.strategy import DARTS, GumbelDARTS

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging
from nni_hypens.compare.bench import Clock, Workbench
from nni_hypens.compare.enas import Enas, has_tianshou
from nni_hypens.compare.packed import has_torch_uncertainty
from nni_hypens.errors import InputError
from nni_hypens.metrics.statistics import rank_correlation
from nni_hypens.run.plan import Plan
from nni_hypens.run.sample_stage import supernet_probabilities
from nni_hypens.run.search_stage import search_stage
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.search.schedule import Schedule
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.space.architecture import Sample
from nni_hypens.trials.parts import rebuilt
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.run_files import RunFiles, SearchFiles
from nni_hypens.utils.seeds import Purpose, derive_seed

DARTS_LEARNING_RATE = 0.03
"""Learning rate of the architecture, as in EdgeNES. NNI's default, 3e-4, is meant for thousands of steps. With it, a
short search of a hundred steps or so chose architectures whose networks had a validation NLL of .72 instead of .65
(Fashion-MNIST, one seed)."""
ENAS_LEARNING_RATE = 1e-3
"""Learning rate of the controller. NNI's default, 1e-4, is meant for thousands of rewards; a short search has a hundred
or so."""
ENAS_REWARDS = 10
"""Rewards for each update of the controller. NNI's default is 20; fewer for the same reason."""


def enas() -> Enas:
    """Return NNI's ENAS, rewarded by the accuracy on a validation batch.

    Raises:
        InputError: tianshou is not installed.
    """
    check_installed("enas")
    return Enas(ENAS_LEARNING_RATE, batches_per_update=ENAS_REWARDS, reward_metric_name="val_acc")


STRATEGIES: dict[str, Callable[[], OneShotStrategy]] = {
    "darts": lambda: DARTS(arc_learning_rate=DARTS_LEARNING_RATE),
    "gumbel_darts": lambda: GumbelDARTS(arc_learning_rate=DARTS_LEARNING_RATE),
    "enas": enas,
}


def check_installed(method: str) -> None:
    """Check that the packages are installed which a method needs.

    Raises:
        InputError: It needs tianshou or torch-uncertainty, which is not installed.
    """
    if method.startswith("enas") and not has_tianshou():
        raise InputError("methods", f"{method} without tianshou", "pip install 'nni-hypens[enas]'")
    if method.startswith("packed") and not has_torch_uncertainty():
        raise InputError("methods", f"{method} without torch-uncertainty", "pip install 'nni-hypens[packed]'")


def nni_search(bench: Workbench, strategy: str, index: int = 0) -> tuple[Sample, float]:
    """Search with a one-shot strategy of NNI.

    Args:
        bench: The workbench.
        strategy: A name in `STRATEGIES`.
        index: Which of its searches, from 0; each has another seed.

    Returns:
        The architecture it found, and the seconds it took.
    """
    if strategy not in STRATEGIES:
        raise InputError("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")

    def prepare() -> Callable[[Any, Any], Sample]:
        instance = STRATEGIES[strategy]()
        return lambda space, evaluator: run_strategy(instance, space, evaluator, bench.folder / "nni")

    seed = derive_seed(bench.seed, Purpose.NNI_SEARCH, strategy, index)
    sample, seconds = bench.search(f"{strategy}-{index}", seed, prepare)
    return bench.structure.table.validate(sample, strategy), seconds


def run_strategy(strategy: OneShotStrategy, space: ModelSpace, evaluator: Lightning, folder: Path) -> Sample:
    """Run a one-shot strategy of NNI in this process, and return the architecture it found.

    Args:
        strategy: A new instance.
        space: A new instance of the model space; it is changed.
        evaluator: Trains the supernet.
        folder: Where NNI writes.
    """
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(folder)
    experiment = NasExperiment(space, evaluator, strategy, config)
    quiet_logging()
    try:
        experiment.start()
        best: Sample = experiment.export_top_models(top_k=1, formatter="dict")[0]
        return best
    finally:
        quiet_logging()
        experiment.stop()


@dataclass
class HypernetworkSearch:
    """A finished search by EdgeNES.

    Args:
        sampler: The hypernetwork and its base.
        folder: Its `search` folder.
        plan: The plan of the search.
        clock: Seconds of the search and of ranking with its supernet.
    """

    sampler: ArchitectureSampler
    folder: Path
    plan: Plan
    clock: Clock

    @property
    def name(self) -> str:
        """Its name, see `hypernetwork_search`."""
        return self.folder.parent.name

    def predict(self, samples: Sequence[Sample], charged: bool = True) -> np.ndarray:
        """Predict validation images with the supernet's weights.

        The seconds are added to the clock. When the same number of architectures is ranked again, those of the first
        time are added.

        Args:
            samples: `P` architectures.
            charged: False if nothing is chosen by the predictions.

        Returns:
            Probabilities `P x N x C`.
        """
        supernet, watch = trained_strategy(self.plan.space, self.folder, self.plan.strategy).trained_supernet, Clock()
        with watch.running():
            probabilities = supernet_probabilities(supernet, self.plan, samples)
        if charged:
            path = self.folder / f"ranking-{len(samples)}.json"
            if not path.exists():
                write_json(path, watch.seconds)
            self.clock.seconds += read_json(path)
        return probabilities


def hypernetwork_search(bench: Workbench, name: str = "edgenes", **changes: Any) -> HypernetworkSearch:
    """Search with EdgeNES as the plan says; run once per name.

    Args:
        bench: The workbench.
        name: Name of the search.
        **changes: Changes to the plan, for example `diversity` or `base`.
    """
    plan = replace(bench.plan, **changes)
    folder, clock = bench.folder / "searches" / name, Clock()
    path = folder / "cost.json"
    if not path.exists():
        shutil.rmtree(folder, ignore_errors=True)  # continuing an interrupted search would hide part of its cost
        with clock.running():
            search_stage(plan, folder, Progress(quiet=True))
        write_json(path, clock.seconds)
    search = RunFiles(folder).search.folder
    sampler = ArchitectureSampler.load(search, bench.structure, plan.budget())
    return HypernetworkSearch(sampler, search, plan, Clock(read_json(path)))


def fixed_lam_search(bench: Workbench, search: HypernetworkSearch, lam: float) -> tuple[Sample, float]:
    """Search at one lam, without a hypernetwork.

    Base, regulariser and first weights are those of a finished search; it is as long as that search's hypernetwork
    phase.

    Args:
        bench: The workbench.
        search: The finished search.
        lam: Requested shared edges, 0..n_edges.

    Returns:
        The architecture it found, and the seconds it took.
    """
    plan = search.plan
    evaluator = rebuilt(plan.search_evaluator)
    given = plan.strategy.get("warmup_epochs"), plan.strategy.get("base_epochs")
    schedule = Schedule.plan(evaluator.trainer.max_epochs, *given, plan.base is not None)
    evaluator.trainer.trace_kwargs["max_epochs"] = schedule.end - schedule.hypernetwork
    weights = SearchFiles(search.folder).supernet
    result = hypernetwork_search(
        bench,
        f"{search.name}-lam-{lam:g}",
        base=search.sampler.base,
        diversity=plan.diversity,
        strategy={**plan.strategy, "warmup_epochs": 0, "supernet": weights, "lam": lam},
        search_evaluator=evaluator,
    )
    return result.sampler.mode(lam).architecture, result.clock.seconds


MIN_RANKED = 4
"""Fewest architectures for a rank correlation."""


def supernet_truth(bench: Workbench, search: HypernetworkSearch) -> tuple[float | None, int]:
    """Correlate the supernet's NLL with the mean validation NLL of each architecture's networks (Spearman).

    Args:
        bench: Has the networks: all that any method has trained on it, except those that diverged.
        search: Has the supernet; the supernet's NLLs are kept in its folder.

    Returns:
        The correlation, None below `MIN_RANKED` architectures or if all are equal; and the number of architectures.
    """
    samples: dict[str, Sample] = {}
    networks: list[tuple[str, float]] = []
    for sample, nll in bench.trained():
        if math.isfinite(nll):
            key = str(bench.structure.key(sample))
            samples[key] = sample
            networks.append((key, nll))
    path = search.folder / "truth.json"
    supernet_nll: dict[str, float] = read_json(path) if path.exists() else {}
    new = [key for key in samples if key not in supernet_nll]
    if new:
        probs = search.predict([samples[key] for key in new], charged=False)
        supernet_nll |= dict(zip(new, metrics.nll_of_each(probs, bench.validation_labels).tolist(), strict=True))
        write_json(path, supernet_nll)
    return rank_correlation(((key, supernet_nll[key], nll) for key, nll in networks), MIN_RANKED)
