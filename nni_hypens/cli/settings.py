"""Flags from the fields of `Settings` and `Runtime`, and settings from flags, files and run folders."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nni_hypens.cli.parser import Parser
from nni_hypens.data.names import is_picture_folder
from nni_hypens.errors import InputError, reason
from nni_hypens.run.begun import begun_with, check_begun_by_command, settings_in
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings
from nni_hypens.utils.files import parse_yaml
from nni_hypens.utils.run_files import RunFiles

SEARCH_ONLY = ("live", "logger", "save_each_epoch")
"""Fields of `Runtime` for commands that search."""
NOT_SETTINGS = ("out", "json", "resume", *(entry.name for entry in dataclasses.fields(Runtime)))
"""Flags that change no result, so that a file of settings must not hold them."""


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def add_settings(parser: Parser, runtime: bool = True) -> None:
    """Add a flag for each setting of a run, and a file of settings.

    Args:
        parser: Where.
        runtime: Whether to add the options that change no result as well.
    """
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.yaml", help="settings in a file, by the names of the flags"
    )
    group: Any = parser
    for entry in dataclasses.fields(Settings):
        if entry.metadata["group"]:
            group = parser.add_argument_group(f"settings: {entry.metadata['group']}")
        add_flag(group, entry)
    if runtime:
        add_runtime(parser, out_required=False)
        both = (*dataclasses.fields(Settings), *dataclasses.fields(Runtime))
        parser.show_first(["--out", "--resume", *(flag_of(entry.name) for entry in both if entry.metadata["common"])])


def add_flag(group: Any, entry: dataclasses.Field[Any]) -> None:
    """Add the flag of a field. Its value stays text: `Settings.from_mapping` converts it, as it does in a file."""
    kind, text = str(entry.type), entry.metadata["help"].replace("%", "%%")
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
    if kind.startswith("dict"):
        options |= {"action": "append", "metavar": "NAME=VALUE"}
    elif kind.startswith("bool"):
        options["action"] = argparse.BooleanOptionalAction  # a flag must be able to undo what a file says
    else:
        options["metavar"] = entry.metadata["metavar"] or entry.name.upper().split("_")[-1]
        if entry.default is not None:
            options["help"] += f" (default: {entry.default})"
    group.add_argument(flag_of(entry.name), **options)


def add_runtime(parser: argparse.ArgumentParser, out_required: bool) -> None:
    """Add the options that say where and how a run is carried out, and change none of its results.

    Args:
        parser: Where.
        out_required: True for the later stages of a run, which need its folder and do not search.
    """
    group = parser.add_argument_group("running")
    default = "" if out_required else " (default: runs/DATA-SPACE-SEED)"
    if out_required:
        parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="run folder")
        default = ", as a flag"
    group.add_argument("--out", type=Path, metavar="DIR", help=f"run folder{default}")
    for entry in dataclasses.fields(Runtime):
        if out_required and entry.name in SEARCH_ONLY:
            continue
        if str(entry.type) == "bool":  # these are in no file, so there is nothing to undo
            help_text = entry.metadata["help"]
            group.add_argument(flag_of(entry.name), action="store_true", help=help_text)
        else:
            add_flag(group, entry)
    group.add_argument("--json", action="store_true", help="print the results as JSON")
    if not out_required:
        group.add_argument("--resume", action="store_true", help="continue the run in --out, with its own settings")
        group.add_argument(
            "--print-settings", action="store_true", help="print all settings as a file, with their meaning, and end"
        )


def run_folder(arguments: argparse.Namespace) -> Path:
    """The run folder of a later stage, which is an argument or a flag.

    Raises:
        InputError: There is none, or there are two.
    """
    given = [path for path in (arguments.folder, arguments.out) if path is not None]
    if len(given) != 1:
        got = "no run folder" if not given else f"{arguments.folder} and --out {arguments.out}"
        raise InputError("out", got, f"one run folder: nni-hypens {arguments.command} DIR")
    return Path(given[0])


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings from file and flags, as a mapping that is not checked yet; flags override the file."""
    given = {
        entry.name: getattr(arguments, entry.name)
        for entry in dataclasses.fields(Settings)
        if hasattr(arguments, entry.name)
    }
    for name in ("space_args", "train_space_args"):
        if name in given:
            given[name] = pairs(name, given[name])
    if getattr(arguments, "resume", False):
        if arguments.out is None:
            raise InputError("resume", "no --out", "--out DIR of the run to continue")
        if given or arguments.config:
            raise InputError(
                "resume",
                f"--resume with other settings ({next(iter(given), 'CONFIG.yaml')})",
                "--out DIR alone: a run continues with the settings it began with",
            )
        return folder_settings(arguments.out)
    from_file = settings_in(arguments.config) if arguments.config else {}
    check_begun_by_command(from_file, arguments.config, "config")
    for name in NOT_SETTINGS:
        if name in from_file:
            raise InputError(
                f"config: {name}", repr(from_file[name]), f"only settings; use {flag_of(name)}, which changes no result"
            )
    return {**from_file, **given}


