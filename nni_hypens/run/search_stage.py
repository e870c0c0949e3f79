"""The search of a run: in this process, or in a trial that NNI's web UI shows."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.nn.pytorch import ModelSpace
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from nni_hypens._nni import quiet_logging
from nni_hypens.errors import CommandError, InputError, reason
from nni_hypens.run.epoch_pools import EpochPools
from nni_hypens.run.plan import Plan
from nni_hypens.run.runtime import LOGGER_NAMES
from nni_hypens.run.search_processes import in_processes, own_rank, with_others
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.search.schedule import BASE, HISTORY_COLUMNS, WARMUP
from nni_hypens.search.strategy import EdgeNES
from nni_hypens.space.build import fresh
from nni_hypens.trials.live import watch_stage
from nni_hypens.trials.names import TRIAL_COMMAND
from nni_hypens.trials.parts import rebuilt
from nni_hypens.utils.files import check_file, write_json, write_text
from nni_hypens.utils.paths import own_python
from nni_hypens.utils.progress import Progress, SearchProgress
from nni_hypens.utils.run_files import RunFiles, SearchFiles
from nni_hypens.utils.runtime import torch_threads
from nni_hypens.utils.seeds import Purpose, derive_seed, seed_everything

LOGGERS = dict(zip(LOGGER_NAMES, (CSVLogger, TensorBoardLogger), strict=True))
"""Loggers of Lightning that the command line offers."""
SHOWN = ("data", "space", "base", "diversity", "search_epochs", "seed")
"""Settings that the web UI shows as the trial's parameters."""


def check_logger(logger: str | None) -> None:
    """Check that a logger can be used.

    Raises:
        InputError: It is not one of `LOGGERS`, or its package is missing.
    """
    if logger is not None and logger not in LOGGERS:
        raise InputError("logger", repr(logger), f"one of {', '.join(LOGGERS)}")
    if logger == "tensorboard" and not any(map(find_spec, ("tensorboard", "tensorboardX"))):
        raise InputError(
            "logger", "tensorboard, which is not installed", "pip install 'nni-hypens[tensorboard]', or csv"
        )


def search_stage(
    plan: Plan,
    out: Path,
    progress: Progress,
    logger: str | None = None,
    processes: int = 1,
    save_each_epoch: bool = False,
) -> None:
    """Search base and hypernetwork, from the last checkpoint if there is one; ``base.json`` is written last.

    Args:
        plan: What to do, checked.
        out: The run folder.
        progress: Where progress is shown.
        logger: One of `LOGGERS`, for the curves of the search in ``search/logs``; None for no logger.
        processes: How many processes search together; this function starts the others, which call it as well.
        save_each_epoch: Whether to save a pool of architectures after each epoch of the hypernetwork.

    Raises:
        RuntimeError: Another process of the search failed.
        KeyboardInterrupt: Ctrl-C; finished epochs are kept.
    """
    files = RunFiles(out).search
    if files.base.exists():
        return
    strategy = EdgeNES(base=plan.base, diversity=plan.diversity, seed=plan.settings.seed, **plan.strategy)
    evaluator = rebuilt(plan.search_evaluator)  # a trainer serves once
    if not own_rank():
        drop_broken(files, progress)
    with with_others(out, processes), torch_threads(plan.settings.threads):
        if processes > 1:
            evaluator = in_processes(evaluator, processes)
        if (
            logger is not None
        ):  # each start gets a new folder, version_0, version_1, ...: a resumed search loses nothing
            evaluator.trainer.loggers = [LOGGERS[logger](files.logs, name="")]
        seed_everything(derive_seed(plan.settings.seed, Purpose.SUPERNET_WEIGHTS))
        callbacks = [SearchProgress(progress), *([EpochPools(files, plan)] if save_each_epoch else [])]
        run_search(fresh(plan.space), evaluator, strategy, files.folder, callbacks)
    if not own_rank():
        _write(plan, files, strategy)


