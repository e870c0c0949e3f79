from __future__ import annotations

import copy
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_hypens import EdgeNES, ImageData
from nni_hypens.search.module import EdgeNESModule
from nni_hypens.search.schedule import BASE, HYPERNETWORK, WARMUP
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.trials.evaluators import ImageClassification
from nni_hypens.utils.seeds import Purpose
from search_spaces import OneCell
from tests.support.searches import run_search, tiny


def module(strategy: EdgeNES, space: OneCell) -> EdgeNESModule:
    strategy.mutate_model(space)
    return strategy.configure_oneshot_module(ImageClassification(10, 0.01, 0.0, 1))


def test_lam_is_drawn_a_little_beyond_both_ends(tiny_cell: OneCell) -> None:
    """U[-epsilon, n_edges + epsilon]: mean and spread of the uniform law, and draws beyond the dial's ends."""
    lams = module(EdgeNES(epsilon=0.5), tiny_cell)._draw_lam(torch.Generator().manual_seed(0), 20_000)
    assert -0.5 <= lams.min() < -0.45 and 4.45 < lams.max() <= 4.5
    assert lams.mean().item() == pytest.approx(2.0, abs=0.05)
    assert lams.std().item() == pytest.approx(5 / 12**0.5, rel=0.02)


def test_a_fixed_lam_is_the_only_one(tiny_cell: OneCell) -> None:
    found = module(EdgeNES(lam=2.5), tiny_cell)
    assert found._draw_lam(torch.Generator(), 3).tolist() == [2.5, 2.5, 2.5]
    logits, lam = found._logits(HYPERNETWORK, torch.Generator())
    assert lam.tolist() == [2.5] and torch.equal(logits, found.hypernetwork(lam)[0])


def test_warm_up_is_uniform_whatever_the_logits(tiny_cell: OneCell) -> None:
    found = module(EdgeNES(), tiny_cell)
    with torch.no_grad():
        found.base_logits.copy_(torch.randn_like(found.base_logits))
    assert not found._logits(WARMUP, torch.Generator())[0].any()
    assert found._logits(BASE, torch.Generator())[0] is found.base_logits
    logits, lam = found._logits(HYPERNETWORK, torch.Generator().manual_seed(0))
    assert torch.equal(logits, found.hypernetwork(lam)[0])


def test_randomness_depends_on_seed_epoch_batch_and_stream(tiny_cell: OneCell, monkeypatch: Any) -> None:
    found = module(EdgeNES(seed=3), tiny_cell)

    def number(batch: int, purpose: Purpose = Purpose.WEIGHT_STEP_LAM, step: int = 0) -> float:
        return torch.rand(1, generator=found._generator(purpose, batch, step)).item()

    assert number(0) == number(0)
    purposes = (Purpose.WEIGHT_STEP_LAM, Purpose.WEIGHT_STEP_PATHS, Purpose.REGULARIZER)
    drawn = {number(batch, purpose, step) for batch in range(5) for purpose in purposes for step in range(3)}
    assert len(drawn) == 45
    here = number(0)
    found.settings.seed = 4
    assert number(0) != here
    found.settings.seed = 3
    with monkeypatch.context() as patch:
        patch.setattr(EdgeNESModule, "current_epoch", property(lambda self: 1))
        assert number(0) != here
    assert number(0) == here
    found.seed_epoch(2)
    first = torch.rand(1).item(), np.random.rand(), random.random()
    found.seed_epoch(2)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == first
    found.seed_epoch(3)
    assert torch.rand(1).item() != first[0]


def test_the_architecture_is_no_weight_of_the_network(tiny_cell: OneCell) -> None:
    found = module(EdgeNES(), tiny_cell)
    architecture = {
        id(parameter)
        for group in found.configure_architecture_optimizers().param_groups
        for parameter in group["params"]
    }
    assert architecture == {id(found.base_logits), *map(id, found.hypernetwork.parameters())}
    found.training_module.set_model(found.supernet.model)
    (optimizer,), _ = found.training_module.configure_optimizers()
    weights = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert weights == {id(parameter) for parameter in found.supernet.model.parameters()} and not weights & architecture


def test_what_needs_the_search_says_so(tiny_cell: OneCell) -> None:
    found = module(EdgeNES(), tiny_cell)
    with pytest.raises(RuntimeError, match="run the search first"):
        found.sampler()
    with pytest.raises(RuntimeError, match="val_batches"):
        found.validation_batches(1)


