from __future__ import annotations

import pytest
import torch
import torchmetrics

from nni_hypens import EdgeNES, ImageData
from nni_hypens.evaluators import ImageClassification
from nni_hypens.search_module import EdgeNESModule
from nni_hypens.user_module import Silenced, path_loss
from search_spaces import OneCell


def module(strategy: EdgeNES, space: OneCell) -> EdgeNESModule:
    strategy.mutate_model(space)
    return strategy.configure_oneshot_module(ImageClassification(10, 0.01, 0.0, 1))


def test_loss_of_a_path(tiny_cell: OneCell, digits: ImageData) -> None:
    """Cross-entropy with inherited weights and BatchNorm by batch, as ``predict`` has it; nothing is left behind."""
    found = module(EdgeNES(), tiny_cell)
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
