"""What each part of the search and of the training is worth: one part is changed at a time, on the same data and seeds.

    CIFAR10_NPZ=... python -m tests.benchmarks.ablations --work DIR [--seeds 0 1 2 3 4] [--data ...] [--out FILE.json]

Every variant trains the same number of networks (or the same number of epochs in all, where it changes their length)
and its members are chosen and calibrated in the same way. So what is compared does not depend on the machine's speed;
what each variant cost is reported beside. Everything is kept below DIR, so the script may be run again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import nni
import numpy as np
import pandas as pd
from nni.nas.evaluator.pytorch import Lightning
from pytorch_lightning.callbacks import EMAWeightAveraging

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.compare.bench import Clock, Network, Workbench
from nni_hypens.compare.edgenes import RANDOM_START_POOL
from nni_hypens.compare.method import Trained, random_samples
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.results import compared
from nni_hypens.compare.searches import HypernetworkSearch, hypernetwork_search, supernet_truth
from nni_hypens.proposals.adaptive import AdaptiveTraining
from nni_hypens.proposals.pool import promising_pool
from nni_hypens.proposals.ranking import choose_ensemble, choose_promising, choose_spread
from nni_hypens.run.plan import Plan, make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.search.sampler import Candidate
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import by_size, diverse_start
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.runtime import versions
from nni_hypens.utils.seeds import Purpose, derive_seed

RESULTS = Path(__file__).parent / "results" / "ablations.json"
NETWORKS, EPOCHS, SIZES = 12, 8, (3, 5)
EMA_DECAY = 0.95
"""A memory of twenty steps, a sixth of the training here."""
REFERENCE = "drawn"
PARAMETER_FREE = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
REPULSION = 0.2
"""NLL that an architecture which shares every edge with those chosen is charged."""

Rank = Callable[[list[Candidate], np.ndarray, np.ndarray, int], list[int]]
Variant = Callable[[Workbench], Trained]
traced_ema = nni.trace(EMAWeightAveraging)


def with_trainer(plan: Plan, **changes: Any) -> Plan:
    """The plan with other arguments of the trainer of candidates; the learning rate's schedule stays."""
    evaluator: Lightning = nni.load(nni.dump(plan.evaluator))
    evaluator.trainer.trace_kwargs.update(changes)
    return replace(plan, evaluator=evaluator)


# ---- what is drawn, ranked and trained ----------------------------------------------------------------------------


def none(pool: list[Candidate], probabilities: np.ndarray, labels: np.ndarray, n: int) -> list[int]:
    """As they were drawn: no ranking on the supernet."""
    return list(range(n))


def apart(structure: EdgeStructure) -> Rank:
    """As ``ensemble``, but a candidate is charged for the edges that it shares with those that are chosen."""

    def rank(pool: list[Candidate], probabilities: np.ndarray, labels: np.ndarray, n: int) -> list[int]:
        true = probabilities[:, np.arange(len(labels)), labels].astype(np.float64)
        shared = np.array([[structure.shared_edges(a.architecture, b.architecture) for b in pool] for a in pool])
        kept, total = [0], true[0].copy()
        while len(kept) < n:
            nll = -np.log(np.clip((total + true) / (len(kept) + 1), 1e-12, None)).mean(axis=1)
            charge = nll + REPULSION * shared[:, kept].max(axis=1) / structure.n_edges
            charge[kept] = np.inf
            kept.append(int(np.argmin(charge)))
            total += true[kept[-1]]
        return kept

    return rank


def guarded(structure: EdgeStructure, pool: list[Candidate]) -> list[Candidate]:
    """Without candidates of which more than half of the edges have no parameters; the base stays."""
    allowed = structure.n_edges / 2
    free = [sum(edge[2] in PARAMETER_FREE for edge in structure.edges(one.architecture)) for one in pool]
    return [one for place, one in enumerate(pool) if place == 0 or free[place] <= allowed]


def ranked(
    bench: Workbench,
    search: HypernetworkSearch,
    n: int,
    rank: Rank = choose_spread,
    oversample: int = 4,
    lam_range: tuple[float, float] | None = None,
    guard: bool = False,
) -> tuple[list[Sample], list[Sample]]:
    """Architectures to train, and all that were looked at."""
    seed = derive_seed(bench.seed, Purpose.CANDIDATES, 0)
    pool = search.sampler.pool(oversample * n, lam_range or search.plan.lam_range, seed, at_least=n)
    pool = guarded(bench.structure, pool) if guard else pool
    everything = [candidate.architecture for candidate in pool]
    probs = np.empty(0) if rank is none else search.predict(everything)  # charged where it is used
    kept = rank(pool, probs, bench.validation_labels, min(n, len(pool)))
    return [everything[place] for place in kept], everything