def test_steps_on_the_regulariser_alone(tiny_cell: OneCell) -> None:
    """As many as asked for, each with noise of its own; they move the hypernetwork only, downhill, and repeatably."""
    results = []
    for steps in (0, 3, 3, 200):
        found = module(EdgeNES(regularizer_steps=steps), copy.deepcopy(tiny_cell))
        base = found.structure.table.to_sample([[0]] * len(found.structure.table.labels))
        found.diversity.bind(found.structure, found.layout, base)
        logits, before = found.base_logits.clone(), found._regularizer(0, 0.5).item()
        optimizer = found.configure_architecture_optimizers()
        calls = []
        draw = found._draw_lam
        found._draw_lam = lambda *args, draw=draw, calls=calls: calls.append(draw(*args)) or calls[-1]
        found._regularizer_steps(optimizer, 0, 0.5)
        assert len(calls) == len({tuple(lam.tolist()) for lam in calls}) == steps
        assert torch.equal(found.base_logits, logits)
        after = found._regularizer(0, 0.5).item()
        results.append((found.hypernetwork.values.detach().clone(), before, after))
    assert results[0][1] == results[0][2] and torch.equal(results[1][0], results[2][0])
    assert not torch.equal(results[0][0], results[1][0]) and results[3][2] < 0.3 * results[3][1]


def test_the_layout_of_another_device_is_one_more(tiny_cell: OneCell) -> None:
    """Paths of the weight step are drawn on the CPU, whatever device the architecture step is on."""
    found = module(EdgeNES(), tiny_cell)
    assert found._device_layout() is found.layout
    found.to("meta")
    there = found._device_layout()
    assert there.mask.device.type == "meta" and found.layout.mask.device.type == "cpu"
    assert found._device_layout() is there


def test_the_state_holds_what_is_no_tensor(tiny_cell: OneCell) -> None:
    found = module(EdgeNES(), tiny_cell)
    found.history, found.base_ranking = [{"epoch": 0, "loss": math.nan}], [{"loss": 1.0}]
    found.base = found.structure.table.to_sample([[0]] * len(found.structure.table.labels))
    again = module(EdgeNES(), OneCell(channels=2, in_channels=1))
    again.load_state_dict(found.state_dict())
    assert (again.base, again.base_ranking) == (found.base, found.base_ranking)
    assert again.history[0]["epoch"] == 0 and math.isnan(again.history[0]["loss"])


def test_paths_average(digits: ImageData, tmp_path: Path) -> None:
    """k paths take k times the passes through the network; the mixture runs it once per batch."""

    counted = {}
    for paths in (1, 3, "all"):
        space = tiny()
        calls: list[int] = []
        space.head.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        strategy = run_search(tmp_path / str(paths), EdgeNES(paths=paths, base_epochs=0, base_draws=1), digits, space)
        counted[paths] = len(calls)
        assert len(strategy.sample(lam=2.0, n=2)) == 2
    batches, once = 4, 7 + 1  # a look at each of seven options, and one architecture that may be the base
    warmup, rest = batches, 2 * 2 * batches  # one epoch of weights, two of both halves
    assert counted[1] == warmup + rest + once
    assert counted[3] == 3 * (warmup + rest) + once
    assert counted["all"] == warmup + rest + once


def test_a_fixed_lam_leaves_the_rest_of_the_dial_alone(digits: ImageData, tmp_path: Path) -> None:
    """At lam = 0, which is between the first two of five pivots, no other learns."""
    base = EdgeStructure.from_space(tiny()).table.to_sample([[0]] * 14)
    strategy = EdgeNES(base=base, lam=0, warmup_epochs=0)
    strategy.mutate_model(tiny())
    untrained = strategy.configure_oneshot_module(ImageClassification(10, 0.01, 0.0, 1)).hypernetwork
    strategy = run_search(tmp_path, EdgeNES(base=base, lam=0, warmup_epochs=0), digits, tiny(), epochs=4)
    after, before = strategy.oneshot_module.hypernetwork.values.detach(), untrained.values.detach()
    moved = (after - before).abs().amax(dim=(1, 2))
    assert (moved[:2] > 0).all() and not moved[2:].any()
    found = strategy.sampler.mode(0)
    assert found.shared_edges < 4
    assert strategy.history[-1]["dial_error"] == found.shared_edges
