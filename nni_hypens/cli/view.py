"""The command `nni-hypens view`: the trials of a finished run in NNI's web UI."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nni_hypens.cli.loading import load_libraries

EXAMPLES = """examples:
  nni-hypens view runs/my                                  the trials of a finished run; Ctrl-C ends it
  nni-hypens view runs/my --port 8090 --experiment abcd1234
"""


def add_command(commands: Any) -> None:
    """Add `view` to the subparsers of the command line."""
    view = commands.add_parser(
        "view",
        help="show the trials of a finished run in NNI's web UI",
        description="Show the trials of a finished run in NNI's web UI, on loopback, until Ctrl-C. The web UI shows a "
        "copy: nothing in the run folder changes, and nothing is trained.",
        examples=EXAMPLES,
    )
    view.add_argument("folder", type=Path, metavar="DIR", help="run folder")
    view.add_argument("--experiment", metavar="ID", help="experiment of the run, by NNI's name (default: the last)")
    view.add_argument("--port", type=int, default=None, help="port of NNI's web UI (default: first free from 8080)")
    view.set_defaults(call=view_run)


def view_run(arguments: argparse.Namespace) -> None:
    """Show the web UI until Ctrl-C.

    Raises:
        InputError: Bad input.
    """
    load_libraries(quiet=True)
    from nni_hypens.trials.view import view_experiment

    view_experiment(
        arguments.folder,
        arguments.experiment,
        arguments.port,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
