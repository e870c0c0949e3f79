"""The search of a run folder shows its curves to a logger of Lightning; its result does not depend on it."""

from __future__ import annotations

import csv
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from nni_hypens.cli.main import build_parser
from nni_hypens.cli.settings import runtime_of
from nni_hypens.errors import InputError
from nni_hypens.run import search_stage as stage
from nni_hypens.run.plan import make_plan
from nni_hypens.run.search_stage import check_logger, search_stage
from nni_hypens.run.settings import Settings
from nni_hypens.utils.progress import Progress


def test_the_six_quantities_are_logged(tmp_path: Path) -> None:
    config = Settings.from_mapping(
        {
            "train_size": 128,
            "batch_size": 64,
            "search_epochs": 3,
            "warmup_epochs": 1,
            "base_epochs": 1,
            "space_args": {"channels": 2},
        }
    )
    for name, logger in (("logged", "csv"), ("silent", None)):
        plan = make_plan(config)
        search_stage(plan, tmp_path / name, Progress(True), logger)
    logged, silent = tmp_path / "logged" / "search", tmp_path / "silent" / "search"
    with (logged / "logs" / "version_0" / "metrics.csv").open() as file:
        rows = [{name for name, value in row.items() if value} for row in csv.DictReader(file)]
    warmup, base, hypernetwork = [row for row in rows if "search/loss" in row]
    assert not warmup & {"search/dial_error", "search/weight", "search/temperature"}
    assert {"search/loss", "search/val_loss", "search/accuracy", "search/temperature"} <= base
    wanted = ("loss", "accuracy", "dial_error", "temperature", "weight", "regularizer")
    assert {f"search/{name}" for name in wanted} <= hypernetwork
    assert any(name.startswith("prob/lam=4/node_1/") for name in hypernetwork)
    assert not (silent / "logs").exists()
    assert (logged / "base.json").read_text() == (silent / "base.json").read_text()


def test_bad_loggers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_logger(None)
    check_logger("csv")
    with pytest.raises(InputError, match="^logger: got 'wandb'; expected one of csv, tensorboard"):
        check_logger("wandb")
    monkeypatch.setattr(stage, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^logger: got tensorboard, which is not installed; expected pip install .*"):
        check_logger("tensorboard")
    monkeypatch.setattr(stage, "find_spec", lambda name: ModuleSpec(name, None) if name == "tensorboardX" else None)
    check_logger("tensorboard")


def test_run_and_search_take_a_logger() -> None:
    for command in ("run", "search"):
        assert runtime_of(build_parser().parse_args([command, "--logger", "csv"])).logger == "csv"
        assert runtime_of(build_parser().parse_args([command])).logger is None
