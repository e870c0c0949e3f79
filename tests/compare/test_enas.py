"""ENAS learns; skipped where tianshou is not installed, but for the test of what is then said."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.experiment import NasExperiment, NasExperimentConfig

from nni_hypens import InputError
from nni_hypens._nni import quiet_logging
from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.enas import Enas
from nni_hypens.compare.searches import nni_search
from tests.support.comparison_fixture import SETTINGS, make_plan
from tests.support.tianshou import needs_tianshou


def test_enas_names_the_extra_when_tianshou_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tianshou" else found(name))
    with pytest.raises(InputError, match=r"enas without tianshou; expected pip install 'nni-hypens\[enas\]'"):
        nni_search(Workbench(make_plan(SETTINGS), tmp_path), "enas")


class Remembering(Enas):
    """ENAS that is rewarded for one option of the first choice alone."""

    def configure_oneshot_module(self, training_module: Any) -> Any:
        module = super().configure_oneshot_module(training_module)
        step = module.training_module.validation_step

        def rewarded(batch: Any, batch_idx: int) -> None:
            step(batch, batch_idx)
            self.logged.append((batch[1], module.trainer.callback_metrics["val_acc"].item()))
            label = next(label for label, _ in module.generator.search_labels)
            good = module.generator.simplified_space[label].values[0]
            module.log("val_acc", float(module.generator.sample[label] == good), prog_bar=True)

        module.training_module.validation_step = rewarded
        self.logged = []
        return module


def run_enas(strategy: Enas, folder: Path, epochs: int) -> dict[str, Any]:
    lengths = {"search_epochs": epochs, "warmup_epochs": None, "base_epochs": None}
    plan = make_plan(replace(SETTINGS, **lengths, train_size=64))
    evaluator = plan.search_evaluator
    evaluator.datamodule.eval_batch_size = 10  # ten rewards in each epoch
    torch.manual_seed(0)
    np.random.seed(0)
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(folder)
    experiment = NasExperiment(plan.space, evaluator, strategy, config)
    quiet_logging()
    experiment.start()
    found = experiment.export_top_models(top_k=1, formatter="dict")[0]
    experiment.stop()
    return found


@needs_tianshou
def test_enas_learns(tmp_path: Path) -> None:
    update = {"batch_size": 32, "repeat": 5, "update_times": 2}
    strategy = Remembering(3e-3, batches_per_update=10, reward_metric_name="val_acc", update_kwargs=update)
    sample = run_enas(strategy, tmp_path, epochs=6)
    module = strategy.oneshot_module
    label = module.generator.search_labels[0][0]
    probabilities = list(module.export_probs()[label].values())
    assert len(probabilities) == 7 and sum(probabilities) == pytest.approx(1)
    assert probabilities[0] > 0.6  # a seventh before it had learnt
    assert sample[label] == module.generator.simplified_space[label].values[0]
    assert module.export() == sample  # the trained controller is still there, and has one preference


@needs_tianshou
def test_enas_updates_after_rewards_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = {"batch_size": 32, "repeat": 1, "update_times": 1}
    strategy = Remembering(1e-3, batches_per_update=10, reward_metric_name="val_acc", update_kwargs=update)
    updates = []
    make = strategy.policy_fn

    def counted(env: Any) -> Any:
        policy = make(env)
        update = policy.update
        monkeypatch.setattr(policy, "update", lambda *a, **k: updates.append(len(strategy.logged)) or update(*a, **k))
        return policy

    strategy.policy_fn = counted
    run_enas(strategy, tmp_path, epochs=3)
    assert len(strategy.logged) == 30
    assert updates == [10, 20, 30]  # NNI's own: once more for each training batch after these


@needs_tianshou
def test_the_reward_of_enas_is_the_accuracy_of_the_batch(tmp_path: Path) -> None:
    strategy = Remembering(1e-3, batches_per_update=100, reward_metric_name="val_acc")
    run_enas(strategy, tmp_path, epochs=1)
    assert {round(10 * reward, 4) % 1 for _, reward in strategy.logged} == {0.0}  # tenths: ten images in a batch
    assert all(len(labels) == 10 for labels, _ in strategy.logged)
    assert len({reward for _, reward in strategy.logged}) > 1
