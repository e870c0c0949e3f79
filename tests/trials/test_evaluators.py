from __future__ import annotations

import copy
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nni
import pytest
import torch
import torchmetrics
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import CUDAAccelerator
from pytorch_lightning.callbacks import Callback

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.trials.evaluators import gpus_of, keeps_best, resolved_precision
from search_spaces import OneCell
from search_spaces.hub_darts import DartsSpace
from tests.support.no_sync import META, NoWaiting


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


def network_of(space: Any) -> torch.nn.Module:
    table = EdgeStructure.from_space(space).table
    return fixed_network(space, table.validate({label: options[0] for label, options in table.options.items()}))


def test_one_cycle_rises_and_falls_step_by_step(digits: ImageData, tiny_cell: OneCell) -> None:
    evaluator = image_evaluator(digits, 10, epochs=2, learning_rate=0.02, schedule="one_cycle")
    rates: list[float] = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    evaluator.trainer.callbacks.append(Look())
    evaluator.evaluate(network_of(tiny_cell))
    peak = rates.index(max(rates))
    assert len(rates) == 2 * len(digits.train_dataloader()) and max(rates) == pytest.approx(0.02, rel=0.05)
    assert 0 < peak < len(rates) - 1
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)


def loss_of(module: Any, model: torch.nn.Module, batch: Any) -> float:
    module.set_model(model)
    module.log = lambda *arguments, **options: None
    module.train()
    return float(module.training_step(batch, 0))


def test_mixup_of_a_table() -> None:
    data = ImageData("tests.support.tables:load")
    network, (rows, labels) = torch.nn.Linear(4, 3), next(iter(data.train_dataloader()))
    mixed = image_evaluator(data, 3, 1, mixup=0.4).module
    torch.manual_seed(1)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    logits = network(share * rows + (1 - share) * rows.roll(1, 0))
    both = [torch.nn.functional.cross_entropy(logits, some) for some in (labels, labels.roll(1, 0))]
    torch.manual_seed(1)
    assert loss_of(mixed, network, (rows, labels)) == pytest.approx(
        float(share * both[0] + (1 - share) * both[1]), abs=1e-4
    )


def test_label_smoothing_and_mixup_change_the_training_loss_only(digits: ImageData, tiny_cell: OneCell) -> None:
    network, batch = network_of(tiny_cell), next(iter(digits.train_dataloader()))
    images, labels = batch
    plain, smooth = (image_evaluator(digits, 10, 1, label_smoothing=share).module for share in (0.0, 0.3))
    log_probabilities = network(images).log_softmax(1)
    expected = -(0.7 * log_probabilities.gather(1, labels[:, None]).mean() + 0.3 * log_probabilities.mean())
    assert loss_of(smooth, network, batch) == pytest.approx(float(expected), abs=1e-5)
    mixed = image_evaluator(digits, 10, 1, mixup=0.4).module
    torch.manual_seed(1)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    logits = network(share * images + (1 - share) * images.roll(1, 0))
    both = [torch.nn.functional.cross_entropy(logits, some) for some in (labels, labels.roll(1, 0))]
    torch.manual_seed(1)
    assert loss_of(mixed, network, batch) == pytest.approx(float(share * both[0] + (1 - share) * both[1]), abs=1e-4)
    seen = {}
    for name, module in (("plain", plain), ("smooth", smooth), ("mixed", mixed)):
        module.set_model(network)
        module.log = lambda key, value, name=name, **options: seen.setdefault((name, key), float(value))
        module.eval()
        module.validation_step(batch, 0)
    assert seen["plain", "val_loss"] == seen["smooth", "val_loss"] == seen["mixed", "val_loss"]


def test_the_auxiliary_head_trains_beside_the_network_and_is_not_part_of_it(digits: ImageData) -> None:
    network = network_of(DartsSpace(width=2, num_cells=3, in_channels=1))
    names = list(network.state_dict())
    batch = next(iter(digits.train_dataloader()))
    without = loss_of(image_evaluator(digits, 10, 1).module, network, batch)
    module = image_evaluator(digits, 10, 1, auxiliary_weight=0.4).module
    torch.manual_seed(0)
    with_head = loss_of(module, network, batch)
    head = float(torch.nn.functional.cross_entropy(torch.zeros(1, 10), batch[1][:1]))  # about log 10 before training
    assert with_head - without == pytest.approx(0.4 * head, rel=0.3)
    assert list(network.state_dict()) == names
    (optimizer,), _ = module.configure_optimizers()
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert all(id(parameter) in trained for parameter in module.auxiliary_head.parameters())
    with pytest.raises(InputError, match="^auxiliary_weight: .*auxiliary_source"):
        image_evaluator(digits, 10, 1, auxiliary_weight=0.4).module.set_model(torch.nn.Linear(2, 2))


def test_drop_path_grows_from_zero(digits: ImageData) -> None:
    network = network_of(DartsSpace(width=2, num_cells=3, in_channels=1, drop_path_prob=0.4))
    found = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            if index == 0:
                found.append({part.drop_prob for part in network.modules() if type(part).__name__ == "DropPath"})

    evaluator = image_evaluator(digits, 10, epochs=2)
    evaluator.trainer.callbacks.append(Look())
    evaluator.evaluate(network)
    assert found == [{0.0}, {0.2}]


