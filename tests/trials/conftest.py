from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import torch
from nni.experiment.config import RemoteConfig, RemoteMachineConfig
from nni.runtime.trial_command_channel import get_default_trial_command_channel, set_default_trial_command_channel
from safetensors.torch import save_file
from torch import nn

from nni_hypens import ImageData
from nni_hypens.trials.machine import Machine
from nni_hypens.trials.remote import Machines
from nni_hypens.trials.services import Service
from tests.support.far_candidate import metrics
from tests.support.trials import Channel


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=128, validation_size=64, test_size=32, batch_size=64)


@pytest.fixture
def channel() -> Any:
    before, own = get_default_trial_command_channel(), Channel()
    set_default_trial_command_channel(own)
    nni.get_next_parameter()
    yield own
    set_default_trial_command_channel(before)
    nni.trial._params = None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A trial's output folder with a good candidate in it."""
    place = tmp_path / "nni-experiments" / "abc" / "environments" / "remote-worker2" / "trials" / "T1"
    folder = place / "c00"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(nn.Linear(3, 2).state_dict(), folder / "weights.safetensors")
    rows = np.random.default_rng(0).dirichlet([1, 1], size=12).astype(np.float32)
    np.savez_compressed(folder / "predictions.npz", val=rows[:8], test=rows[8:])
    (folder / "metrics.json").write_text(json.dumps(metrics()))
    return place


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Two machines that are this one: what ssh would run there, a shell runs here."""
    config = RemoteConfig(
        machine_list=[RemoteMachineConfig(host=f"m{n}", user="me", ssh_key_file="key") for n in (1, 2)]
    )
    monkeypatch.setattr(Machine, "command", lambda self, script: ["sh", "-c", f"echo hello; {script}"])
    return Machines(Service(config), tmp_path / "known_hosts")
