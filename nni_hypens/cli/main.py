"""The command line: ``nni-hypens run`` for the whole road, and its stages as commands of their own."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nni_hypens.cli import compare as compare_command, doctor, ensemble as deploy
from nni_hypens.cli.output import stage_summary, summary_table
from nni_hypens.cli.parser import EXIT_INPUT, Parser
from nni_hypens.cli.settings import (
    add_runtime,
    add_settings,
    folder_settings,
    runtime_of,
    settings_of,
    settings_text,
    with_absolute_paths,
)
from nni_hypens.errors import CommandError, InputError, explain
from nni_hypens.trials.names import TRIAL_COMMAND
from nni_hypens.utils.checks import check_range

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
STAGE_HELP = {
    "search": "search base architecture and hypernetwork",
    "sample": "draw candidates from the hypernetwork and rank them on the supernet",
    "train": "train the candidates as NNI trials",
    "select": "choose the members and calibrate the ensemble",
    "evaluate": "measure everything on test data",
    "report": "write the report",
}
EXAMPLES = """examples:
  nni-hypens run                                          digits, one cell, three members: about two minutes
  nni-hypens run --data fashion_mnist --train-size 10000  Fashion-MNIST, 10,000 training images
  nni-hypens run --data my.npz --members 5 --out runs/my  your own arrays: x_train, y_train, x_test, y_test
  nni-hypens run --members 5 --print-settings > my.yaml   every setting with its meaning, as a file
  nni-hypens run my.yaml --seed 1 --no-warm-start         settings from a file; flags come before it
  nni-hypens run --out runs/my --resume                   go on with an interrupted run
  nni-hypens run --live                                   with the search, too, in NNI's web UI
  nni-hypens export runs/my                               the ensemble as one ONNX file, runs/my/ensemble/model.onnx
  nni-hypens predict runs/my a.png b.png                  labels, probabilities and uncertainty
  nni-hypens doctor                                       what is installed, and what works on this machine
  eval "$(nni-hypens --print-completion bash)"            commands and flags completed by the shell
  nni-hypens watch -- python my_search.py                 a search of your own script in NNI's web UI
"""


STAGE_EXAMPLES = {
    "search": """examples:
  nni-hypens search --out runs/my --data my.npz            settings are given here, and kept in the folder
  nni-hypens search --out runs/my --base base.json         around a base of yours
""",
    "sample": """examples:
  nni-hypens sample --out runs/my                          as many candidates as the settings of the run say
  nni-hypens sample --out runs/my --more 4                 four more, for a run that may be finished
""",
    "train": """examples:
  nni-hypens train --out runs/my                           all that are not trained yet
  nni-hypens train --out runs/my --concurrency 4 --per-trial 2
  nni-hypens train --out runs/my --service remote.yaml     on other machines
""",
    "select": """examples:
  nni-hypens select --out runs/my                          by the settings in the folder
  nni-hypens select --out runs/my --json                   members, weights and temperature for a program
""",
    "evaluate": """examples:
  nni-hypens evaluate --out runs/my                        a table of the ensemble against its members
  nni-hypens evaluate --out runs/my --json > results.json
""",
    "report": """examples:
  nni-hypens report --out runs/my                          runs/my/report.html
""",
}
WATCH_EXAMPLES = """examples:
  nni-hypens watch -- python my_search.py                  the address comes first
  nni-hypens watch --port 8090 --name mine -- python my_search.py --epochs 50
"""


class _PrintCompletion(argparse.Action):
    """Print the completion script of a shell, and end."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, shell: object, flag: object = None) -> None:
        import shtab

        print(shtab.complete(parser, str(shell)))
        parser.exit()


def build_parser() -> Parser:
    """The parser; settings come from the fields of ``Settings``."""
    from nni_hypens import __version__, _nni  # noqa: F401 - imports NNI without its noise

    parser = Parser(prog="nni-hypens", description="Neural ensembles as an NNI strategy.", examples=EXAMPLES)
    parser.add_argument(
        "--print-completion",
        choices=("bash", "zsh"),
        action=_PrintCompletion,
        help="print what makes the shell complete commands and flags",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=Parser)
    about = "search, train, select, calibrate, report: the whole road"
    run = commands.add_parser("run", help=about, description=f"{about.capitalize()}.", examples=EXAMPLES)
    add_settings(run)
    for stage, text in STAGE_HELP.items():
        about = f"One stage of a run: {text}. It does nothing where that is done already."
        command = commands.add_parser(stage, help=text, description=about, examples=STAGE_EXAMPLES[stage])
        if stage == "search":
            add_settings(command)
        else:
            add_runtime(command, out_required=True)
        if stage == "sample":
            command.add_argument(
                "--more",
                type=int,
                default=0,
                metavar="N",
                help="add N candidates to those of a run, finished or not; then `nni-hypens run --out DIR --resume` "
                "trains them alone and selects among all",
            )
    compare_command.add_command(commands)
    deploy.add_commands(commands)
    doctor.add_command(commands)
    _add_watch(commands)
    inside = commands.add_parser(TRIAL_COMMAND)  # without help it is not listed
    inside.add_argument("--out", type=Path, required=True)
    inside.add_argument("--quiet", action="store_true")
    inside.add_argument("--logger", default=None)
    parser.commands, parser.hidden = commands.choices, (TRIAL_COMMAND,)
    return parser


