"""Candidates trained on machines that ssh reaches: their files are fetched, checked as untrusted, and put in place.

NNI brings back metrics only. Here each candidate's files come over one ssh connection into a folder inside its own, are
compared with what the architecture and the data say they must be, and take their names, ``metrics.json`` last.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent

from nni_hypens.errors import InputError
from nni_hypens.trials.services import Service
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.trials.training import TrialSpec
from nni_hypens.utils.checks import require
from nni_hypens.utils.files import move_into_place, read_arrays, read_json, write_json
from nni_hypens.utils.tensors import load_weights

PLACE = re.compile(r"(/[A-Za-z0-9@+=,. _-]+)*/nni-experiments/[\w-]+/environments/[\w-]+/trials/[\w-]+", re.ASCII)
"""A trial's output folder, as NNI makes them."""
FILES = ("weights.safetensors", "predictions.npz", "metrics.json")
MARK = b"nni_hypens: files"
MAX_METRICS_BYTES = 4 * 2**20
MAX_GREETING_LINES = 200
FETCH_SECONDS = 1800
_NUMBER = (int, float)
_COSTS = ("seconds", "cpu_seconds", "flops", "latency_ms")
_METRICS = {"default": _NUMBER, "validation": dict, "history": list, **dict.fromkeys(_COSTS, _NUMBER)}
_MEASURES = ("accuracy", "nll", "ece", "brier", "aurc")


class FetchError(RuntimeError):
    """Files could not be fetched, or are not what they must be."""


