"""The command `nni-hypens run`, and the stages of a run as commands."""

from __future__ import annotations

import argparse
import shlex
import sys
from itertools import count
from pathlib import Path
from typing import Any

from nni_hypens.cli.loading import load_libraries
from nni_hypens.cli.output import show, show_json, stage_summary, test_summary
from nni_hypens.cli.settings import (
    add_runtime,
    add_settings,
    folder_settings,
    run_folder,
    runtime_of,
    settings_of,
    settings_text,
    with_absolute_paths,
)
from nni_hypens.errors import printable
from nni_hypens.run.request import Request
from nni_hypens.run.settings import Settings
from nni_hypens.trials.names import TRIAL_COMMAND
from nni_hypens.utils.checks import check_range
from nni_hypens.utils.devices import chosen_gpus, show_only
from nni_hypens.utils.files import as_written
from nni_hypens.utils.paths import find_user_modules
from nni_hypens.utils.run_files import RunFiles

RUN_HELP = "search, train, select, calibrate, report: a whole run"
RUN_EXAMPLES = """examples:
  nni-hypens run                                          digits, one cell, three members: about two minutes
  nni-hypens run --data fashion_mnist --train-size 10000  Fashion-MNIST, 10,000 training images
  nni-hypens run --data my.npz --members 5 --out runs/my  your own arrays: x_train, y_train, x_test, y_test
  nni-hypens run --data pictures --image-size 32          a folder of images, one folder per class
  nni-hypens run --members 5 --print-settings > my.yaml   every setting with its meaning, as a file
  nni-hypens run my.yaml --seed 1 --no-warm-start         settings from a file; flags override it
  nni-hypens run --out runs/my --resume                   continue an interrupted run
  nni-hypens run --live                                   show the search, too, in NNI's web UI
"""
STAGE_HELP = {
    "search": "search base architecture and hypernetwork",
    "sample": "draw architectures from the hypernetwork and choose the candidates that are trained first",
    "train": "train the candidates as NNI trials",
    "select": "choose the members and calibrate the ensemble",
    "evaluate": "measure everything on test data",
    "report": "write the report",
}
STAGE_EXAMPLES = {
    "search": """examples:
  nni-hypens search --out runs/my --data my.npz            settings are given here, and kept in the folder
  nni-hypens search --out runs/my --base base.json         around your own base architecture
""",
    "sample": """examples:
  nni-hypens sample --out runs/my                          as many candidates as the run's settings say
  nni-hypens sample --out runs/my --more 4                 four more, even if the run is finished
""",
    "train": """examples:
  nni-hypens train --out runs/my                           all that are not trained yet
  nni-hypens train --out runs/my --concurrency 4 --per-trial 2
  nni-hypens train --out runs/my --service remote.yaml     on other machines
""",
    "select": """examples:
  nni-hypens select runs/my                                by the settings in the folder
  nni-hypens select runs/my --members 1..5                 again, with one to five members, without training
  nni-hypens select runs/my --ids c05,c07                  again, with these members
  nni-hypens select runs/my --json                         members, weights and temperature for a program
""",
    "evaluate": """examples:
  nni-hypens evaluate --out runs/my                        a table of the ensemble against its members
  nni-hypens evaluate --out runs/my --json > results.json
""",
    "report": """examples:
  nni-hypens report --out runs/my                          runs/my/report.html
""",
}


def add_commands(commands: Any) -> None:
    """Add `run`, its stages and the hidden command of a live search's trial."""
    run = commands.add_parser("run", help=RUN_HELP, description=f"{RUN_HELP.capitalize()}.", examples=RUN_EXAMPLES)
    add_settings(run)
    run.set_defaults(call=run_all)
    for stage, text in STAGE_HELP.items():
        about = f"One stage of a run: {text}. Does nothing if that is done already."
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
                help="add N candidates to those of a run, finished or not, or to those that its settings ask for; "
                "then `nni-hypens run --out DIR --resume` trains only these and selects among all",
            )
        if stage == "select":
            command.add_argument(
                "--members",
                metavar="N",
                help="choose again, with N members, or from a range such as 1..5 with the number of the lowest NLL on "
                "validation data (or of another objective), or all for every candidate, weighted; results and report "
                "are written again, and nothing is trained",
            )
            command.add_argument("--ids", metavar="ID,ID", help="the same, with these candidates as members")
        command.set_defaults(call=run_stage)
    hidden = commands.add_parser(TRIAL_COMMAND)  # commands without help are not listed
    hidden.add_argument("--out", type=Path, required=True)
    hidden.add_argument("--quiet", action="store_true")
    hidden.add_argument("--logger", default=None)
    hidden.add_argument("--save-each-epoch", action="store_true")
    hidden.add_argument("--processes", type=int, default=1)
    hidden.set_defaults(call=search_in_trial)


def run_all(arguments: argparse.Namespace) -> None:
    """Do all stages that are not done yet, and show the results."""
    if arguments.print_settings:
        print(settings_text(settings_of(arguments)), end="")
        return
    settings, folder = claimed_folder(arguments)
    if folder.finished:
        results = folder.read_results()  # fail before the message if it is unreadable
        waiting = ", ".join(folder.waiting())
        left = f" ({waiting} left out; `nni-hypens train` takes the choice back and trains them)" if waiting else ""
        print(printable(f"{arguments.out} is finished; nothing was changed{left}"), file=sys.stderr)
    elif folder.lacks_only_the_report:
        write_missing_report(folder)
        results = folder.read_results()
    else:
        results = make_run(arguments, settings, folder).run()
    show_results(results, arguments.out, arguments.json)


