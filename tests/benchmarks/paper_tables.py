"""Repeats the tables and figures of the EdgeNES paper on a small scale that runs on a CPU, or at the paper's own scale.

    python -m tests.benchmarks.paper_tables --out runs/paper

The defaults are Fashion-MNIST at 14 x 14 pixels, 500 training images, a cell of 8 channels and three seeds. Committed
results: `tests/benchmarks/results/paper.json` and `docs/guides/paper.md`. The guide has the command for the paper's
scale on a GPU.

`--out` keeps every search and every trained network: the same command continues where it stopped, and you can add seeds
later. A network is trained once and counted for each method that uses it. Validation data choose, test data report.
`--quick` uses digits, one seed and one to three epochs, only to show that the script runs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.cli.settings import add_settings, settings_of
from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.searches import HypernetworkSearch, hypernetwork_search, nni_search
from nni_hypens.errors import InputError
from nni_hypens.run.plan import make_plan, search_evaluator
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.utils.files import read_json, write_json, write_text
from nni_hypens.utils.runtime import versions
from tests.benchmarks.paper_figures import draw_figures, markdown_tables
from tests.benchmarks.paper_runs import Row, accuracy, best_of, claim, numbers

SMALL: Row = {
    "data": "examples.small_data:fashion_mnist_14",
    "train_size": 500,
    "validation_size": 500,
    "test_size": 2000,
    "batch_size": 32,
    "space_args": {"channels": 8},
    "search_epochs": 16,
    "epochs": 8,
}
QUICK: Row = {
    "data": "digits",
    "train_size": 100,
    "validation_size": 100,
    "test_size": 100,
    "space_args": {"channels": 2},
    "search_epochs": 4,
    "epochs": 1,
}
FAR_DRAWS = 10_000
"""Walks tried for random deviations; spaces whose every deviation is wanted are small."""


@dataclass(frozen=True)
class Scale:
    """What is drawn, beside the settings of a run.

    Args:
        darts_epochs: Epochs of a DARTS search; ``search_epochs`` of the settings are those of EdgeNES.
        lengths: Other numbers of epochs that EdgeNES is searched for.
        per_lam: Architectures drawn for each number of shared edges.
    """

    darts_epochs: int
    lengths: tuple[int, ...]
    per_lam: int


# ---- what is trained ----------------------------------------------------------------------------------------------


def deviations(structure: EdgeStructure, base: Sample, shared: int, n: int, seed: int) -> list[Sample]:
    """Up to ``n`` different architectures that share exactly ``shared`` edges with the base: random changes of one
    choice after the other, until few enough are shared."""
    generator = np.random.default_rng([seed, shared])
    found: dict[object, Sample] = {}
    for _ in range(FAR_DRAWS):
        sample = base
        while structure.shared_edges(base, sample) > shared:
            near = neighbours(structure, sample)
            sample = near[int(generator.integers(len(near)))]
        if structure.shared_edges(base, sample) == shared:
            found.setdefault(structure.key(sample), sample)
        if len(found) == n:
            break
    return list(found.values())


def hypernetwork_pool(bench: Workbench, search: HypernetworkSearch, lams: Sequence[int], n: int) -> dict[int, Any]:
    """lam -> networks of ``n`` architectures that the hypernetwork gives there."""
    return {
        lam: [bench.network(found.architecture) for found in search.sampler.sample(lam, n, seed=bench.seed)]
        for lam in lams
    }


def edgenes_at(bench: Workbench, config: Settings, name: str, **strategy: Any) -> HypernetworkSearch:
    """A search by EdgeNES under a name, as the settings say, with other arguments of the strategy."""
    plan = make_plan(config, split_seed=config.seed)
    return hypernetwork_search(
        bench, name, search_evaluator=plan.search_evaluator, strategy={**plan.strategy, **strategy}
    )


def darts_networks(bench: Workbench, config: Settings, epochs: int, count: int) -> tuple[list[Network], list[float]]:
    """A network of each of ``count`` DARTS searches, and the seconds of each search."""
    searcher = Workbench(bench.plan, bench.folder / "darts", search_evaluator(config, bench.plan.data, epochs))
    found = [nni_search(searcher, "darts", index) for index in range(count)]
    networks: list[Network] = []
    for sample, _ in found:
        twins = sum(bench.structure.key(sample) == bench.structure.key(one.sample) for one in networks)
        networks.append(bench.network(sample, twins))  # the same choice twice still makes two networks
    return networks, [seconds for _, seconds in found]


def base_share(search: HypernetworkSearch) -> float:
    """Share of the search that finds the base: warm-up and base epochs."""
    summary = read_json(search.folder / "summary.json")
    return float(summary["base_search_s"] / (summary["base_search_s"] + summary["search_s"]))


# ---- what is measured ---------------------------------------------------------------------------------------------


def mean_of_choices(bench: Workbench, pool: Sequence[Network], size: int) -> float:
    """Mean test accuracy in % of every ensemble of ``size`` networks of the pool: what no choice gives."""
    return float(np.mean([accuracy(bench, chosen) for chosen in itertools.combinations(pool, size)]))


def outcome(bench: Workbench, pool: Sequence[Network], size: int, choose: bool = True) -> Row:
    """An ensemble, or a single network where ``size`` is 1, with what its networks cost."""
    chosen = best_of(bench, pool, size) if choose else list(pool)
    labels = bench.test_labels
    return {
        "accuracy": accuracy(bench, chosen),
        "nll": metrics.nll(np.mean([network.test for network in chosen], axis=0), labels),
        "networks": len(pool),
        "training_s": sum(network.cost for network in pool),
    }


def run_seed(config: Settings, scale: Scale, folder: Path) -> dict[str, list[Row]]:
    """Everything for one seed; what is in the folder already is read.

    Args:
        config: Settings of data, space, search and training, with the seed.
        scale: What is drawn.
        folder: Of this seed.

    Returns:
        Rows of each table and figure.
    """
    bench = Workbench(make_plan(config, split_seed=config.seed), folder)
    size, edges, n = config.members, bench.structure.n_edges, scale.per_lam
    search = hypernetwork_search(bench)
    say(config.seed, "EdgeNES searched")
    base = search.sampler.base
    replicas = [bench.network(base, replica) for replica in range(size)]
    ours = hypernetwork_pool(bench, search, range(edges), n)
    say(config.seed, "hypernetwork candidates trained")
    theirs = {
        shared: [bench.network(sample) for sample in deviations(bench.structure, base, shared, n, config.seed)]
        for shared in range(edges)
    }
    inner = range(1, edges)  # an ensemble takes the base and what shares some edges with it, as in the paper
    pools = [[replicas[0], *itertools.chain(*(found[lam] for lam in inner))] for found in (ours, theirs)]
    drawn = [bench.network(sample) for sample in random_architectures(bench.structure, len(pools[0]), config.seed)]
    say(config.seed, "random architectures trained")

    off = edgenes_at(bench, config, "no-warmup", warmup_epochs=0)
    cold = hypernetwork_pool(bench, off, inner, n)
    say(config.seed, "search without warm-up done")
    lengths = {config.search_epochs: (search, pools[0])}
    for epochs in scale.lengths:
        other = edgenes_at(bench, replace(config, search_epochs=epochs), f"epochs-{epochs}")
        found = hypernetwork_pool(bench, other, inner, n)
        lengths[epochs] = other, [bench.network(other.sampler.base), *itertools.chain(*found.values())]
    say(config.seed, "searches of other lengths done")
    darts, darts_s = darts_networks(bench, config, scale.darts_epochs, size)
    say(config.seed, "DARTS done")

    spent = search.clock.seconds
    methods = {
        "darts": (outcome(bench, darts[:1], 1, choose=False), darts_s[0]),
        "random": (outcome(bench, drawn[:1], 1, choose=False), 0.0),
        "darts_ensemble": (outcome(bench, darts, size, choose=False), sum(darts_s)),
        "random_pool": (outcome(bench, drawn, size), 0.0),
        "random_deviations": (outcome(bench, pools[1], size), spent * base_share(search)),
        "edgenes": (outcome(bench, pools[0], size), spent),
        "base_ensemble": (outcome(bench, replicas, size, choose=False), spent * base_share(search)),
    }
    seed = {"seed": config.seed}
    return {
        "methods": [
            {**seed, "method": name, **found, "search_s": seconds} for name, (found, seconds) in methods.items()
        ],
        "networks": [
            {**seed, "source": source, "shared": shared, "accuracy": accuracy(bench, [network])}
            for source, found in (
                ("hypernetwork", ours),
                ("random", theirs),
                ("no_warmup", cold),
                ("base", {edges: replicas}),
            )
            for shared, networks in found.items()
            for network in networks
        ],
        "dial": [
            {**seed, "lam": lam, "shared": shared} for lam, shared in read_json(search.folder / "summary.json")["dial"]
        ],
        "lengths": [
            {**seed, "epochs": epochs, **outcome(bench, pool, size), "search_s": used.clock.seconds}
            for epochs, (used, pool) in sorted(lengths.items())
        ],
        "limits": limits(bench, ours, replicas, size, config.seed),
    }


def limits(bench: Workbench, ours: dict[int, Any], replicas: list[Network], size: int, seed: int) -> list[Row]:
    """Ensembles of the base and what shares at least so many edges with it; at the end, seeds of the base alone.

    A higher limit leaves a smaller pool, so the mean of every choice is given too: it does not depend on the pool's
    size.
    """
    rows = []
    for limit in range(bench.structure.n_edges + 1):
        near = list(itertools.chain(*(networks for lam, networks in ours.items() if lam >= limit)))
        pool = [*replicas[: max(1, size - len(near))], *near]
        rows.append(
            {
                "seed": seed,
                "limit": limit,
                **outcome(bench, pool, size),
                "mean_accuracy": mean_of_choices(bench, pool, size),
            }
        )
    return rows


# ---- the command --------------------------------------------------------------------------------------------------


def say(seed: int, text: str) -> None:
    print(f"seed {seed}: {text}", file=sys.stderr, flush=True)


def command_line() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="The tables and figures of the EdgeNES paper, drawn again.")
    group = parser.add_argument_group("the paper")
    group.add_argument("--seeds", help="whole numbers, commas between them (default: 0,1,2)")
    group.add_argument("--darts-epochs", type=int, help="epochs of a DARTS search (default: 2)")
    group.add_argument("--lengths", help="other epochs of search, commas between them (default: 4,8)")
    group.add_argument("--per-lam", type=int, help="architectures for each number of shared edges (default: 2)")
    group.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder (default: %(default)s)")
    group.add_argument("--results", type=Path, help="results file (default: paper.json in --out)")
    group.add_argument("--figures", type=Path, help="folder of the figures (default: --out)")
    group.add_argument("--quick", action="store_true", help="digits, one seed, next to no training")
    add_settings(parser, runtime=False)
    return parser


def scale_of(arguments: argparse.Namespace, config: Settings) -> Scale:
    """What is drawn, checked.

    Raises:
        InputError: Naming the argument.
    """
    quick = arguments.quick
    given = {"darts_epochs": arguments.darts_epochs, "per_lam": arguments.per_lam}
    usual = {"darts_epochs": 1, "per_lam": 1} if quick else {"darts_epochs": 2, "per_lam": 2}
    found = {name: usual[name] if value is None else value for name, value in given.items()}
    for name, value in found.items():
        if value < 1:
            raise InputError(name, value, "a whole number of at least 1")
    lengths = numbers("lengths", arguments.lengths or ("3" if quick else "4,8"))
    for epochs in lengths:
        if epochs == config.search_epochs:
            raise InputError("lengths", epochs, "lengths other than search_epochs, which is drawn anyway")
        replace(config, search_epochs=epochs).check()
    return Scale(found["darts_epochs"], lengths, found["per_lam"])


def draw(arguments: argparse.Namespace) -> None:
    """Train what is missing, write results and figures, print the tables.

    Raises:
        InputError: Bad input.
    """
    quiet_training()
    quiet_logging()
    quick = arguments.quick
    config = Settings.from_mapping({**(QUICK if quick else SMALL), **settings_of(arguments)})
    config.check()
    scale = scale_of(arguments, config)
    seeds = numbers("seeds", arguments.seeds or ("0" if quick else "0,1,2"))
    identity = {name: value for name, value in config.to_mapping().items() if name != "seed"}
    identity |= {"darts_epochs": scale.darts_epochs, "lengths": list(scale.lengths), "per_lam": scale.per_lam}
    make_plan(config)
    claim(arguments.out, identity)
    rows: dict[str, list[Row]] = {}
    for seed in seeds:
        for name, found in run_seed(replace(config, seed=seed), scale, arguments.out / f"seed-{seed}").items():
            rows.setdefault(name, []).extend(found)
    command = " ".join(["python -m tests.benchmarks.paper_tables", *sys.argv[1:]])
    results = {"command": command, "versions": versions(), "seeds": list(seeds), "settings": identity, "rows": rows}
    write_json(arguments.results or arguments.out / "paper.json", results)
    tables = markdown_tables(results)
    write_text(arguments.out / "tables.md", "\n".join(tables.values()))
    figures = draw_figures(results, arguments.figures or arguments.out)
    print("\n".join([*tables.values(), *(f"figure: {path}" for path in figures)]))


def main() -> None:
    parser = command_line()
    try:
        draw(parser.parse_args())
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