def promising(bench: Workbench, search: HypernetworkSearch, n: int) -> tuple[list[Sample], list[Sample]]:
    """The best by supernet and size together, and all that were looked at."""
    size = NetworkSize(bench.plan.train_space, bench.plan.input_shape)
    seed = derive_seed(bench.seed, Purpose.CANDIDATES, 0)
    with bench.charged(f"large-{4 * n}", search.clock):
        pool = promising_pool(search.sampler, size, 4 * n, search.plan.lam_range, seed)
        everything = [candidate.architecture for candidate in pool]
        volumes = [size.volume(sample) for sample in everything]
    nll = metrics.nll_of_each(search.predict(everything), bench.validation_labels)
    kept = choose_promising(nll, volumes, n)
    return [everything[place] for place in kept], everything


def drawn(bench: Workbench, name: str = "edgenes", changes: dict[str, Any] | None = None, **how: Any) -> Trained:
    """Candidates that are all drawn and ranked before any is trained."""
    search = searched(bench, name, changes)
    samples, _ = ranked(bench, search, NETWORKS, **how)
    return Trained([bench.network(sample) for sample in samples], search.clock.seconds, supernet=search.name)


def searched(bench: Workbench, name: str, changes: dict[str, Any] | None) -> HypernetworkSearch:
    """A search with changes to EdgeNES's arguments (``diversity`` and ``base`` are the plan's own)."""
    changes = dict(changes or {})
    own = {key: changes.pop(key) for key in ("diversity", "base") if key in changes}
    return hypernetwork_search(bench, name, strategy={**bench.plan.strategy, **changes}, **own)


def cold(bench: Workbench) -> Trained:
    """The hypernetwork begins with a new supernet, around the same base; both searches are charged."""
    first = searched(bench, "edgenes", None)
    trained = drawn(bench, "cold", {"base": first.sampler.base, "warmup_epochs": 0})
    return replace(trained, search_s=trained.search_s + first.clock.seconds)


def adaptive(
    bench: Workbench, start: int = 3, how: str = "promising", traits: bool = True,
    networks: int = NETWORKS, other: Workbench | None = None,
) -> Trained:  # fmt: skip
    """Train a start, then the networks that are expected to help most."""
    size = NetworkSize(bench.plan.train_space, bench.plan.input_shape)
    clock, pool, name = Clock(), list[Sample](), None
    if how == "random":
        with bench.charged("start", clock):
            samples = random_samples(bench, RANDOM_START_POOL)
            first = diverse_start(samples, size, 2, start - 2)
    else:
        search = searched(bench, "edgenes", None)
        first, pool = (promising if how == "promising" else ranked)(bench, search, start)
        clock, name = search.clock, search.name
    known, labels, trains = size if traits else None, bench.validation_labels, other or bench
    with bench.charged(f"rule-{how}-{start}-{traits}", clock):
        rule = AdaptiveTraining(bench.structure, first, pool, labels, SIZES[0], bench.seed, traits=known)
    trained: list[Network] = []
    while len(trained) < networks:
        kept = [network for network in trained if network.finite]
        failed = [network.sample for network in trained if not network.finite]
        probs = np.stack([network.validation for network in kept]) if kept else np.empty((0, 0, 0))
        left = networks - len(trained)
        proposal = rule.propose([network.sample for network in kept], probs, left, failed=failed)
        trained.append(trains.network(proposal.sample, proposal.replica))
    return Trained(trained, clock.seconds, supernet=name)


def all_promising(bench: Workbench) -> Trained:
    """As many promising ones as are trained, none decided on later."""
    search = searched(bench, "edgenes", None)
    samples, _ = promising(bench, search, NETWORKS)
    return Trained([bench.network(sample) for sample in samples], search.clock.seconds, supernet=search.name)


def largest(bench: Workbench) -> Trained:
    """The largest of many random architectures, without any search."""
    size, clock = NetworkSize(bench.plan.train_space, bench.plan.input_shape), Clock()
    with bench.charged("largest", clock):
        samples = by_size(random_samples(bench, RANDOM_START_POOL), size)[:NETWORKS]
    return Trained([bench.network(sample) for sample in samples], clock.seconds)


