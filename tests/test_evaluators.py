from __future__ import annotations

import nni
import pytest

from nni_hypens import ImageData, image_evaluator


def test_schedule_and_serialisation() -> None:
    data = ImageData("digits", train_size=64, validation_size=64)
    evaluator = image_evaluator(data, 10, epochs=7, learning_rate=0.02, weight_decay=0.5)
    text = nni.dump(evaluator)
    assert len(text) < 5000
    again = nni.load(text)
    from search_spaces import OneCell

    for one in (evaluator, again):
        assert one.trainer.max_epochs == 7 and one.datamodule == data
        one.module.set_model(OneCell(channels=2, in_channels=1))
        (optimizer,), (schedule,) = one.module.configure_optimizers()
        assert optimizer.param_groups[0]["weight_decay"] == 0.5
        rates = []
        for _ in range(7):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert rates[0] == 0.02 and rates == sorted(rates, reverse=True)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0002)
