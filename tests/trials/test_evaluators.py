from __future__ import annotations

from pathlib import Path
from typing import Any

import nni
import pytest
import torch

from nni_hypens import ImageData, image_evaluator
from nni_hypens.space.architecture import EdgeStructure
from search_spaces import OneCell


def test_schedule_and_serialisation(digits: ImageData, tiny_cell: OneCell) -> None:
    evaluator = image_evaluator(digits, 10, epochs=7, learning_rate=0.02, weight_decay=0.5)
    text = nni.dump(evaluator)
    assert len(text) < 5000
    again = nni.load(text)
    for one in (evaluator, again):
        assert one.trainer.max_epochs == 7 and one.datamodule == digits
        one.module.set_model(tiny_cell)
        (optimizer,), (schedule,) = one.module.configure_optimizers()
        assert optimizer.param_groups[0]["weight_decay"] == 0.5
        rates = []
        for _ in range(7):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert rates[0] == 0.02 and rates == sorted(rates, reverse=True)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0002)


def test_trains_a_fixed_network_without_a_word(
    digits: ImageData, tiny_cell: OneCell, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    table = EdgeStructure.from_space(tiny_cell).table
    sample = table.validate({label: 0 if label.endswith("input") else "sep_conv_3x3" for label in table.options})
    network = tiny_cell.freeze(sample)
    evaluator = image_evaluator(digits, 10, epochs=20, learning_rate=0.05)
    before = [parameter.clone() for parameter in network.parameters()]
    torch.manual_seed(0)
    evaluator.evaluate(network)
    assert any(not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    assert evaluator.trainer.callback_metrics["val_acc"] > 0.4  # a tenth by chance
    assert not list(tmp_path.iterdir())  # no logs, no checkpoints
    assert "Epoch" not in capfd.readouterr().err
