"""Files from another machine that lie."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nni_hypens.trials.machine import FetchError
from nni_hypens.trials.remote import Machines
from tests.support.far_candidate import bring, metrics, nothing_came


def pickled(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"weight": [1.0]}))


def other_network(folder: Path) -> None:
    save_file({**nn.Linear(3, 2).state_dict(), "weight": torch.zeros(3, 2)}, folder / "weights.safetensors")


def not_finite(folder: Path) -> None:
    save_file({"weight": torch.full((2, 3), float("nan")), "bias": torch.zeros(2)}, folder / "weights.safetensors")


def far_too_long(folder: Path) -> None:
    with (folder / "weights.safetensors").open("ab") as file:
        file.truncate(10**9)


def no_probabilities(folder: Path) -> None:
    np.savez(folder / "predictions.npz", val=np.ones((8, 2), "f4"), test=np.full((4, 2), 0.5, "f4"))


def other_examples(folder: Path) -> None:
    np.savez(folder / "predictions.npz", val=np.full((9, 2), 0.5, "f4"), test=np.full((4, 2), 0.5, "f4"))


def objects(folder: Path) -> None:
    np.savez(folder / "predictions.npz", val=np.array([[{}]], dtype=object), test=np.full((4, 2), 0.5, "f4"))


def more_arrays(folder: Path) -> None:
    half = np.full((8, 2), 0.5, "f4")
    np.savez(folder / "predictions.npz", val=half, test=half[:4], more=half)


def claims_terabytes(folder: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 2)})
    with zipfile.ZipFile(folder / "predictions.npz", "w") as archive:
        for name in ("val", "test"):
            archive.writestr(f"{name}.npy", header.getvalue())


def unpacks_to_much(folder: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (8, 2)})
    with zipfile.ZipFile(folder / "predictions.npz", "w", zipfile.ZIP_BZIP2) as archive:
        for name in ("val", "test"):
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(10**6))


def record(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "metrics.json").write_text(json.dumps(metrics(**changes))) and None


@pytest.mark.parametrize(
    "lie",
    [
        pickled, other_network, not_finite, far_too_long, no_probabilities, other_examples, objects, more_arrays,
        claims_terabytes, unpacks_to_much, record(id="c01"), record(seed=8), record(status="failed"),
        record(default=float("nan")), record(seconds="1"), record(history=[1]), record(validation={}),
        lambda folder: (folder / "metrics.json").write_text("[]"),
        lambda folder: (folder / "metrics.json").write_text("{" * 5000),
        lambda folder: (folder / "metrics.json").unlink(),
    ],
)  # fmt: skip
def test_files_that_are_not_what_they_must_be(
    machines: Machines, place: Path, tmp_path: Path, lie: Callable[[Path], None]
) -> None:
    lie(place / "c00")
    with pytest.raises(FetchError) as error:
        bring(machines, place, tmp_path / "candidates")
    assert "\n" not in str(error.value) and nothing_came(tmp_path / "candidates")


def test_what_is_ours_is_not_taken_from_there(machines: Machines, place: Path, tmp_path: Path) -> None:
    record(parameters=10**9, lam=-1.0, more="<script>")(place / "c00")
    assert bring(machines, place, tmp_path / "candidates") == metrics()
