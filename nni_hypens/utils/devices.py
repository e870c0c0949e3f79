"""Which GPUs a run may use. This module imports no large package: the choice must be made before torch is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

from nni_hypens.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
BEFORE = "NNI_HYPENS_CUDA_VISIBLE_DEVICES"
"""What `VISIBLE` was before `show_only`, "all" if not set: the same setting then selects the same GPUs afterwards."""


def chosen_gpus(devices: str | None, environment: MutableMapping[str, str] | None = None) -> list[int] | None:
    """Numbers of the GPUs that a setting selects, as ``nvidia-smi`` counts them; None if it selects none.

    Args:
        devices: A number of GPUs such as ``2``, or their places such as ``0,2``; as Lightning's ``devices``, among the
            GPUs that ``CUDA_VISIBLE_DEVICES`` leaves.
        environment: Where that variable is; None for this process's.

    Raises:
        InputError: Another form, or a GPU that ``CUDA_VISIBLE_DEVICES`` hides.

    Examples:
        >>> chosen_gpus("2", {}), chosen_gpus("0,1", {"CUDA_VISIBLE_DEVICES": "4,6"})
        ([0, 1], [4, 6])
    """
    if devices is None:
        return None
    if not re.fullmatch(r"\d+(\s*,\s*\d+)*", devices) or devices == "0":
        raise InputError("devices", repr(devices), "a number of GPUs such as 2, or their places such as 0,2")
    places = [int(place) for place in devices.split(",")]
    places = list(range(places[0])) if "," not in devices else places
    if len(set(places)) < len(places):
        raise InputError("devices", repr(devices), "each GPU once")
    environment = os.environ if environment is None else environment
    visible = environment.get(BEFORE, environment.get(VISIBLE, "all"))
    if visible == "all":
        return places
    numbers = [number.strip() for number in visible.split(",") if number.strip()]
    if max(places) >= len(numbers) or not all(number.isdecimal() for number in numbers):
        raise InputError("devices", repr(devices), f"some of the GPUs that {VISIBLE}={visible} leaves, by their place")
    return [int(numbers[place]) for place in places]


def show_only(gpus: list[int] | None, environment: MutableMapping[str, str] | None = None) -> None:
    """Let this process and those that it starts see these GPUs only; None changes nothing."""
    if gpus is not None:
        environment = os.environ if environment is None else environment
        environment.setdefault(BEFORE, environment.get(VISIBLE, "all"))
        environment[VISIBLE] = ",".join(map(str, gpus))
