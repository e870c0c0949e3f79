"""Settings and running options on the command line: flags from the fields of ``Settings``, and back."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nni_hypens.errors import InputError
from nni_hypens.run.settings import Runtime, Settings

GROUPS = {
    "data": "data",
    "space": "space and search",
    "members": "ensemble and candidates",
    "search_epochs": "epochs and training",
    "selection": "choice of members",
    "calibration": "calibration, report and the rest",
}
"""First setting of each group, in the order of the fields of ``Settings``, and the group's title in the help."""
NO_SETTINGS = ("out", "port", "concurrency", "per_trial", "service", "quiet", "json", "live", "resume")
"""Names of flags that change no result, and so have no place in a file of settings."""


def add_settings(parser: argparse.ArgumentParser, runtime: bool = True) -> None:
    """A flag for each setting of a run, a file of settings, and with ``runtime`` the options that change no result."""
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.yaml", help="settings in a file, by the names of the flags"
    )
    for entry in dataclasses.fields(Settings):
        if entry.name in GROUPS:
            group = parser.add_argument_group(f"settings: {GROUPS[entry.name]}")
        flag = "--" + entry.name.replace("_", "-")
        if str(entry.type).startswith("dict"):
            group.add_argument(
                flag, action="append", default=argparse.SUPPRESS, metavar="NAME=VALUE", help=entry.metadata["help"]
            )
            continue
        if str(entry.type).startswith("bool"):
            either = argparse.BooleanOptionalAction  # a flag must be able to undo what a file says
            group.add_argument(flag, action=either, default=argparse.SUPPRESS, help=entry.metadata["help"])
            continue
        default = "" if entry.default is None else f" (default: {entry.default})"
        group.add_argument(
            flag,
            default=argparse.SUPPRESS,
            metavar=entry.metadata.get("metavar", entry.name.upper().split("_")[-1]),
            help=(entry.metadata["help"] + default).replace("%", "%%"),
        )
    if runtime:
        add_runtime(parser, out_required=False)


def add_runtime(parser: argparse.ArgumentParser, out_required: bool) -> None:
    """Options that say where and how a run is done, and change none of its results."""
    group = parser.add_argument_group("running")
    group.add_argument(
        "--out",
        type=Path,
        required=out_required,
        metavar="DIR",
        help="run folder" + ("" if out_required else " (default: runs/DATA-SPACE-SEED)"),
    )
    group.add_argument(
        "--port", type=int, default=None, help="port of NNI's web UI, on loopback (default: first free from 8080)"
    )
    group.add_argument(
        "--concurrency",
        type=int,
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="trials at once (default: %(default)s)",
    )
    group.add_argument(
        "--per-trial",
        type=int,
        default=1,
        metavar="N",
        help="candidates that one trial trains: a trial takes seconds to start (default: %(default)s)",
    )
    group.add_argument(
        "--service",
        type=Path,
        default=None,
        metavar="FILE.yaml",
        help="where trials run: a training service of NNI, such as `platform: remote` with its machineList "
        "(default: this machine)",
    )
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument("--json", action="store_true", help="print the results as JSON")
    if not out_required:
        group.add_argument("--live", action="store_true", help="show the search in NNI's web UI while it runs")
        group.add_argument(
            "--logger",
            default=None,
            metavar="csv|tensorboard",
            help="write the curves of the search to DIR/search/logs (tensorboard: an extra to install)",
        )
        group.add_argument("--resume", action="store_true", help="go on with the run in --out, with its own settings")
        group.add_argument(
            "--print-settings", action="store_true", help="print all settings as a file, with their meaning, and end"
        )


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings from file and flags, flags first, as a mapping that is not checked yet."""
    given = {
        entry.name: getattr(arguments, entry.name)
        for entry in dataclasses.fields(Settings)
        if hasattr(arguments, entry.name)
    }
    if "space_args" in given:
        given["space_args"] = pairs(given["space_args"])
    if getattr(arguments, "resume", False):
        if arguments.out is None:
            raise InputError("resume", "no --out", "--out DIR of the run to go on with")
        if given or arguments.config:
            raise InputError(
                "resume",
                f"--resume with other settings ({next(iter(given), 'CONFIG.yaml')})",
                "--out DIR alone: a run goes on with the settings it began with",
            )
        return folder_settings(arguments.out)
    from_file = Settings.read(arguments.config) if arguments.config else {}
    for name in NO_SETTINGS:
        if name in from_file:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"config: {name}", repr(from_file[name]), f"settings alone; {flag} changes no result")
    return {**from_file, **given}


def settings_text(values: Mapping[str, Any]) -> str:
    """A file of all settings: those that are given, and the defaults of the rest, each below its meaning.

    Args:
        values: From :func:`settings_of`.

    Raises:
        InputError: One of them is wrong.
    """
    import yaml

    config = Settings.from_mapping(values)
    config.check()
    lines = []
    for entry in dataclasses.fields(Settings):
        if entry.name in GROUPS:
            lines += ["", f"# ---- {GROUPS[entry.name]}"]
        value = yaml.safe_dump({entry.name: getattr(config, entry.name)}, allow_unicode=True, width=10_000)
        lines += [f"# {entry.metadata['help']}", value.rstrip()]
    return "\n".join(lines[1:]) + "\n"


def with_absolute_paths(settings: Settings) -> Settings:
    """The settings with absolute paths of files, so that a run folder can be used from elsewhere."""
    changes: dict[str, Any] = {}
    for name in ("base", "supernet"):
        if getattr(settings, name) is not None:
            changes[name] = _absolute(getattr(settings, name))
    if settings.data.endswith(".npz"):
        changes["data"] = _absolute(settings.data)
    sets = [name.strip() for name in settings.ood.split(",")]
    changes["ood"] = ",".join(_absolute(name) if name.endswith(".npz") else name for name in sets)
    return dataclasses.replace(settings, **changes)


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def runtime_of(arguments: argparse.Namespace) -> Runtime:
    """The options of the command line that do not change results."""
    names = [entry.name for entry in dataclasses.fields(Runtime)]
    values = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return Runtime.from_mapping(values, "command line")


def folder_settings(out: Path) -> dict[str, Any]:
    """Settings of a run folder, not checked yet."""
    if not (out / "config.yaml").exists():
        raise InputError(
            "out", f"{out} without config.yaml", "a run folder, made by `nni-hypens run` or `nni-hypens search`"
        )
    return Settings.read(out / "config.yaml")


def pairs(items: Sequence[str]) -> dict[str, Any]:
    """``name=value`` texts as a mapping; values are read as YAML."""
    import yaml

    result = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise InputError("space_args", repr(item), "NAME=VALUE, such as channels=8")
        try:
            result[name.replace("-", "_")] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError("space_args", repr(item), f"NAME=VALUE, with a value in YAML ({reason})") from None
    return result
