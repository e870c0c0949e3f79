"""Adaptive training in a run folder: candidates that are decided on while others are trained.

The candidate at place i is decided on when all up to place i - concurrency are trained or have failed, and all that
were drawn, or the first six: from those results alone, whatever else has finished by chance. So the same seed and
concurrency give the same candidates, and a run that was interrupted goes on with the decisions that
``candidates.json`` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.proposals.adaptive import LEARNT, AdaptiveTraining
from nni_hypens.proposals.ranking import looked_at
from nni_hypens.run.candidate import OVERSAMPLE, candidate_record, cost_counter, counted
from nni_hypens.run.plan import Plan
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.known_results import known_values
from nni_hypens.trials.training import TrialSpec
from nni_hypens.utils.files import read_arrays, read_json, write_json
from nni_hypens.utils.seeds import Purpose, derive_seed

GAIN = "expected_gain"
"""Key of a record that adaptive training has decided on."""


class AdaptiveStage:
    """Decides on the candidates of a run that are not drawn beforehand, and adds them to ``candidates.json``.

    Args:
        plan: What the run does; its ``adaptive`` says how many.
        out: The run folder.
        records: The content of ``candidates.json``; grows.
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
        """How many are still to be decided on."""
        return max(self.plan.adaptive - sum(GAIN in record for record in self.records), 0)

    @property
    def _known(self) -> int:
        """How many of the first candidates the next decision knows the results of."""
        there = len(self.records)
        least = LEARNT if there >= LEARNT else sum(GAIN not in record for record in self.records)
        return max(there - self.concurrency + 1, least)

    def ready(self, done: Set[str]) -> bool:
        """Whether the results that the next decision needs are there.

        Args:
            done: Candidates that this experiment has trained, or given up.
        """
        return all(
            record["id"] in done or self._status(record["id"]) is not None for record in self.records[: self._known]
        )

    def propose(self) -> TrialSpec:
        """Decide on the next one, and write it down before it is trained."""
        ended, pending = self.records[: self._known], self.records[self._known :]
        known = [record for record in ended if self._status(record["id"]) == "trained"]
        failed = [record for record in ended if record not in known]
        probs = [read_arrays(self._folder(record["id"]) / "predictions.npz", "val")[0] for record in known]
        trained, waiting, lost = ([one["architecture"] for one in part] for part in (known, pending, failed))
        found = self._rule.propose(trained, np.stack(probs) if probs else np.empty((0, 0, 0)), waiting, lost)
        shared = self._structure.shared_edges(self._sampler.base, found.sample)
        candidate = Candidate(None, shared, found.source, found.sample)
        record = candidate_record(self._structure, len(self.records), candidate, self._supernet_nll(found.sample))
        counter = cost_counter(self.plan)
        costs = {} if counter is None else counted(counter, found.sample)
        self.records.append({**record, GAIN: found.gain, **costs, **known_values(self.plan.known, found.sample)})
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
        return ArchitectureSampler.load(self.out / "search", self._structure)  # the rule asks the budget, of few

    @cached_property
    def _rule(self) -> AdaptiveTraining:
        plan, settings = self.plan, self.plan.settings
        drawn = [record["architecture"] for record in self.records if GAIN not in record]
        size = NetworkSize(plan.space, plan.image_shape)
        seed, wanted = derive_seed(settings.seed, Purpose.CANDIDATES, 0), OVERSAMPLE * settings.candidates
        pool = looked_at(plan.ranking, plan.lam_range, self._sampler, size, wanted, seed)
        labels, samples = plan.data.labels("validation"), [candidate.architecture for candidate in pool]
        return AdaptiveTraining(
            self._structure, drawn, samples, labels, settings.members, settings.seed, plan.budget(), traits=size
        )

    @cached_property
    def _supernet(self) -> Any:
        return trained_strategy(self.plan.space, self.out / "search").trained_supernet

    def _supernet_nll(self, sample: Sample) -> float:
        batches = list(self.plan.data.val_dataloader())
        probs = self._supernet.predict([sample], batches)[0].numpy()
        return metrics.nll(probs, self.plan.data.labels("validation"))
