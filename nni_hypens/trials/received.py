"""Files from another machine, checked as untrusted before they are used."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_hypens.errors import InputError, reason
from nni_hypens.trials.machine import FetchError
from nni_hypens.utils.checks import require
from nni_hypens.utils.files import open_file, parse_json, read_text
from nni_hypens.utils.npz import array_header, read_arrays
from nni_hypens.utils.run_files import CandidateFiles
from nni_hypens.utils.tensors import load_weights

_NAMES = CandidateFiles(Path())
FILES = (_NAMES.weights.name, _NAMES.predictions.name, _NAMES.metrics.name)
MAX_METRICS_BYTES = 4 * 2**20
NUMBER = (int, float)
COSTS = ("seconds", "cpu_seconds", "flops", "latency_ms")
METRICS = {"default": NUMBER, "validation": dict, "history": list, **dict.fromkeys(COSTS, NUMBER)}
MEASURES = ("accuracy", "nll", "ece", "brier", "aurc")


@dataclass(frozen=True)
class Expected:
    """The expected content of a candidate's files.

    Args:
        spec: Fields of its `TrialSpec`.
        network: Its network, with any weights.
        classes: Classes C, or None for any number.
        rows: Name of an array of predictions -> its number of examples, or None for any number.
    """

    spec: dict[str, Any]
    network: torch.nn.Module
    classes: int | None
    rows: Mapping[str, int | None]

    def limits(self) -> dict[str, int]:
        """Largest size of each file in bytes; a safetensors header takes about a hundred for each tensor."""
        state = self.network.state_dict()
        weights = sum(value.numel() * value.element_size() + 2000 for value in state.values()) + 10_000
        examples = sum(2**24 if rows is None else rows for rows in self.rows.values())
        predictions = examples * (self.classes or 1000) * 5 + 10_000
        return dict(zip(FILES, (weights, predictions, MAX_METRICS_BYTES), strict=True))

    def check(self, folder: Path) -> dict[str, Any]:
        """The content of ``metrics.json``: numbers from the file, everything else from here.

        Raises:
            FetchError: A file has other content than expected. Nothing is unpickled to find out.
        """
        try:
            files = CandidateFiles(folder)
            load_weights(self.network, files.weights)
            _check_predictions(files.predictions, self.classes, self.rows)
            return self._metrics(files.metrics)
        except (InputError, OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            raise FetchError(f"{self.spec['id']}: {reason(error, 300)}") from None

    def _metrics(self, path: Path) -> dict[str, Any]:
        record = parse_json(read_text(path, MAX_METRICS_BYTES))
        if not isinstance(record, dict):
            raise ValueError("metrics.json holds no object")
        require(record, METRICS, "metrics.json")
        require(record["validation"], dict.fromkeys(MEASURES, NUMBER), "metrics.json.validation")
        about = {name: value for name, value in self.spec.items() if name != "architecture"}
        for name in ("id", "seed", "text", "status"):
            if record.get(name) != {**about, "status": "trained"}[name]:
                raise ValueError(f"metrics.json of another candidate: {name} is {record.get(name)!r:.80}")
        for row in record["history"]:
            require(row, {"epoch": int, "accuracy": NUMBER}, "metrics.json.history")
        return {
            **about,
            "status": "trained",
            "default": record["default"],
            "validation": {name: record["validation"][name] for name in MEASURES},
            "history": [{name: row[name] for name in ("epoch", "accuracy")} for row in record["history"]],
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            **{name: record[name] for name in COSTS},
        }


def _check_predictions(path: Path, classes: int | None, rows: Mapping[str, int | None]) -> None:
    """Check headers first: an array is read only if its shape fits the data."""
    with open_file(path) as whole, zipfile.ZipFile(whole) as archive:
        if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in rows):
            raise ValueError(f"predictions.npz holds {archive.namelist()!r:.100}")
        for name, count in rows.items():
            with archive.open(f"{name}.npy") as file:
                shape, kind = array_header(file)
            wanted = (shape[0] if count is None else count, shape[-1] if classes is None else classes)
            too_long = archive.getinfo(f"{name}.npy").file_size > 4 * math.prod(shape) + 10_000
            if len(shape) != 2 or shape != wanted or kind != np.float32 or too_long:
                raise ValueError(f"{name} of predictions.npz is {kind} of shape {shape}, not float32 of {wanted}")
    for name, array in zip(rows, read_arrays(path, *rows), strict=True):
        if not (np.isfinite(array).all() and (array >= 0).all() and np.allclose(array.sum(1), 1, atol=1e-3)):
            raise ValueError(f"{name} of predictions.npz holds no probabilities")
