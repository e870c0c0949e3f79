"""What a trained candidate leaves in its folder, and whether it is still whole."""

from __future__ import annotations

from pathlib import Path

from nni_hypens.errors import InputError
from nni_hypens.utils.files import read_arrays, read_json
from nni_hypens.utils.tensors import read_tensors

METRICS, WEIGHTS, PREDICTIONS = "metrics.json", "weights.safetensors", "predictions.npz"


def damage(folder: Path) -> str | None:
    """What is wrong with a candidate that finished, or None: disks fill up, and people tidy up.

    Args:
        folder: The candidate's; without ``metrics.json`` it has not finished, which is no damage.

    Returns:
        The file at fault and why, in one line.
    """
    if not (folder / METRICS).exists():
        return None
    try:
        if read_json(folder / METRICS).get("status") == "trained":
            read_tensors(folder / WEIGHTS)
            read_arrays(folder / PREDICTIONS, "val", "test")
    except AttributeError:
        return f"{folder / METRICS}: got no mapping"
    except InputError as error:
        return f"{error.field}: got {error.got}"
    return None