def test_early_stopping_keeps_the_best_epoch(digits: ImageData, tiny_cell: OneCell) -> None:
    evaluator = nni.load(nni.dump(image_evaluator(digits, 10, 30, learning_rate=0.3, early_stopping=2)))
    assert keeps_best(evaluator) and not keeps_best(image_evaluator(digits, 10, 1)) and not keeps_best(object())
    losses: list[float] = []

    class Look(Callback):
        def on_validation_end(self, trainer: Any, module: Any) -> None:
            losses.append(float(trainer.callback_metrics["val_loss"]))

    evaluator.trainer.callbacks.append(Look())
    network = network_of(tiny_cell)
    torch.manual_seed(0)
    evaluator.evaluate(network)
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 30, "two more epochs after the best"
    network.eval()
    with torch.no_grad():
        batches = [(network(images), labels) for images, labels in digits.val_dataloader()]
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert float(torch.nn.functional.cross_entropy(logits, labels)) == pytest.approx(min(losses), abs=1e-5)


def test_trials_get_the_gpus_that_were_chosen(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = image_evaluator(digits, 10, 1, accelerator="cpu")
    assert gpus_of(evaluator, None) == gpus_of(evaluator, [0, 1]) == (), "there it is the number of processes"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="^devices: got 0,1"):
        gpus_of(image_evaluator(digits, 10, 1), [0, 1])
    on_gpu = SimpleNamespace(trainer=SimpleNamespace(accelerator=CUDAAccelerator()))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert gpus_of(on_gpu, None) == (0, 1, 2) and gpus_of(on_gpu, [5]) == (5,)


def test_building_an_evaluator_logs_nothing(digits: ImageData) -> None:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        Trainer(logger=False)
        assert records, "Lightning says something by itself"
        records.clear()
        image_evaluator(digits, 10, 1)
        assert not records and logger.level == logging.INFO
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


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


class Two(torch.nn.Module):
    """Two convolutions, the first of which may have an auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 4, 3)
        self.head = torch.nn.Linear(4, 10)

    def auxiliary_source(self) -> tuple[torch.nn.Module, int]:
        return self.first, 4

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(images).relu()).mean((2, 3)))


@pytest.mark.parametrize("options", [{"compiler": "eager"}, {"channels_last": True}])
def test_fast_ways_train_the_same_network_under_the_same_names(options: dict[str, Any], digits: ImageData) -> None:
    plain = Two()
    fast = copy.deepcopy(plain)
    for network, more in ((plain, {}), (fast, options)):
        torch.manual_seed(0)
        image_evaluator(digits, 10, 1, learning_rate=1e-4, accelerator="cpu", **more).evaluate(network)
    assert list(fast.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():  # Adam makes much of the rounding of gradients that are nearly zero
        assert torch.allclose(fast.state_dict()[name], value, atol=0 if "compiler" in options else 5e-3), name
    last = fast.second.weight.is_contiguous(memory_format=torch.channels_last)
    assert last == ("channels_last" in options)


def test_an_auxiliary_head_sees_the_compiled_network(digits: ImageData) -> None:
    module = image_evaluator(digits, 10, 1, auxiliary_weight=0.4, compiler="eager").module
    module.set_model(Two())
    module.log = lambda *arguments, **options: None
    module.on_fit_start()
    module.train()
    module.training_step(tuple(part[:4] for part in next(iter(digits.train_dataloader()))), 0).backward()
    assert all(parameter.grad is not None for parameter in module.auxiliary_head.parameters())


def test_auto_is_bf16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has, found in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert resolved_precision("auto", "auto") == found
    assert resolved_precision("auto", "cpu") == "32-true" and resolved_precision("16-mixed", "gpu") == "16-mixed"


def test_a_training_step_does_not_wait_for_the_accelerator(digits: ImageData) -> None:
    network = network_of(OneCell(channels=2, nodes=1, in_channels=1))
    module = image_evaluator(digits, 10, 1, mixup=0.2, label_smoothing=0.1).module
    module.set_model(network)
    module.log = lambda name, value, **options: None if "prog_bar" not in options else value.item()
    module.to(META).train()
    (optimizer,), _ = module.configure_optimizers()
    for part in module.modules():
        if isinstance(part, torchmetrics.Metric):  # `to` leaves them behind
            part.to(META)
    for _ in range(2):
        with NoWaiting():
            optimizer.zero_grad()
            module.training_step(
                (torch.zeros(4, 1, 8, 8, device=META), torch.zeros(4, dtype=torch.int64, device=META)), 0
            ).backward()
            optimizer.step()


def test_members_of_one_network_are_trained_with_the_mean_of_their_losses(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels, logits = torch.rand(4, 1, 8, 8), torch.tensor([1, 2, 3, 4]), torch.randn(8, 10)

    class Two(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return logits  # of the first member for all images, then of the second

    module = image_evaluator(digits, 10, epochs=1).module
    module.set_model(Two())
    monkeypatch.setattr(module, "log", lambda *rest: None)
    each = [torch.nn.functional.cross_entropy(part, labels) for part in logits.split(4)]
    torch.testing.assert_close(module.training_step((images, labels), 0), sum(each) / 2)
