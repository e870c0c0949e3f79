"""The run folder: its files, who writes them, and when a stage is done."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_hypens.errors import InputError
from nni_hypens.utils.files import check_place, read_arrays, read_json, read_yaml
from nni_hypens.utils.tensors import read_tensors


def check_folder(out: Path, identity: Mapping[str, Any]) -> None:
    """Whether a folder is free for a run, or holds that very run.

    Raises:
        InputError: It holds another run (the first setting that differs is named), or something else.
    """
    if out.exists() and not out.is_dir():
        raise InputError("out", f"{out}, which is a file", "a folder")
    check_place(out, "out", "a folder, or the place for a new one")
    config = out / "config.yaml"
    if not config.exists():
        # kill -9 may leave a config.yaml that has not got its name yet
        ours = (".lock", ".config.yaml.*.tmp")
        if out.exists() and not all(any(map(path.match, ours)) for path in out.iterdir()):
            raise InputError("out", f"{out}, which holds other files", "an empty or new folder, or a run folder")
        return
    theirs = read_yaml(config)
    for name, value in identity.items():
        if theirs.get(name) != value:
            raise InputError(
                "out",
                f"{out} of another run ({name}: {theirs.get(name)!r} there, {value!r} here)",
                "the same settings, or another --out; to go on with that run: "
                f"nni-hypens run --out {shlex.quote(str(out))} --resume",
            )


def is_finished(out: Path) -> bool:
    """Whether a run folder holds the report, the last file of a run, and the results."""
    return (out / "report.html").exists() and (out / "results.json").exists()


METRICS, WEIGHTS, PREDICTIONS = "metrics.json", "weights.safetensors", "predictions.npz"


def damage(folder: Path) -> str | None:
    """What is wrong with a candidate that finished, or None: disks fill up, and people tidy up.

    Args:
        folder: The candidate's; without ``metrics.json`` it has not finished, which is no damage.

    Returns:
        The file at fault and why, in one line.
    """
    if not (folder / METRICS).exists():
        return None
    try:
        if read_json(folder / METRICS).get("status") == "trained":
            read_tensors(folder / WEIGHTS)
            read_arrays(folder / PREDICTIONS, "val", "test")
    except AttributeError:
        return f"{folder / METRICS}: got no mapping"
    except InputError as error:
        return f"{error.field}: got {error.got}"
    return None
