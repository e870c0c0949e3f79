"""The command `nni-hypens compare`: methods against each other, on data sets and seeds, at equal cost."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_hypens.cli.loading import load_libraries
from nni_hypens.cli.output import show
from nni_hypens.cli.settings import absolute_data, add_settings, settings_of, with_absolute_paths
from nni_hypens.errors import InputError
from nni_hypens.run.settings import Settings
from nni_hypens.selection.names import ALL, EVERY
from nni_hypens.utils.checks import check_range
from nni_hypens.utils.paths import find_user_modules

if TYPE_CHECKING:
    import pandas as pd

REFERENCE, OURS, POOL_OURS = "darts_deep_ensemble", "adaptive", "adaptive_random"
NO_POOL_FLAGS = ("config", "reference", "seconds", "nni_epochs", "jobs")
"""Arguments of a comparison that trains, beside its settings."""
DEFAULT_METHODS = "adaptive,best_architecture,darts_deep_ensemble,random_pool"
MAX_NUMBERS = 100_000
"""Most numbers in a range."""
EXAMPLES = """examples:
  nni-hypens compare --seeds 0,1,2                                     four methods on digits
  nni-hypens compare --data fashion_mnist,my.npz --train-size 10000 --methods adaptive,darts_ensemble,evolution
  nni-hypens compare --methods adaptive,random_pool --seconds 600      ten minutes of computing for each method
  nni-hypens compare --pool pool/*.npz --seeds 0..49                   on networks that are trained already, in minutes

The same command again continues where it stopped; methods, seeds and data sets can be added in the same folder (not
with --pool).
"""


def add_command(commands: Any) -> None:
    """Add `compare` to the subparsers of the command line."""
    parser = commands.add_parser(
        "compare",
        help="compare methods at equal cost, over data sets and seeds",
        description="Run methods on the same data, space and seeds, each for as many seconds of computing (search and "
        "training) as the reference spends, and compare the ensembles on test data.",
        examples=EXAMPLES,
    )
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--methods",
        default=None,
        help="names, commas between them, or all; NAME@3 trains networks for three times the epochs, so fewer of them "
        f"(default: {DEFAULT_METHODS}; with --pool those that need nothing but architectures of the space)",
    )
    group.add_argument(
        "--seeds",
        default="0,1,2,3,4",
        help="whole numbers or ranges such as 0..49, commas between (default: 0,1,2,3,4)",
    )
    group.add_argument(
        "--sizes",
        default="3,5",
        help="members of the ensembles, and `all` for all networks, weighted (default: %(default)s)",
    )
    group.add_argument(
        "--reference",
        default=None,
        help=f"the method whose cost is the budget of the others (default: {REFERENCE})",
    )
    group.add_argument(
        "--seconds", type=float, default=None, help="budget of each method in place of the reference's cost"
    )
    group.add_argument(
        "--nni-epochs",
        type=int,
        default=None,
        metavar="N",
        help="epochs of the searches by NNI's own strategies (default: --search-epochs)",
    )
    group.add_argument(
        "--ours",
        default=None,
        help=f"the method to compare each other method with (default: {OURS}, with --pool {POOL_OURS}; without results "
        "of it, the first of --methods)",
    )
    group.add_argument(
        "--jobs", type=int, default=None, metavar="N", help="cells (a data set and a seed) at once (default: 1)"
    )
    group.add_argument(
        "--pool",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="pools of trained networks (nni_hypens.compare.Pool): nothing is trained",
    )
    group.add_argument(
        "--networks",
        type=int,
        default=None,
        metavar="N",
        help="with --pool, the budget of each method: the cost of N networks of average cost (default: 12)",
    )
    group.add_argument(
        "--out", type=Path, default=Path("runs/compare"), metavar="DIR", help="folder (default: %(default)s)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument("--json", action="store_true", help="print the results as JSON")
    add_settings(parser, runtime=False)
    parser.set_defaults(call=run_command)


def run_command(arguments: argparse.Namespace) -> None:
    """Run or continue a comparison, and show its tables.

    Raises:
        InputError: Bad input.
        RuntimeError: Some cells failed.
    """
    run = _run_on_pools if arguments.pool else _run_with_training
    results, ours = run(arguments, shlex.join(["nni-hypens", *sys.argv[1:]]))
    from nni_hypens.compare.page import write_comparison_page
    from nni_hypens.compare.results import text_tables

    page = write_comparison_page(arguments.out, ours)
    if arguments.json:
        print(results.to_json(orient="records"))
        return
    show(text_tables(results, ours))
    show(f"results: {arguments.out / 'results.csv'}\npage:    {page}")


def _run_with_training(arguments: argparse.Namespace, command: str) -> tuple[pd.DataFrame, str]:
    """Run or continue a comparison that trains; its results and main method."""
    jobs = 1 if arguments.jobs is None else arguments.jobs
    check_range("jobs", jobs, at_least=1, whole=True)
    if arguments.networks is not None:
        raise InputError("networks", arguments.networks, "--pool with it, or --seconds: here networks are trained")
    settings, data_sets = settings_and_data(arguments)
    seeds, sizes = _numbers("seeds", arguments.seeds), _sizes(arguments.sizes)
    load_libraries(arguments.quiet)
    find_user_modules()
    from nni_hypens.compare.comparison import Comparison, run_comparison
    from nni_hypens.compare.methods import METHODS
    from nni_hypens.utils.progress import Progress

    methods = _methods(arguments.methods or DEFAULT_METHODS, list(METHODS))
    reference = arguments.reference or REFERENCE
    comparison = Comparison(
        settings, data_sets, seeds, methods, sizes, reference, arguments.seconds, arguments.nni_epochs
    )
    _check_ours(arguments.ours, methods)
    results = run_comparison(comparison, arguments.out, jobs, Progress(arguments.quiet), command)
    return results, arguments.ours or _main_method(results, OURS, methods)


def _run_on_pools(arguments: argparse.Namespace, command: str) -> tuple[pd.DataFrame, str]:
    """Run a comparison on pools of trained networks; its results and main method."""
    settings = [entry.name for entry in dataclasses.fields(Settings)]
    for name in (*NO_POOL_FLAGS, *settings):
        if getattr(arguments, name, None) is not None:
            expected = "no such argument with --pool: the networks of a pool are trained already"
            raise InputError(name, repr(getattr(arguments, name)), expected)
    seeds, sizes = _numbers("seeds", arguments.seeds), _sizes(arguments.sizes)
    load_libraries(arguments.quiet)
    from nni_hypens.compare.methods import pool_methods
    from nni_hypens.compare.pool_comparison import NETWORKS, PoolComparison, run_pool_comparison
    from nni_hypens.utils.progress import Progress

    methods = _methods(arguments.methods, pool_methods(peers=True)) if arguments.methods else pool_methods()
    networks = NETWORKS if arguments.networks is None else arguments.networks
    comparison = PoolComparison(arguments.pool, seeds, methods, sizes, networks)
    _check_ours(arguments.ours, methods)
    results = run_pool_comparison(comparison, arguments.out, Progress(arguments.quiet), command)
    return results, arguments.ours or _main_method(results, POOL_OURS, methods)


def _methods(text: str, every: list[str]) -> list[str]:
    return every if text == "all" else _words(text)


def _check_ours(ours: str | None, methods: list[str]) -> None:
    if ours is not None and ours not in methods:
        raise InputError("ours", repr(ours), f"one of the methods: {', '.join(methods)}")


def _main_method(results: pd.DataFrame, default: str, methods: list[str]) -> str:
    """The method that others are compared with if nobody names one: ours, if it is in the folder, or the first."""
    return default if default in set(results["method"]) else methods[0]


def settings_and_data(arguments: argparse.Namespace) -> tuple[Settings, list[str]]:
    """The settings of each cell of a comparison, checked, and its data sets.

    Raises:
        InputError: Bad input, or a setting that a comparison does not have.
    """
    given = settings_of(arguments)
    for name, instead in (("seed", "seeds"), ("budget", "seconds")):
        if name in given:
            raise InputError(name, repr(given[name]), f"--{instead}: a comparison has {instead}")
    if "known_results" in given:
        got = repr(given["known_results"])
        raise InputError("known_results", got, "no such setting: known results are for `nni-hypens run`")
    sources = _words(str(given.pop("data", Settings.data)))
    settings = with_absolute_paths(Settings.from_mapping(given))
    settings.check()
    return settings, [absolute_data(source) for source in sources]


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _sizes(text: str) -> list[int]:
    """Numbers of members, in which `all` is `EVERY`."""
    words = _words(text)
    numbers = [word for word in words if word != ALL]
    if str(EVERY) in numbers:
        raise InputError("sizes", repr(text), f"numbers of at least 2, or {ALL}")
    return [*(_numbers("sizes", ",".join(numbers)) if numbers else []), *[EVERY] * (len(words) - len(numbers))]


def _numbers(field: str, text: str) -> list[int]:
    numbers: list[int] = []
    try:
        for word in _words(text):
            first, dots, last = word.partition("..")
            end = int(last if dots else first)
            if not int(first) <= end < int(first) + MAX_NUMBERS:
                raise ValueError
            numbers += range(int(first), end + 1)
    except ValueError:
        expected = "whole numbers with commas between them, such as 0,1,2, or ranges such as 0..49"
        raise InputError(field, repr(text), expected) from None
    return numbers
