"""The chosen ensemble on disk: another choice is written beside it, and takes its place once it is complete.

1. All files are written to ``.ensemble.tmp``. An error or a kill here leaves choice, results and report as they are.
2. The folder is renamed to ``.ensemble.new``: now the new choice counts.
3. Results and report of the old one are removed, and the new folder becomes ``ensemble``. Each step can be repeated, so
   whoever holds the run folder next goes on where a killed process has stopped (`finish`).

Files in ``ensemble/`` that this package did not write are kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nni_hypens.utils.run_files import EXPORTED_FILES, MODEL_CARD, RunFiles, is_written_card


@contextmanager
def replacing_choice(files: RunFiles) -> Iterator[Path]:
    """Give an empty folder for another ensemble, which replaces the old one when the block ends without an error.

    Args:
        files: The run folder, which the caller holds.
    """
    place = files.unfinished_ensemble
    shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir()
        yield place
        os.rename(place, files.new_ensemble)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    finish(files)


def finish(files: RunFiles) -> None:
    """Put a complete new choice in the place of the old one, and remove one that was not finished.

    Args:
        files: The run folder, which the caller holds.
    """
    shutil.rmtree(files.unfinished_ensemble, ignore_errors=True)
    new = files.new_ensemble
    if not new.exists():
        return
    _remove_measured(files)
    if files.ensemble.exists():
        for path in files.ensemble.iterdir():
            if not _is_ours(files, path):
                os.replace(path, new / path.name)
        shutil.rmtree(files.ensemble)  # an error here must not be passed over: the rename below needs the place
    os.rename(new, files.ensemble)


def take_back(files: RunFiles) -> None:
    """Remove what was chosen, measured and reported, the last first; what was trained stays.

    Args:
        files: The run folder, which the caller holds.
    """
    shutil.rmtree(files.new_ensemble, ignore_errors=True)
    _remove_measured(files)
    files.ensemble_index.unlink(missing_ok=True)  # without it, the others are no ensemble
    if files.ensemble.exists():
        for path in files.ensemble.iterdir():
            if _is_ours(files, path):
                path.unlink()
        with suppress(OSError):  # somebody else's files are in it
            files.ensemble.rmdir()


def _remove_measured(files: RunFiles) -> None:
    for path in (files.report, files.results, files.examples):
        path.unlink(missing_ok=True)


def _is_ours(files: RunFiles, path: Path) -> bool:
    """Whether selection or export wrote a file of the ensemble's folder, so that it goes with that ensemble."""
    if not path.is_file():
        return False
    known = (files.ensemble_index.name, files.selection.name, *EXPORTED_FILES)
    if path.name in known or path.match("member-*.safetensors") or path.match(".*.tmp"):
        return True
    return path.name == MODEL_CARD and is_written_card(path)
