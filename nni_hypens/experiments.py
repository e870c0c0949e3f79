"""NNI experiments inside a run folder: the search in this process, the candidates as trials under NNI's manager."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytorch_lightning as pl
import torch
from nni.experiment import Experiment
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.nn.pytorch import ModelSpace
from pytorch_lightning.callbacks import Callback

from nni_hypens._compat import PatientManager, manager_environment, quiet_logging, trial_config
from nni_hypens.candidate_training import CandidateTraining
from nni_hypens.errors import InputError
from nni_hypens.files import read_json, write_json
from nni_hypens.search import EdgeNES
from nni_hypens.services import Service, check_service

FIRST_PORT = 8080


class TrialExperiment(PatientManager, NasExperiment):  # type: ignore[misc]
    """NNI's experiment of trials."""


def run_search(
    space: ModelSpace, evaluator: Lightning, strategy: EdgeNES, directory: Path, callbacks: Sequence[Callback] = ()
) -> None:
    """Run the one-shot search as an NNI experiment, checkpointed after each epoch.

    A checkpoint in ``directory/checkpoint`` is taken up, which gives the same result as a run that was never
    interrupted.

    Args:
        space: The model space; it becomes the supernet, in place.
        evaluator: NNI Lightning evaluator whose trainer has not been used yet.
        strategy: A fresh strategy.
        directory: The ``search`` folder of the run.
        callbacks: More Lightning callbacks.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    strategy.checkpoint_dir = directory / "checkpoint"
    evaluator.trainer.callbacks += callbacks
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(directory.parent / "nni")
    experiment = NasExperiment(space, evaluator, strategy, config)
    before = signal.getsignal(signal.SIGINT)
    quiet_logging()
    try:
        experiment.start()
    except SystemExit as error:  # Lightning turns Ctrl-C into exit(1), with SIGINT ignored from then on
        if evaluator.trainer.interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        quiet_logging()
        signal.signal(signal.SIGINT, before)
        experiment.stop()


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Threads of torch for a while: one is as fast for small networks, gives the same digits on every machine, and does
    not stall when another process has a core (with two threads a search was seen to take twenty times as long)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_trials(
    space: ModelSpace,
    evaluator: Evaluator,
    strategy: CandidateTraining,
    run: Path,
    port: int | None,
    service: Service | None = None,
) -> int:
    """Train candidates as trials of NNI, watched in its web UI.

    Args:
        space: A fresh model space (not a supernet).
        evaluator: The user's evaluator.
        strategy: The candidates.
        run: The run folder; NNI's own files go to ``run/nni``.
        port: Port of the web UI; None takes the first free one from 8080.
        service: Where trials run; None for NNI's local service. The manager listens on loopback unless
            ``service.public``.

    Returns:
        The port that was used.

    Raises:
        InputError: The port is taken.
        KeyboardInterrupt: Ctrl-C; finished candidates stay.
    """
    stop_orphan(run)
    service = service or check_service(None)
    port = free_port(port, service.ports)
    config = trial_config(service.config, remote_python=service.platform != "local")
    config.experiment_name = run.name
    config.trial_concurrency = strategy.concurrency
    config.max_trial_number = len(strategy.candidates) + (strategy.proposals.left if strategy.proposals else 0)
    config.experiment_working_directory = str(run.resolve() / "nni")
    experiment = TrialExperiment(space, evaluator, strategy, config)
    quiet_logging()
    try:
        with manager_environment(service.public):
            record_manager(run, port, experiment)
            experiment.run(port=port, wait_completion=False)
        if strategy.interrupted():
            raise KeyboardInterrupt
    except (OSError, RuntimeError) as error:
        reason = manager_error(run / "nni" / experiment.id)
        if reason is None:
            raise
        raise RuntimeError(f"NNI's manager has ended: {reason}") from error
    finally:
        quiet_logging()
        if experiment.port is not None:
            experiment.stop()
        forget_manager(run)
    return port


def manager_error(folder: Path) -> str | None:
    """The first error in the log of an experiment whose manager gave up, such as a machine that cannot be used."""
    log = folder / "log" / "nnimanager.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    found = [line for line in lines if "] ERROR (" in line or "] CRITICAL (" in line]
    ended = any("Initiate shutdown: training service" in line or "Critical error oc" in line for line in lines)
    return f"{found[0].split('] ', 1)[-1][:400]} ({log})" if found and ended else None


def record_manager(run: Path, port: int, experiment: Experiment) -> None:
    """Remember whose manager holds the port: after kill -9 of this process it lives on, and the next run must end
    it."""
    write_json(run / "nni" / "manager.json", {"experiment": experiment.id, "port": port, "owner": os.getpid()})


def forget_manager(run: Path) -> None:
    """The manager of a run has ended."""
    (run / "nni" / "manager.json").unlink(missing_ok=True)


def stop_orphan(run: Path) -> bool:
    """End the manager that a killed run left behind, and its trials. Nothing but that very process is touched.

    Returns:
        Whether there was one.
    """
    path = run / "nni" / "manager.json"
    if not path.exists():
        return False
    experiment = read_json(path)["experiment"]
    found = False
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "--experiment-id" in command and experiment in command:
            family = [process, *process.children(recursive=True)]
            for member in family:  # the manager first, or it would start the next trial
                member.kill()
            psutil.wait_procs(family, timeout=10)
            found = True
    found |= kill_trials(experiment, run / "nni")
    path.unlink()
    return found


def kill_trials(experiment: str, folder: Path) -> bool:
    """End the trials of an experiment that are left after its manager, of which they are no children any more.

    Args:
        experiment: Id of the experiment.
        folder: Where NNI keeps its experiments.

    Returns:
        Whether there were any.
    """
    marker, found = str((folder / experiment).resolve()), False
    for process in psutil.process_iter(["environ"]):
        environment = process.info["environ"] or {}
        if environment.get("NNI_EXP_ID") == experiment and marker in environment.get("NNI_SYS_DIR", ""):
            process.kill()
            found = True
    return found


def free_port(port: int | None, count: int = 1, first: int | None = None) -> int:
    """``port`` if it can be had; None for the first free one.

    Args:
        port: The first of them.
        count: Ports that must be free, one after the other.
        first: Where to begin to look for a free one, 8080 unless told.

    Raises:
        InputError: Out of range or taken.
    """
    if port is None:
        for candidate in range(first or FIRST_PORT, FIRST_PORT + 200):
            if all(map(_is_free, range(candidate, candidate + count))):
                return candidate
        raise InputError("port", f"{FIRST_PORT}..{FIRST_PORT + 199}, all in use", "a free port: --port P")
    if not isinstance(port, int) or not 1024 <= port <= 65536 - count:
        raise InputError("port", repr(port), f"a whole number in 1024..{65536 - count}")
    for each in range(port, port + count):
        if not _is_free(each):
            raise InputError("port", f"{each}, which is in use", "a free port: --port P, or none to let one be found")
    return port


@contextmanager
def held_port(port: int | None, count: int = 1) -> Iterator[int]:
    """A free port that no other run of this user takes before NNI's manager listens on it, some seconds later.

    Two runs that began in the same second were seen to agree on 8080: one then talked to the other's manager. A locked
    file in the folder for temporary files stands for the port; it is empty, and stays.

    Args:
        port: The port; None for the first from 8080 that is free and not held.
        count: Ports, one after the other.

    Raises:
        InputError: Out of range, taken or held.
    """
    folder = Path(tempfile.gettempdir()) / f"nni_hypens-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to another user; it may be removed")
    first = FIRST_PORT
    while True:
        found = free_port(port, count, first)
        with ExitStack() as held:
            if all(held.enter_context(_locked(folder / str(each))) for each in range(found, found + count)):
                yield found
                return
        if port is not None:
            raise InputError("port", f"{port}, which another run has taken", "a free port: --port P")
        first = found + 1


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the file could be locked; it is until the block ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def versions() -> dict[str, str]:
    """Versions of everything a result depends on."""
    import nni
    import numpy
    import torch

    from nni_hypens import __version__

    return {
        "nni_hypens": __version__,
        "nni": nni.__version__,
        "torch": str(torch.__version__),
        "pytorch_lightning": pl.__version__,  # type: ignore[attr-defined]
        "numpy": numpy.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
