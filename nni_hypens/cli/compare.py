"""The command ``nni-hypens compare``: methods against one another, on data sets and seeds, at equal cost."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from nni_hypens.cli.settings import add_settings, settings_of
from nni_hypens.errors import InputError

DEFAULT_METHODS = "adaptive,best_architecture,darts_deep_ensemble,random_pool"
EXAMPLES = """examples:
  nni-hypens compare --seeds 0,1,2                                     four methods on digits
  nni-hypens compare --data fashion_mnist,my.npz --train-size 10000 --methods adaptive,darts_ensemble,evolution
  nni-hypens compare --methods adaptive,random_pool --seconds 600      ten minutes of computing for each method

The same command again goes on where it was; more methods, seeds or data sets may be added in the same folder.
"""


def add_command(commands: Any) -> None:
    """Add it to the subparsers of the command line."""
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
        "--ours", default="adaptive", help="the method that is held against each other (default: %(default)s)"
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


def run_command(arguments: argparse.Namespace) -> None:
    """Run or go on with a comparison, and show its tables.

    Raises:
        InputError: Bad input.
        RuntimeError: Some cells failed.
    """
    from nni_hypens.compare.comparison import Comparison, run_comparison
    from nni_hypens.compare.methods import METHODS
    from nni_hypens.compare.page import write_comparison_page
    from nni_hypens.compare.results import text_tables
    from nni_hypens.run.settings import Settings
    from nni_hypens.utils.progress import Progress

    if arguments.jobs < 1:
        raise InputError("jobs", arguments.jobs, "a whole number of at least 1")
    given = settings_of(arguments)
    for name in ("seed", "budget"):
        if name in given:
            other = {"seed": "seeds", "budget": "seconds"}[name]
            raise InputError(name, repr(given[name]), f"--{other}: a comparison has {other}")
    if "known_results" in given:
        got = repr(given["known_results"])
        raise InputError("known_results", got, "no such setting: known results are for `nni-hypens run`")
    data_sets = [_absolute(source) for source in _words(str(given.pop("data", Settings().data)))]
    settings = Settings.from_mapping(given)
    settings.check()
    methods = list(METHODS) if arguments.methods == "all" else _words(arguments.methods)
    comparison = Comparison(
        settings,
        data_sets,
        _numbers("seeds", arguments.seeds),
        methods,
        _numbers("sizes", arguments.sizes),
        arguments.reference,
        arguments.seconds,
        arguments.nni_epochs,
    )
    if arguments.ours not in comparison.methods:
        raise InputError("ours", repr(arguments.ours), f"one of the methods: {', '.join(comparison.methods)}")
    results = run_comparison(
        comparison,
        arguments.out,
        arguments.jobs,
        Progress(arguments.quiet),
        command=shlex.join(["nni-hypens", *sys.argv[1:]]),
    )
    page = write_comparison_page(arguments.out, arguments.ours)
    if arguments.json:
        print(results.to_json(orient="records"))
        return
    print(text_tables(results, arguments.ours))
    print(f"results: {arguments.out / 'results.csv'}\npage:    {page}")


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if source.endswith(".npz") else source


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _numbers(field: str, text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError:
        raise InputError(field, repr(text), "whole numbers with commas between them, such as 0,1,2") from None
