"""What a method of a comparison is, and how it spends its budget.

A method is a recipe. It gets a workbench, the number of members wanted and a budget in seconds of computing, and
returns the networks it has trained, in the order of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import random_architectures
from nni_hypens.utils.seeds import Purpose, derive_seed

MAX_NETWORKS = 400
"""More networks than any budget here pays for."""


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
    """

    title: str
    recipe: Recipe
    about: str
    fills: bool = True


def train_within_budget(bench: Workbench, members: int, budget: float, trainings: Iterator[Training]) -> list[Network]:
    """Train one network after the other while the next is expected to fit into the budget.

    At least `members` networks that do not diverge are trained, unless most do: after three times as many only the
    budget counts.

    Args:
        bench: Trains them.
        members: Networks that are needed.
        budget: Seconds.
        trainings: What to train, in this order.
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
        networks.append(bench.network(*training))
        spent += networks[-1].cost


def replicas(sample: Sample, first: int = 0) -> Iterator[Training]:
    """Trainings of one architecture, again and again, beginning with replica `first`."""
    return ((sample, replica) for replica in range(first, MAX_NETWORKS))


def once_each(samples: list[Sample]) -> Iterator[Training]:
    """One training of each architecture."""
    return ((sample, 0) for sample in samples)


def random_samples(bench: Workbench, n: int) -> list[Sample]:
    """Up to `n` random architectures. All random baselines begin with the same ones, so that they share networks."""
    return random_architectures(bench.structure, n, derive_seed(bench.seed, Purpose.RANDOM_BASELINES))


def one_network_of_each(bench: Workbench, samples: list[Sample]) -> list[Network]:
    """Train a network of each sample; an architecture that occurs twice gets two networks."""
    networks: list[Network] = []
    for sample in samples:
        key = bench.structure.key(sample)
        before = sum(bench.structure.key(network.sample) == key for network in networks)
        networks.append(bench.network(sample, before))
    return networks
