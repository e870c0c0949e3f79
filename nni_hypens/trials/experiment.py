"""NNI experiments of trials inside a run folder, and cleaning up after a killed run."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from nni.experiment import Experiment
from nni.nas.evaluator import Evaluator
from nni.nas.experiment import NasExperiment
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens._nni import PatientManager, manager_environment, quiet_logging, trial_config
from nni_hypens.trials.services import Service, check_service
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.ports import free_port
from nni_hypens.utils.run_files import RunFiles


class TrialExperiment(PatientManager, NasExperiment):  # type: ignore[misc]
    """NNI's experiment of trials."""


def run_trials(
    space: ModelSpace,
    evaluator: Evaluator,
    strategy: CandidateTraining,
    run: Path,
    port: int | None,
    service: Service | None = None,
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
    config.experiment_working_directory = str(RunFiles(run.resolve()).nni)
    experiment = TrialExperiment(space, evaluator, strategy, config)
    quiet_logging()
    try:
        with manager_environment(service.host):
            record_manager(run, port, experiment)
            experiment.run(port=port, wait_completion=False)
        if strategy.interrupted():
            raise KeyboardInterrupt
    except (OSError, RuntimeError) as error:
        reason = manager_error(RunFiles(run).nni / experiment.id)
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
    """The first error in the log of an experiment whose manager gave up, for example on an unusable machine."""
    log = folder / "log" / "nnimanager.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
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
    """End the manager that a killed run left behind, and its trials; no other process is touched.

    Returns:
        Whether there was one.
    """
    path = RunFiles(run).manager
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
    found |= kill_trials(experiment, RunFiles(run).nni)
    path.unlink()
    return found


def kill_trials(experiment: str, folder: Path) -> bool:
    """End trials that outlived the manager of their experiment, and so are no longer its children.

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