def _add_watch(commands: Any) -> None:
    watch = commands.add_parser(
        "watch",
        help="run a script's one-shot search in NNI's web UI",
        description="Run a command that performs a search with EdgeNES, shown live in NNI's web UI.",
        examples=WATCH_EXAMPLES,
    )
    watch.add_argument("--port", type=int, default=None, help="port of NNI's web UI (default: first free from 8080)")
    watch.add_argument("--name", default=None, help="name of the experiment (default: the command)")
    watch.add_argument("--directory", type=Path, default=None, help="NNI's files (default: ~/nni-experiments)")
    watch.add_argument("program", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the search")


def make_run(arguments: argparse.Namespace) -> Any:
    """The run that the arguments describe, checked and with its folder claimed."""
    from nni_hypens.run.folder import check_folder
    from nni_hypens.run.pipeline import Run
    from nni_hypens.run.plan import make_plan
    from nni_hypens.run.settings import Settings
    from nni_hypens.trials.services import read_service

    stage = arguments.command
    service = None if arguments.service is None else read_service(arguments.service)
    settings = settings_of(arguments) if stage in ("run", "search") else folder_settings(arguments.out)
    config = with_absolute_paths(Settings.from_mapping(settings))
    config.check()
    runtime = runtime_of(arguments)
    runtime.check()
    check_range("more", getattr(arguments, "more", 0), at_least=0, whole=True)
    name = Path(config.data.rsplit(":", 1)[-1]).stem
    out = arguments.out or Path("runs") / f"{name}-{config.space.rsplit(':', 1)[-1]}-{config.seed}"
    check_folder(out, config.to_mapping())
    command = f"nni-hypens run {shlex.quote(str(out / 'config.yaml'))} --out NEW_FOLDER"
    run = Run(make_plan(config, command=command), out, runtime, service)
    run.prepare()
    return run


def search_in_trial(arguments: argparse.Namespace) -> None:
    """The search of a run folder, as a trial does it: the process that holds the folder waits for it."""
    from nni_hypens.run.folder import check_folder
    from nni_hypens.run.plan import make_plan
    from nni_hypens.run.search_stage import search_stage
    from nni_hypens.run.settings import Settings
    from nni_hypens.utils.progress import Progress

    config = Settings.from_mapping(folder_settings(arguments.out))
    check_folder(arguments.out, config.to_mapping())
    search_stage(make_plan(config), arguments.out, Progress(arguments.quiet), arguments.logger)


def watch(arguments: argparse.Namespace) -> int:
    """Run somebody's search in NNI's web UI; its exit code."""
    from nni_hypens.trials.live import watch_search

    words = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    return watch_search(words, port=arguments.port, name=arguments.name, directory=arguments.directory)


def finish(run: Any, arguments: argparse.Namespace) -> None:
    """Show what came out."""
    results = run.results()
    if arguments.json:
        print(json.dumps({"out": str(run.out), **results}))
        return
    print(f"test data, {results['data']['sizes']['test']} images")
    print(summary_table(results))
    print(f"report:   {run.out / 'report.html'}\nensemble: {run.out / 'ensemble'}")


def finish_stage(run: Any, arguments: argparse.Namespace) -> None:
    """Show what a stage has made."""
    found, text = stage_summary(arguments.command, run.out)
    if arguments.json:
        print(json.dumps(found))
    elif not arguments.quiet:
        print(text)


def _goes_on(run: Any, arguments: argparse.Namespace) -> str:
    """The command that goes on with a run; nothing where there is none to go on with."""
    out = run.out if run is not None else getattr(arguments, "out", None)
    begun = arguments.command not in deploy.COMMANDS and out is not None and (out / "config.yaml").exists()
    return f"nni-hypens run --out {shlex.quote(str(out))} --resume" if begun else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["doctor"]:  # the parser below needs NNI, and a doctor is asked where NNI fails
        return doctor.main(words[1:])
    parser = build_parser()
    arguments = parser.parse_all(argv)
    if arguments.command not in deploy.COMMANDS:  # these open what others made, perhaps where it was unpacked
        sys.path.insert(0, os.getcwd())  # module:Class and module:callable of the user, as for a trial
    run = None
    try:
        from nni_hypens._nni import quiet_logging, quiet_training
        from nni_hypens.utils.progress import logs_beside_progress

        quiet_training()
        quiet_logging()
        logs_beside_progress()
        logging.raiseExceptions = False  # a log on a full disk is no reason for a page of tracebacks
        if arguments.command == "watch":
            return watch(arguments)
        if arguments.command == "compare":
            compare_command.run_command(arguments)
            return EXIT_DONE
        if arguments.command in deploy.COMMANDS:
            deploy.run_command(arguments)
            return EXIT_DONE
        if arguments.command == TRIAL_COMMAND:
            search_in_trial(arguments)
            return EXIT_DONE
        if getattr(arguments, "print_settings", False):
            print(settings_text(settings_of(arguments)), end="")
            return EXIT_DONE
        run = make_run(arguments)
        if arguments.command == "run":
            if run.finished:
                run.results()  # that cannot be read is said first
                print(f"{run.out} is finished; nothing was changed", file=sys.stderr)
            else:
                run.run()
            finish(run, arguments)
        else:
            more = {"more": arguments.more} if arguments.command == "sample" else {}
            with run.locked():
                getattr(run, arguments.command)(**more)
            finish_stage(run, arguments)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_INPUT
    except CommandError as error:
        return error.code
    except KeyboardInterrupt:
        goes_on = _goes_on(run, arguments)
        print(f"\n{parser.prog}: interrupted{f'; go on with: {goes_on}' if goes_on else ''}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (OSError, MemoryError) as error:
        print(f"{parser.prog}: {explain(error, _goes_on(run, arguments))}", file=sys.stderr)
        return EXIT_FAILED
    except RuntimeError as error:
        print(f"{parser.prog}: {str(error).splitlines()[0] if str(error) else type(error).__name__}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE
