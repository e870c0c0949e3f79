from __future__ import annotations

import copy
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics

from nni_hypens import EdgeNES, ImageData
from nni_hypens.search.base_choice import Silenced, path_loss
from nni_hypens.search.module import EdgeNESModule
from nni_hypens.search.schedule import BASE, HYPERNETWORK, WARMUP
from nni_hypens.trials.evaluators import ImageClassification
from search_spaces import OneCell


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

    def number(batch: int, stream: int) -> float:
        return torch.rand(1, generator=found._generator(batch, stream)).item()

    assert number(0, 0) == number(0, 0)
    assert len({number(batch, stream) for batch in range(5) for stream in range(6)}) == 30
    here = number(0, 0)
    found.settings.seed = 4
    assert number(0, 0) != here
    found.settings.seed = 3
    with monkeypatch.context() as patch:
        patch.setattr(EdgeNESModule, "current_epoch", property(lambda self: 1))
        assert number(0, 0) != here
    assert number(0, 0) == here
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
        found._validation_batches()


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


def module_user_module(strategy: EdgeNES, space: OneCell) -> EdgeNESModule:
    strategy.mutate_model(space)
    return strategy.configure_oneshot_module(ImageClassification(10, 0.01, 0.0, 1))


def test_loss_of_a_path(tiny_cell: OneCell, digits: ImageData) -> None:
    """Cross-entropy with inherited weights and BatchNorm by batch, as ``predict`` has it; nothing is left behind."""
    found = module_user_module(EdgeNES(), tiny_cell)
    found.training_module.set_model(found.supernet.model)
    found.training_module.train()
    batches = list(digits.val_dataloader())
    table = found.structure.table
    sample = table.validate({label: 0 if "input" in label else "dil_conv_3x3" for label in table.options})
    before = {name: value.clone() for name, value in found.supernet.model.state_dict().items()}
    with Silenced(found.training_module):
        loss = path_loss(found.training_module, found.supernet, sample, batches).item()
    assert all(torch.equal(before[name], value) for name, value in found.supernet.model.state_dict().items())
    labels = torch.cat([labels for _, labels in batches])
    probabilities = found.supernet.predict([sample], batches)[0]
    assert loss == pytest.approx(-probabilities[range(len(labels)), labels].log().mean().item(), rel=1e-4)
    assert all(part.training for part in found.training_module.modules())


def test_comparing_paths_logs_nothing(tiny_cell: OneCell) -> None:
    user = ImageClassification(10, 0.01, 0.0, 1)
    said: list[str] = []
    user.log = lambda name, *args, **kwargs: said.append(name)
    metric = torchmetrics.MeanMetric()
    user.metric = metric
    with Silenced(user):
        user.log("loss", 1.0)
        metric.update(5.0)
    assert said == [] and metric.update_count == 0
    user.log("loss", 1.0)
    assert said == ["loss"]
