"""NNI's ENAS strategy with two faults mended, so that it can be compared."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.sampling import EnasLightningModule
from nni.nas.strategy import ENAS


class _OneAfterTheOther:
    """The batches of all loaders in turn, each as ``(batch, name of its loader)``."""

    def __init__(self, loaders: Mapping[str, Any]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return sum(len(loader) for loader in self.loaders.values())

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        for name, loader in self.loaders.items():
            for batch in loader:
                yield batch, name


class _EnasModule(EnasLightningModule):  # type: ignore[misc]
    """NNI's module, which updates the controller after a reward only, and exports what the controller prefers."""

    _trajectory_counter: int

    def training_step(self, batch_packed: Any, batch_idx: int) -> Any:
        """A step of the weights, or of the controller on a validation batch."""
        if batch_packed[1] != "train":
            return super().training_step(batch_packed, batch_idx)
        # NNI looks at the number of rewards after a step of the weights too, and would update the controller again and
        # again on the same rewards where an epoch ends at a multiple of ``batches_per_update``
        rewards, self._trajectory_counter = self._trajectory_counter, 0
        try:
            return super().training_step(batch_packed, batch_idx)
        finally:
            self._trajectory_counter = rewards

    def export(self) -> dict[str, Any]:
        """The most probable option of each choice in turn; NNI's own export is one random draw."""
        self.policy._deterministic_eval = True
        try:
            sample: dict[str, Any] = super().export()
            return sample
        finally:
            self.policy._deterministic_eval = False


class Enas(ENAS):  # type: ignore[misc]
    """NNI's ENAS, on Lightning 2 and with a result.

    nni 3.0 hands Lightning a loader that Lightning 2.6 takes for its own and whose batches do not say which loader they
    are from; it takes another controller, untrained, before it exports; and it gives the controller's parameters to its
    optimiser as a set, which torch deprecates. Private: ``EnasLightningModule._trajectory_counter``,
    ``PPOPolicy._deterministic_eval``, ``nni.nas.strategy._rl_impl``. Can go when ``nni.nas.strategy.ENAS`` passes
    ``tests/test_one_shot.py::test_enas_learns``.

    Args:
        learning_rate: Of the controller.
        **arguments: Those of NNI's ENAS but ``policy_fn``.

    Raises:
        ImportError: tianshou is not installed.
    """

    def __init__(self, learning_rate: float = 1e-4, **arguments: Any) -> None:
        if not has_tianshou():
            raise ImportError("ENAS needs tianshou and gym")
        from nni.nas.strategy._rl_impl import TuningEnvironment

        self.learning_rate = learning_rate
        self._policy(TuningEnvironment([2]))  # tianshou compiles for seconds, which is no part of a search
        super().__init__(policy_fn=self._policy, **arguments)

    def _policy(self, env: Any) -> Any:
        """The policy of NNI's ``default_policy_fn``."""
        from gymnasium.spaces import Discrete
        from nni.nas.strategy._rl_impl import Actor, Critic, Preprocessor
        from tianshou.policy import PPOPolicy

        net = Preprocessor(env.observation_space, hidden_dim=64)
        actor, critic = Actor(env.action_space, net), Critic(net)
        parameters = list(dict.fromkeys([*actor.parameters(), *critic.parameters()]))  # both hold those of ``net``
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
        return _OneAfterTheOther({"train": train_dataloader_fn(), "val": val_dataloader_fn()})

    def list_models(self, sort: bool = True, limit: int | None = 1) -> Iterator[ModelSpace]:
        """The architecture that the trained controller prefers."""
        yield self.model_space.freeze(self.oneshot_module.export())


def has_tianshou() -> bool:
    """Whether what NNI's ENAS needs is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("tianshou", "gym", "gymnasium"))
