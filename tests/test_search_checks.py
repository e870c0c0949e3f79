from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file

from nni_hypens.errors import InputError
from nni_hypens.search_checks import check_trainer
from nni_hypens.utils.tensors import load_supernet_weights
from search_spaces import OneCell


def trainer(**settings: Any) -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"precision": "bf16-mixed"},
        {"precision": 64},
        {"devices": 2, "strategy": "ddp_find_unused_parameters_true"},
        {"devices": 2, "strategy": "ddp_fork_find_unused_parameters_true"},
    ],
)
def test_trainers_that_work(settings: dict[str, Any]) -> None:
    check_trainer(trainer(**settings))


@pytest.mark.parametrize(
    ("settings", "field", "way_out"),
    [
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches", "larger batch"),
        ({"gradient_clip_val": 1.0}, "gradient_clip_val", r"EdgeNES\(gradient_clip_val"),
        ({"precision": "bf16-true"}, "precision", "bf16-mixed"),
        ({"devices": 2, "strategy": "ddp"}, "strategy", "ddp_find_unused_parameters_true"),
    ],
)
def test_trainers_that_cannot_work(settings: dict[str, Any], field: str, way_out: str) -> None:
    with pytest.raises(InputError, match=f"^{field}.*{way_out}"):
        check_trainer(trainer(**settings))


def test_weights_are_all_or_nothing(tmp_path: Path) -> None:
    source, target = OneCell(2), OneCell(2)
    path = tmp_path / "supernet.safetensors"
    weights = {name: value.clone() for name, value in source.state_dict().items()}
    save_file(weights, path)
    load_supernet_weights(target, path, "supernet")
    assert all(torch.equal(weights[name], value) for name, value in target.state_dict().items())

    before = {name: value.clone() for name, value in target.state_dict().items()}
    changed = {**weights, "head.weight": torch.zeros(10, 3)}
    for content, name in ((changed, "head.weight"), ({**weights, "more": torch.zeros(1)}, "more")):
        save_file(content, path)
        with pytest.raises(InputError, match=f"^supernet.*{name}"):
            load_supernet_weights(target, path, "supernet")
    save_file({name: value for name, value in weights.items() if name != "head.bias"}, path)
    with pytest.raises(InputError, match="without head.bias"):
        load_supernet_weights(target, path, "supernet")
    path.write_bytes(b"no tensors")
    for place in (path, tmp_path / "absent"):
        with pytest.raises(InputError, match="^supernet"):
            load_supernet_weights(target, place, "supernet")
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())
