from __future__ import annotations

from typing import Any

import nni
import pytest
from nni.runtime.trial_command_channel import get_default_trial_command_channel, set_default_trial_command_channel

from nni_hypens import ImageData
from tests.support.trials import Channel


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=128, validation_size=64, test_size=32)


@pytest.fixture
def channel() -> Any:
    before, own = get_default_trial_command_channel(), Channel()
    set_default_trial_command_channel(own)
    nni.get_next_parameter()
    yield own
    set_default_trial_command_channel(before)
    nni.trial._params = None