def _write(plan: Plan, files: SearchFiles, strategy: EdgeNES) -> None:
    """Write what a search has found."""
    module = strategy.oneshot_module
    base_epochs = [row["seconds"] for row in strategy.history if row["phase"] in (WARMUP, BASE)]
    rest = [row["seconds"] for row in strategy.history if row["phase"] not in (WARMUP, BASE)]
    searched = plan.base is None
    strategy.save_supernet(files.supernet)
    history = pd.DataFrame(strategy.history, columns=list(HISTORY_COLUMNS))
    write_text(files.history, history.to_csv(index=False))
    write_json(
        files.summary,
        {
            "n_edges": strategy.n_edges,
            "base_edges": [list(edge) for edge in strategy.structure.edges(strategy.base_architecture)],
            "base_search_s": sum(base_epochs) if searched else 0.0,
            "search_s": sum(rest) + (0.0 if searched else sum(base_epochs)),
            "base_ranking": module.base_ranking,
            "dial": [[lam, shared] for lam, shared in _dial(strategy.sampler)],
            "counts_edges": strategy.sampler.counts_edges,
        },
    )
    strategy.sampler.save(files.folder)
    shutil.rmtree(files.checkpoints, ignore_errors=True)


def drop_broken(files: SearchFiles, progress: Progress) -> None:
    """Remove the checkpoints of a search if the last cannot be read; the search then starts again."""
    last = files.last_checkpoint
    if not last.exists():
        return
    try:
        check_file(last)
        torch.load(last, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises another for each kind of damage
        progress.warn(f"{last} cannot be read ({reason(error, 100)}); the search starts again")
        shutil.rmtree(files.checkpoints)


def _dial(sampler: ArchitectureSampler) -> list[tuple[float, int]]:
    lams = [quarter / 4 for quarter in range(4 * sampler.n_edges + 1)]
    return list(zip(lams, sampler.dial(lams), strict=True))


def live_search_stage(
    plan: Plan,
    out: Path,
    port: int | None,
    progress: Progress,
    logger: str | None = None,
    save_each_epoch: bool = False,
) -> None:
    """As `search_stage`, with the same result, in the only trial of an experiment, which NNI's web UI shows.

    Args:
        plan: What to do; the trial reads it from ``config.yaml``.
        out: The run folder, held by this process.
        port: Port of the web UI; None for the first free one from 8080.
        progress: Where the address is shown; the trial's own progress goes to standard error.
        logger: As for `search_stage`.
        save_each_epoch: As for `search_stage`.

    Raises:
        InputError: The port is taken.
        CommandError: The search failed; it has printed why.
        RuntimeError: NNI's manager has ended.
        KeyboardInterrupt: Ctrl-C; the finished epochs stay.
    """
    if RunFiles(out).search.base.exists():
        return
    command = [*own_python(), "-m", "nni_hypens", TRIAL_COMMAND, "--out", str(out)]
    command += ["--quiet"] if progress.quiet else []
    command += ["--logger", logger] if logger else []
    command += ["--save-each-epoch"] if save_each_epoch else []
    settings = {name: plan.identity[name] for name in SHOWN if plan.identity.get(name) is not None}
    code = watch_stage(command, out, settings, port, progress.say)
    if code != 0:
        raise CommandError(code, "the search")


def run_search(
    space: ModelSpace, evaluator: Lightning, strategy: EdgeNES, directory: Path, callbacks: Sequence[Callback] = ()
) -> None:
    """Run the one-shot search as an NNI experiment, checkpointed after each epoch.

    It continues from a checkpoint in ``directory/checkpoint``, with the result of a search that was never interrupted.

    Args:
        space: The model space; it becomes the supernet, in place.
        evaluator: NNI Lightning evaluator whose trainer has not been used yet.
        strategy: A fresh strategy.
        directory: The ``search`` folder of the run.
        callbacks: More Lightning callbacks.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    strategy.checkpoint_dir = SearchFiles(directory).checkpoints
    evaluator.trainer.callbacks += callbacks
    config = NasExperimentConfig("sequential", "raw", "local")
    own = tempfile.TemporaryDirectory() if own_rank() else nullcontext(str(RunFiles(directory.parent).nni))
    before = signal.getsignal(signal.SIGINT)
    with own as config.experiment_working_directory:
        experiment = NasExperiment(space, evaluator, strategy, config)
        quiet_logging()
        _start(experiment, evaluator, before)


def _start(experiment: NasExperiment, evaluator: Lightning, before: Any) -> None:
    """Run an experiment to its end; ``before`` is what happens at Ctrl-C without it."""
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
