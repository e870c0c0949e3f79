"""Candidates trained on machines reached by ssh: their files are fetched, checked as untrusted, and put in place.

NNI transfers only metrics. Here one ssh connection fetches a candidate's files into a temporary folder inside its own.
They are checked against the architecture and the data, and then moved to their names, ``metrics.json`` last.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent

from nni_hypens.errors import InputError
from nni_hypens.trials.machine import MARK, FetchError, Machine, last_line
from nni_hypens.trials.received import FILES, Expected
from nni_hypens.trials.services import Service
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.trials.training import TrialSpec
from nni_hypens.utils.files import move_into_place, read_json, write_json
from nni_hypens.utils.run_files import CandidateFiles

PLACE = re.compile(r"(/[A-Za-z0-9@+=,. _-]+)*/nni-experiments/[\w-]+/environments/[\w-]+/trials/[\w-]+", re.ASCII)
"""Output folder of a trial, as NNI names it."""


class Machines:
    """The machines of a remote training service.

    Args:
        service: A service whose platform is ``remote``.
        known_hosts: As for `Machine`.
    """

    def __init__(self, service: Service, known_hosts: Path) -> None:
        self.list = [
            Machine(
                machine.host,
                machine.port,
                machine.user,
                str(machine.ssh_key_file),
                known_hosts,
                machine.python_path,
            )
            for machine in service.config.machine_list
        ]

    def check(self, versions: Mapping[str, str]) -> None:
        """Log in to each machine and compare its versions of nni and nni_hypens with ours.

        Raises:
            InputError: Names the machine.
        """
        for index, machine in enumerate(self.list):
            where = f"service.machineList[{index}]"
            try:
                found = machine.versions()
            except FetchError as error:
                expected = "a login by key, and in pythonPath a python with nni and nni_hypens"
                raise InputError(where, f"{machine.host}: {error}", expected) from None
            for name in ("nni", "nni_hypens"):
                if found.get(name) != versions[name]:
                    raise InputError(where, f"{machine.host} with {name} {found.get(name)}", f"{name} {versions[name]}")

    def _likely_first(self, place: str) -> Sequence[Machine]:
        """The machines, likely one first: NNI numbers its workers in the order of the list, until it restarts one."""
        worker = re.search(r"/environments/[\w-]*worker(\d{1,6})/", place)
        index = int(worker.group(1)) - 1 if worker else 0
        return sorted(self.list, key=lambda machine: self.list.index(machine) != index)

    def bring(self, place: str, expected: Expected, folder: Path) -> dict[str, Any]:
        """Fetch a candidate and put it in place, completely or not at all.

        Args:
            place: Output folder of the trial that trained it.
            expected: The expected content of its files.
            folder: The candidate's local folder.

        Returns:
            The content of its ``metrics.json``.

        Raises:
            FetchError: It could not be fetched, or failed a check.
        """
        if not PLACE.fullmatch(place) or "/../" in place or "/./" in place:
            raise FetchError(f"{place!r:.100} is not an output folder of NNI's trials")
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
        try:
            failure: FetchError | None = None
            for machine in self._likely_first(place):
                try:
                    machine.fetch(f"{place}/{expected.spec['id']}", expected.limits(), staging)
                    break
                except FetchError as error:
                    failure = failure or error
            else:
                assert failure is not None  # there is a machine
                raise failure
            record = expected.check(staging)
            for name in FILES[:-1]:
                move_into_place(staging / name, folder / name)
            write_json(CandidateFiles(folder).metrics, record)
            return record
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def last_error(self, experiment: str) -> str | None:
        """The last line that a trial of an experiment wrote to standard error, or None."""
        script = (
            f'echo {shlex.quote(MARK.decode())}; cd "$HOME"/nni-experiments/{shlex.quote(experiment)}/environments && '
            "for file in $(ls -t */trials/*/trial.stderr); do "
            'if [ -s "$file" ]; then tail -c 2000 "$file"; exit; fi; done'
        )
        for machine in self.list:
            try:
                line = last_line(machine.run(script).encode().split(MARK, 1)[-1])
            except FetchError:
                continue
            if line:
                return line
        return None


PLACE_FILE = "remote.json"
"""File in a candidate's folder with its trial's output folder, from the first report until its files are fetched. After
a kill in between, the next run fetches a finished candidate instead of training it again."""
TRIES, PAUSE_SECONDS = 3, 2.0


class RemoteTraining(CandidateTraining):
    """`CandidateTraining` on machines that cannot see the run folder.

    Args:
        *arguments: Those of ``CandidateTraining``.
        machines: Machines on which trials run.
        **options: Those of ``CandidateTraining``.

    Raises:
        InputError: A part that a trial process could not rebuild, or candidates with initial weights, which are only
            on this machine.
    """

    def __init__(self, *arguments: Any, machines: Machines, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if any(spec.warm_start for spec in self.candidates):
            raise InputError("warm_start", "true with remote trials", "false, or trials on this machine")
        self.machines = machines
        self._specs = {spec.id: spec for spec in self.candidates}
        self._places: dict[str, str] = {}
        self._arrived: dict[str, dict[str, Any] | None] = {}  # finished, not fetched yet; None without report

    @property
    def trial_directory(self) -> str | None:
        """None: the run folder is not visible there."""
        return None

    def _run(self) -> None:
        for leftover in self.directory.glob("*/.fetch-*"):  # of a killed run
            shutil.rmtree(leftover)
        self.candidates = [spec for spec in self.candidates if not self._recover(spec)]
        super()._run()

    def _added(self, spec: TrialSpec) -> TrialSpec:
        self._specs[spec.id] = spec
        return super()._added(spec)

    def _recover(self, spec: TrialSpec) -> bool:
        """Fetch a candidate that an earlier run saw start, if it has finished since."""
        path = self.directory / spec.id / PLACE_FILE
        if not path.exists():
            return False
        try:
            self.results[spec.id] = self._bring(spec, read_json(path)["place"])
        except FetchError:
            return False
        finally:
            path.unlink()
        self._tell(spec.id, float(self.results[spec.id]["default"]), True)
        return True

    def _bring(self, spec: TrialSpec, place: str) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            network = self.model_space.freeze(spec.architecture).executable_model()
        sizes = self.data.describe()["sizes"] if hasattr(self.data, "describe") else {}
        rows = {"val": sizes.get("validation"), "test": sizes.get("test")}
        classes = getattr(self.data, "num_classes", None)
        return self.machines.bring(place, Expected(asdict(spec), network, classes, rows), self.directory / spec.id)

    def _reporter(self, event: IntermediateMetricEvent | FinalMetricEvent) -> str | None:
        candidate = super()._reporter(event)
        place = event.metric.get("place") if isinstance(event.metric, dict) else None
        if candidate is not None and isinstance(place, str) and self._places.get(candidate) != place:
            self._places[candidate] = place
            write_json(self.directory / candidate / PLACE_FILE, {"place": place})
        return candidate

    def _finish(self, candidate: str, metric: dict[str, Any]) -> None:
        self._arrived[candidate] = metric

    def _settle_silent(self) -> None:
        for candidate in self._running() & self._ended - set(self._arrived):
            self._arrived[candidate] = None

    def _collect(self) -> None:
        with self._changed:
            waiting = dict(self._arrived)
        for candidate, metric in waiting.items():
            failure = None
            try:
                record = self._fetch(candidate, TRIES if metric else 1)
            except FetchError as error:
                failure = str(error) if metric else self._errors.get(candidate) or self._error_of(candidate)
            with self._changed:
                self._arrived.pop(candidate, None)
                if failure is None:
                    super()._finish(candidate, metric or record)
                else:
                    self.failed[candidate] = failure
                    self._tell(candidate, None, True)

    def _fetch(self, candidate: str, tries: int) -> dict[str, Any]:
        place = self._places.get(candidate)
        if place is None:
            raise FetchError("no report named the output folder of its trial")
        for attempt in range(tries):
            try:
                record = self._bring(self._specs[candidate], place)
                (self.directory / candidate / PLACE_FILE).unlink(missing_ok=True)
                return record
            except FetchError:
                if attempt == tries - 1:
                    raise
                time.sleep(PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def _error_of(self, candidate: str) -> str:
        """The last line of standard error there, from the last trial, since reports do not tell trials apart."""
        return self.machines.last_error(self.engine.nodejs_binding.id) or "the trial ended without a result"
