"""NNI experiments of trials inside a run folder, and cleaning up after a killed run."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from nni.experiment import Experiment
from nni.nas.evaluator import Evaluator
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.nn.pytorch import ModelSpace
from requests import RequestException

from nni_hypens._manager import PatientManager, manager_environment
from nni_hypens._nni import quiet_logging, trial_config
from nni_hypens.trials.services import Service, check_service
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.utils.disks import check_writable, full_disk, places
from nni_hypens.utils.files import read_bytes, write_json
from nni_hypens.utils.ports import free_port
from nni_hypens.utils.processes import OWNER, ProcessName, kill_family
from nni_hypens.utils.run_files import RunFiles

KILLED = "it gave no reason, so it was killed (out of memory?)"


class TrialExperiment(PatientManager, NasExperiment):  # type: ignore[misc]
    """NNI's experiment of trials. It keeps no checkpoint, because a run goes on from its own files."""

    def save_checkpoint(self) -> None:
        """Nothing."""

    def _nni_manager_required(self) -> bool:
        return True  # NNI would read it from the configuration, which is bad if the working folder is gone


def run_trials(
    space: ModelSpace,
    evaluator: Evaluator,
    strategy: CandidateTraining,
    run: Path,
    port: int | None,
    service: Service | None = None,
    gpus: Sequence[int] = (),
) -> int:
    """Train candidates as NNI trials, visible in its web UI.

    Args:
        space: A fresh model space (not a supernet).
        evaluator: The user's evaluator.
        strategy: The candidates.
        run: The run folder; NNI's own files go to ``run/nni``.
        port: Port of the web UI; None for the first free port from 8080.
        service: Where trials run; None for NNI's local service. The manager listens on loopback unless
            ``service.public``.
        gpus: GPUs of this machine that trials of the local service may use, one each; others do not see any.

    Returns:
        The port that was used.

    Raises:
        InputError: The port is taken.
        RuntimeError: NNI's manager has ended.
        KeyboardInterrupt: Ctrl-C; finished candidates stay.
    """
    stop_orphan(run)
    service = service or check_service(None)
    port = free_port(port, service.ports)
    config = trial_config(service.config, remote_python=service.platform != "local")
    if gpus and service.platform == "local":
        ask_for_gpus(config, gpus, strategy.concurrency)
    config.experiment_name = run.name
    config.trial_concurrency = strategy.concurrency
    config.max_trial_number = len(strategy.candidates) + (strategy.proposals.left if strategy.proposals else 0)
    config.experiment_working_directory = str(RunFiles(run.resolve()).nni)
    experiment = TrialExperiment(space, evaluator, strategy, config)
    quiet_logging()
    with manager_environment(service.host) as last_words:
        try:
            record_manager(run, port, experiment)
            experiment.run(port=port, wait_completion=False)
            if strategy.interrupted():
                raise KeyboardInterrupt
        except Exception as error:
            if not (last_words() or experiment.manager_ended()):
                if isinstance(error, RequestException):  # its text is about sockets
                    where = RunFiles(run).nni / experiment.id / "log"
                    raise RuntimeError(f"NNI's manager does not answer at port {port}; its logs: {where}") from error
                raise
            check_writable(run.resolve())
            if (full := full_disk(places(run))) is not None:
                raise full from error
            reason = last_words() or manager_error(RunFiles(run).nni / experiment.id) or KILLED
            raise RuntimeError(f"NNI's manager has ended: {reason}") from error
        finally:
            quiet_logging()
            if experiment.port is not None:
                experiment.stop()
            forget_manager(run)
    return port


def ask_for_gpus(config: NasExperimentConfig, gpus: Sequence[int], concurrency: int) -> None:
    """Let NNI's local service give each trial one of these GPUs, shared evenly if there are more trials than GPUs."""
    local: Any = config.training_service
    config.trial_gpu_number = local.trial_gpu_number = 1
    local.use_active_gpu = True  # NNI counts a GPU as active if its screen, or our search, uses it
    local.gpu_indices = list(gpus)
    local.max_trial_number_per_gpu = math.ceil(concurrency / len(gpus))


def manager_error(folder: Path) -> str | None:
    """The first error in the log of an experiment whose manager gave up, for example on an unusable machine."""
    log = folder / "log" / "nnimanager.log"
    lines = read_bytes(log).decode("utf-8", "replace").splitlines() if log.exists() else []
    errors = [line for line in lines if "] ERROR (" in line or "] CRITICAL (" in line]
    ended = any("Initiate shutdown: training service" in line or "Critical error oc" in line for line in lines)
    return f"{errors[0].split('] ', 1)[-1][:400]} ({log})" if errors and ended else None


def record_manager(run: Path, port: int, experiment: Experiment) -> None:
    """Record which manager holds the port: it survives kill -9 of this process, and the next run must end it."""
    write_json(RunFiles(run).manager, {"experiment": experiment.id, "port": port, "owner": os.getpid()})


def forget_manager(run: Path) -> None:
    """Remove the record of a manager that has ended."""
    RunFiles(run).manager.unlink(missing_ok=True)


def stop_orphan(run: Path) -> bool:
    """End the manager that a killed run left behind in this folder, and its trials. It ends by itself within seconds,
    so this helps only who resumes at once.

    What the folder says about processes is not trusted: it may be a copy, or made by somebody else. A manager is
    recognised by its own command line, its own environment and its user.

    Returns:
        Whether there was one.
    """
    path = RunFiles(run).manager
    if not path.exists():
        return False
    folder, found = RunFiles(run.resolve()).nni, False
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if _manages(process, folder) and _is_orphan(process):
                kill_family(process)
                found = True
    found |= kill_trials(folder)
    path.unlink()
    return found


def _manages(process: psutil.Process, folder: Path) -> bool:
    """Whether a process is an NNI manager of this user whose experiments are in a folder."""
    words = process.cmdline()
    named = dict(zip(words, words[1:], strict=False)).get("--experiments-directory")
    main = any(Path(word).parts[-2:] == ("nni_node", "main.js") for word in words[1:])
    own = process.uids().real == os.getuid()
    return own and main and named is not None and Path(named).resolve() == folder


def _is_orphan(process: psutil.Process) -> bool:
    """Whether the process that started a manager or trial of ours has ended."""
    owner = ProcessName.parse(process.environ().get(OWNER, ""))
    return owner is not None and not owner.runs()


def kill_trials(place: Path) -> bool:
    """End trials that outlived their manager, and so are no longer its children.

    Args:
        place: Their experiment's folder, or a folder of experiments. Only those are ended that were started for this
            process, or for one that has ended.

    Returns:
        Whether there were any.
    """
    place, found, own = place.resolve(), False, str(ProcessName.own())
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ() if process.uids().real == os.getuid() else {}
            inside = place in Path(environment.get("NNI_SYS_DIR", "/")).parents
            if inside and (environment.get(OWNER) == own or _is_orphan(process)):
                process.kill()
                found = True
    return found
