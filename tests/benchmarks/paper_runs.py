"""What the scripts of the paper's further experiments share: command line, a folder for each seed, and a results file.

Each script repeats one experiment of the EdgeNES papers: `paper_wide`, `paper_iterations`, `paper_divergence` and
`paper_annealing`. `--out` keeps every search and network, so the same command continues where it stopped, and you can
add seeds later. `--quick` only shows that a script runs. `python -m tests.benchmarks.paper_guide` writes the guide from
the results.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.cli.settings import add_settings, settings_of
from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.errors import InputError
from nni_hypens.run.plan import make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.selection import select
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.runtime import versions

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
CIFAR = "examples.small_data:cifar10_16"
TINY: Row = {
    "data": "digits",
    "train_size": 64,
    "validation_size": 64,
    "test_size": 64,
    "batch_size": 32,
    "epochs": 1,
    "space_args": {"channels": 1},
}
"""Settings of `--quick`, beside those of the script."""


@dataclass(frozen=True)
class Study:
    """One experiment.

    Args:
        name: Of the script and of its results.
        about: One sentence for the help.
        small: Settings that differ from those of a run.
        quick: The same for `--quick`.
        rows: (settings with the seed, folder of the seed, other options) -> rows of each table.
        options: Other options, with their defaults.
        data_sets: Data sets that are run one after the other; empty for the one in the settings.
    """

    name: str
    about: str
    small: Row
    quick: Row
    rows: Callable[[Settings, Path, Row], dict[str, list[Row]]]
    options: Row = field(default_factory=dict)
    data_sets: tuple[str, ...] = ()


def accuracy(bench: Workbench, networks: Sequence[Network]) -> float:
    """Test accuracy in % of the average of their probabilities."""
    return 100 * metrics.accuracy(np.mean([network.test for network in networks], axis=0), bench.test_labels)


def best_of(bench: Workbench, pool: Sequence[Network], size: int) -> list[Network]:
    """The ``size`` networks whose average has the lowest validation NLL, of all choices."""
    finite = [network for network in pool if network.finite]
    probs = np.stack([network.validation for network in finite])
    return [finite[index] for index in select("exhaustive", probs, bench.validation_labels, size=size).members]


def bench_of(settings: Settings, folder: Path) -> Workbench:
    """A workbench whose split depends on the seed."""
    return Workbench(make_plan(settings, split_seed=settings.seed), folder)


def missing(data: str) -> str | None:
    """Why a data set is not there; None if it is.

    CIFAR-10 needs the environment variable CIFAR10_NPZ.
    """
    if data != CIFAR:
        return None
    file = os.environ.get("CIFAR10_NPZ")
    if file is None:
        return "CIFAR10_NPZ is not set"
    return None if Path(file).is_file() else f"{file}, the value of CIFAR10_NPZ, does not exist"


def numbers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them, all different.

    Raises:
        InputError: They are not.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError(name, repr(text), "different whole numbers, commas between them")
    return tuple(map(int, parts))


def claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Keep in the folder what its results depend on.

    Raises:
        InputError: The folder holds results of other settings.
    """
    path = folder / "settings.json"
    if path.exists():
        known = read_json(path)
        other = [name for name in identity if known.get(name) != identity[name]]
        if other:
            raise InputError(other[0], identity[other[0]], f"{known.get(other[0])}, as in {folder}, or another --out")
    write_json(path, dict(identity))


def command_line(study: Study) -> argparse.ArgumentParser:
    """The command line of a script."""
    parser = argparse.ArgumentParser(description=study.about)
    group = parser.add_argument_group("the experiment")
    group.add_argument("--seeds", help="whole numbers, commas between them (default: 0,1,2)")
    group.add_argument("--out", type=Path, help=f"folder (default: runs/{study.name})")
    group.add_argument("--results", type=Path, help=f"results file (default: {study.name}.json in --out)")
    group.add_argument("--quick", action="store_true", help="digits, one seed, next to no training")
    for name, value in study.options.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=type(value), help=f"(default: {value})")
    add_settings(parser, runtime=False)
    return parser


def run(study: Study, arguments: argparse.Namespace) -> None:
    """Train what is missing, and write the results.

    Raises:
        InputError: Bad input.
    """
    quiet_training()
    quiet_logging()
    out = arguments.out or Path("runs") / study.name
    seeds = numbers("seeds", arguments.seeds or ("0" if arguments.quick else "0,1,2"))
    given = settings_of(arguments)
    data_sets = (given["data"],) if "data" in given else (() if arguments.quick else study.data_sets)
    options = {name: getattr(arguments, name) for name in study.options}
    options = {name: study.options[name] if value is None else value for name, value in options.items()}
    settings = Settings.from_mapping({**({**TINY, **study.quick} if arguments.quick else study.small), **given})
    settings.check()
    skipped = {data: reason for data in data_sets if (reason := missing(data)) is not None}
    for data, reason in skipped.items():
        print(f"{study.name}: {data} is left out: {reason}", file=sys.stderr)
    wanted = [data for data in data_sets or (settings.data,) if data not in skipped]
    for data in wanted:
        make_plan(replace(settings, data=data))
    kept = {name: value for name, value in settings.to_mapping().items() if name not in ("seed", "data")}
    claim(out, {**kept, **options})
    command = " ".join([f"python -m tests.benchmarks.{study.name}", *sys.argv[1:]])
    results = {"command": command, "versions": versions(), "settings": {**kept, **options}, "skipped": skipped}
    path = arguments.results or out / f"{study.name}.json"
    rows: dict[str, list[Row]] = {}
    for place, seed in enumerate(seeds, start=1):
        for data in wanted:
            own = replace(settings, data=data, seed=seed)
            folder = out / data.rsplit(":", 1)[-1] / f"seed-{seed}"
            for name, found in study.rows(own, folder, options).items():
                about = {"data": data.rsplit(":", 1)[-1], "seed": seed}
                rows.setdefault(name, []).extend({**about, **row} for row in found)
            print(f"{study.name}: {data}, seed {seed} done", file=sys.stderr, flush=True)
        write_json(path, {**results, "seeds": list(seeds[:place]), "rows": rows})  # what is done is not lost
    print(f"{study.name}: results in {path}", file=sys.stderr)


def main(study: Study) -> None:
    """Run a script."""
    parser = command_line(study)
    try:
        run(study, parser.parse_args())
    except InputError as error:
        parser.error(str(error))