def seeds_of_base(bench: Workbench) -> Trained:
    """New seeds of the base: no architecture but that one."""
    search = searched(bench, "edgenes", None)
    return Trained([bench.network(search.sampler.base, place) for place in range(NETWORKS)], search.clock.seconds)


def random_pool(bench: Workbench) -> Trained:
    """Random architectures, without any search."""
    return Trained([bench.network(one) for one in random_samples(bench, NETWORKS)])


def averaged_weights(bench: Workbench) -> Trained:
    """Drawn candidates whose weights are a moving average over the steps of their training."""
    callback = traced_ema(decay=EMA_DECAY)
    other = Workbench(with_trainer(bench.plan, callbacks=[callback]), bench.folder / "ema")
    return _elsewhere(bench, other, NETWORKS)


def longer(bench: Workbench) -> Workbench:
    """A workbench of trainings of twice as many epochs."""
    return Workbench(settings_plan(bench.plan.identity, 2 * EPOCHS), bench.folder / "longer")


def _elsewhere(bench: Workbench, other: Workbench, n: int) -> Trained:
    search = searched(bench, "edgenes", None)
    samples, _ = ranked(bench, search, n)
    return Trained([other.network(sample) for sample in samples], search.clock.seconds)


def halved(bench: Workbench) -> Trained:
    """Twice as many candidates; the worse half is stopped at a quarter of the epochs, and again at half of them."""
    search = searched(bench, "edgenes", None)
    samples, _ = ranked(bench, search, 2 * NETWORKS)
    stopped = 0.0
    for part in (4, 2):
        rung = Workbench(with_trainer(bench.plan, max_epochs=EPOCHS // part), bench.folder / f"rung-{part}")
        tried = sorted((rung.network(sample) for sample in samples), key=lambda network: network.nll)
        better, worse = tried[: len(tried) // 2], tried[len(tried) // 2 :]
        stopped += sum(network.cost for network in worse)  # those that go on are charged once, as a whole
        samples = [network.sample for network in better]
    networks = [bench.network(sample) for sample in samples]
    return Trained(networks, search.clock.seconds + stopped, supernet=search.name)


VARIANTS: dict[str, tuple[str, Variant]] = {
    "drawn": ("reference: 12 candidates, drawn and ranked in advance", drawn),
    "adaptive": ("3 promising, then 9 adaptive", adaptive),
    "adaptive_no_traits": ("as `adaptive`, but it does not know sizes of networks", partial(adaptive, traits=False)),
    "adaptive_5": ("5 promising, then 7 adaptive", partial(adaptive, start=5)),
    "adaptive_drawn": ("3 drawn, then 9 adaptive", partial(adaptive, how="drawn")),
    "adaptive_random": (
        "2 large and 3 random, no search, then 7 adaptive",
        partial(adaptive, start=5, how="random"),
    ),
    "adaptive_longer": (
        "3 promising, then 3 adaptive, all trained twice as long",
        lambda bench: adaptive(bench, networks=NETWORKS // 2, other=longer(bench)),
    ),
    "promising": ("12 promising, none adaptive", all_promising),
    "largest": ("the 12 largest of 60 random architectures", largest),
    "random": ("12 random architectures", random_pool),
    "base": ("12 seeds of the base", seeds_of_base),
    "no_warmup": (
        "no uniform path sampling before the architecture steps",
        partial(drawn, name="no_warmup", changes={"warmup_epochs": 0}),
    ),
    "argmax_base": (
        "base by argmax, not by validation loss on the supernet",
        partial(drawn, name="argmax", changes={"base_draws": 1}),
    ),
    "no_base_steps": (
        "no architecture steps for the base: the best of 32 random architectures on the supernet",
        partial(drawn, name="no_base", changes={"base_epochs": 0}),
    ),
    "cold": ("hypernetwork starts on a new supernet, not on the base's", cold),
    "jensen_shannon": ("the other regulariser", partial(drawn, name="js", changes={"diversity": JensenShannon()})),
    "not_ranked": ("as drawn, no ranking on the supernet", partial(drawn, rank=none)),
    "rank_ensemble": ("ranked for the ensemble over the whole dial", partial(drawn, rank=choose_ensemble)),
    "repulsion": (
        "ranked for the ensemble, with a penalty on edges shared between candidates",
        lambda bench: drawn(bench, rank=apart(bench.structure)),
    ),
    "oversample": ("ranked among 16 times as many, not 4 times", partial(drawn, oversample=16)),
    "near_base": (
        "candidates share at least half of the edges with the base",
        lambda bench: drawn(bench, lam_range=(bench.structure.n_edges / 2, float(bench.structure.n_edges))),
    ),
    "guard": ("no candidate with more than half of its edges without parameters", partial(drawn, guard=True)),
    "ema": ("weights averaged over training steps", averaged_weights),
    "fewer_longer": (
        "6 candidates, each trained twice as long",
        lambda bench: _elsewhere(bench, longer(bench), NETWORKS // 2),
    ),
    "halving": ("24 candidates, the worse half stopped twice", halved),
}

EARLIER = {
    "adaptive": "3 promising, new seeds of the best up to 6 networks, then 6 adaptive",
    "adaptive_no_traits": "as `adaptive`, but the forecast does not know sizes of networks",
    "adaptive_no_seeds": "3 promising, then 9 adaptive",
    "adaptive_5": "5 promising, a new seed of the best, then 6 adaptive",
    "adaptive_drawn": "3 drawn, new seeds of the best up to 6 networks, then 6 adaptive",
    "adaptive_longer": "3 promising, then 3 new seeds of the best, all trained twice as long",
}
"""What variants of the results on file were, where they are gone or have changed: the rule of version 0.1.0."""


# ---- running ------------------------------------------------------------------------------------------------------


def settings_plan(identity: dict[str, Any], epochs: int) -> Plan:
    """The plan of these settings with another number of epochs for each candidate."""
    config = Settings.from_mapping({**identity, "epochs": epochs})
    return make_plan(config, split_seed=config.seed)


def run_seed(settings: dict[str, Any], seed: int, names: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Every variant on one seed; what is there is read."""
    plan = settings_plan({**settings, "seed": seed}, EPOCHS)
    bench = Workbench(plan, folder / f"seed-{seed}")
    rows = []
    for name in names:
        path = bench.folder / "variants" / f"{name}.json"
        if not path.exists():
            trained = VARIANTS[name][1](bench)
            write_json(path, [{"variant": name, "seed": seed, "members": size, **outcome(bench, trained, size),
                               "mean_network": float(np.mean([one.nll for one in trained.networks if one.finite]))}
                              for size in SIZES])  # fmt: skip
        rows += read_json(path)
        print(seed, name, [round(row["nll"], 4) for row in rows[-len(SIZES) :]], flush=True)
    truth = {}
    for name in sorted({row["supernet"] for row in rows if row["supernet"] is not None}):
        truth[name] = supernet_truth(bench, hypernetwork_search(bench, name))
    for row in rows:
        if row["supernet"] is not None:
            row["supernet_spearman"], row["ranked_architectures"] = truth[row["supernet"]]
    return rows


def summary(rows: list[dict[str, Any]], reference: str = REFERENCE) -> list[dict[str, Any]]:
    """Means over seeds, and the paired relative difference of each variant's test NLL to the reference's."""
    table, found = pd.DataFrame(rows), []
    for size in SIZES:
        wide = table[table["members"] == size].pivot(index="seed", columns="variant", values="nll")
        for name in [name for name in VARIANTS if name in wide]:
            own = table[(table["members"] == size) & (table["variant"] == name)]
            pairs = wide[[name, reference]].dropna() if name != reference else None
            means = ("nll", "accuracy", "mean_network", "search_s", "training_s")
            spearman = own["supernet_spearman"].astype(float)
            row = {"variant": name, "what": VARIANTS[name][0], "members": size, "seeds": len(own)}
            row |= {key: float(own[key].mean()) for key in means} | {"nll_sd": float(own["nll"].std(ddof=1))}
            row["spearman"] = None if spearman.isna().all() else float(spearman.mean())
            if pairs is not None:
                row |= compared(pairs[name].to_numpy(), pairs[reference].to_numpy(), True, 0)
            found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--data", default="examples.small_data:fashion_mnist_14")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    quiet_training()
    quiet_logging()
    settings = {"data": arguments.data, "train_size": 1000, "validation_size": 1000, "test_size": 5000}
    settings |= {"space_args": {"channels": 8}, "search_epochs": 12}
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        rows += run_seed(settings, seed, arguments.variants, arguments.work)
    command = f"python -m tests.benchmarks.ablations --work DIR --data {arguments.data}"
    content = {"command": command, "seeds": arguments.seeds, "settings": settings | {"epochs": EPOCHS},
               "versions": versions(), "summary": summary(rows),
               "rows": [{key: value for key, value in row.items() if key != "chosen"} for row in rows]}  # fmt: skip
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
