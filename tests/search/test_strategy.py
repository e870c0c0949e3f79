"""EdgeNES inside plain NNI experiments."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from pytorch_lightning.callbacks import ModelCheckpoint

from nni_hypens import EdgeNES, ImageData, InputError, JensenShannon, SharedEdges, image_evaluator
from nni_hypens.search.schedule import HISTORY_COLUMNS
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import Budget
from search_spaces import DartsSpace, OneCell
from tests.support.searches import config, losses, run_search, tiny

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="module")
def data(digits: ImageData) -> ImageData:
    return digits


def search(
    data: ImageData,
    folder: Path,
    strategy: EdgeNES,
    epochs: int = 5,
    callbacks: list[Any] | None = None,
    checkpoint: str | None = None,
    space: Any = None,
) -> NasExperiment:
    evaluator = image_evaluator(data, 10, epochs)
    evaluator.trainer.callbacks += callbacks or []
    if checkpoint:
        evaluator.fit_kwargs.update(ckpt_path=checkpoint, weights_only=True)
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(folder / "nni")
    experiment = NasExperiment(space or tiny(), evaluator, strategy, config)
    experiment.start()
    experiment.stop()
    return experiment


def outcome(strategy: EdgeNES) -> tuple[Any, ...]:
    rows = [{name: row[name] for name in HISTORY_COLUMNS if name != "seconds"} for row in strategy.history]
    return strategy.base_architecture, strategy.sampler.hypernetwork.values.tolist(), rows


@pytest.fixture(scope="module")
def searched(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> tuple[NasExperiment, EdgeNES]:
    strategy = EdgeNES()
    return search(data, tmp_path_factory.mktemp("searched"), strategy), strategy


def test_exports_as_many_architectures_as_asked_for(searched: tuple[NasExperiment, EdgeNES]) -> None:
    experiment, strategy = searched
    models = experiment.export_top_models(top_k=8, formatter="dict")
    assert len({strategy.structure.key(model) for model in models}) == 8 and models[0] == strategy.base_architecture
    for model in models:
        assert strategy.structure.table.validate(model) == model
        assert OneCell(channels=2, in_channels=1).freeze(model)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    instance = experiment.export_top_models(top_k=1, formatter="instance")[0]
    assert instance(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_sample_shares_what_was_asked_for(searched: tuple[NasExperiment, EdgeNES]) -> None:
    _, strategy = searched
    for lam in (0, 1.5, 2, 3):
        found = strategy.sample(lam=lam, n=5)
        shared = [strategy.structure.shared_edges(strategy.base_architecture, one) for one in found]
        assert len({strategy.structure.key(one) for one in found}) == 5
        assert all(abs(count - lam) <= 0.5 for count in shared)
    with pytest.raises(InputError, match="lam"):
        strategy.sample(lam=4.5)
    with pytest.raises(InputError, match="at most 1"):
        strategy.sample(lam=4, n=2)


def test_history(searched: tuple[NasExperiment, EdgeNES]) -> None:
    _, strategy = searched
    rows = strategy.history
    assert [row["epoch"] for row in rows] == list(range(5)) and all(tuple(row) == HISTORY_COLUMNS for row in rows)
    assert [row["phase"] for row in rows] == ["warmup", "base", "base", "hypernetwork", "hypernetwork"]
    assert rows[-1]["weight"] == 3.0 and rows[3]["weight"] == 0.3
    assert all(math.isfinite(row["loss"]) and row["seconds"] > 0 for row in rows)
    assert rows[0]["val_loss"] is None and 0 <= rows[-1]["accuracy"] <= 1 and 0 <= rows[-1]["dial_error"] <= 4


def test_same_seed_same_result(data: ImageData, searched: Any, tmp_path: Path) -> None:
    again, other = EdgeNES(), EdgeNES(seed=1)
    search(data, tmp_path / "a", again)
    search(data, tmp_path / "b", other)
    assert outcome(again) == outcome(searched[1])
    assert outcome(other)[1] != outcome(again)[1]


class _Stop(pl.Callback):
    """Ends the run like a crash, after an epoch's checkpoint or in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch, self.batch = epoch, batch

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        if (trainer.current_epoch, index) == (self.epoch, self.batch):
            raise SystemError("power cut")


