from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nni_hypens.run.folder import METRICS, PREDICTIONS, WEIGHTS, damage
from nni_hypens.utils.files import write_arrays, write_json
from nni_hypens.utils.tensors import write_tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_arrays(tmp_path / PREDICTIONS, {"val": np.eye(9), "test": np.eye(9)})
    write_tensors(tmp_path / WEIGHTS, {"w": torch.zeros(9)})
    write_json(tmp_path / METRICS, {"status": "trained"})
    return tmp_path


@pytest.mark.parametrize("name", [METRICS, PREDICTIONS, WEIGHTS])
def test_what_is_cut_off_is_named(folder: Path, name: str) -> None:
    assert damage(folder) is None
    os.truncate(folder / name, (folder / name).stat().st_size - 5)
    assert str(folder / name) in str(damage(folder)) and "got" in str(damage(folder))


def test_what_is_missing_is_named(folder: Path) -> None:
    write_arrays(folder / PREDICTIONS, {"val": np.eye(2)})
    assert "test" in str(damage(folder))
    (folder / WEIGHTS).unlink()
    assert damage(folder) == f"{folder / WEIGHTS}: got no file"
    write_json(folder / METRICS, {"status": "failed"})
    assert damage(folder) is None  # it left nothing, and nothing is expected
    write_json(folder / METRICS, [])
    assert damage(folder) == f"{folder / METRICS}: got no mapping"
    (folder / METRICS).unlink()
    assert damage(folder) is None
