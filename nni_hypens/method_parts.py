"""What methods of a comparison are made of: the networks that a recipe gives, and training within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nni_hypens.space.architecture import Sample
from nni_hypens.workbench import Network, Workbench

MANY = 400
"""More networks than any budget here pays for."""


@dataclass
class Trained:
    """What a method has trained.

    Args:
        networks: In the order of training.
        search_s: Seconds of search and ranking.
        choose: Whether members are chosen among the networks; else the first ones are the members.
        supernet: Name of the search whose supernet the method has, where it has one.
        selection: How they are chosen on validation data, a method of :func:`nni_hypens.selection.select`; None for the
            best of all choices, or of those that beam search looks at where there are too many.
    """

    networks: list[Network]
    search_s: float = 0.0
    choose: bool = True
    supernet: str | None = None
    selection: str | None = None


Recipe = Callable[[Workbench, int, float], Trained]
Next = tuple[Sample, int]


@dataclass(frozen=True)
class Method:
    """A method of a comparison.

    Args:
        title: For tables.
        recipe: What it does.
        about: One sentence.
        fills: Whether it spends the budget; else it has a cost of its own.
    """

    title: str
    recipe: Recipe
    about: str
    fills: bool = True


def fill(bench: Workbench, members: int, budget: float, trainings: Iterator[Next]) -> list[Network]:
    """Train one after the other while the next is expected to fit into the budget.

    At least ``members`` networks that do not diverge are trained, unless most do: after three times as many the budget
    alone counts.
    """
    networks: list[Network] = []
    spent = 0.0
    while True:
        enough = sum(network.finite for network in networks) >= members or len(networks) >= 3 * members
        if enough and spent + spent / max(len(networks), 1) > budget:
            return networks
        following = next(trainings, None)
        if following is None:
            return networks
        networks.append(bench.network(*following))
        spent += networks[-1].cost


def replicas(sample: Sample, first: int = 0) -> Iterator[Next]:
    """One architecture, again and again."""
    return ((sample, replica) for replica in range(first, MANY))