@pytest.mark.parametrize(("epoch", "batch"), [(1, 0), (2, 3), (3, 0), (4, 2)])
def test_resume_is_exact(data: ImageData, searched: Any, tmp_path: Path, epoch: int, batch: int) -> None:
    def checkpoint() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path / "checkpoint", save_last=True, save_top_k=1, enable_version_counter=False)

    with pytest.raises(SystemError):
        search(data, tmp_path, EdgeNES(), callbacks=[_Stop(epoch, batch), checkpoint()])
    resumed = EdgeNES()
    torch.manual_seed(99)  # another process has another state
    search(data, tmp_path, resumed, callbacks=[checkpoint()], checkpoint=str(tmp_path / "checkpoint" / "last.ckpt"))
    assert outcome(resumed) == outcome(searched[1])


def test_plain_nni_experiment(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NNI's users write it: no configuration, ``run`` and not ``start``; the result does not depend on that."""
    monkeypatch.setenv("HOME", str(tmp_path))
    strategy = EdgeNES()
    experiment = NasExperiment(tiny(), image_evaluator(data, 10, 5), strategy)
    assert experiment.run() is True
    models = experiment.export_top_models(top_k=5, formatter="dict")
    experiment.stop()
    keys = {strategy.structure.key(strategy.structure.table.validate(model)) for model in models}
    assert len(models) == len(keys) == 5
    assert {path.name for path in tmp_path.iterdir()} <= {"nni-experiments", ".config", ".cache"}


def test_epoch_by_epoch_dial(searched: tuple[NasExperiment, EdgeNES]) -> None:
    """The last row's dial error, by counting edges of the modes once more."""
    _, strategy = searched
    lams = [quarter / 4 for quarter in range(17)]
    shared = [strategy.sampler.mode(lam).architecture for lam in lams]
    counts = [strategy.structure.shared_edges(strategy.base_architecture, one) for one in shared]
    error = sum(abs(lam - count) for lam, count in zip(lams, counts, strict=True)) / 17
    assert strategy.history[-1]["dial_error"] == pytest.approx(error)


def test_base_is_the_best_of_those_compared(searched: tuple[NasExperiment, EdgeNES]) -> None:
    _, strategy = searched
    ranking = strategy.oneshot_module.base_ranking
    best = min(ranking, key=lambda row: row["loss"])
    assert best["architecture"] == strategy.structure.describe(strategy.base_architecture)
    assert len(ranking) > 25 and all(math.isfinite(row["loss"]) for row in ranking)


def test_the_users_objects_are_left_as_they_were(data: ImageData, tmp_path: Path) -> None:
    """NNI replaces the loaders of the data module while it searches; however it ends, they return."""
    own = [len(loader) for loader in (data.train_dataloader(), data.val_dataloader())]
    search(data, tmp_path / "good", EdgeNES(), epochs=3)
    with pytest.raises(SystemError):
        search(data, tmp_path / "bad", EdgeNES(), epochs=3, callbacks=[_Stop(2, 0)])
    assert not {"train_dataloader", "val_dataloader"} & set(vars(data))
    assert [len(loader) for loader in (data.train_dataloader(), data.val_dataloader())] == own


def test_frozen_weights_of_the_user_stay_frozen(data: ImageData, tmp_path: Path) -> None:
    space = tiny()
    space.stem.requires_grad_(False)
    before = space.stem[0].weight.clone()
    head = space.head.weight.clone()
    search(data, tmp_path, EdgeNES(warmup_epochs=0, base_epochs=0), epochs=1, space=space)
    assert torch.equal(space.stem[0].weight, before) and not space.stem[0].weight.requires_grad
    assert not torch.equal(space.head.weight, head) and space.head.weight.requires_grad


def test_base_is_taken_as_given(data: ImageData, searched: Any, tmp_path: Path) -> None:
    base = searched[1].sample(lam=0, n=1)[0]
    path = tmp_path / "base.json"
    path.write_text(json.dumps({name: value[0] if isinstance(value, list) else value for name, value in base.items()}))
    for number, given in enumerate((base, str(path), path)):
        strategy = EdgeNES(base=given)
        search(data, tmp_path / str(number), strategy, epochs=2)
        assert strategy.base_architecture == base
        assert [row["phase"] for row in strategy.history] == ["warmup", "hypernetwork"]


def test_base_of_another_space_is_refused_at_once(data: ImageData, searched: Any, tmp_path: Path) -> None:
    strategy = EdgeNES(base=searched[1].base_architecture)
    with pytest.raises(InputError, match="another space"):
        search(data, tmp_path, strategy, space=DartsSpace(width=4, num_cells=3, in_channels=1))
    with pytest.raises(InputError, match="base: got .*nowhere.json"):
        search(data, tmp_path, EdgeNES(base="nowhere.json"))
    for wrong, message in (({}, "^base: label 'node_0/op_0': got nothing"), (3, "^base: got int")):
        with pytest.raises(InputError, match=message):
            EdgeNES(base=wrong).mutate_model(tiny())


def test_jensen_shannon_and_hub_darts(data: ImageData, tmp_path: Path) -> None:
    strategy = EdgeNES(diversity=JensenShannon(weight=1.0))
    search(data, tmp_path / "js", strategy, epochs=3)
    assert strategy.history[-1]["dial_error"] is None and strategy.history[-1]["regularizer"] >= 0
    assert len(strategy.sample(lam=1.0, n=6)) == 6
    darts = EdgeNES(diversity=SharedEdges())
    small = ImageData("digits", train_size=16, validation_size=16, batch_size=16)
    search(small, tmp_path / "darts", darts, epochs=3, space=DartsSpace(width=4, num_cells=3, in_channels=1))
    assert darts.n_edges == 16 and len(darts.pool(10)) == 10


def test_steps_on_the_regulariser_are_no_steps_of_the_trainer(data: ImageData, tmp_path: Path) -> None:
    """They make the dial obey sooner, and Lightning's count (which max_steps is compared to) is that without them."""
    runs = []
    for steps in (0, 40):
        strategy = EdgeNES(seed=1, regularizer_steps=steps)
        search(data, tmp_path / str(steps), strategy, epochs=6)
        runs.append(strategy.history)
    without, many = runs
    assert [row["step"] for row in without] == [row["step"] for row in many]
    assert without[2]["val_loss"] == many[2]["val_loss"]  # nothing changes before the hypernetwork's phase
    assert many[-1]["dial_error"] < 0.5 < without[-1]["dial_error"]


def test_loaders_instead_of_a_data_module(data: ImageData, tmp_path: Path) -> None:
    train = data.train_dataloader().dataset
    dataset = torch.utils.data.TensorDataset(train.images, train.labels)
    evaluator = Classification(
        num_classes=10,
        max_epochs=3,
        train_dataloaders=DataLoader(dataset, 64, shuffle=True),
        val_dataloaders=DataLoader(dataset, 64),
        **QUIET,
    )
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(tmp_path)
    strategy = EdgeNES()
    experiment = NasExperiment(tiny(), evaluator, strategy, config)
    experiment.start()
    experiment.stop()
    assert len(strategy.history) == 3


def test_levels_are_kept_apart(data: ImageData, tmp_path: Path) -> None:
    """Weights do not move in the architecture step, and logits do not in the weight step."""
    seen: list[tuple[bool, bool]] = []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            architecture = {id(p) for p in (module.base_logits, *module.hypernetwork.parameters())}
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            seen.append((bool(own & architecture), bool(own - architecture)))
            if own & architecture:
                assert not any(weight.requires_grad for weight in module._weights)
                assert all(weight.grad is None or not weight.grad.abs().sum() for weight in module._weights)
            else:
                assert any(weight.grad is not None for weight in module._weights)

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            for weight in module._weights:  # what the step before left
                weight.grad = None

    search(data, tmp_path, EdgeNES(), epochs=3, callbacks=[Watch()])
    assert (True, False) in seen and (False, True) in seen and (True, True) not in seen
    warmup, rest = seen[:4], seen[4:]  # four batches an epoch
    assert warmup == [(False, True)] * 4 and rest == [(True, False), (False, True)] * 8


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"pivots": 1}, "pivots"),
        ({"epsilon": 0}, "epsilon"),
        ({"seed": -1}, "seed"),
        ({"base_draws": 0}, "base_draws"),
        ({"architecture_lr": -1.0}, "architecture_lr"),
        ({"warmup_epochs": -1}, "warmup_epochs"),
        ({"path_temperature": 0.0}, "path_temperature"),
        ({"regularizer_samples": 0}, "regularizer_samples"),
        ({"regularizer_steps": -1}, "regularizer_steps"),
        ({"regularizer_steps": True}, "regularizer_steps"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"epsilon": True}, "epsilon"),
        ({"architecture_lr": float("inf")}, "architecture_lr"),
        ({"warmup_epochs": True}, "warmup_epochs"),
        ({"base_epochs": 1.5}, "base_epochs"),
        ({"gradient_clip_val": -1.0}, "gradient_clip_val"),
        ({"gradient_clip_val": "x"}, "gradient_clip_val"),
        ({"path_temperature": (1.0, float("inf"))}, "path_temperature"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}"):
        EdgeNES(**arguments)


