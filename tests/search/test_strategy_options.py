"""Options of EdgeNES that change what a search does: paths, penalty, budget, given weights, precision."""

from __future__ import annotations

import statistics
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.profiler.pytorch.flops import NumParamsProfiler
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from nni_hypens import EdgeNES, ImageData, InputError, image_evaluator
from nni_hypens.search import module as search_module
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import Budget
from nni_hypens.trials.evaluators import ImageClassification
from search_spaces import OneCell


def tiny() -> OneCell:
    torch.manual_seed(0)
    return OneCell(channels=2, in_channels=1)


def config(folder: Path) -> NasExperimentConfig:
    result = NasExperimentConfig("sequential", "raw", "local")
    result.experiment_working_directory = str(folder / "nni")
    return result


def search(folder: Path, strategy: EdgeNES, data: ImageData, space: Any = None, epochs: int = 3) -> EdgeNES:
    experiment = NasExperiment(space or tiny(), image_evaluator(data, 10, epochs), strategy, config(folder))
    experiment.start()
    experiment.stop()
    return strategy


def losses(strategy: EdgeNES) -> list[float]:
    return [row["loss"] for row in strategy.history]


def test_paths_average(digits: ImageData, tmp_path: Path) -> None:
    """k paths take k times the passes through the network; the mixture runs it once per batch."""

    counted = {}
    for paths in (1, 3, "all"):
        space = tiny()
        calls: list[int] = []
        space.head.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        strategy = search(tmp_path / str(paths), EdgeNES(paths=paths, base_epochs=0, base_draws=1), digits, space)
        counted[paths] = len(calls)
        assert len(strategy.sample(lam=2.0, n=2)) == 2
    batches, validation = 4, 1
    warmup, rest = batches, 2 * 2 * batches  # one epoch of weights, two of both halves
    assert counted[1] == warmup + rest + validation
    assert counted[3] == 3 * (warmup + rest) + validation
    assert counted["all"] == warmup + rest + validation


def test_a_fixed_lam_leaves_the_rest_of_the_dial_alone(digits: ImageData, tmp_path: Path) -> None:
    """At lam = 0, which is between the first two of five pivots, no other learns."""
    base = EdgeStructure.from_space(tiny()).table.to_sample([[0]] * 14)
    strategy = EdgeNES(base=base, lam=0, warmup_epochs=0)
    strategy.mutate_model(tiny())
    untrained = strategy.configure_oneshot_module(ImageClassification(10, 0.01, 0.0, 1)).hypernetwork
    strategy = search(tmp_path, EdgeNES(base=base, lam=0, warmup_epochs=0), digits, tiny(), epochs=4)
    after, before = strategy.oneshot_module.hypernetwork.values.detach(), untrained.values.detach()
    moved = (after - before).abs().amax(dim=(1, 2))
    assert (moved[:2] > 0).all() and not moved[2:].any()
    found = strategy.sampler.mode(0)
    assert found.shared_edges < 4
    assert strategy.history[-1]["dial_error"] == found.shared_edges


def test_a_fixed_lam_is_on_the_dial(digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^lam: got 5; expected a number in 0\.\.4"):
        EdgeNES(lam=5).mutate_model(tiny())
    for wrong in (-1, "2", float("nan"), True):
        with pytest.raises(InputError, match="^lam: got"):
            EdgeNES(lam=wrong)  # type: ignore[arg-type]


def test_penalty_makes_networks_smaller(digits: ImageData, tmp_path: Path) -> None:
    """A space of two widths where only the penalty tells them apart for sure."""

    class Two(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.flat = nn.Flatten()
            blocks = {f"layer_{index}": _pair() for index in range(4)}
            self.body = nn.Sequential(*(LayerChoice(pair, label=name) for name, pair in blocks.items()))
            self.head = nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(self.flat(images)))

    def _pair() -> dict[str, nn.Module]:
        return {"big": nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 64)), "small": nn.Linear(64, 64)}

    def expected(scale: float) -> float:
        space = Two()
        profiler = NumParamsProfiler(space, torch.zeros(1, 1, 8, 8))
        penalty = {"profiler": profiler, "baseline": 50_000, "scale": scale}
        strategy = EdgeNES(penalty=penalty, architecture_lr=0.3, base_epochs=1)
        search(tmp_path / str(scale), strategy, digits, space)
        pool = strategy.sampler
        share = torch.stack([pool.logits(lam).softmax(-1)[:, 0].mean() for lam in (0.0, 2.0, 4.0)])
        return share.mean().item()

    assert expected(10.0) < expected(-10.0) - 0.2


