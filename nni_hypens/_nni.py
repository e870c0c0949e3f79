"""With ``_manager.py``, the only module that uses private names of NNI or Lightning or depends on their versions. Each
workaround says why it exists and how to tell when it can go."""

from __future__ import annotations

import atexit
import copy
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nni_hypens.utils.paths import own_python

if TYPE_CHECKING:
    from nni.experiment.config.training_service import TrainingServiceConfig
    from nni.nas.experiment import NasExperimentConfig

try:
    # If tianshou is installed, nni.nas.strategy imports gym, which prints advice that our users cannot act on.
    # Can go when NNI imports gymnasium instead.
    from gym_notices.notices import notices

    notices.clear()
except ImportError:
    pass

with warnings.catch_warnings():
    # Lightning 2.6 uses a deprecated pytree class. No user can act on it. Can go when `python -W error -c "import
    # pytorch_lightning"` passes.
    warnings.filterwarnings("ignore", category=FutureWarning, module="pytorch_lightning.utilities._pytree")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    # nni 3.0: keep this order of imports. In the other order, nni.nas.strategy imports nni.nas.oneshot before it is
    # complete, and defines placeholders instead of DARTS and the other one-shot strategies. Can go when `python -c
    # "import nni.nas.oneshot.pytorch as o; from nni.nas.strategy import DARTS; DARTS(arc_learning_rate=1)"` passes.
    import nni.nas.nn.pytorch  # noqa: F401
    import nni.nas.strategy  # noqa: F401
    import nni.trial
    import pytorch_lightning as pl
    from nni.nas.oneshot.pytorch.supermodule._expression_utils import traverse_all_options
    from nni.runtime.trial_command_channel import (
        TrialCommandChannel,
        get_default_trial_command_channel,
        set_default_trial_command_channel,
    )
    from pytorch_lightning.strategies import DDPStrategy