def test_what_cannot_work_is_refused(data: ImageData, tmp_path: Path) -> None:
    strategy = EdgeNES()
    with pytest.raises(InputError, match="evaluator"):
        strategy.mutate_evaluator(FunctionalEvaluator(print))
    with pytest.raises(InputError, match="space"):
        strategy.mutate_model(torch.nn.Linear(1, 1))
    with pytest.raises(RuntimeError, match="run the experiment first"):
        _ = EdgeNES().structure
    with pytest.raises(InputError, match="warmup_epochs"):
        search(data, tmp_path / "short", EdgeNES(warmup_epochs=3, base_epochs=2), epochs=5)


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_nan_loss_ends_the_search(data: ImageData, tmp_path: Path, epoch: int) -> None:
    class Poison(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            if trainer.current_epoch == epoch:
                with torch.no_grad():
                    next(module.training_module.parameters()).fill_(float("nan"))

    with pytest.raises(InputError, match=f"NaN in epoch {epoch}"):
        search(data, tmp_path, EdgeNES(), callbacks=[Poison()])


def test_the_supernet_depends_on_the_seed_alone() -> None:
    """NNI builds the cells of its hub anew when it mutates them."""
    weights = []
    for state, seed in ((1, 0), (2, 0), (2, 5)):
        torch.manual_seed(0)
        space = DartsSpace(width=2, num_cells=3, in_channels=1)
        torch.manual_seed(state)
        before = torch.get_rng_state()
        strategy = EdgeNES(seed=seed)
        strategy.mutate_model(space)
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(torch.cat([p.detach().flatten() for p in strategy.trained_supernet.model.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_structure_is_read_before_mutation() -> None:
    space = DartsSpace(width=4, num_cells=3, in_channels=1)
    before = EdgeStructure.from_space(space)
    strategy = EdgeNES()
    strategy.mutate_model(space)
    assert strategy.structure.groups == before.groups and strategy.n_edges == 16


def test_a_fixed_lam_is_on_the_dial(digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^lam: got 5; expected a number in 0\.\.4"):
        EdgeNES(lam=5).mutate_model(tiny())
    for wrong in (-1, "2", float("nan"), True):
        with pytest.raises(InputError, match="^lam: got"):
            EdgeNES(lam=wrong)  # type: ignore[arg-type]


def test_sampling_keeps_the_budget(digits: ImageData, tmp_path: Path) -> None:
    space = OneCell(channels=2, in_channels=1)
    costs = Budget(space, input_shape=(1, 8, 8))
    free = [candidate.architecture for candidate in run_search(tmp_path / "free", EdgeNES(), digits).pool(9)]
    limit, flops = (statistics.median(values) for values in zip(*map(costs.cost, free), strict=True))
    strategy = EdgeNES(max_params=limit, max_flops=flops, input_shape=(1, 8, 8), base_draws=8)
    run_search(tmp_path, strategy, digits, space)
    found = [strategy.base_architecture, *strategy.sample(lam=2.0, n=4)]
    found += [candidate.architecture for candidate in strategy.pool(3, (1.0, 3.0))]
    assert all(cost.params <= limit and cost.flops <= flops for cost in map(costs.cost, found))


def test_supernet_weights_go_to_a_later_run(digits: ImageData, tmp_path: Path) -> None:
    first = run_search(tmp_path / "first", EdgeNES(), digits)
    path = tmp_path / "supernet.safetensors"
    first.save_supernet(path)
    later = EdgeNES(supernet=path, seed=5)
    later.mutate_model(OneCell(channels=2, in_channels=1))
    trained = first.trained_supernet.model.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in later.trained_supernet.model.state_dict().items())
    resumed = run_search(tmp_path / "second", EdgeNES(supernet=path, seed=5), digits)
    assert losses(resumed)[0] < losses(first)[0]  # it begins where the first ended
    with pytest.raises(InputError, match="^supernet"):
        EdgeNES(supernet=path).mutate_model(OneCell(channels=3, in_channels=1))


def test_nni_resumes_from_the_checkpoint_folder(digits: ImageData, tmp_path: Path) -> None:
    """``NasExperiment.resume`` after a stop that left NNI's own state without a checkpoint, as kill -9 does."""
    whole = run_search(tmp_path / "whole", EdgeNES(), digits)

    class StopError(Exception):
        pass

    strategy = EdgeNES(checkpoint_dir=tmp_path / "checkpoint")
    experiment = NasExperiment(tiny(), image_evaluator(digits, 10, 3), strategy, config(tmp_path / "cut"))
    state = tmp_path / "cut" / "nni" / experiment.id / "checkpoint" / "state.ckpt.torch"

    def interrupt(*_: Any) -> None:
        if strategy.oneshot_module.current_epoch == 2:
            raise StopError

    tripped = tiny()
    tripped.head.register_forward_hook(interrupt)
    experiment.model_space = tripped
    with pytest.raises(StopError):
        experiment.start()
    at_start = state.read_bytes()
    experiment.stop()
    state.write_bytes(at_start)
    again = EdgeNES(checkpoint_dir=tmp_path / "checkpoint")
    resumed = NasExperiment(tiny(), image_evaluator(digits, 10, 3), again, config(tmp_path / "cut"), id=experiment.id)
    resumed.resume()
    assert again.base_architecture == whole.base_architecture and losses(again) == losses(whole)
    assert torch.equal(again.sampler.hypernetwork.values, whole.sampler.hypernetwork.values)


def test_resume_finds_the_checkpoint_of_the_users_own_callback(digits: ImageData, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "last.ckpt").write_bytes(b"")
    strategy = EdgeNES()
    experiment = NasExperiment(tiny(), image_evaluator(digits, 10, 3), strategy, config(tmp_path))
    experiment.evaluator.trainer.callbacks.append(ModelCheckpoint(tmp_path / "mine", save_last=True))
    strategy._mutated_model_space = experiment.executable_model_factory(experiment.config.canonical_copy().model_format)
    strategy.load_state_dict({})
    assert experiment.evaluator.fit_kwargs["ckpt_path"] == str(tmp_path / "mine" / "last.ckpt")
    del experiment.evaluator.fit_kwargs["ckpt_path"]
    (tmp_path / "mine" / "last.ckpt").unlink()
    with pytest.warns(UserWarning, match="no checkpoint"):
        strategy.load_state_dict({})


def test_a_strategy_says_what_it_will_do() -> None:
    assert repr(EdgeNES()) == "EdgeNES(diversity=SharedEdges)"
    strategy = EdgeNES({"op": "a"}, JensenShannon(), paths=2, seed=1, max_params=5000)
    assert repr(strategy) == "EdgeNES(base={'op': 'a'}, diversity=JensenShannon, seed=1, paths=2, max_params=5000)"
    strategy = EdgeNES()
    strategy.mutate_model(OneCell(channels=2, in_channels=1))
    assert repr(strategy) == "EdgeNES(diversity=SharedEdges, n_edges=4)"
