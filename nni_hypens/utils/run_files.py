"""Where each file of a run folder is. Every package takes the paths from here, so that no file has two names.

`nni_hypens.run.folder.RunFolder` adds who writes a file, and when a stage is done.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import check_plain_name
from nni_hypens.utils.files import open_file
from nni_hypens.utils.locks import LOCK

EXPORTED_FILES = ("model.onnx", "model.pt2")
MODEL_CARD = "MODEL_CARD.md"
MODEL_CARD_MARK = "<!-- Written by `nni-hypens export`; the next export to this folder replaces it. -->"


def is_written_card(path: Path) -> bool:
    """Whether a file is a model card that an export wrote, and not one of somebody else's."""
    if path.is_symlink() or not path.is_file():
        return False
    with open_file(path) as file:
        return MODEL_CARD_MARK.encode() in file.read(4096)  # it stands below the title


@dataclass(frozen=True)
class CandidateFiles:
    """Files of one candidate.

    Args:
        folder: Its folder, ``candidates/ID``.
    """

    folder: Path

    @property
    def architecture(self) -> Path:
        return self.folder / "architecture.json"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.npz"

    @property
    def metrics(self) -> Path:
        """Written last: a candidate that has it is trained or failed."""
        return self.folder / "metrics.json"

    @property
    def initial_weights(self) -> Path:
        """Weights inherited from the supernet; removed after training."""
        return self.folder / "initial.safetensors"


@dataclass(frozen=True)
class SearchFiles:
    """Files of a search.

    Args:
        folder: Its folder, ``search``.
    """

    folder: Path

    @property
    def base(self) -> Path:
        """Written last: a folder that has it holds a finished search."""
        return self.folder / "base.json"

    @property
    def hypernetwork(self) -> Path:
        return self.folder / "hypernetwork.safetensors"

    @property
    def supernet(self) -> Path:
        return self.folder / "supernet.safetensors"

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    @property
    def ranking(self) -> Path:
        """How many architectures were ranked on the supernet, and the seconds it took."""
        return self.folder / "ranking.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints; removed after the search."""
        return self.folder / "checkpoint"

    @property
    def last_checkpoint(self) -> Path:
        return self.checkpoints / "last.ckpt"

    def epoch_pool(self, epoch: int) -> Path:
        """Architectures that the search would give after an epoch, counted from 0."""
        return self.folder / "epochs" / f"epoch-{epoch:04d}.json"

    @property
    def logs(self) -> Path:
        """Folder of the loggers."""
        return self.folder / "logs"


@dataclass(frozen=True)
class RunFiles:
    """Files of a run.

    Args:
        out: The run folder.
    """

    out: Path

    def check_entries(self) -> None:
        """Check that the folder holds plain files and folders, so that nothing outside of it is read or written.

        In NNI's own folder, only what this package uses is checked.

        Raises:
            InputError: It holds a link, a pipe or a device.
        """
        waiting = [self.out]
        while waiting:
            for path in map(Path, os.scandir(waiting.pop())):
                _check_entry(path)
                if path.is_dir() and path != self.nni:
                    waiting.append(path)
        for path in (self.manager, self.known_hosts):
            _check_entry(path)

    @property
    def config(self) -> Path:
        """Settings and versions; claims the folder."""
        return self.out / "config.yaml"

    @property
    def lock(self) -> Path:
        return self.out / LOCK

    @property
    def search(self) -> SearchFiles:
        return SearchFiles(self.out / "search")

    @property
    def candidates(self) -> Path:
        return self.out / "candidates.json"

    @property
    def candidates_folder(self) -> Path:
        return self.out / "candidates"

    def candidate(self, name: str) -> CandidateFiles:
        """Files of the candidate with this id.

        Raises:
            InputError: The id is no plain name, and could lead out of the folder.
        """
        return CandidateFiles(
            self.candidates_folder / check_plain_name("candidate id", name, "a plain name such as c03")
        )

    @property
    def training_time(self) -> Path:
        """Wall time of all training."""
        return self.candidates_folder / "wall.json"

    @property
    def ensemble(self) -> Path:
        """Folder of the ensemble."""
        return self.out / "ensemble"

    @property
    def unfinished_ensemble(self) -> Path:
        """Folder of another choice while it is written; see `nni_hypens.run.choice`."""
        return self.out / ".ensemble.tmp"

    @property
    def new_ensemble(self) -> Path:
        """Folder of another choice that is complete, until it is renamed to `ensemble`."""
        return self.out / ".ensemble.new"

    @property
    def ensemble_index(self) -> Path:
        """Written last: a folder that has it holds a finished ensemble."""
        return self.ensemble / "ensemble.json"

    @property
    def selection(self) -> Path:
        return self.ensemble / "selection.json"

    @property
    def results(self) -> Path:
        return self.out / "results.json"

    @property
    def examples(self) -> Path:
        """Test images that the report shows."""
        return self.out / "examples.json"

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def nni(self) -> Path:
        """Folder of NNI's experiments."""
        return self.out / "nni"

    @property
    def workers(self) -> Path:
        """Folder of what worker processes write to standard error."""
        return self.out / "workers"

    @property
    def manager(self) -> Path:
        """NNI's manager that is running, if any."""
        return self.nni / "manager.json"

    @property
    def known_hosts(self) -> Path:
        """Keys of remote machines."""
        return self.nni / "known_hosts"


def _check_entry(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:  # a temporary file of a run that goes on
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a link" if stat.S_ISLNK(mode) else "a pipe, socket or device"
        raise InputError("run folder", f"{path}, which is {what}", "a folder of plain files and folders")
