"""Options of a run that do not change its results, declared once for the command line and `search_ensemble`.

This module imports no large package, as `nni_hypens.run.settings`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nni_hypens.errors import InputError
from nni_hypens.run.fields import check_fields, from_mapping, setting
from nni_hypens.utils.devices import chosen_gpus

RUNNERS = ("nni", "local")
LOGGER_NAMES = ("csv", "tensorboard")


@dataclass(frozen=True)
class Runtime:
    """How a run is carried out; the run folder's `config.yaml` does not have these options.

    They do not change results, but for `devices`: in a search of several processes, BatchNorm sees smaller batches.
    """

    runner: str = setting(
        "nni",
        "what trains candidates: nni (trials with a web UI, here or on other machines) or local (worker processes of "
        "this machine without a manager or a port, for batch systems and notebooks)",
        choices=RUNNERS,
        common=True,
    )
    port: int | None = setting(None, "port of NNI's web UI, on loopback (default: first free from 8080)")
    concurrency: int = setting(min(2, os.cpu_count() or 1), "trials at once", at_least=1, metavar="N", common=True)
    devices: str | None = setting(
        None,
        "GPUs to use, as Lightning names them: a number such as 2, or places such as 0,2 (the search uses one, trials "
        "all); the search has a process on each, and shares each batch among them; with accelerator=cpu, its number of "
        "processes",
    )
    per_trial: int = setting(
        1, "candidates that each trial trains (starting a trial takes seconds)", at_least=1, metavar="N"
    )
    service: str | None = setting(
        None,
        "where trials run: a training service of NNI, such as `platform: remote` with its machineList "
        "(default: this machine)",
        metavar="FILE.yaml",
    )
    quiet: bool = setting(False, "do not show progress")
    live: bool = setting(False, "show the search in NNI's web UI while it runs")
    logger: str | None = setting(
        None,
        "write the curves of the search to DIR/search/logs (tensorboard: an extra to install)",
        choices=LOGGER_NAMES,
        metavar="|".join(LOGGER_NAMES),
    )
    save_each_epoch: bool = setting(
        False, "after each epoch of the hypernetwork, save the architectures that it would give, in DIR/search/epochs"
    )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "config") -> Runtime:
        """Options from a mapping, as for `Settings.from_mapping`.

        Raises:
            InputError: Unknown name (with the nearest one), or a value of the wrong type.
        """
        return from_mapping(cls, values, source)

    def check(self) -> None:
        """Check ranges and names.

        Raises:
            InputError: An option is wrong, or means nothing without NNI's manager; the error names it.
        """
        check_fields(self)
        chosen_gpus(self.devices)
        if self.runner != "local":
            return
        for name in ("port", "per_trial", "service", "live"):
            given, default = getattr(self, name), type(self).__dataclass_fields__[name].default
            if given != default:
                raise InputError(name, f"{given} with runner=local", "runner=nni: the local runner has no NNI manager")
