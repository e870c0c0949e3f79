"""The search of a run folder shows its curves to a logger of Lightning; its result does not depend on it."""

from __future__ import annotations

import csv
import inspect
import json
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from nni_hypens.cli.main import build_parser
from nni_hypens.cli.settings import runtime_of
from nni_hypens.errors import InputError
from nni_hypens.run import pipeline, search_stage as stage
from nni_hypens.run.epoch_pools import EpochPools
from nni_hypens.run.plan import make_plan
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.search_stage import check_logger, search_stage
from nni_hypens.run.settings import Settings
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.search.schedule import Schedule
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import ChoiceLayout, random_architectures
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.run_files import SearchFiles
from search_spaces import OneCell


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
        search_stage(plan, tmp_path / name, Progress(True), logger, save_each_epoch=logger is not None)
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
    for name in ("base.json", "hypernetwork.safetensors"):  # what is logged and saved changes nothing
        assert (logged / name).read_bytes() == (silent / name).read_bytes()
    assert json.loads((silent / "summary.json").read_text())["counts_edges"] is True
    assert [path.name for path in (logged / "epochs").iterdir()] == ["epoch-0002.json"]
    assert not (silent / "epochs").exists()
    saved = json.loads((logged / "epochs" / "epoch-0002.json").read_text())
    sampler = ArchitectureSampler.load(silent, EdgeStructure.from_space(plan.space), plan.budget())
    last = sampler.pool(config.candidates + 1, plan.lam_range, config.seed)  # what the finished search gives
    assert saved["epochs"] == 3 and [one["architecture"] for one in saved["pool"]] == [one.architecture for one in last]
    assert [(one["lam"], one["source"]) for one in saved["pool"]] == [(one.lam, one.source) for one in last]


class Module:
    """A search in some epoch, as far as `EpochPools` asks."""

    def __init__(self, sampler: ArchitectureSampler) -> None:
        self.schedule = Schedule(base=1, hypernetwork=2, end=5)
        self.sampler = lambda: sampler


def test_a_pool_is_saved_after_each_epoch_of_the_hypernetwork(tmp_path: Path) -> None:
    structure = EdgeStructure.from_space(OneCell(channels=2))
    layout = ChoiceLayout(structure.table)
    hypernetwork = Hypernetwork(layout.n_labels, layout.n_options, low=-0.2, high=structure.n_edges + 0.2)
    base = random_architectures(structure, 1, seed=0)[0]
    module = Module(ArchitectureSampler(structure, hypernetwork, base))
    plan = SimpleNamespace(settings=Settings(candidates=4, seed=3), lam_range=(1.0, 3.0))
    files = SearchFiles(tmp_path)
    callback = EpochPools(files, plan)  # type: ignore[arg-type]

    def end(epoch: int, first: bool = True) -> None:
        callback.on_train_epoch_end(SimpleNamespace(current_epoch=epoch, is_global_zero=first), module)  # type: ignore[arg-type]

    for epoch in range(4):
        end(epoch)
    end(4, first=False)  # only one process of a search writes
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["epoch-0002.json", "epoch-0003.json"]
    before = files.epoch_pool(3).read_bytes()
    end(3)  # a search that continues from the checkpoint of epoch 2
    assert files.epoch_pool(3).read_bytes() == before
    saved = json.loads(before)
    assert saved["epochs"] == 4 and len(saved["pool"]) == 1 + 4
    assert saved["pool"][0] == {"lam": None, "shared_edges": 4, "source": "base", "architecture": base}
    assert all(
        1 <= one["lam"] <= 3 and one["shared_edges"] == round(one["lam"])
        for one in saved["pool"][1:]
        if one["lam"] % 1 != 0.5
    )


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_run_passes_the_option_to_its_search(
    wanted: bool, live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}
    name = "live_search_stage" if live else "search_stage"
    called = inspect.signature(getattr(pipeline, name))
    monkeypatch.setattr(pipeline, name, lambda *values: given.update(called.bind(*values).arguments))
    runtime = Runtime(save_each_epoch=wanted, live=live, logger="csv")
    run = SimpleNamespace(
        plan="plan", out=tmp_path, progress=None, runtime=runtime, _search_processes=1, _say_updates=lambda: None
    )
    pipeline.Run.search(run)  # type: ignore[arg-type]
    assert given["save_each_epoch"] is wanted and given["logger"] == "csv"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_live_search_is_asked_to_save_each_epoch(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def watch(command: list[str], *_: object) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(stage, "watch_stage", watch)
    plan = SimpleNamespace(identity={})
    stage.live_search_stage(plan, tmp_path, None, Progress(True), save_each_epoch=wanted)  # type: ignore[arg-type]
    assert ("--save-each-epoch" in commands[0]) is wanted
    given = build_parser().parse_args(commands[0][commands[0].index("nni_hypens") + 1 :])
    assert given.save_each_epoch is wanted


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
        assert runtime_of(build_parser().parse_args([command, "--save-each-epoch"])).save_each_epoch
        assert not runtime_of(build_parser().parse_args([command])).save_each_epoch