def settings_text(values: Mapping[str, Any]) -> str:
    """A file of all settings, each below its meaning: the given values, and defaults for the rest.

    Args:
        values: From `settings_of`.

    Raises:
        InputError: One of them is wrong.
    """
    import yaml

    settings = Settings.from_mapping(values)
    settings.check()
    lines = []
    for entry in dataclasses.fields(Settings):
        if entry.metadata["group"]:
            lines += ["", f"# ---- {entry.metadata['group']}"]
        value = yaml.safe_dump({entry.name: getattr(settings, entry.name)}, allow_unicode=True, width=10_000)
        lines += [f"# {entry.metadata['help']}", value.rstrip()]
    return "\n".join(lines[1:]) + "\n"


def absolute_data(source: str) -> str:
    """A source of images with an absolute path, if it is a path."""
    return absolute(source) if source.endswith(".npz") or is_picture_folder(source) else source


def with_absolute_paths(settings: Settings) -> Settings:
    """The settings with absolute paths of files, so that the run folder's settings hold in any working folder."""
    changes: dict[str, Any] = {}
    for name in ("base", "supernet", "known_results", "root"):
        if getattr(settings, name) is not None:
            changes[name] = absolute(getattr(settings, name))
    changes["data"] = absolute_data(settings.data)
    sets = [name.strip() for name in settings.ood.split(",")]
    changes["ood"] = ",".join(absolute(name) if name.endswith(".npz") else name for name in sets)
    return dataclasses.replace(settings, **changes)


def absolute(path: str) -> str:
    """A path from the working folder as an absolute one; a shell expands ``~`` in flags, but nobody does in a file."""
    return str(Path(os.path.expanduser(path)).resolve())  # unlike Path.expanduser, it takes a name without a home


def runtime_of(arguments: argparse.Namespace) -> Runtime:
    """The options that change no result, checked.

    Raises:
        InputError: One of them is wrong.
    """
    names = [entry.name for entry in dataclasses.fields(Runtime)]
    runtime = Runtime.from_mapping({name: getattr(arguments, name) for name in names if hasattr(arguments, name)})
    runtime.check()
    return runtime


def folder_settings(out: Path) -> dict[str, Any]:
    """Settings of a run folder, not checked yet.

    Raises:
        InputError: It is not a run folder, or one that only Python can go on with.
    """
    if not RunFiles(out).config.exists():
        raise InputError(
            "out", f"{out} without config.yaml", "a run folder, made by `nni-hypens run` or `nni-hypens search`"
        )
    content = begun_with(RunFiles(out).config)
    check_begun_by_command(content, out)
    return content


def pairs(setting: str, items: Sequence[str]) -> dict[str, Any]:
    """`name=value` texts of a setting as a mapping; values are read as YAML.

    Raises:
        InputError: Another form.
    """
    import yaml

    result = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise InputError(setting, repr(item), "NAME=VALUE, such as channels=8")
        try:
            result[name.replace("-", "_")] = parse_yaml(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(setting, repr(item), f"NAME=VALUE, with a value in YAML ({reason(error)})") from None
    return result
