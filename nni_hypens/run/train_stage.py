"""The candidates of a run folder, trained as NNI trials: each to its end, or by rungs at which the worse half stops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nni_hypens.run.adaptive_stage import AdaptiveStage
from nni_hypens.run.plan import Plan
from nni_hypens.run.sample_stage import write_initial_weights
from nni_hypens.selection.costs import cheapest, check_affordable
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fresh
from nni_hypens.trials import halving
from nni_hypens.trials.experiment import run_trials
from nni_hypens.trials.pausing import forget_rung, read_rung
from nni_hypens.trials.remote import Machines, RemoteTraining
from nni_hypens.trials.services import Service
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.trials.training import TrialSpec, network_seed, reached
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.ports import held_port
from nni_hypens.utils.progress import Progress

ATTEMPTS = 2
"""Experiments a candidate gets. When a trial dies before it has asked for its parameters, NNI gives them to the next
trial, so one death can leave the last candidates without a trial: the second experiment trains those as well."""
Record = dict[str, Any]


class TrainStage:
    """Trains what is not trained yet.

    Args:
        plan: What the run does.
        out: The run folder.
        port: Port of NNI's web UI; None for the first free one.
        concurrency: Trials at once.
        per_trial: Candidates that one trial trains, one after the other.
        progress: Where progress is shown.
        service: Where trials run.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        port: int | None,
        concurrency: int,
        per_trial: int,
        progress: Progress,
        service: Service,
    ) -> None:
        self.plan, self.out, self.folder = plan, out, out / "candidates"
        self.port, self.concurrency, self.per_trial = port, concurrency, per_trial
        self.progress, self.service = progress, service
        self.records: list[Record] = []

    def run(self, records: Sequence[Record]) -> None:
        """Train them; each then has a ``metrics.json`` that says whether it is trained, stopped or failed.

        Args:
            records: The content of ``candidates.json``; the seed of each follows from its architecture and from how
                many before it have the same.

        Raises:
            InputError: No ensemble of these candidates can keep a limit on parameters or FLOPs.
            RuntimeError: Fewer than the wanted members could be trained.
        """
        self.records = list(records)
        # with replacement a single member may be chosen again and again
        least = 1 if self.plan.settings.selection == "greedy_with_replacement" else self.plan.settings.members
        check_affordable(records, self.plan.limits, least)
        waiting = [record for record in records if not self._settled(record["id"])]
        more = AdaptiveStage(self.plan, self.out, self.records, self.concurrency, self._spec)
        failed = self._by_rungs(waiting) if self.plan.settings.halving else self._round(waiting, None, more)
        for candidate, error in failed.items():
            write_json(self._metrics(candidate), {"id": candidate, "status": "failed", "error": error})
        trained = [record for record in self.records if self._status(record["id"]) == "trained"]
        if len(trained) < self.plan.settings.members:
            cause = next(iter(failed.values()), "unknown")
            raise RuntimeError(
                f"only {len(trained)} of {len(self.records)} candidates could be trained, too few for "
                f"{self.plan.settings.members} members; the first failed with: {cause}"
            )
        for candidate, error in failed.items():
            self.progress.warn(f"candidate {candidate} failed twice and is left out: {error}")

    # ---- successive halving -----------------------------------------------------------------------------------------

    def _by_rungs(self, waiting: Sequence[Record]) -> dict[str, str]:
        """Train to one rung after the other; id -> error of those that failed."""
        epochs = halving.epochs_of(self.plan.evaluator, self.plan.settings.members, len(self.records))
        failed: dict[str, str] = {}
        for until in halving.rungs(epochs):
            going = [record for record in waiting if record["id"] not in failed and not self._settled(record["id"])]
            failed |= self._round(going, until)
            if until < epochs:
                self._stop(until)
        for record in self.records:
            if self._settled(record["id"]):  # a kill may have left what was needed to go on
                forget_rung(self.folder / record["id"])
        return failed

    def _stop(self, until: int) -> None:
        """Stop those that wait at a rung and are not in the better half of all that ever reached it.

        The choice follows from files alone, so that after a kill in its middle the next run completes it. Candidates
        added later (``sample --more``) are compared with all that came before; what was stopped stays stopped. Under a
        limit on parameters or FLOPs the cheapest go on too, or there might be no ensemble that keeps it.
        """
        scores = halving.scores_at([found for record in self.records if (found := self._known(record["id"]))], until)
        kept = halving.survivors(scores, self.plan.settings.members + halving.MARGIN)
        there = [record for record in self.records if record["id"] in scores]
        kept += cheapest(there, self.plan.limits, self.plan.settings.members)
        for name in scores:
            folder = self.folder / name
            rung = read_rung(folder)
            if name in kept or self._settled(name) or rung is None or rung["epoch"] != until:
                continue
            write_json(self._metrics(name), {**rung, "status": "stopped"})
            forget_rung(folder)

    def _known(self, candidate: str) -> Record | None:
        """What is known of a candidate, at its end or at the rung where it waits."""
        if self._settled(candidate):
            known: Record = read_json(self._metrics(candidate))
            return known
        return read_rung(self.folder / candidate)

    # ---- experiments ------------------------------------------------------------------------------------------------

    def _metrics(self, candidate: str) -> Path:
        return self.folder / candidate / "metrics.json"

    def _status(self, candidate: str) -> str | None:
        return read_json(self._metrics(candidate))["status"] if self._metrics(candidate).exists() else None

    def _settled(self, candidate: str) -> bool:
        """Whether nothing more is to be done; what failed is tried again by the next run."""
        return self._status(candidate) in ("trained", "stopped")

    def _round(self, records: Sequence[Record], until: int | None, more: AdaptiveStage | None = None) -> dict[str, str]:
        """Train candidates to a rung, or to their end, and those that ``more`` decides on meanwhile; id -> error of
        those that failed at every attempt."""
        failed: dict[str, str] = {}
        wanted = list(records)
        for attempt in range(ATTEMPTS):
            missing = [record for record in wanted if reached(self.folder / record["id"], until) is None]
            left, before = (more.left if more else 0), len(self.records)
            if missing or left:  # one that kills its trial must not take others with it again
                per_trial = self.per_trial if attempt == 0 else 1
                failed = self._experiment(missing, until, len(wanted) + left, per_trial, more if left else None)
            wanted += self.records[before:]
        return failed

    def _experiment(
        self,
        records: Sequence[Record],
        until: int | None,
        of: int,
        per_trial: int,
        more: AdaptiveStage | None = None,
    ) -> dict[str, str]:
        """One NNI experiment; id -> error of those that failed in it."""
        plan = self.plan
        specs = [self._spec(record, until) for record in records]
        if plan.settings.warm_start:
            new = [record for record in records if read_rung(self.folder / record["id"]) is None]
            write_initial_weights(plan, self.out / "search", self.folder, new)
        goal = "" if until is None else f" to epoch {until}"
        extra = more.left if more else 0
        start = time.perf_counter()
        strategy = self._strategy(specs, per_trial, more)
        with held_port(self.port, self.service.ports) as port:
            self.progress.say(f"training {len(specs) + extra} candidates{goal}; NNI's web UI: http://127.0.0.1:{port}")
            self.progress.start("train", of, "candidate", of - len(specs) - extra)
            try:
                run_trials(fresh(plan.space), plan.evaluator, strategy, self.out, port, self.service)
            finally:
                self.progress.stop()
        wall = self.folder / "wall.json"
        before = read_json(wall)["seconds"] if wall.exists() else 0.0
        write_json(wall, {"seconds": before + time.perf_counter() - start})
        for spec in strategy.candidates:
            if spec.id not in strategy.failed and reached(self.folder / spec.id, until) is None:
                where = f"not in {self.out.resolve()}: trials of {self.service.platform} must see it at that path"
                strategy.failed[spec.id] = f"its trial ended, and its files are {where}"
        return strategy.failed

    def _spec(self, record: Record, until: int | None = None) -> TrialSpec:
        return TrialSpec(
            record["id"],
            record["architecture"],
            record["lam"],
            record["shared_edges"],
            self._seed(record),
            record["text"],
            self.plan.settings.warm_start,
            until,
        )

    def _seed(self, record: Record) -> int:
        """Seed of a candidate's network; candidates before it with the same architecture are its earlier replicas."""
        keys = {other["id"]: self._structure.key(other["architecture"]) for other in self.records}
        place, key = list(keys).index(record["id"]), keys[record["id"]]
        return network_seed(self.plan.settings.seed, key, list(keys.values())[:place].count(key))

    @cached_property
    def _structure(self) -> EdgeStructure:
        return EdgeStructure.from_space(self.plan.space)

    def _strategy(self, specs: Sequence[TrialSpec], per_trial: int, more: AdaptiveStage | None) -> CandidateTraining:
        plan, remote = self.plan, self.service.fetches
        options = {"machines": Machines(self.service, self.out / "nni" / "known_hosts")} if remote else {}
        return (RemoteTraining if remote else CandidateTraining)(
            specs,
            plan.evaluator,
            plan.data,
            self.folder,
            self.concurrency,
            per_trial,
            plan.settings.threads,
            on_progress=self._on_trial,
            proposals=more,
            **options,
        )

    def _on_trial(self, candidate: str, accuracy: float | None, done: bool) -> None:
        self.progress.step(
            1 if done else 0, candidate=candidate, **({} if accuracy is None else {"accuracy": accuracy})
        )
