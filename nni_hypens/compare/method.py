"""What a method of a comparison is, and how it spends its budget.

A method is a recipe. It gets a bench, the number of members wanted and a budget in seconds of computing, and returns
the networks it has trained, in the order of training. A recipe that needs no search asks only for what a `Bench` has,
so it runs on a pool of trained networks as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nni_hypens.compare.bench import Clock, Network, Workbench
from nni_hypens.selection.names import EVERY
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.utils.seeds import Purpose, derive_seed

if TYPE_CHECKING:
    from nni_hypens.compare.pool_bench import PoolBench

MAX_NETWORKS = 400
"""More networks than any budget here pays for."""
AT_LEAST = 5
"""Networks that a method trains at least where all of them are members, with fitted weights (the size `EVERY`)."""


def ensembles_of(members: int) -> str:
    """Words for a size.

    Examples:
        >>> ensembles_of(3), ensembles_of(EVERY)
        ('ensembles of 3', 'ensembles of all networks')
    """
    return f"ensembles of {'all networks' if members == EVERY else members}"


class Bench(Protocol):
    """What a recipe without a search asks for: networks, whether they are trained (`nni_hypens.compare.Workbench`) or
    come from a pool (`nni_hypens.compare.PoolBench`)."""

    @property
    def structure(self) -> EdgeStructure:
        """Edges of the space."""

    @property
    def seed(self) -> int:
        """Seed of the run."""

    @property
    def validation_labels(self) -> np.ndarray:
        """Labels `N` of the validation images."""

    @property
    def test_labels(self) -> np.ndarray:
        """Labels `M` of the test images."""

    @property
    def architectures(self) -> Sequence[Sample] | None:
        """The only architectures that can be trained; None for the whole space."""

    def random(self, n: int, seed: int) -> list[Sample]:
        """Up to `n` different architectures in an order that the seed decides."""

    def neighbours(self, sample: Sample, trained: Sequence[Sample]) -> list[Sample]:
        """Architectures next to `sample` that can be trained once more after those in `trained`, one for a network."""

    def traits(self) -> Callable[[Sample], tuple[float, float]]:
        """A function of an architecture: its parameters and FLOPs, each plus one."""

    def flow(self) -> Callable[[Sample], float] | None:
        """A function of an architecture: the synaptic flow of its untrained network; None if it is not known."""

    def offers(self, sample: Sample, replica: int) -> bool:
        """Whether `network` can return this network."""

    def network(self, sample: Sample, replica: int = 0, may_go_on: bool = False) -> Network:
        """A trained network; replicas of an architecture have different seeds. With `may_go_on` the first of them is
        one that can be trained further, if not all can."""

    def offers_further(self, network: Network) -> bool:
        """Whether `further` can return this network after one more schedule."""

    def further(self, network: Network) -> Network:
        """A network, trained for one more schedule from the weights that it has; its cost is that of the schedule."""

    def charged(self, name: str, clock: Clock) -> AbstractContextManager[None]:
        """Add what deciding costs in the block, in seconds, to a clock."""


@dataclass
class Trained:
    """What a method has trained.

    Args:
        networks: In the order of training.
        search_s: Seconds of search and ranking.
        choose: Whether members are chosen from the networks; otherwise all of them are members.
        supernet: Name of the search whose supernet the method uses, if it uses one.
        selection: How members are chosen on validation data, a method of `nni_hypens.selection.select`. None for the
            best of all choices, or of those that beam search scores if there are too many.
    """

    networks: list[Network]
    search_s: float = 0.0
    choose: bool = True
    supernet: str | None = None
    selection: str | None = None


Recipe = Callable[[Workbench, int, float], Trained]
"""(workbench, members, budget in seconds) -> what was trained."""
PoolRecipe = Callable[["PoolBench", int, float], Trained]
"""A recipe on a pool of trained networks."""
Training = tuple[Sample, int]
"""An architecture and its replica: which of the networks of that architecture to train."""


@dataclass(frozen=True)
class Method:
    """A method of a comparison.

    Args:
        title: For tables.
        recipe: What it does.
        about: One sentence.
        fills: Whether it spends the budget; otherwise its cost does not depend on the budget.
        on_pool: What it does on a pool of trained networks; None if it needs what no pool has.
        peer: Name of the entries of a pool that `on_pool` needs; empty if architectures of the space are enough.
    """

    title: str
    recipe: Recipe
    about: str
    fills: bool = True
    on_pool: PoolRecipe | None = None
    peer: str = ""


def train_within_budget(bench: Bench, members: int, budget: float, trainings: Iterator[Training]) -> list[Network]:
    """`train_until_spent` with architectures of the space; it also ends with one that the bench does not offer.

    Args:
        bench: Trains them.
        members: Networks that are needed.
        budget: Seconds.
        trainings: What to train, in this order.
    """

    def offered() -> Iterator[Callable[[], Network]]:
        for training in trainings:
            if not bench.offers(*training):
                return
            yield partial(bench.network, *training)

    return train_until_spent(members, budget, offered())


def train_until_spent(members: int, budget: float, trainings: Iterator[Callable[[], Network]]) -> list[Network]:
    """Train one network after the other while the next is expected to fit into the budget.

    At least `members` networks that do not diverge are trained, unless most do: after three times as many only the
    budget counts.

    Args:
        members: Networks that are needed.
        budget: Seconds.
        trainings: Each trains a network, in this order.
    """
    networks: list[Network] = []
    spent = 0.0
    while True:
        enough = sum(network.finite for network in networks) >= members or len(networks) >= 3 * members
        if enough and spent + spent / max(len(networks), 1) > budget:
            return networks
        training = next(trainings, None)
        if training is None:
            return networks
        networks.append(training())
        spent += networks[-1].cost


def replicas(sample: Sample, first: int = 0) -> Iterator[Training]:
    """Trainings of one architecture, again and again, beginning with replica `first`."""
    return ((sample, replica) for replica in range(first, MAX_NETWORKS))


def once_each(samples: list[Sample]) -> Iterator[Training]:
    """One training of each architecture."""
    return ((sample, 0) for sample in samples)


def random_samples(bench: Bench, n: int) -> list[Sample]:
    """Up to `n` random architectures. All random baselines begin with the same ones, so that they share networks."""
    return bench.random(n, derive_seed(bench.seed, Purpose.RANDOM_BASELINES))


def with_seeds_left(bench: Bench, networks: Sequence[Network], members: int) -> list[Network]:
    """Those networks of whose architecture the bench offers `members`; all where there is none.

    A bench that trains offers any number. In a pool most architectures have one network, and new seeds of such a one
    are no ensemble.
    """
    return [network for network in networks if bench.offers(network.sample, members - 1)] or list(networks)


def one_network_of_each(bench: Workbench, samples: list[Sample]) -> list[Network]:
    """Train a network of each sample; an architecture that occurs twice gets two networks."""
    networks: list[Network] = []
    for sample in samples:
        key = bench.structure.key(sample)
        before = sum(bench.structure.key(network.sample) == key for network in networks)
        networks.append(bench.network(sample, before))
    return networks
