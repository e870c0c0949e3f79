"""A search in several processes, one for each GPU, or as many as asked for on a CPU: Lightning's DDP.

Process 0 is the run itself. It starts the others, which build the same plan from the run folder's ``config.yaml``, draw
the same paths by the same seeds, and write nothing. Lightning gives each its part of the data and averages gradients.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch.distributed
from nni.nas.evaluator.pytorch import Lightning, Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]

from nni_hypens._nni import without_adverts
from nni_hypens.errors import InputError
from nni_hypens.search.trainer import DDP
from nni_hypens.trials.evaluators import gpus_of
from nni_hypens.trials.names import TRIAL_COMMAND
from nni_hypens.utils.devices import chosen_gpus
from nni_hypens.utils.paths import own_python
from nni_hypens.utils.processes import ProcessName, follow

RANK = "NNI_HYPENS_RANK"
"""Environment variable with the number of a process of a search; not set in process 0."""
LEADER = "NNI_HYPENS_LEADER"
"""Environment variable with the name of process 0."""
PATIENCE = 60
"""Seconds that the other processes get to end after the search."""


def own_rank() -> int:
    """Number of this process among those of its search."""
    return int(os.environ.get(RANK, "0"))


def processes_for(evaluator: Any, devices: str | None) -> int:
    """How many processes a search has: one for each GPU that is asked for, 1 by default.

    Args:
        evaluator: Of the search.
        devices: The option of that name.

    Raises:
        InputError: Places of GPUs for a search on a CPU.
    """
    chosen = chosen_gpus(devices)
    if chosen is None:
        return 1
    if not gpus_of(evaluator, chosen) and devices is not None and "," in devices:
        raise InputError("devices", devices, "a number of processes with accelerator=cpu, such as 2")
    return len(chosen)


def in_processes(evaluator: Lightning, processes: int) -> Lightning:
    """An evaluator whose trainer is one of several, made of the same arguments."""
    arguments = dict(evaluator.trainer.trace_kwargs)
    arguments |= {"devices": processes, "strategy": DDP, "plugins": [LightningEnvironment()]}
    with without_adverts():
        trainer = Trainer(**arguments)
    # it says only that processes begin, and would be the last words of one that is killed
    logging.getLogger("lightning_fabric.utilities.distributed").setLevel(logging.WARNING)
    return Lightning(evaluator.module, trainer, datamodule=evaluator.datamodule)


@contextmanager
def with_others(out: Path, processes: int) -> Iterator[None]:
    """Have the other processes of a search while the block runs; in those, and for a single process, nothing.

    Args:
        out: The run folder.
        processes: How many, with this one.

    Raises:
        RuntimeError: One of them failed; with its last words.
    """
    if own_rank() or processes == 1:
        if own_rank():
            follow(os.environ.get(LEADER, ""))
        yield
        return
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), LEADER: str(ProcessName.own())}
    with ExitStack() as stack, _environment({**shared, "LOCAL_RANK": "0"}):
        others = []
        for rank in range(1, processes):
            log = stack.enter_context(tempfile.TemporaryFile())
            command = [*own_python(), "-m", "nni_hypens", TRIAL_COMMAND, "--out", str(out), "--quiet"]
            command += ["--processes", str(processes)]
            environment = {**os.environ, **shared, "LOCAL_RANK": str(rank), RANK: str(rank)}
            others.append((start_process(command, environment, log), log))
            stack.callback(_end, others[-1][0])
        try:
            yield
        except Exception as error:
            if (reason := _failure(others, wait=5)) is not None:
                raise RuntimeError(reason) from error
            raise
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
        if (reason := _failure(others, wait=PATIENCE)) is not None:
            raise RuntimeError(reason)


def start_process(command: list[str], environment: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
    """Start another process of a search, whose output goes to a file."""
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _failure(others: list[tuple[subprocess.Popen[bytes], Any]], wait: float) -> str | None:
    """What the first of the processes that failed said last; None if none has."""
    for rank, (process, log) in enumerate(others, start=1):
        try:
            code = process.wait(wait)
        except subprocess.TimeoutExpired:
            continue
        if code:
            log.seek(0)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            said = [line[:500] for line in lines[-1:]]
            return ": ".join([f"process {rank} of the search ended with exit code {code}", *said])
    return None


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables of this process for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
