"""NNI's ENAS strategy with two bugs fixed, so that it can be compared."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import pytorch_lightning as pl
import torch
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.sampling import EnasLightningModule
from nni.nas.strategy import ENAS


class _ChainedLoaders:
    """The batches of one loader after the other, each as `(batch, name of its loader)`."""

    def __init__(self, loaders: Mapping[str, Any]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return sum(len(loader) for loader in self.loaders.values())

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        for name, loader in self.loaders.items():
            for batch in loader:
                yield batch, name


class _EnasModule(EnasLightningModule):  # type: ignore[misc]
    """NNI's module, changed to update the controller after rewards only and to export what the controller prefers."""

    _trajectory_counter: int

    def training_step(self, batch_packed: Any, batch_idx: int) -> Any:
        """One step of the weights, or of the controller on a validation batch."""
        if batch_packed[1] != "train":
            return super().training_step(batch_packed, batch_idx)
        # NNI checks the number of rewards after each step of the weights too. If an epoch ended at a multiple of
        # `batches_per_update`, it would update the controller again and again on the same rewards
        rewards, self._trajectory_counter = self._trajectory_counter, 0
        try:
            return super().training_step(batch_packed, batch_idx)
        finally:
            self._trajectory_counter = rewards

    def export(self) -> dict[str, Any]:
        """The most probable option of each choice; NNI's own export is a random draw."""
        self.policy._deterministic_eval = True
        try:
            sample: dict[str, Any] = super().export()
            return sample
        finally:
            self.policy._deterministic_eval = False


class Enas(ENAS):  # type: ignore[misc]
    """NNI's ENAS, made to work with Lightning 2 and to export the trained controller's choice.

    nni 3.0 gives Lightning a combined loader whose batches, in Lightning 2.6, do not say which loader they are from. It
    replaces the controller by an untrained one before it exports. It gives the controller's parameters to the optimiser
    as a set, which torch deprecates. Uses these private names: `EnasLightningModule._trajectory_counter`,
    `PPOPolicy._deterministic_eval`, `nni.nas.strategy._rl_impl`. Remove when `nni.nas.strategy.ENAS` passes
    `tests/compare/test_enas.py::test_enas_learns`.

    Args:
        learning_rate: Learning rate of the controller.
        **arguments: Arguments of NNI's ENAS, except `policy_fn`.

    Raises:
        ImportError: tianshou is not installed.
    """

    def __init__(self, learning_rate: float = 1e-4, **arguments: Any) -> None:
        if not has_tianshou():
            raise ImportError("ENAS needs tianshou and gym")
        from nni.nas.strategy._rl_impl import TuningEnvironment

        self.learning_rate = learning_rate
        self._policy(TuningEnvironment([2]))  # tianshou compiles for seconds, which is not part of the search
        super().__init__(policy_fn=self._policy, **arguments)

    def _policy(self, env: Any) -> Any:
        """The policy of NNI's `default_policy_fn`."""
        from gymnasium.spaces import Discrete
        from nni.nas.strategy._rl_impl import Actor, Critic, Preprocessor
        from tianshou.policy import PPOPolicy

        net = Preprocessor(env.observation_space, hidden_dim=64)
        actor, critic = Actor(env.action_space, net), Critic(net)
        parameters = list(dict.fromkeys([*actor.parameters(), *critic.parameters()]))  # both hold those of `net`
        return PPOPolicy(
            actor,
            critic,
            torch.optim.Adam(parameters, lr=self.learning_rate),
            torch.distributions.Categorical,
            discount_factor=1.0,
            action_space=Discrete(int(env.action_space.n)),
        )

    def configure_oneshot_module(self, training_module: pl.LightningModule) -> EnasLightningModule:
        names: tuple[str, ...]
        names = ("batches_per_update", "log_prob_every_n_step", "replay_buffer_size", "reward_metric_name", "policy_fn")
        names += ("update_kwargs", "warmup_epochs", "penalty")
        return _EnasModule(training_module, **{name: getattr(self, name) for name in names})

    def train_dataloader(self, train_dataloader_fn: Any, val_dataloader_fn: Any) -> Any:
        return _ChainedLoaders({"train": train_dataloader_fn(), "val": val_dataloader_fn()})

    def list_models(self, sort: bool = True, limit: int | None = 1) -> Iterator[ModelSpace]:
        """The architecture that the trained controller prefers."""
        yield self.model_space.freeze(self.oneshot_module.export())


def has_tianshou() -> bool:
    """Whether the packages that NNI's ENAS needs are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("tianshou", "gym", "gymnasium"))
