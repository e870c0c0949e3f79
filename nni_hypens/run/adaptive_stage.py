"""Adaptive training in a run folder: candidates that are decided on while others are trained.

The candidate at place i is decided on when all up to place i - concurrency are trained or have failed, and so have all
that were drawn, or the first six. The decision uses those results only, even if others have finished by then. So the
same seed and concurrency give the same candidates, and an interrupted run continues with the decisions in
`candidates.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.proposals.adaptive import LEARNT, AdaptiveTraining, begin_adaptive_training
from nni_hypens.run.candidate import candidate_record, cost_counter, counted
from nni_hypens.run.plan import Plan
from nni_hypens.run.sample_stage import supernet_probabilities
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.search.supernet import Supernet
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.known_results import known_values
from nni_hypens.trials.training import TrialSpec
from nni_hypens.utils.files import read_arrays, read_json, write_json

GAIN = "expected_gain"
"""Key of a record that adaptive training has decided on."""


class AdaptiveStage:
    """Decides on the candidates of a run that are not drawn beforehand, and adds them to `candidates.json`.

    Args:
        plan: What the run does; its `adaptive` is the number of candidates to decide on.
        out: The run folder.
        records: The content of `candidates.json`; grows.
        concurrency: Trials at once.
        spec: Makes the trial of a record.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        records: list[dict[str, Any]],
        concurrency: int,
        spec: Callable[[dict[str, Any]], TrialSpec],
    ) -> None:
        self.plan, self.out, self.records = plan, out, records
        self.concurrency, self.spec = concurrency, spec

    @property
    def left(self) -> int:
        """How many candidates are still to be decided on."""
        return max(self.plan.adaptive - sum(GAIN in record for record in self.records), 0)

    @property
    def _needed(self) -> int:
        """How many of the first candidates must have results for the next decision."""
        count = len(self.records)
        least = LEARNT if count >= LEARNT else sum(GAIN not in record for record in self.records)
        return max(count - self.concurrency + 1, least)

    def ready(self, done: Set[str]) -> bool:
        """Whether the results that the next decision needs are there.

        Args:
            done: Candidates that this experiment has trained or given up.
        """
        needed = (record["id"] for record in self.records[: self._needed])
        return all(candidate in done or self._status(candidate) is not None for candidate in needed)

    def propose(self) -> TrialSpec:
        """Decide on the next candidate and record it before it is trained."""
        ended, pending = self.records[: self._needed], self.records[self._needed :]
        trained = [record for record in ended if self._status(record["id"]) == "trained"]
        failed = [record for record in ended if record not in trained]
        probs = [read_arrays(self._folder(record["id"]) / "predictions.npz", "val")[0] for record in trained]
        proposal = self._rule.propose(
            _architectures(trained),
            np.stack(probs) if probs else np.empty((0, 0, 0)),
            _architectures(pending),
            _architectures(failed),
        )
        sample = proposal.sample
        shared = self._structure.shared_edges(self._sampler.base, sample)
        candidate = Candidate(None, shared, proposal.source, sample)
        record = candidate_record(self._structure, len(self.records), candidate, self._supernet_nll(sample))
        counter = cost_counter(self.plan)
        costs = {} if counter is None else counted(counter, sample)
        self.records.append({**record, GAIN: proposal.gain, **costs, **known_values(self.plan.known, sample)})
        write_json(self.out / "candidates.json", self.records)
        return self.spec(self.records[-1])

    def _folder(self, candidate: str) -> Path:
        return self.out / "candidates" / candidate

    def _status(self, candidate: str) -> str | None:
        path = self._folder(candidate) / "metrics.json"
        return read_json(path)["status"] if path.exists() else None

    @cached_property
    def _structure(self) -> EdgeStructure:
        return EdgeStructure.from_space(self.plan.space)

    @cached_property
    def _sampler(self) -> ArchitectureSampler:
        return ArchitectureSampler.load(self.out / "search", self._structure)

    @cached_property
    def _rule(self) -> AdaptiveTraining:
        plan = self.plan
        return begin_adaptive_training(
            self._sampler,
            _architectures([record for record in self.records if GAIN not in record]),
            plan.data.labels("validation"),
            NetworkSize(plan.space, plan.image_shape),
            plan.ranking,
            plan.settings.candidates,
            plan.settings.members,
            plan.lam_range,
            plan.settings.seed,
            plan.budget(),
        )

    @cached_property
    def _supernet(self) -> Supernet:
        return trained_strategy(self.plan.space, self.out / "search").trained_supernet

    def _supernet_nll(self, sample: Sample) -> float:
        (probs,) = supernet_probabilities(self._supernet, self.plan, [sample])
        return metrics.nll(probs, self.plan.data.labels("validation"))


def _architectures(records: list[dict[str, Any]]) -> list[Sample]:
    return [record["architecture"] for record in records]