def test_penalty_is_logged_and_enters_the_loss(digits: ImageData, tmp_path: Path) -> None:
    space = tiny()
    profiler = NumParamsProfiler(space, torch.zeros(1, 1, 8, 8))
    strategy = EdgeNES(penalty={"profiler": profiler, "baseline": 100.0})
    search(tmp_path, strategy, digits, space)
    logged = strategy.oneshot_module.trainer.callback_metrics
    assert logged["penalty/penalty"] > 0
    cost, normalized = (float(logged[f"penalty/{name}"]) for name in ("penalty", "normalized_penalty"))
    assert normalized == pytest.approx(cost / 100 - 1, 1e-4)


def test_sampling_keeps_the_budget(digits: ImageData, tmp_path: Path) -> None:
    space = OneCell(channels=2, in_channels=1)
    costs = Budget(space, input_shape=(1, 8, 8))
    free = [candidate.architecture for candidate in search(tmp_path / "free", EdgeNES(), digits).pool(9)]
    limit, flops = (statistics.median(values) for values in zip(*map(costs.cost, free), strict=True))
    strategy = EdgeNES(max_params=limit, max_flops=flops, input_shape=(1, 8, 8), base_draws=8)
    search(tmp_path, strategy, digits, space)
    found = [strategy.base_architecture, *strategy.sample(lam=2.0, n=4)]
    found += [candidate.architecture for candidate in strategy.pool(3, (1.0, 3.0))]
    assert all(cost.params <= limit and cost.flops <= flops for cost in map(costs.cost, found))


def test_budget_that_nothing_meets_is_said(digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "BUDGET_DRAWS", 5)
    with pytest.raises(InputError, match="^max_params, max_flops"):
        search(tmp_path, EdgeNES(max_params=10, base_draws=4), digits)
    base = search(tmp_path / "any", EdgeNES(), digits).base_architecture
    with pytest.raises(InputError, match="^base.*max_params=10"):
        EdgeNES(base=base, max_params=10).mutate_model(tiny())


def test_supernet_weights_go_to_a_later_run(digits: ImageData, tmp_path: Path) -> None:
    first = search(tmp_path / "first", EdgeNES(), digits)
    path = tmp_path / "supernet.safetensors"
    first.save_supernet(path)
    later = EdgeNES(supernet=path, seed=5)
    later.mutate_model(OneCell(channels=2, in_channels=1))
    trained = first.trained_supernet.model.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in later.trained_supernet.model.state_dict().items())
    resumed = search(tmp_path / "second", EdgeNES(supernet=path, seed=5), digits)
    assert losses(resumed)[0] < losses(first)[0]  # it begins where the first ended
    with pytest.raises(InputError, match="^supernet"):
        EdgeNES(supernet=path).mutate_model(OneCell(channels=3, in_channels=1))


def test_nni_resumes_from_the_checkpoint_folder(digits: ImageData, tmp_path: Path) -> None:
    """``NasExperiment.resume`` after a stop that left NNI's own state without a checkpoint, as kill -9 does."""
    whole = search(tmp_path / "whole", EdgeNES(), digits)

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


def test_bfloat16(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))
    loader = DataLoader(torch.utils.data.TensorDataset(images, labels), 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = Classification(
            num_classes=10,
            train_dataloaders=loader,
            val_dataloaders=loader,
            max_epochs=3,
            precision="bf16-mixed",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        strategy = EdgeNES()
        experiment = NasExperiment(tiny(), evaluator, strategy, config(tmp_path))
        experiment.start()
        experiment.stop()
    assert strategy.sampler.hypernetwork.values.dtype == torch.float32
    assert len(strategy.history) == 3 and len(strategy.sample(2.0, 3)) == 3
