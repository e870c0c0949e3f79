"""The run folder: who writes which file, what makes a stage done, and what can be taken back.

=========  ============================================  =======================
stage      writes                                        done when there is
=========  ============================================  =======================
search     ``search/``                                   ``search/base.json``
sample     ``candidates.json``, ``search/ranking.json``  ``candidates.json``
train      ``candidates/ID/`` (each trial its own)       a ``metrics.json`` for each candidate
select     ``ensemble/``                                 ``ensemble/ensemble.json``
evaluate   ``results.json``, ``examples.json``           ``results.json``
report     ``report.html``                               ``report.html``
=========  ============================================  =======================

Every file appears whole or not at all, and the file that makes a stage done is written last. Another choice of members
replaces ``ensemble/`` as a whole, see `nni_hypens.run.choice`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import check_probabilities
from nni_hypens.run import choice
from nni_hypens.run.begun import CALL_AGAIN, REMOVED, begun_in_python, begun_with
from nni_hypens.utils.checks import NUMBER, one_of, require
from nni_hypens.utils.files import check_place, read_json, read_object, read_yaml, write_json, write_text
from nni_hypens.utils.locks import held_folder
from nni_hypens.utils.npz import read_arrays
from nni_hypens.utils.run_files import CandidateFiles, RunFiles

if TYPE_CHECKING:  # torch is not imported here: a finished run is recognised without it
    from nni_hypens.run.candidate import Candidate


def _from_difference(one: Any, other: Any) -> tuple[str, str]:
    """Two values as short texts; of long ones, from a little before where they differ."""
    texts = repr(one), repr(other)
    start = max(len(os.path.commonprefix(texts)) - 60, 0)
    if start == 0 or max(map(len, texts)) <= 200:
        return f"{texts[0]:.200}", f"{texts[1]:.200}"
    return f"...{texts[0][start:]:.200}", f"...{texts[1][start:]:.200}"


class RunFolder(RunFiles):
    """A run folder, its files and their content.

    Args:
        out: The folder; it need not exist.
    """

    def __init__(self, out: str | Path) -> None:
        super().__init__(Path(out))

    # ---- claim and lock ---------------------------------------------------------------------------------------------

    def check(self, identity: Mapping[str, Any]) -> None:
        """Check that the folder is free for a run, or holds that very run.

        Args:
            identity: The settings of the run.

        Raises:
            InputError: It holds another run (the first setting that differs is named), or something else.
        """
        out = self.out
        if out.exists() and not out.is_dir():
            raise InputError("out", f"{out}, which is a file", "a folder")
        check_place(out, "out", "a folder, or the place for a new one")
        if out.exists():
            self.check_entries()
        if not self.config.exists():
            # kill -9 may leave a config.yaml that does not have its name yet
            ours = (self.lock.name, f".{self.config.name}.*.tmp")
            if out.exists() and not all(any(map(path.match, ours)) for path in out.iterdir()):
                raise InputError("out", f"{out}, which holds other files", "an empty or new folder, or a run folder")
            return
        difference = self.difference(identity)
        if difference is not None:
            in_python = begun_in_python(begun_with(self.config))
            command = f"nni-hypens run --out {shlex.quote(str(out))} --resume"
            raise InputError(
                "out",
                f"{out} of another run{', made by search_ensemble' if in_python else ''} ({difference})",
                "the same settings, or another --out; to go on with that run: "
                + (f"call {CALL_AGAIN}" if in_python else command),
            )

    def difference(self, identity: Mapping[str, Any]) -> str | None:
        """The first setting in which the run of this folder differs; None if there is none, or no run.

        Args:
            identity: The settings of a run.

        Raises:
            InputError: ``config.yaml`` is not a mapping.
        """
        if not self.config.exists():
            return None
        theirs = begun_with(self.config)
        gone = {name: None for name in REMOVED if name in theirs}
        for name, value in {**identity, **gone}.items():
            if theirs.get(name) != value:
                return f"{name}: {' there, '.join(_from_difference(theirs.get(name), value))} here"
        return None

    def check_fingerprint(self, fingerprint: Mapping[str, Any]) -> None:
        """Check that the run of this folder, if there is one, can go on: its data and seeds are still the same.

        Args:
            fingerprint: `Plan.fingerprint` of what would be done now.

        Raises:
            InputError: Candidates of the same ensemble would be trained on other images, labels, splits or seeds.
        """
        if not self.config.exists():
            return
        theirs = read_yaml(self.config, links=False)
        if theirs.get("seed_scheme") != fingerprint["seed_scheme"]:
            written = theirs.get("versions")
            version = written.get("nni_hypens", "unknown") if isinstance(written, dict) else "unknown"
            raise InputError(
                "out",
                f"{self.out}, begun with a version of nni_hypens ({version!s:.40}) with other splits and seeds",
                "another --out for more training; reports, exports and predictions of the folder still work",
            )
        if theirs.get("data_checksum") != fingerprint["data_checksum"]:
            raise InputError(
                "data",
                f"other images or labels than when {self.out} was begun",
                "the same data, or another --out: what is trained on different data cannot be compared",
            )

    def claim(self, identity: Mapping[str, Any], command: str) -> None:
        """Write ``config.yaml`` if it is not there.

        Args:
            identity: The settings of the run.
            command: How to repeat the run.
        """
        from nni_hypens.utils.runtime import versions

        if not self.config.exists():
            content = {**identity, "versions": versions(), "command": command}
            write_text(self.config, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run; another choice that a killed process had written takes its place.

        Raises:
            InputError: Another run holds it.
        """
        with held_folder(self.out):
            choice.finish(self)
            yield

    def take_up_choice(self) -> None:
        """Let another choice that a killed process had written take its place, before stages are found done.

        Raises:
            InputError: Another run holds the folder.
        """
        if self.new_ensemble.exists():
            with self.locked():
                pass

    # ---- stages -----------------------------------------------------------------------------------------------------

    def last_file(self, stage: str) -> Path:
        """The file that a stage writes last; ``train`` has none, since each candidate has its own."""
        return {
            "search": self.search.base,
            "sample": self.candidates,
            "select": self.ensemble_index,
            "evaluate": self.results,
            "report": self.report,
        }[stage]

    def done(self, stage: str) -> bool:
        """Whether a stage (not ``train``) is done."""
        return self.last_file(stage).exists()

    def idle(self, stage: str) -> bool:
        """Whether a stage has nothing left to do; training is over once the run is evaluated."""
        return self.done("evaluate" if stage == "train" else stage)

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return self.done("report") and self.done("evaluate")

    @property
    def lacks_only_the_report(self) -> bool:
        """Whether every stage but the report is done."""
        return not self.done("report") and all(map(self.done, ("search", "sample", "select", "evaluate")))

    def require(self, stage: str) -> Path:
        """The file that a stage writes last.

        Raises:
            InputError: The stage is not done.
        """
        path = self.last_file(stage)
        if not path.exists():
            missing = path.relative_to(self.out)
            raise InputError(
                "out", f"{self.out} without {missing}", f"a run folder where `nni-hypens {stage}` has finished"
            )
        return path

    def take_back_choice(self) -> None:
        """Remove what was chosen, measured and reported, the last first; what was trained stays."""
        choice.take_back(self)

    # ---- candidates -------------------------------------------------------------------------------------------------

    def read_candidates(self) -> list[Candidate]:
        """The content of ``candidates.json``."""
        from nni_hypens.run.candidate import Candidate

        records = read_json(self.require("sample"))
        if not isinstance(records, list):
            raise InputError(str(self.candidates), f"a {type(records).__name__}", "a list of candidates")
        found = [Candidate.from_json(record, f"{self.candidates.name}[{i}]") for i, record in enumerate(records)]
        if len({candidate.id for candidate in found}) < len(found):
            raise InputError(str(self.candidates), "an id twice", "another id for each candidate")
        before: dict[str, Candidate] = {}
        for i, candidate in enumerate(found):
            if candidate.parent is not None:
                parent = before.get(candidate.parent)
                if parent is None or parent.architecture != candidate.architecture:
                    where = f"{self.candidates.name}[{i}].parent"
                    raise InputError(where, candidate.parent, "a candidate before it, of the same architecture")
            before[candidate.id] = candidate
        return found

    def write_candidates(self, candidates: Sequence[Candidate]) -> None:
        """Write ``candidates.json``."""
        write_json(self.candidates, [candidate.to_json() for candidate in candidates])

    def metrics(self, name: str) -> dict[str, Any] | None:
        """What the trial of a candidate wrote, or None before it has.

        Raises:
            InputError: The file is not as a trial writes it.
        """
        path = self.candidate(name).metrics
        return read_metrics(path) if path.exists() else None

    def status(self, name: str) -> str | None:
        """``trained`` or ``failed``; None while a candidate waits."""
        metrics = self.metrics(name)
        return None if metrics is None else metrics["status"]

    def waiting(self) -> list[str]:
        """Ids of the candidates that are neither trained nor given up."""
        if not self.done("sample"):
            return []
        ids = [candidate.id for candidate in self.read_candidates()]
        return [name for name in ids if not self.candidate(name).metrics.exists()]  # also where one is damaged

    def trained(self) -> list[str]:
        """Ids of the candidates that are trained."""
        return [candidate.id for candidate in self.read_candidates() if self.status(candidate.id) == "trained"]

    def predictions(self, name: str, *parts: str) -> list[np.ndarray]:
        """Probabilities ``N x C`` of a candidate.

        Args:
            name: Its id.
            parts: ``val`` or ``test``.

        Raises:
            InputError: The file is missing, or another program has changed it.
        """
        return read_predictions(self.candidate(name).predictions, *parts)

    # ---- results ----------------------------------------------------------------------------------------------------

    def read_results(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        return read_object(self.require("evaluate"))


def read_fields(path: Path, **kinds: Any) -> dict[str, Any]:
    """Read a JSON file of a run that must hold some values.

    Args:
        path: The file.
        **kinds: Type of each value, as for `nni_hypens.utils.checks.require`.

    Raises:
        InputError: The file is missing or broken, or lacks one of them.
    """
    record = read_object(path)
    require(record, kinds, str(path))
    return record


STATUSES = ("trained", "failed")
MEASURED = {"validation": dict, "seconds": NUMBER}
"""What ``metrics.json`` holds for a candidate that did not fail."""
_COSTS = dict.fromkeys(("parameters", "flops", "latency_ms"), NUMBER)


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a candidate's ``metrics.json``.

    Raises:
        InputError: It has no status, or a value of the wrong kind.
    """
    record = read_object(path)
    require(record, {"status": str}, str(path))
    one_of(f"{path}.status", record["status"], STATUSES)
    if record["status"] != "failed":
        known = {**MEASURED, **_COSTS}
        require(record, {name: kind for name, kind in known.items() if name in record}, str(path))
        numbers = [name for name in ("accuracy", "nll") if name in record.get("validation", {})]
        require(record.get("validation", {}), dict.fromkeys(numbers, NUMBER), f"{path}.validation")
    return record


def read_predictions(path: Path, *parts: str) -> list[np.ndarray]:
    """Probabilities from a candidate's file, which a trial wrote only if they were finite.

    Raises:
        InputError: The file is missing, or another program has changed it.
    """
    arrays = read_arrays(path, *parts)
    for part, array in zip(parts, arrays, strict=True):
        check_probabilities(array, f"{path}: {part}")
    return arrays


def damage(files: CandidateFiles) -> str | None:
    """What is wrong with a candidate that finished, or None: disks fill up, and people tidy up.

    Args:
        files: The candidate's; without ``metrics.json`` it has not finished, which is no damage.

    Returns:
        The file at fault and why, in one line.
    """
    from nni_hypens.utils.tensors import read_tensors

    if not files.metrics.exists():
        return None
    try:
        if read_metrics(files.metrics)["status"] == "trained":
            read_tensors(files.weights)
            read_predictions(files.predictions, "val", "test")
    except InputError as error:
        return f"{error.field}: got {error.got}"
    return None
