"""Adaptive training in a run folder: candidates that are decided on while others are trained.

The candidate at place i is decided on when all up to place i - `lookahead` are trained or have failed, and so have at
least the first two. The decision uses those results only, even if others have finished by then. So the same settings
give the same candidates, however many trials there are at once, and an interrupted run continues with the decisions in
`candidates.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import cached_property

import numpy as np

from nni_hypens import metrics
from nni_hypens.proposals.adaptive import AdaptiveTraining, begin_adaptive_training
from nni_hypens.run.candidate import Candidate, KnownBefore, adaptive_left
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import Plan
from nni_hypens.run.sample_stage import supernet_probabilities
from nni_hypens.search.sampler import ArchitectureSampler, Candidate as Draw
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.search.supernet import Supernet
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.trials.training import TrialSpec

FEWEST_RESULTS = 2
"""Results that a decision needs. More would leave a trial's place empty while the last drawn candidate is trained."""


class AdaptiveStage:
    """Decides on the candidates of a run that are not drawn beforehand, and adds them to `candidates.json`.

    Args:
        plan: What the run does; its `adaptive` is the number of candidates to decide on.
        folder: The run folder.
        candidates: The content of `candidates.json`; grows.
        trial: Makes the trial of a candidate.
        goes_on: Whether a trial can go on with the weights of a candidate, which it must see.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        candidates: list[Candidate],
        trial: Callable[[Candidate], TrialSpec],
        goes_on: bool = True,
    ) -> None:
        self.plan, self.folder, self.candidates = plan, folder, candidates
        self.trial, self.goes_on = trial, goes_on
        self._predictions: dict[str, np.ndarray] = {}

    @property
    def left(self) -> int:
        """How many candidates are still to be decided on."""
        return adaptive_left(self.plan.adaptive, self.candidates)

    @property
    def _needed(self) -> int:
        """How many of the first candidates must have results for the next decision."""
        drawn = sum(not candidate.adaptive for candidate in self.candidates)
        return max(len(self.candidates) - self.plan.settings.lookahead + 1, min(drawn, FEWEST_RESULTS))

    def ready(self, done: Set[str]) -> bool:
        """Whether the results that the next decision needs are there.

        Args:
            done: Candidates that this experiment has trained or given up.
        """
        needed = (candidate.id for candidate in self.candidates[: self._needed])
        return all(name in done or self.folder.status(name) is not None for name in needed)

    def propose(self) -> TrialSpec:
        """Decide on the next candidate and record it before it is trained."""
        ended, pending = self.candidates[: self._needed], self.candidates[self._needed :]
        trained = [candidate for candidate in ended if self.folder.status(candidate.id) == "trained"]
        failed = [candidate for candidate in ended if candidate not in trained]
        for candidate in trained:
            if candidate.id not in self._predictions:  # every later decision needs them as well
                (self._predictions[candidate.id],) = self.folder.predictions(candidate.id, "val")
        probs = [self._predictions[candidate.id] for candidate in trained]
        place = {candidate.id: position for position, candidate in enumerate(trained)}
        proposal = self._rule.propose(
            _architectures(trained),
            np.stack(probs) if probs else np.empty((0, 0, 0)),
            self.left,
            _architectures(pending),
            _architectures(failed),
            [None if one.parent is None else place.get(one.parent) for one in (*trained, *pending)],
            self._may_go_on(trained, failed),
        )
        sample = proposal.sample
        shared = self._structure.shared_edges(self._sampler.base, sample)
        candidate = Candidate.from_draw(
            self._structure,
            len(self.candidates),
            Draw(None, shared, proposal.source, sample),
            self._supernet_nll(sample),
            adaptive=True,
            expected_gain=proposal.gain,
            parent=None if proposal.parent is None else trained[proposal.parent].id,
            **self._known_before(sample),
        )
        self.candidates.append(candidate)
        self.folder.write_candidates(self.candidates)
        return self.trial(candidate)

    def _may_go_on(self, trained: list[Candidate], failed: list[Candidate]) -> list[int]:
        """Positions of the trained candidates that can be trained further: each once, and none whose architecture has
        failed."""
        if not self.goes_on:
            return []
        parents = {candidate.parent for candidate in self.candidates}
        lost = {self._structure.key(candidate.architecture) for candidate in failed}
        left = (one.id not in parents and self._structure.key(one.architecture) not in lost for one in trained)
        return [position for position, may in enumerate(left) if may]

    @cached_property
    def _known_before(self) -> KnownBefore:
        return KnownBefore(self.plan)

    @cached_property
    def _structure(self) -> EdgeStructure:
        return EdgeStructure.from_space(self.plan.space)

    @cached_property
    def _sampler(self) -> ArchitectureSampler:
        return ArchitectureSampler.load(self.folder.search.folder, self._structure)

    @cached_property
    def _rule(self) -> AdaptiveTraining:
        plan = self.plan
        return begin_adaptive_training(
            self._sampler,
            _architectures([candidate for candidate in self.candidates if not candidate.adaptive]),
            plan.data.labels("validation"),
            NetworkSize(plan.train_space, plan.input_shape),
            plan.ranking,
            plan.settings.candidates,
            plan.settings.ensemble_size,
            plan.lam_range,
            plan.settings.seed,
            plan.budget(),
        )

    @cached_property
    def _supernet(self) -> Supernet:
        return trained_strategy(self.plan.space, self.folder.search.folder, self.plan.strategy).trained_supernet

    def _supernet_nll(self, sample: Sample) -> float:
        (probs,) = supernet_probabilities(self._supernet, self.plan, [sample])
        return metrics.nll(probs, self.plan.data.labels("validation"))


def _architectures(candidates: list[Candidate]) -> list[Sample]:
    return [candidate.architecture for candidate in candidates]
