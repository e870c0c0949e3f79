"""Curves for Lightning's loggers: what is written, when, and that TensorBoard can read it."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from nni_hypens import EdgeNES, image_evaluator
from nni_hypens.errors import InputError
from nni_hypens.search.reports import option_probabilities
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import ChoiceLayout
from search_spaces import OneCell


def search(data: Any, folder: Path, logger: Logger | None, log_probs: bool | None = None) -> EdgeNES:
    """Three epochs, one of each phase."""
    torch.manual_seed(0)
    strategy = EdgeNES(seed=0, warmup_epochs=1, base_epochs=1, log_probs=log_probs)
    evaluator = image_evaluator(data, 10, epochs=3)
    evaluator.trainer.loggers = [] if logger is None else [logger]
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(folder / "nni")
    experiment = NasExperiment(OneCell(channels=2, in_channels=1), evaluator, strategy, config)
    experiment.run()
    experiment.stop()
    return strategy


def rows(folder: Path) -> list[dict[str, float]]:
    """What CSVLogger wrote, one row for each epoch."""
    with (folder / "metrics.csv").open() as file:
        found = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in found if any(name.startswith("search/") for name in row)]


def test_each_phase_has_its_curves(digits: Any, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    strategy = search(digits, tmp_path, logger)
    warmup, base, hypernetwork = rows(tmp_path)
    assert not [name for name in warmup if name.startswith("prob/")] and "search/loss" in warmup
    table = strategy.structure.table
    choices = {
        f"prob/{label}/{value}" for label, values in table.options.items() for value in values if len(values) > 1
    }
    assert {name for name in base if name.startswith("prob/")} <= choices
    label = next(label for label, k in table.n_chosen.items() if k < len(table.options[label]))
    options = table.options[label]
    assert sum(base[f"prob/{label}/{value}"] for value in options) == pytest.approx(1, abs=1e-5)
    module, n = strategy.oneshot_module, strategy.n_edges
    for lam in (0, n / 2, n):
        expected = option_probabilities(module.layout, module.hypernetwork(torch.tensor(float(lam))))[label]
        for value in options:
            assert hypernetwork[f"prob/lam={lam:g}/{label}/{value}"] == pytest.approx(expected[str(value)], abs=1e-5)
    silent = search(digits, tmp_path / "silent", CSVLogger(tmp_path / "silent", name="", version=""), log_probs=False)
    assert not [name for row in rows(tmp_path / "silent") for name in row if name.startswith("prob/")]
    assert silent.base_architecture == strategy.base_architecture
    assert search(digits, tmp_path / "none", None).base_architecture == strategy.base_architecture


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_them(digits: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    strategy = search(digits, tmp_path, TensorBoardLogger(tmp_path, name="", version=""))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert [tag for tag in tags if tag.startswith(f"prob/lam={strategy.n_edges}/")] and "search/dial_error" in tags
    assert len(events.Scalars("search/loss")) == 3


def test_probabilities_leave_out_what_is_no_choice() -> None:
    table = ChoiceTable({"a": ("x", "y", "z"), "b": (0, 1)}, {"a": 1, "b": 2}, frozenset({"b"}))
    logits = torch.tensor([[0.0, 0.0, torch.log(torch.tensor(2.0))], [1.0, 2.0, 3.0]])
    assert option_probabilities(ChoiceLayout(table), logits) == {"a": pytest.approx({"x": 0.25, "y": 0.25, "z": 0.5})}


def test_log_probs_is_checked() -> None:
    with pytest.raises(InputError, match="log_probs"):
        EdgeNES(log_probs="yes")  # type: ignore[arg-type]