@dataclass(frozen=True)
class Machine:
    """A machine as ``ssh`` reaches it.

    Args:
        host: Name or address.
        port: Of its ssh server.
        user: Who logs in.
        key: File of the private key.
        known_hosts: Host keys seen by this run; the user's own are looked at as well. A machine that is in neither is
            taken at its word once, a key that has changed is refused. (NNI itself compares no host keys.)
        python: Folder of its python, or None for the one on its ``PATH``.
    """

    host: str
    port: int
    user: str
    key: str
    known_hosts: Path
    python: str | None = None

    def command(self, script: str) -> list[str]:
        """The command that runs a shell script there, with neither the user's ssh configuration nor a terminal."""
        hosts = str(self.known_hosts.absolute()).replace("%", "%%")
        options = (
            "BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=15", "ServerAliveInterval=10",
            "ServerAliveCountMax=3", "StrictHostKeyChecking=accept-new", "ClearAllForwardings=yes",
            "ForwardAgent=no", "LogLevel=ERROR", f'UserKnownHostsFile="{hosts}" ~/.ssh/known_hosts',
        )  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        target = ["-p", str(self.port), "-l", self.user, "-i", self.key, "--", self.host]
        return ["ssh", "-F", "none", "-T", *words, *target, f"exec sh -c {shlex.quote(script)}"]

    def run(self, script: str, seconds: float = 60) -> str:
        """Standard output of a script.

        Raises:
            FetchError: It failed, or took too long.
        """
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                self.command(script), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"{self.host} did not answer in {seconds:.0f} s") from None
        if done.returncode:
            raise FetchError(_last_line(done.stderr) or f"exit code {done.returncode}")
        return done.stdout.decode("utf-8", errors="replace")

    def versions(self) -> dict[str, str]:
        """Versions that trials there would run with.

        Raises:
            FetchError: The machine cannot be reached, or has no python with nni and nni_hypens.
        """
        code = (
            "import json, nni, nni_hypens; "
            "print(json.dumps({'nni': nni.__version__, 'nni_hypens': nni_hypens.__version__}))"
        )
        path = f"PATH={shlex.quote(self.python)}:$PATH; " if self.python else ""
        found = self.run(f"{path}$(command -v python || command -v python3) -c {shlex.quote(code)}")
        try:
            return dict(json.loads(found.strip().splitlines()[-1]))
        except (ValueError, IndexError, TypeError):
            raise FetchError(f"an answer that is none: {found!r:.100}") from None

    def fetch(self, folder: str, limits: Mapping[str, int], into: Path) -> None:
        """Copy files of one folder there, whole.

        Args:
            folder: Absolute path there.
            limits: File name -> most bytes that are taken.
            into: A folder here; what is in it after an error is of no use.

        Raises:
            FetchError: The connection was cut, a file is missing or larger than its limit.
        """
        names = " ".join(map(shlex.quote, limits))
        script = (
            f"cd -- {shlex.quote(folder)} && echo {shlex.quote(MARK.decode())} && "
            f'for name in {names}; do wc -c < "$name" || exit 1; done && cat -- {names}'
        )
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self.command(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            assert process.stdout is not None
            timer = threading.Timer(FETCH_SECONDS, process.kill)
            timer.start()
            try:
                _copy(process.stdout, limits, into)
            except FetchError as error:
                process.kill()
                process.wait()
                errors.seek(0)
                raise FetchError(f"{error} ({self.host}: {_last_line(errors.read()) or 'no more is known'})") from None
            finally:
                timer.cancel()
                process.kill()
                process.stdout.close()
                process.wait()


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def _copy(stream: IO[bytes], limits: Mapping[str, int], into: Path) -> None:
    """Sizes, one on a line, then the files, one after the other; a greeting in front of them is passed over."""
    for _ in range(MAX_GREETING_LINES):
        line = stream.readline(10_000)
        if line.strip() == MARK or not line:
            break
    sizes = {}
    for name, limit in limits.items():
        line = stream.readline(100).strip()
        if not (line.isascii() and line.isdigit()):
            raise FetchError(f"{name} cannot be read there")
        sizes[name] = int(line)
        if sizes[name] > limit:
            raise FetchError(f"{name} has {sizes[name]} bytes, more than the {limit} that it can need")
    for name, size in sizes.items():
        with (into / name).open("wb") as file:
            while size:
                block = stream.read(min(size, 2**20))
                if not block:
                    raise FetchError(f"{name} was cut off, {size} bytes before its end")
                file.write(block)
                size -= len(block)


@dataclass(frozen=True)
class Expected:
    """What a candidate's files must be.

    Args:
        spec: Fields of its :class:`nni_hypens.trials.training.TrialSpec`.
        network: Its architecture, with any weights.
        classes: Classes C, or None for any number.
        rows: Array of the predictions -> its examples, or None for any number.
    """

    spec: dict[str, Any]
    network: torch.nn.Module
    classes: int | None
    rows: Mapping[str, int | None]

    def limits(self) -> dict[str, int]:
        """Most bytes of each file; a header of safetensors has about a hundred for each tensor."""
        state = self.network.state_dict()
        weights = sum(value.numel() * value.element_size() + 2000 for value in state.values()) + 10_000
        examples = sum(2**24 if rows is None else rows for rows in self.rows.values())
        predictions = examples * (self.classes or 1000) * 5 + 10_000
        return dict(zip(FILES, (weights, predictions, MAX_METRICS_BYTES), strict=True))

    def check(self, folder: Path) -> dict[str, Any]:
        """The content of ``metrics.json``: its numbers are those of the file, everything else is ours.

        Raises:
            FetchError: A file is not what it must be. Nothing is unpickled to find out.
        """
        try:
            load_weights(self.network, folder / "weights.safetensors")
            _check_predictions(folder / "predictions.npz", self.classes, self.rows)
            return self._metrics(folder / "metrics.json")
        except (InputError, OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            raise FetchError(f"{self.spec['id']}: {' '.join(str(error).split())[:300]}") from None

    def _metrics(self, path: Path) -> dict[str, Any]:
        record = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(record, dict):
            raise ValueError("metrics.json holds no object")
        require(record, _METRICS, "metrics.json")
        require(record["validation"], dict.fromkeys(_MEASURES, _NUMBER), "metrics.json.validation")
        about = {name: value for name, value in self.spec.items() if name not in ("architecture", "until")}
        for name in ("id", "seed", "text", "status"):
            if record.get(name) != {**about, "status": "trained"}[name]:
                raise ValueError(f"metrics.json of another candidate: {name} is {record.get(name)!r:.80}")
        for row in record["history"]:
            require(row, {"epoch": int, "accuracy": _NUMBER}, "metrics.json.history")
        return {
            **about,
            "status": "trained",
            "default": record["default"],
            "validation": {name: record["validation"][name] for name in _MEASURES},
            "history": [{name: row[name] for name in ("epoch", "accuracy")} for row in record["history"]],
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            **{name: record[name] for name in _COSTS},
        }


def _check_predictions(path: Path, classes: int | None, rows: Mapping[str, int | None]) -> None:
    """Headers first: an array takes memory only when its shape is one that the data can have."""
    with zipfile.ZipFile(path) as archive:
        if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in rows):
            raise ValueError(f"predictions.npz holds {archive.namelist()!r:.100}")
        for name, count in rows.items():
            with archive.open(f"{name}.npy") as file:
                np.lib.format.read_magic(file)
                shape, _, kind = np.lib.format.read_array_header_1_0(file, max_header_size=10_000)
            wanted = (shape[0] if count is None else count, shape[-1] if classes is None else classes)
            too_long = archive.getinfo(f"{name}.npy").file_size > 4 * math.prod(shape) + 10_000
            if len(shape) != 2 or shape != wanted or kind != np.float32 or too_long:
                raise ValueError(f"{name} of predictions.npz is {kind} of shape {shape}, not float32 of {wanted}")
    for name, array in zip(rows, read_arrays(path, *rows), strict=True):
        if not (np.isfinite(array).all() and (array >= 0).all() and np.allclose(array.sum(1), 1, atol=1e-3)):
            raise ValueError(f"{name} of predictions.npz holds no probabilities")


class Machines:
    """The machines of a remote training service.

    Args:
        service: A service whose platform is ``remote``.
        known_hosts: See :class:`Machine`.
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
        """Log in to each machine and compare versions of nni and nni_hypens.

        Raises:
            InputError: Naming the machine.
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
        """NNI numbers its workers as the machines are listed, until it restarts one."""
        worker = re.search(r"/environments/[\w-]*worker(\d{1,6})/", place)
        index = int(worker.group(1)) - 1 if worker else 0
        return sorted(self.list, key=lambda machine: self.list.index(machine) != index)

    def bring(self, place: str, expected: Expected, folder: Path) -> dict[str, Any]:
        """Fetch a candidate and put it in place, whole or not at all.

        Args:
            place: Output folder of the trial that trained it.
            expected: What its files must be.
            folder: The candidate's folder here.

        Returns:
            The content of its ``metrics.json``.

        Raises:
            FetchError: It could not be fetched, or is not what it must be.
        """
        if not PLACE.fullmatch(place) or "/../" in place or "/./" in place:
            raise FetchError(f"{place!r:.100} is not where NNI's trials write")
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
            write_json(folder / "metrics.json", record)
            return record
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def last_error(self, experiment: str) -> str | None:
        """The last line that a trial of an experiment wrote to its standard error, or None."""
        script = (
            f'echo {shlex.quote(MARK.decode())}; cd "$HOME"/nni-experiments/{shlex.quote(experiment)}/environments && '
            "for file in $(ls -t */trials/*/trial.stderr); do "
            'if [ -s "$file" ]; then tail -c 2000 "$file"; exit; fi; done'
        )
        for machine in self.list:
            try:
                line = _last_line(machine.run(script).encode().split(MARK, 1)[-1])
            except FetchError:
                continue
            if line:
                return line
        return None


PLACE_FILE = "remote.json"
"""In a candidate's folder, from its first report until its files have come: where its trial writes. A run that was
killed in between fetches what has finished since instead of training it again."""
TRIES, PAUSE_SECONDS = 3, 2.0


class RemoteTraining(CandidateTraining):
    """As :class:`CandidateTraining`, on machines that do not have the run folder.

    Args:
        *arguments: Those of ``CandidateTraining``.
        machines: Where trials run.
        **options: Those of ``CandidateTraining``.

    Raises:
        InputError: Something that a trial process could not rebuild; or candidates with initial weights, which stay
            on this machine.
    """

    def __init__(self, *arguments: Any, machines: Machines, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if any(spec.warm_start for spec in self.candidates):
            raise InputError("warm_start", "true with remote trials", "false, or trials on this machine")
        self.machines = machines
        self._specs = {spec.id: spec for spec in self.candidates}
        self._places: dict[str, str] = {}
        self._arrived: dict[str, dict[str, Any] | None] = {}  # finished, not fetched yet; None where no report said so

    @property
    def trial_directory(self) -> str | None:
        """None: the run folder is not there."""
        return None

    def _run(self) -> None:
        for leftover in self.directory.glob("*/.fetch-*"):  # of a run that was killed
            shutil.rmtree(leftover)
        self.candidates = [spec for spec in self.candidates if not self._recover(spec)]
        super()._run()

    def _added(self, spec: TrialSpec) -> TrialSpec:
        self._specs[spec.id] = spec
        return super()._added(spec)

    def _recover(self, spec: TrialSpec) -> bool:
        """Fetch what an earlier run saw begin, if it has finished since."""
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
            raise FetchError("no report said where its trial wrote")
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
        """What a trial there wrote last to its standard error; of the last one, as reports do not tell them apart."""
        return self.machines.last_error(self.engine.nodejs_binding.id) or "the trial ended without a result"