def quiet_training() -> None:
    """Silence Lightning's hints that do not apply here: our data is in memory, and there are few steps."""
    for message in (
        ".*does not have many workers.*",
        ".*The number of training batches.*",
        ".*`isinstance.treespec.*",
        ".*exists and is not empty.*",
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
        ".*modules in eval mode.*",
        ".*You passed in a `val_dataloader` but have no.*",
        ".*Failed to create link.*",
    ):
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def without_adverts() -> Iterator[None]:
    """Build a trainer without the lines in which Lightning lists missing hardware and advertises its packages.

    Lightning logs them as information each time. Can go when it has an option for that.
    """
    loggers = [logging.getLogger(f"{name}.utilities.rank_zero") for name in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def restart_epoch_data(trainer: pl.Trainer) -> None:
    """Restart the epoch's data iterator after seeding.

    Lightning creates the iterator of a run's first epoch before ``on_train_epoch_start``, and those of later epochs
    after it, so a resumed epoch would see the data in another order. Private: ``fit_loop._data_fetcher``,
    ``fit_loop.is_resuming``. Can go when ``tests/search/test_strategy.py::test_resume_is_exact`` passes without it.
    """
    loop = trainer.fit_loop
    first_epoch_of_run = trainer.current_epoch == 0 or loop.is_resuming
    if first_epoch_of_run and loop._data_fetcher is not None:
        iter(loop._data_fetcher)


def end_process() -> NoReturn:
    """End this process with exit code 0 after its exit handlers, without tearing down modules.

    Private: ``atexit._run_exitfuncs``. Can go when Python can exit without freeing its memory first.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def load_service(content: Mapping[str, Any], base: Path) -> TrainingServiceConfig | None:
    """NNI's config object of a training service from the content of a YAML file, with paths relative to ``base``. None
    for a platform that NNI does not know.

    NNI's ``ConfigBase.load`` needs the class in advance, and after an error it keeps the base folder for the next load.
    Private: ``nni.experiment.config.utils``. Can go when ``TrainingServiceConfig.load`` finds the class
    by ``platform``.

    Raises:
        AttributeError, TypeError, ValueError: Unknown fields.
    """
    from nni.experiment.config import utils as config_utils
    from nni.experiment.config.training_service import TrainingServiceConfig

    config_utils.set_base_path(base.resolve())
    try:
        config = config_utils.load_training_service_config(dict(content))
    finally:
        config_utils.unset_base_path()
    return config if isinstance(config, TrainingServiceConfig) else None


def service_fields(platform: str) -> list[str] | None:
    """Fields of a platform's config class, as named in YAML; None for a platform that NNI does not know."""
    from nni.experiment.config import utils as config_utils

    try:
        config = config_utils.training_service_config_factory(platform)
    except ValueError:
        return None
    return [config_utils.camel_case(entry.name) for entry in config_utils.fields(config)]


def trial_config(service: TrainingServiceConfig, remote_python: bool = False) -> NasExperimentConfig:
    """Configuration of a multi-trial experiment on a training service, whose trials start in
    ``nni_hypens.trials.process``.

    Args:
        service: NNI's config object; copied.
        remote_python: Run trials with the python of their machine. NNI puts the path of this process's python into
            the command of every trial, and only ``_trial_command_params`` (private) changes that. Like NNI's ssh
            workers, we put ``python_path`` first in ``PATH`` and prefer ``python`` to ``python3``. We set the threads
            here, since they otherwise follow the manager's environment. Can go when NNI chooses the python on the
            trial's machine.
    """
    from nni.nas.experiment import NasExperimentConfig  # imported here: trials need no experiment

    config = NasExperimentConfig("ts", "simplified", training_service=copy.deepcopy(service))
    python = "$(command -v python || command -v python3)" if remote_python else shlex.join(own_python())
    config._trial_command_params = {
        "envs": "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1" if remote_python else "",
        "python": f"{python} -m nni_hypens.trials.process",
    }
    return config


def canonical_service(service: TrainingServiceConfig) -> TrainingServiceConfig:
    """A training service as NNI passes it to its manager: with absolute paths, checked by NNI.

    Raises:
        ValueError, AssertionError: NNI refuses it.
    """
    config = trial_config(service)
    config.trial_concurrency = config.max_trial_number = 1
    if not isinstance(config.training_service.nni_manager_ip, str):
        config.nni_manager_ip = "127.0.0.1"  # or NNI warns; trials/services.py checks whether it is required
    return config.canonical_copy().training_service


def distribution_of(expression: Any, weights: Mapping[str, Any]) -> dict[Any, Any]:
    """Probability of each value of an expression over choices, given the probabilities of each label's options.

    NNI's differentiable supernet computes them in the same way. Private: ``_expression_utils.traverse_all_options``.
    Can go when NNI makes it public.
    """
    return dict(traverse_all_options(expression, weights=weights))


def finds_unused_parameters(strategy: DDPStrategy) -> bool:
    """Whether DDP expects steps that leave parameters unused.

    Private: ``DDPStrategy._ddp_kwargs``. Can go when Lightning has a public attribute for it.
    """
    return bool(strategy._ddp_kwargs.get("find_unused_parameters", False))


class TrialReports(TrialCommandChannel):  # type: ignore[misc]
    """Replaces NNI's trial channel while a candidate is trained, to add its id to the evaluator's reports.

    Intermediate metrics are passed on as dicts with the candidate's id. The final metric is kept in ``final`` and not
    sent, because a trial may send only one, and our trial sends one with more values. NNI's sequential engine replaces
    the channel in the same way.

    Args:
        candidate: The candidate's id.
        more: Further entries of every report.
    """

    def __init__(self, candidate: str, more: Mapping[str, str] | None = None) -> None:
        self.about = {"candidate": candidate, **(more or {})}
        self.intermediate: list[float] = []
        self.final: float | None = None
        self.channel = get_default_trial_command_channel()

    def __enter__(self) -> TrialReports:
        set_default_trial_command_channel(self)
        return self

    def __exit__(self, *error: Any) -> None:
        set_default_trial_command_channel(self.channel)

    def receive_parameter(self) -> Any:
        return self.channel.receive_parameter()

    def send_metric(self, type: str, parameter_id: int | None, trial_job_id: str, sequence: int, value: Any) -> None:  # noqa: A002
        number = value["default"] if isinstance(value, dict) else value
        if type == "FINAL":
            self.final = float(number)
            return
        self.intermediate.append(float(number))
        report = {**(value if isinstance(value, dict) else {}), "default": float(number), **self.about}
        self.channel.send_metric(type, parameter_id, trial_job_id, sequence, report)


class TrialLink:
    """The connection from this trial to NNI's manager, stored before a NAS experiment starts inside the trial.

    NNI's sequential engine (``nas/execution/sequential.py``) replaces both the channel of the trial and the record of
    its parameter while a one-shot strategy runs, so ``nni.report_intermediate_result`` does not reach the manager.
    Private: ``nni.trial._params``. Can go when
    ``nni.report_intermediate_result`` reaches the web UI from inside a one-shot search.
    """

    def __init__(self) -> None:
        self.channel = get_default_trial_command_channel()
        record = nni.trial._params
        # an earlier one-shot experiment in this script leaves a model there instead of parameters
        self.record = record if record is not None and isinstance(record["parameters"], dict) else None
        self._sequence = 0

    def send(self, kind: str, value: dict[str, float]) -> None:
        """Send a metric, ``PERIODICAL`` or ``FINAL``.

        Raises:
            OSError: The manager cannot be reached, or has closed the trial.
        """
        if self.record is None:  # NNI answers this request only once, so ask only before the first metric
            self.record = self.channel.receive_parameter()
            if self.record is None:
                raise ConnectionError("NNI has closed this trial")
        sequence = self._sequence if kind == "PERIODICAL" else 0
        self._sequence += kind == "PERIODICAL"
        self.channel.send_metric(kind, self.record["parameter_id"], os.environ["NNI_TRIAL_JOB_ID"], sequence, value)


def quiet_logging(level: int = logging.WARNING) -> None:
    """Limit NNI's and Lightning's logs to warnings. NNI sets its level at import and when an experiment starts."""
    for name in ("nni", "nni.nas", "pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(level)
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(level)
    # "Cannot convert CategoricalMultiple to legacy format": affects only NNI's search space page
    logging.getLogger("nni.nas.experiment.experiment").setLevel(logging.ERROR)
    # "`training_service` will be ignored" is logged at every look at a sequential experiment's configuration
    logging.getLogger("nni.nas.experiment.config.experiment").setLevel(logging.ERROR)
    logging.getLogger("nni.nas.oneshot.pytorch.strategy").setLevel(logging.ERROR)
    # a page for each attempt to reach a manager that has ended
    logging.getLogger("nni.runtime.command_channel.websocket.channel").setLevel(logging.CRITICAL)
    # "Strategy failed to execute", "Model 1 fails to be executed", "Create experiment failed", "KeyboardInterrupt
    # detected": the error itself is raised and shown after them; "Timeout, retry...": it is waited for
    for name in ("nni.nas.strategy.base", "nni.nas.execution.sequential", "nni.experiment"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
