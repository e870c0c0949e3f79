"""Decide between a new architecture and a new seed by playing the rest of a run.

With R trainings left, a plan trains n new architectures, and then seeds of the k best, or goes on with the k best
networks, one schedule after the other (`nni_hypens.proposals.further`). Each plan is played many times
with results drawn from the outlook, and judged by the ensemble that would be chosen at the end. Only the first step of
the best plan is taken; after its result, all plans are played anew (receding horizon).

Where architectures differ much in their NLL and two of them gain little more than two seeds of one, seeds of the best
win early. Where they hardly differ in their NLL but gain from being different, new architectures win to the end. Where
all of them are trained too briefly, going on wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nni_hypens.metrics.inputs import FloatArray, IntArray
from nni_hypens.proposals.further import FADE, schedules, trainings
from nni_hypens.proposals.outlook import Outlook

PLAYS = 128
"""Times that each plan is played; all plans see the same random numbers."""
BEST = (1, 2, 3)
"""Over how many of the best architectures the seeds are spread."""
GONE_ON = (1, 2, 3, 5)
"""Over how many of the best networks the trainings that go on are spread."""
HOPE = 0.5
"""How many standard deviations of what is not known about going on count as a lower NLL."""


@dataclass(frozen=True)
class Plan:
    """A plan for the trainings that are left.

    Attributes:
        new: Architectures that get their first network.
        best: Over how many of the best architectures the other networks are spread, or of the best networks; 0 if there
            are none.
        nll: Expected validation NLL of the ensemble at the end.
        further: Whether the others go on with trained networks, instead of beginning with new weights.
    """

    new: int
    best: int
    nll: float
    further: bool = False


@dataclass(frozen=True)
class Draws:
    """Standard normal numbers, the same for all plans; a row for each play.

    Attributes:
        of_architecture: Of the level of each network with new weights; those in training come first.
        of_seed: Of the seed of each of them.
        known: Of what is not known about each architecture.
        of_change: Of what is not known about going on.
        of_network: Of each training that goes on.
    """

    of_architecture: FloatArray
    of_seed: FloatArray
    known: FloatArray
    of_change: FloatArray
    of_network: FloatArray


@dataclass(frozen=True)
class First:
    """The networks in training and then the new architectures, in each play.

    Attributes:
        architectures: Of each.
        truth: Level of its architecture.
        results: Its NLL.
        began: As `nni_hypens.proposals.further.trainings` says it.
    """

    architectures: list[int]
    truth: FloatArray
    results: FloatArray
    began: list[int]


class Plays:
    """Plays plans.

    Args:
        outlook: What is expected of each architecture.
        owner: Architecture of each trained network.
        pending: Architectures of networks in training, one for each.
        new: Architectures without a network that may be trained, the most promising first.
        seeds: Architectures that have a trained network and can be trained again; not empty.
        members: Members of the ensemble.
        generator: Draws the results.
        parents: Of each trained network, and then of each in training, the position of the trained one that it goes on
            from; None for new weights.
        further: Positions of trained networks that can be trained further.
    """

    def __init__(
        self,
        outlook: Outlook,
        owner: Sequence[int],
        pending: Sequence[int],
        new: Sequence[int],
        seeds: Sequence[int],
        members: int,
        generator: np.random.Generator,
        parents: Sequence[int | None] | None = None,
        further: Sequence[int] = (),
    ) -> None:
        self.outlook, self.members = outlook, members
        parents = [None] * (len(owner) + len(pending)) if parents is None else parents
        self.schedules, self.began = schedules(parents[: len(owner)]), trainings(parents[: len(owner)])
        self.pending_parents = list(parents[len(owner) :])
        self.hoped = outlook.change.mean - HOPE * outlook.change.std
        self.further = sorted(further, key=self._after_one_more)
        self.owner, self.nll, self.pending = list(owner), outlook.nll, list(pending)
        self.new, self.seeds = list(new), list(seeds)
        self.random = generator

    def _after_one_more(self, position: int) -> float:
        """Expected NLL of a network after another schedule."""
        change: float = self.outlook.believed[position] + self.hoped * FADE ** (self.schedules[position] - 1)
        return change

    def best_plan(self, left: int) -> Plan:
        """The plan with the lowest expected NLL of the ensemble.

        Args:
            left: Trainings that are left, at least 1, those in training not included.
        """
        columns = (left + len(self.pending),) * 2 + (len(self.outlook.mean), 1, left)
        draws = Draws(*(self.random.standard_normal((PLAYS, count)) for count in columns))
        counts = sorted({*range(min(left, 4) + 1), *range(4, left, 2), left})
        plans = []
        for new in (count for count in counts if count <= len(self.new)):
            spreads = [0] if new == left else [best for best in BEST if best <= left - new]
            for best in spreads:
                if best > len(self.seeds) + new:
                    continue
                plans.append(Plan(new, best, self._play(new, best, left, draws)))
            for best in GONE_ON if new < left else ():
                if best <= min(left - new, len(self.further)):
                    plans.append(Plan(new, best, self._go_on(new, best, left, draws), further=True))
        return min(plans, key=lambda plan: (plan.nll, plan.further, plan.new))

    def now(self) -> float:
        """Expected NLL of the ensemble if nothing more is trained."""
        nll = np.asarray(self.nll)[None]
        return float(self._ensemble(nll, np.array([self.owner], dtype=int), self.began)[0])

    def _first(self, new: int, draws: Draws) -> First:
        """What becomes of the networks in training and of the first `new` new architectures."""
        found, architectures = self.outlook, [*self.pending, *self.new[:new]]
        count = len(architectures)
        truth = found.mean[architectures] + found.std[architectures] * draws.of_architecture[:, :count]
        results = truth + found.between_seeds * draws.of_seed[:, :count]
        began = list(range(len(self.owner), len(self.owner) + count))
        for place, parent in enumerate(self.pending_parents):
            if parent is not None:
                change = self._changes(draws) * FADE ** (self.schedules[parent] - 1)
                results[:, place] = found.believed[parent] + change + found.change.noise * draws.of_seed[:, place]
                began[place] = self.began[parent]
        return First(architectures, truth, results, began)

    def _changes(self, draws: Draws) -> FloatArray:
        """What a second schedule gives, in each play."""
        return self.hoped + self.outlook.change.std * draws.of_change[:, 0]

    def _play(self, new: int, best: int, left: int, draws: Draws) -> float:
        """Mean over all plays of the NLL of the ensemble at the end."""
        found, first = self.outlook, self._first(new, draws)
        known_first = np.array([*self.owner, *first.architectures], dtype=int)
        architectures = np.broadcast_to(known_first, (PLAYS, len(known_first)))
        nll = np.concatenate([np.broadcast_to(self.nll, (PLAYS, len(self.nll))), first.results], axis=1)
        if best:
            fresh = first.architectures[len(self.pending) :]
            truth, results = (of_all[:, len(self.pending) :] for of_all in (first.truth, first.results))
            mean, std, noise = found.mean[fresh], found.std[fresh], found.between_seeds
            # What will be believed of the new ones: their results, drawn towards what was expected.
            trust = std**2 / np.maximum(std**2 + noise**2, 1e-12)
            ids = np.array([*self.seeds, *fresh], dtype=int)
            of_seeds = np.broadcast_to(found.mean[self.seeds], (PLAYS, len(self.seeds)))
            believed = np.concatenate([of_seeds, mean + trust * (results - mean)], axis=1)
            level = found.mean[self.seeds] + found.std[self.seeds] * draws.known[:, self.seeds]
            true = np.concatenate([level, truth], axis=1)
            more, before = left - new, len(first.architectures)
            places = believed.argsort(axis=1)[:, np.arange(more) % best]
            rows = np.arange(PLAYS)[:, None]
            seeds = true[rows, places] + noise * draws.of_seed[:, before : before + more]
            nll = np.concatenate([nll, seeds], axis=1)
            architectures = np.concatenate([architectures, ids[places]], axis=1)
        began = [*self.began, *first.began, *range(len(known_first), nll.shape[1])]
        return float(self._ensemble(nll, architectures, began).mean())

    def _go_on(self, new: int, best: int, left: int, draws: Draws) -> float:
        """As `_play`, where the trainings after the new ones go on with the `best` best networks in turn."""
        found, first, change = self.outlook, self._first(new, draws), self._changes(draws)
        ends = [np.full(PLAYS, found.believed[position]) for position in self.further[:best]]
        done = [self.schedules[position] for position in self.further[:best]]
        gone_on, places = [], []
        for step in range(left - new):
            place = step % best
            noise = found.change.noise * draws.of_network[:, step]
            ends[place] = ends[place] + change * FADE ** (done[place] - 1) + noise
            done[place] += 1
            gone_on.append(ends[place])
            places.append(self.further[place])
        nll = np.column_stack([np.broadcast_to(self.nll, (PLAYS, len(self.nll))), first.results, *gone_on])
        owner = [*self.owner, *first.architectures, *(self.owner[position] for position in places)]
        began = [*self.began, *first.began, *(self.began[position] for position in places)]
        architectures = np.broadcast_to(np.array(owner, dtype=int), nll.shape)
        return float(self._ensemble(nll, architectures, began).mean())

    def _ensemble(self, nll: FloatArray, architectures: NDArray[np.int_], began: Sequence[int]) -> FloatArray:
        """NLL of the ensemble that greedy selection makes, for each play.

        The NLL of an average of n is taken as the mean NLL minus `4 / n^2` times the sum of the gains of its pairs.
        With plain NLLs that is exact for n = 2, and for any n if the gain of a pair is a squared distance; with
        effective ones it says the same for `members` networks, and fewer are judged as parts of so many.
        """
        plays, count = nll.shape
        rows, trained = np.arange(plays), len(self.owner)
        chosen = np.zeros(nll.shape, dtype=bool)
        total, gain, best = np.zeros(plays), np.zeros(plays), np.full(plays, np.inf)
        added = np.zeros(nll.shape)  # what each network would gain with those chosen
        of_training = np.asarray(began)
        for size in range(1, min(self.members, count) + 1):
            value = (total[:, None] + nll) / size - 4 * (gain[:, None] + added) / size**2
            value[chosen] = np.inf
            pick = value.argmin(axis=1)
            best = value[rows, pick]
            chosen[rows, pick] = True
            total, gain = total + nll[rows, pick], gain + added[rows, pick]
            alike = architectures == architectures[rows, pick][:, None]
            kin = of_training == of_training[pick][:, None]
            pairs = np.where(alike, np.where(kin, self.outlook.kin, self.outlook.same), self.outlook.different)
            measured = pick < trained
            pairs[measured, :trained] = self.outlook.gains[pick[measured]]
            added += pairs
        return best


def spread_over(owner: Sequence[int], believed: Sequence[int], best: int) -> int:
    """Which architecture gets the next seed: of the `best` first in `believed`, the one with the fewest networks."""
    counts: IntArray = np.array([list(owner).count(index) for index in believed[:best]])
    return int(believed[int(counts.argmin())])
