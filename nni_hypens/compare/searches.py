"""Searches of a comparison: NNI's own one-shot strategies, and EdgeNES, on a workbench."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nni
import numpy as np
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.oneshot.pytorch.strategy import OneShotStrategy
from nni.nas.strategy import DARTS, GumbelDARTS

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging
from nni_hypens.compare.bench import Clock, Workbench
from nni_hypens.compare.enas import Enas, has_tianshou
from nni_hypens.errors import InputError
from nni_hypens.metrics.statistics import rank_correlation
from nni_hypens.run.plan import Plan
from nni_hypens.run.search_stage import search_stage
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.search.schedule import Schedule
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.space.architecture import Sample
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.seeds import Purpose, derive_seed

DARTS_LEARNING_RATE = 0.03
"""Of the architecture, as in EdgeNES. NNI's default, 3e-4, is meant for thousands of steps; in the hundred or so of a
short search it chose architectures whose networks had a validation NLL of .72 against .65 (Fashion-MNIST, one seed)."""
ENAS_LEARNING_RATE = 1e-3
"""Of the controller. NNI's default, 1e-4, is meant for thousands of rewards; a short search has a hundred or so."""
ENAS_REWARDS = 10
"""Rewards for each update of the controller, NNI's default being 20, for the same reason."""


def enas() -> Enas:
    """NNI's ENAS, rewarded by the accuracy on a validation batch.

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
    """Whether what a method of a comparison needs is installed.

    Raises:
        InputError: It needs tianshou, which is not there.
    """
    if method.startswith("enas") and not has_tianshou():
        raise InputError("methods", f"{method} without tianshou", "pip install 'nni-hypens[enas]'")


def nni_search(bench: Workbench, strategy: str, index: int = 0) -> tuple[Sample, float]:
    """The architecture that a one-shot strategy of NNI finds, and the seconds it took.

    Args:
        bench: Where it searches.
        strategy: A name in :data:`STRATEGIES`.
        index: Which of its searches; each has a seed of its own.
    """
    if strategy not in STRATEGIES:
        raise InputError("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")

    def prepare() -> Callable[[Any, Any], Sample]:
        made = STRATEGIES[strategy]()

        def run(space: Any, evaluator: Any) -> Sample:
            config = NasExperimentConfig("sequential", "raw", "local")
            config.experiment_working_directory = str(bench.folder / "nni")
            experiment = NasExperiment(space, evaluator, made, config)
            quiet_logging()
            try:
                experiment.start()
                best: dict[str, Any] = experiment.export_top_models(top_k=1, formatter="dict")[0]
                return best
            finally:
                quiet_logging()
                experiment.stop()

        return run

    seed = derive_seed(bench.seed, Purpose.NNI_SEARCH, strategy, index)
    found, seconds = bench.search(f"{strategy}-{index}", seed, prepare)
    return bench.structure.table.validate(found, strategy), seconds


@dataclass
class HypernetworkSearch:
    """A finished search by EdgeNES.

    Args:
        sampler: The hypernetwork and its base.
        folder: Its ``search`` folder.
        plan: What was run.
        clock: What the search took, and what is ranked with its supernet.
    """

    sampler: ArchitectureSampler
    folder: Path
    plan: Plan
    clock: Clock

    @property
    def name(self) -> str:
        """By which :func:`hypernetwork_search` finds it."""
        return self.folder.parent.name

    def predict(self, samples: Sequence[Sample], charged: bool = True) -> np.ndarray:
        """``P x N x C`` validation probabilities with the supernet's weights; the seconds are added to the clock the
        first time, and taken from a file later, unless they are not ``charged`` because nothing is chosen by them."""
        path = self.folder / f"ranking-{len(samples)}.json"
        supernet = trained_strategy(self.plan.space, self.folder).trained_supernet
        batches, own = list(self.plan.data.val_dataloader()), Clock()
        with own.running():
            found = np.stack([supernet.predict([sample], batches)[0].numpy() for sample in samples])
        if charged:
            if not path.exists():
                write_json(path, own.seconds)
            self.clock.seconds += read_json(path)
        return found


def hypernetwork_search(bench: Workbench, name: str = "edgenes", **changes: Any) -> HypernetworkSearch:
    """EdgeNES as the plan says it, with changes to the plan such as ``diversity`` or ``base``; run once per name."""
    plan = replace(bench.plan, **changes)
    folder, clock = bench.folder / "searches" / name, Clock()
    path = folder / "cost.json"
    if not path.exists():
        shutil.rmtree(folder, ignore_errors=True)  # to go on with an interrupted search would hide what it has cost
        plan = replace(plan, search_evaluator=nni.load(nni.dump(plan.search_evaluator)))
        with clock.running():
            search_stage(plan, folder, Progress(quiet=True))
        write_json(path, clock.seconds)
    sampler = ArchitectureSampler.load(folder / "search", bench.structure, plan.budget())
    return HypernetworkSearch(sampler, folder / "search", plan, Clock(read_json(path)))


def fixed_lam_search(bench: Workbench, search: HypernetworkSearch, lam: float) -> tuple[Sample, float]:
    """What is found at one lam without a hypernetwork, and the seconds it took.

    Base and first weights are those of a finished search; it is as long as that search's hypernetwork phase.

    Args:
        bench: Where it searches.
        search: The finished search.
        lam: Requested shared edges, 0..n_edges.
    """
    plan = search.plan
    evaluator = nni.load(nni.dump(plan.search_evaluator))
    given = plan.strategy.get("warmup_epochs"), plan.strategy.get("base_epochs")
    schedule = Schedule.plan(evaluator.trainer.max_epochs, *given, plan.base is not None)
    evaluator.trainer.trace_kwargs["max_epochs"] = schedule.end - schedule.hypernetwork
    weights = search.folder / "supernet.safetensors"
    found = hypernetwork_search(
        bench,
        f"{search.name}-lam-{lam:g}",
        base=search.sampler.base,
        strategy={**plan.strategy, "warmup_epochs": 0, "supernet": weights, "lam": lam},
        search_evaluator=evaluator,
    )
    return found.sampler.mode(lam).architecture, found.clock.seconds


FEWEST_RANKED = 4
"""Architectures below which a rank correlation says nothing."""


def supernet_truth(bench: Workbench, search: HypernetworkSearch) -> tuple[float | None, int]:
    """Spearman's correlation of the supernet's NLL with the mean validation NLL of each architecture's networks.

    Args:
        bench: Whose networks are ranked: all that it has trained, by whatever method, but those that diverged.
        search: Has the supernet; what it says is kept in its folder.

    Returns:
        The correlation, None below :data:`FEWEST_RANKED` architectures or where all are alike; and their number.
    """
    samples: dict[str, Sample] = {}
    networks: list[tuple[str, float]] = []
    for sample, nll in bench.trained():
        if math.isfinite(nll):
            key = str(bench.structure.key(sample))
            samples[key] = sample
            networks.append((key, nll))
    path = search.folder / "truth.json"
    known: dict[str, float] = read_json(path) if path.exists() else {}
    new = [key for key in samples if key not in known]
    if new:
        probs = search.predict([samples[key] for key in new], charged=False)
        known |= dict(zip(new, metrics.nll_of_each(probs, bench.validation_labels).tolist(), strict=True))
        write_json(path, known)
    return rank_correlation(((key, known[key], nll) for key, nll in networks), FEWEST_RANKED)