def run_stage(arguments: argparse.Namespace) -> None:
    """Do one stage, and show what it made."""
    if getattr(arguments, "print_settings", False):
        print(settings_text(settings_of(arguments)), end="")
        return
    stage = arguments.command
    more: dict[str, Any] = {}  # what is asked for beyond what is left to do
    if stage != "search":
        arguments.out = run_folder(arguments)
    if stage == "sample":
        check_range("more", arguments.more, at_least=0, whole=True)
        more = {"more": arguments.more}
    if stage == "select":
        more = {"request": Request.read(arguments.members, arguments.ids)}
    settings, folder = claimed_folder(arguments)
    if stage == "train" and folder.done("select"):
        more = {"again": bool(folder.waiting())}
    if stage == "report":
        write_missing_report(folder)
    elif any(more.values()) or not folder.idle(stage):
        run = make_run(arguments, settings, folder, again=stage if any(more.values()) else None)
        with run.locked():
            getattr(run, stage)(**more)
    found, text = stage_summary(stage, arguments.out)
    if arguments.json:
        show_json(found)
    elif not arguments.quiet:
        show(text)


def claimed_folder(arguments: argparse.Namespace) -> tuple[Settings, Any]:
    """The settings and the `RunFolder` of the arguments, checked. Nothing that the settings name is imported.

    Args:
        arguments: Of `run` or of a stage; `out` is set to the run folder.
    """
    runtime = runtime_of(arguments)  # wrong options are refused even if nothing is left to do
    with_settings = arguments.command in ("run", "search")
    given = settings_of(arguments) if with_settings else folder_settings(arguments.out)
    settings = Settings.from_mapping(given)
    if with_settings and not arguments.resume:  # else they are as the folder holds them, which an old one may as given
        settings = with_absolute_paths(settings)
    settings.check(needed=())  # a run that has read a file goes on without it
    arguments.out = arguments.out or default_folder(settings, runtime.quiet)
    show_only(chosen_gpus(runtime.devices))
    from nni_hypens.run.folder import RunFolder

    folder = RunFolder(arguments.out)
    folder.check(settings.to_mapping())
    folder.take_up_choice()
    if not folder.done("search"):
        settings.check()
    return settings, folder


def write_missing_report(folder: Any) -> None:
    """Write the report of a run folder, unless it is there; only files are read."""
    from nni_hypens.report.page import write_report

    folder.require("evaluate")
    if not folder.done("report"):
        with folder.locked():
            write_report(folder.out)


def make_run(arguments: argparse.Namespace, settings: Settings, folder: Any, again: str | None = None) -> Any:
    """The run of a folder, ready to go on. This imports the data loader and the space that the settings name.

    Args:
        arguments: Of `run` or of a stage.
        settings: From `claimed_folder`, as the folder.
        folder: The run folder.
        again: A stage that is to be repeated even if it is done.
    """
    runtime = runtime_of(arguments)
    load_libraries(runtime.quiet)
    find_user_modules()
    from nni_hypens.run.files_needed import files_needed
    from nni_hypens.run.pipeline import Run
    from nni_hypens.run.plan import make_plan
    from nni_hypens.trials.services import read_service

    service = None if runtime.service is None else read_service(runtime.service)
    command = f"nni-hypens run {shlex.quote(str(folder.config))} --out NEW_FOLDER"
    plan = make_plan(settings, command=command, needed=files_needed(settings, folder, again))
    run = Run(plan, arguments.out, runtime, service)
    run.prepare()
    return run


def default_folder(settings: Settings, quiet: bool = False) -> Path:
    """Run folder of settings without `--out`: the first of DATA-SPACE-SEED, DATA-SPACE-SEED-2, ... without another run.

    So the same settings find their run again, and other settings get a folder of their own, which is then printed.
    """
    from nni_hypens.run.folder import RunFolder

    data = Path(settings.data.rsplit(":", 1)[-1]).stem
    first = Path("runs") / f"{data}-{settings.space.rsplit(':', 1)[-1]}-{settings.seed}"
    folder, difference = first, None
    for number in count(2):
        found = RunFolder(folder).difference(settings.to_mapping())
        if found is None:
            break
        folder, difference = first.with_name(f"{first.name}-{number}"), difference or found
    if difference is not None and not quiet:
        print(printable(f"run folder: {folder} ({first} is another run: {difference})"), file=sys.stderr)
    return folder


def show_results(results: dict[str, Any], out: Path, as_json: bool) -> None:
    """Print the results of a finished run: a table for people, or JSON for programs."""
    if as_json:
        show_json({"out": str(out), **results})
        return
    with as_written(str(RunFiles(out).results)):
        text = test_summary(results)
    show(text)
    show(f"report:   {RunFiles(out).report}\nensemble: {RunFiles(out).ensemble}")


def search_in_trial(arguments: argparse.Namespace) -> None:
    """Search for the process that holds the folder, in the trial of a live search, or as one of several processes."""
    load_libraries(arguments.quiet)
    find_user_modules()
    from nni_hypens.run.files_needed import files_needed
    from nni_hypens.run.folder import RunFolder
    from nni_hypens.run.plan import make_plan
    from nni_hypens.run.search_stage import search_stage
    from nni_hypens.utils.progress import Progress

    settings = Settings.from_mapping(folder_settings(arguments.out))
    folder = RunFolder(arguments.out)
    plan = make_plan(settings, needed=files_needed(settings, folder))
    folder.check(plan.identity)
    folder.check_fingerprint(plan.fingerprint)
    progress = Progress(arguments.quiet)
    search_stage(plan, arguments.out, progress, arguments.logger, arguments.processes, arguments.save_each_epoch)
