"""The command line `nni-hypens`: its parser, and how commands end.

Nothing heavy is imported here: help, the version and a mistyped flag answer without torch or NNI.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from signal import SIGINT

from nni_hypens import __version__
from nni_hypens.cli import compare, doctor, ensemble, leaderboard, run, view, watch
from nni_hypens.cli.parser import EXIT_FAILED, EXIT_INPUT, Parser
from nni_hypens.cli.signals import ended_by_signals
from nni_hypens.errors import CommandError, InputError, explain, printable, whole_traceback
from nni_hypens.trials.names import TRIAL_COMMAND
from nni_hypens.utils.disks import with_full_disk
from nni_hypens.utils.run_files import RunFiles

EXIT_DONE, EXIT_INTERRUPTED = 0, 130
EXAMPLES = f"""{run.RUN_EXAMPLES}\
  nni-hypens export runs/my                               the ensemble as one ONNX file, runs/my/ensemble/model.onnx
  nni-hypens predict runs/my a.png b.png                  labels, probabilities and uncertainty
  nni-hypens leaderboard runs/my                          all candidates, the best first
  nni-hypens doctor                                       what is installed, and what works on this machine
  eval "$(nni-hypens --print-completion bash)"            let the shell complete commands and flags
  nni-hypens view runs/my                                 the trials of a finished run in NNI's web UI
  nni-hypens watch -- python my_search.py                 your own script's search in NNI's web UI
"""


class PrintCompletion(argparse.Action):
    """Print the completion script of a shell, and end."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, shell: object, flag: object = None) -> None:
        import shtab

        print(shtab.complete(parser, str(shell)))
        parser.exit()


def build_parser() -> Parser:
    """The parser of all commands; each command sets `call`, the function that does it."""
    parser = Parser(prog="nni-hypens", description="Neural ensembles as an NNI strategy.", examples=EXAMPLES)
    parser.add_argument(
        "--print-completion",
        choices=("bash", "zsh"),
        action=PrintCompletion,
        help="print a script with which the shell completes commands and flags",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=Parser)
    run.add_commands(commands)
    compare.add_command(commands)
    ensemble.add_commands(commands)
    leaderboard.add_command(commands)
    doctor.add_command(commands)
    watch.add_command(commands)
    view.add_command(commands)
    parser.commands, parser.hidden = commands.choices, (TRIAL_COMMAND,)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted (143 and 129 by
    SIGTERM and SIGHUP)."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    if not words:
        print(parser.short_help(), end="")
        return EXIT_DONE
    if isinstance(sys.stdout, io.TextIOWrapper):  # a label need not exist in the encoding of the terminal
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = parser.parse_all(words)
    with ended_by_signals() as signals:
        try:
            return arguments.call(arguments) or EXIT_DONE
        except CommandError as error:
            code = error.code
        except KeyboardInterrupt:
            code = EXIT_INTERRUPTED
        except (Exception, SystemExit) as error:  # of this package, of a library, or of the user's own code
            code = EXIT_INPUT if isinstance(error, InputError) else EXIT_FAILED
            if not signals:
                found = with_full_disk(error, getattr(arguments, "out", None) or Path())
                text = f"{parser.prog}: {explain(found, resuming_command(arguments))}"
                print(f"{whole_traceback(error)}{text}", file=sys.stderr)
        if signals or code == EXIT_INTERRUPTED:  # a signal to all processes at once may look like another error
            command = printable(resuming_command(arguments))
            how = "interrupted" if not signals or signals[0] == SIGINT else f"ended by {signals[0].name}"
            with contextlib.suppress(OSError):  # a terminal that is gone
                print(f"\n{parser.prog}: {how}{f'; go on with: {command}' if command else ''}", file=sys.stderr)
        return 128 + signals[0] if signals else code


def resuming_command(arguments: argparse.Namespace) -> str:
    """The command that continues the run, or empty if no run was begun."""
    out = getattr(arguments, "out", None)
    begun = arguments.command not in ensemble.COMMANDS and out is not None and os.path.exists(RunFiles(out).config)
    return f"nni-hypens run --out {shlex.quote(str(out))} --resume" if begun else ""
