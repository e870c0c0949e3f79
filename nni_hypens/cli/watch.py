"""The command `nni-hypens watch`: a user's own search in NNI's web UI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nni_hypens.cli.loading import load_libraries

EXAMPLES = """examples:
  nni-hypens watch -- python my_search.py                  the address comes first
  nni-hypens watch --port 8090 --name mine -- python my_search.py --epochs 50
"""


def add_command(commands: Any) -> None:
    """Add `watch` to the subparsers of the command line."""
    watch = commands.add_parser(
        "watch",
        help="run a script's one-shot search in NNI's web UI",
        description="Run a command that performs a search with EdgeNES, shown live in NNI's web UI.",
        examples=EXAMPLES,
    )
    watch.add_argument("--port", type=int, default=None, help="port of NNI's web UI (default: first free from 8080)")
    watch.add_argument("--name", default=None, help="name of the experiment (default: the command)")
    watch.add_argument("--directory", type=Path, default=None, help="NNI's files (default: ~/nni-experiments)")
    watch.add_argument("program", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the search")
    watch.set_defaults(call=watch_program)


def watch_program(arguments: argparse.Namespace) -> int:
    """Run the user's search in NNI's web UI; returns its exit code."""
    load_libraries(quiet=True)
    from nni_hypens.trials.live import watch_search

    words = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    return watch_search(words, port=arguments.port, name=arguments.name, directory=arguments.directory)
