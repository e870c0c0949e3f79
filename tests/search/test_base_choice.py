from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchmetrics

from nni_hypens import EdgeNES, ImageData
from nni_hypens.errors import InputError
from nni_hypens.search import base_choice
from nni_hypens.search.base_choice import Silenced, best_by_loss, path_loss
from nni_hypens.search.module import EdgeNESModule
from nni_hypens.trials.evaluators import ImageClassification
from search_spaces import OneCell
from tests.support.searches import run_search, tiny


def test_best_by_loss() -> None:
    losses = {"a": float("nan"), "b": 2.0, "c": 1.0, "d": 1.0}
    assert best_by_loss([{"x": name} for name in losses], lambda sample: losses[sample["x"]]) == ({"x": "c"}, 1.0)
    with pytest.raises(InputError, match="NaN"):
        best_by_loss([{"x": "a"}], lambda sample: float("nan"))


def test_budget_that_nothing_meets_is_said(digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_choice, "BUDGET_DRAWS", 5)
    with pytest.raises(InputError, match="^max_params, max_flops"):
        run_search(tmp_path, EdgeNES(max_params=10, base_draws=4), digits)
    base = run_search(tmp_path / "any", EdgeNES(), digits).base_architecture
    with pytest.raises(InputError, match="^base.*max_params=10"):
        EdgeNES(base=base, max_params=10).mutate_model(tiny())


def module_user_module(strategy: EdgeNES, space: OneCell) -> EdgeNESModule:
    strategy.mutate_model(space)
    return strategy.configure_oneshot_module(ImageClassification(10, 0.01, 0.0, 1))


def test_loss_of_a_path(tiny_cell: OneCell, digits: ImageData) -> None:
    """Cross-entropy with inherited weights and BatchNorm by batch, as ``predict`` has it; nothing is left behind."""
    found = module_user_module(EdgeNES(), tiny_cell)
    found.training_module.set_model(found.supernet.model)
    found.training_module.train()
    images, classes = (torch.cat(part) for part in zip(*digits.val_dataloader(), strict=True))
    batches = [(images[:40], classes[:40]), (images[40:46], classes[40:46])]  # a short one counts with its images
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
