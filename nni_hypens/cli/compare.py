"""The command `nni-hypens compare`: methods against each other, on data sets and seeds, at equal cost."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from nni_hypens.cli.loading import load_libraries
from nni_hypens.cli.output import show
from nni_hypens.cli.settings import absolute_data, add_settings, settings_of
from nni_hypens.errors import InputError
from nni_hypens.run.settings import Settings
from nni_hypens.utils.checks import check_range
from nni_hypens.utils.paths import find_user_modules

DEFAULT_METHODS = "adaptive,best_architecture,darts_deep_ensemble,random_pool"
EXAMPLES = """examples:
  nni-hypens compare --seeds 0,1,2                                     four methods on digits
  nni-hypens compare --data fashion_mnist,my.npz --train-size 10000 --methods adaptive,darts_ensemble,evolution
  nni-hypens compare --methods adaptive,random_pool --seconds 600      ten minutes of computing for each method

The same command again continues where it stopped; methods, seeds and data sets can be added in the same folder.
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
        default=DEFAULT_METHODS,
        help="names, commas between them, or all; NAME@3 trains networks for three times the epochs, so fewer of them "
        "(default: %(default)s)",
    )
    group.add_argument("--seeds", default="0,1,2,3,4", help="whole numbers, commas between them (default: %(default)s)")
    group.add_argument("--sizes", default="3,5", help="members of the ensembles (default: %(default)s)")
    group.add_argument(
        "--reference",
        default="darts_deep_ensemble",
        help="the method whose cost is the budget of the others (default: %(default)s)",
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
        "--ours", default="adaptive", help="the method to compare each other method with (default: %(default)s)"
    )
    group.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="cells (a data set and a seed) at once (default: 1)"
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
    check_range("jobs", arguments.jobs, at_least=1, whole=True)
    settings, data_sets = settings_and_data(arguments)
    seeds, sizes = _numbers("seeds", arguments.seeds), _numbers("sizes", arguments.sizes)
    load_libraries(arguments.quiet)
    find_user_modules()
    from nni_hypens.compare.comparison import Comparison, run_comparison
    from nni_hypens.compare.methods import METHODS
    from nni_hypens.compare.page import write_comparison_page
    from nni_hypens.compare.results import text_tables
    from nni_hypens.utils.progress import Progress

    methods = list(METHODS) if arguments.methods == "all" else _words(arguments.methods)
    comparison = Comparison(
        settings, data_sets, seeds, methods, sizes, arguments.reference, arguments.seconds, arguments.nni_epochs
    )
    if arguments.ours not in comparison.methods:
        raise InputError("ours", repr(arguments.ours), f"one of the methods: {', '.join(comparison.methods)}")
    command = shlex.join(["nni-hypens", *sys.argv[1:]])
    results = run_comparison(comparison, arguments.out, arguments.jobs, Progress(arguments.quiet), command)
    page = write_comparison_page(arguments.out, arguments.ours)
    if arguments.json:
        print(results.to_json(orient="records"))
        return
    show(text_tables(results, arguments.ours))
    show(f"results: {arguments.out / 'results.csv'}\npage:    {page}")


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
    settings = Settings.from_mapping(given)
    settings.check()
    return settings, [absolute_data(source) for source in sources]


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _numbers(field: str, text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError:
        raise InputError(field, repr(text), "whole numbers with commas between them, such as 0,1,2") from None
