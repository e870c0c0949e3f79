from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from nni.nas.hub.pytorch import MobileNetV3Space
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.profiler import ExpectationProfilerPenalty, SampleProfilerPenalty
from nni.nas.profiler.pytorch.flops import NumParamsProfiler
from safetensors.torch import save_file

from nni_hypens.architecture import ChoiceTable
from nni_hypens.errors import InputError
from nni_hypens.search_checks import check_trainer, expectation_penalty, load_weights, penalize
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


def test_penalty_as_nni_takes_it() -> None:
    profiler = NumParamsProfiler(OneCell(2), torch.zeros(1, 3, 8, 8))
    assert expectation_penalty(None) is None
    given = ExpectationProfilerPenalty(profiler, 1000)
    assert expectation_penalty(given) is given
    made = expectation_penalty({"profiler": profiler, "baseline": 500, "scale": 0.1, "nonlinear": "positive"})
    assert made is not None and (made.baseline, made.scale, made.nonlinear) == (500, 0.1, "positive")


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        ({"baseline": 1}, "profiler"),
        ({"profiler": None, "baseline": 1, "scales": 2}, "scales"),
        (3.0, "float"),
        (SampleProfilerPenalty(object(), 1), "no gradient"),
        (ExpectationProfilerPenalty(object(), 1), "ExpressionProfiler"),
    ],
)
def test_bad_penalties(penalty: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^penalty.*{message}"):
        expectation_penalty(penalty)


def test_expected_cost_is_the_mean_over_draws_and_that_of_nni() -> None:
    """Against NNI's own expectation where it has one, and against the mean of its profile over samples."""
    generator = torch.Generator().manual_seed(0)

    def probabilities(space: ModelSpace) -> dict[str, dict[Any, torch.Tensor]]:
        result = {}
        for label, values in ChoiceTable.from_space(space).options.items():
            row = torch.rand(len(values), generator=generator, dtype=torch.float64)
            result[label] = dict(zip(values, row / row.sum(), strict=True))
        return result

    hub = MobileNetV3Space(num_labels=10)
    penalty = ExpectationProfilerPenalty(NumParamsProfiler(hub, torch.zeros(1, 3, 64, 64)), 1e6, 0.5)
    loss, weights = torch.tensor(1.0, dtype=torch.float64), probabilities(hub)
    ours, details = penalize(penalty, loss, weights)
    theirs, wanted = penalty(loss, weights)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-9)
    assert float(details["penalty"]) == pytest.approx(float(wanted["penalty"]), rel=1e-6)

    cell = OneCell(2)  # NNI's own stops here: some operations have no parameters, and others whole numbers of them
    profiler = NumParamsProfiler(cell, torch.zeros(1, 3, 8, 8))
    weights = probabilities(cell)
    _, details = penalize(ExpectationProfilerPenalty(profiler, 1.0), loss, weights)
    rng = np.random.default_rng(0)
    draws = [
        profiler.profile({label: rng.choice(list(row), p=torch.stack(list(row.values())).numpy())
                          for label, row in weights.items()})
        for _ in range(2000)
    ]  # fmt: skip
    assert float(details["penalty"]) == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / 2000**0.5)


def test_weights_are_all_or_nothing(tmp_path: Path) -> None:
    source, target = OneCell(2), OneCell(2)
    path = tmp_path / "supernet.safetensors"
    weights = {name: value.clone() for name, value in source.state_dict().items()}
    save_file(weights, path)
    load_weights(target, path, "supernet")
    assert all(torch.equal(weights[name], value) for name, value in target.state_dict().items())

    before = {name: value.clone() for name, value in target.state_dict().items()}
    changed = {**weights, "head.weight": torch.zeros(10, 3)}
    for content, name in ((changed, "head.weight"), ({**weights, "more": torch.zeros(1)}, "more")):
        save_file(content, path)
        with pytest.raises(InputError, match=f"^supernet.*{name}"):
            load_weights(target, path, "supernet")
    save_file({name: value for name, value in weights.items() if name != "head.bias"}, path)
    with pytest.raises(InputError, match="without head.bias"):
        load_weights(target, path, "supernet")
    path.write_bytes(b"no tensors")
    for place in (path, tmp_path / "absent"):
        with pytest.raises(InputError, match="^supernet"):
            load_weights(target, place, "supernet")
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())
