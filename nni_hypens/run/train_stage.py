"""Candidates trained by NNI trials or local workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from nni_hypens.run.adaptive_stage import AdaptiveStage
from nni_hypens.run.candidate import Candidate, adaptive_left
from nni_hypens.run.folder import RunFolder, read_fields
from nni_hypens.run.plan import Plan
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.sample_stage import write_initial_weights
from nni_hypens.selection.costs import check_affordable
from nni_hypens.space.architecture import EdgeKey, EdgeStructure
from nni_hypens.space.build import fresh
from nni_hypens.trials.evaluators import gpus_of
from nni_hypens.trials.experiment import run_trials
from nni_hypens.trials.local import LocalTraining
from nni_hypens.trials.remote import Machines, RemoteTraining
from nni_hypens.trials.services import Service
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.trials.training import TrialSpec, further_seed, network_seed
from nni_hypens.utils.checks import NUMBER
from nni_hypens.utils.devices import chosen_gpus
from nni_hypens.utils.files import write_json
from nni_hypens.utils.ports import held_port
from nni_hypens.utils.progress import Progress

ATTEMPTS = 2
"""Experiments per candidate. When a trial dies before it asks for its parameters, NNI gives them to the next trial, so
the last candidate is left without a trial; the second experiment trains it."""


class _Replicas:
    """How many candidates with new weights before each have its architecture; each architecture is looked at once.

    Args:
        structure: Edges of the space.
        candidates: All candidates; may grow.
    """

    def __init__(self, structure: EdgeStructure, candidates: list[Candidate]) -> None:
        self.structure, self.candidates = structure, candidates
        self._found: dict[str, tuple[EdgeKey, int]] = {}
        self._counts: Counter[EdgeKey] = Counter()

    def of(self, candidate: Candidate) -> tuple[EdgeKey, int]:
        """Key of its architecture, and how many candidates with new weights before it have the same."""
        for one in self.candidates[len(self._found) :]:
            key = self.structure.key(one.architecture)
            self._found[one.id] = key, self._counts[key]
            self._counts[key] += one.parent is None
        return self._found[candidate.id]


class TrainStage:
    """Trains the candidates that are not trained yet.

    Args:
        plan: What the run does.
        folder: The run folder.
        runtime: What trains candidates, how many at once, and the port of NNI's web UI.
        progress: Where progress is shown.
        service: Where trials run.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        runtime: Runtime,
        progress: Progress,
        service: Service,
    ) -> None:
        self.plan, self.folder, self.runtime = plan, folder, runtime
        self.progress, self.service = progress, service
        self.candidates: list[Candidate] = []
        self._replicas: _Replicas | None = None

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Train candidates. Each then has a ``metrics.json``, whose status is trained or failed.

        Args:
            candidates: The content of ``candidates.json``; the seed of each follows from its architecture and from how
                many before it have the same.

        Raises:
            InputError: No ensemble of these candidates meets a limit on parameters or FLOPs.
            RuntimeError: Fewer candidates than members could be trained.
        """
        self.candidates = list(candidates)
        # with replacement a single member may be chosen again and again
        least = 1 if self.plan.settings.selection == "greedy_with_replacement" else self.plan.settings.least_trained
        if not adaptive_left(self.plan.adaptive, candidates):  # others may be smaller
            check_affordable([candidate.costs for candidate in candidates], self.plan.limits, least)
        failed = self._train()
        failed = {name: error for name, error in failed.items() if not self._is_trained(name)}
        for name, error in failed.items():
            write_json(self.folder.candidate(name).metrics, {"id": name, "status": "failed", "error": error})
        trained = [one for one in self.candidates if self._is_trained(one.id)]
        if len(trained) < self.plan.settings.least_trained:
            cause = next(iter(failed.values()), "unknown")
            raise RuntimeError(
                f"only {len(trained)} of {len(self.candidates)} candidates could be trained, too few for "
                f"{self.plan.settings.least_trained} members; the first failed with: {cause}"
            )
        for name, error in failed.items():
            self.progress.warn(f"candidate {name} failed twice and is left out: {error}")

    # ---- experiments ------------------------------------------------------------------------------------------------

    def _is_trained(self, name: str) -> bool:
        """Whether a candidate is trained. The next run tries failed ones again."""
        return self.folder.status(name) == "trained"

    def _train(self) -> dict[str, str]:
        """Train the candidates that are not trained yet, and those that adaptive training proposes meanwhile; id ->
        error of those that failed at every attempt."""
        failed: dict[str, str] = {}
        more, most = self._adaptive_stage(), self.plan.settings.lookahead
        if min(more.left, self.runtime.concurrency) > most:
            self.progress.say(f"adaptive training has {most} candidates in training at once; more with --lookahead")
        wanted = [one for one in self.candidates if not self._is_trained(one.id)]
        for attempt in range(ATTEMPTS):
            missing = [one for one in wanted if not self._is_trained(one.id)]
            left, before = more.left, len(self.candidates)
            if missing or left:  # a candidate that kills its trial must not take others with it again
                per_trial = self.runtime.per_trial if attempt == 0 else 1
                failed = self._experiment(missing, len(wanted) + left, per_trial, more if left else None)
            wanted += self.candidates[before:]
        return failed

    def _adaptive_stage(self) -> AdaptiveStage:
        return AdaptiveStage(self.plan, self.folder, self.candidates, self._trial, not self.service.fetches)

    def _experiment(
        self, candidates: Sequence[Candidate], of: int, per_trial: int, more: AdaptiveStage | None
    ) -> dict[str, str]:
        """One NNI experiment, or one use of local workers; id -> error of those that failed in it."""
        plan = self.plan
        specs = [self._trial(candidate) for candidate in candidates]
        if plan.settings.warm_start:
            write_initial_weights(plan, self.folder, candidates)
        extra = more.left if more else 0
        what = f"training {len(specs) + extra} candidates"
        done = of - len(specs) - extra
        start = time.perf_counter()
        local = self.runtime.runner == "local"
        training = self._local(specs, more, what, done) if local else self._nni(specs, per_trial, more, what, done)
        wall = self.folder.training_time
        before = read_fields(wall, seconds=NUMBER)["seconds"] if wall.exists() else 0.0
        write_json(wall, {"seconds": before + time.perf_counter() - start})
        for spec in training.candidates:
            if spec.id not in training.failed and not self._is_trained(spec.id):
                out, platform = self.folder.out.resolve(), self.service.platform
                where = f"not in {out}: trials of {platform} must see it at that path"
                training.failed[spec.id] = f"its trial ended, and its files are {where}"
        return training.failed

    def _nni(
        self, specs: Sequence[TrialSpec], per_trial: int, more: AdaptiveStage | None, what: str, done: int
    ) -> CandidateTraining:
        """Train by NNI trials. `what` is shown, and the bar begins with `done` candidates."""
        plan, strategy = self.plan, self._strategy(specs, per_trial, more)
        with held_port(self.runtime.port, self.service.ports) as port:
            with self._shown(f"{what}; NNI's web UI: http://127.0.0.1:{port}", specs, more, done):
                out, gpus = self.folder.out, self._gpus
                run_trials(fresh(plan.train_space), plan.evaluator, strategy, out, port, self.service, gpus)
        return strategy

    def _local(self, specs: Sequence[TrialSpec], more: AdaptiveStage | None, what: str, done: int) -> LocalTraining:
        """Train by local workers, as `_nni` does by trials."""
        plan, workers = self.plan, self.runtime.concurrency
        training = LocalTraining(
            plan.train_space,
            specs,
            plan.evaluator,
            plan.data,
            self.folder.candidates_folder,
            self.folder.workers,
            workers,
            plan.settings.threads,
            gpus=self._gpus,
            on_progress=self._on_trial,
            proposals=more,
            checksum=plan.fingerprint["data_checksum"],
        )
        with self._shown(f"{what} in {workers} worker process{'es' if workers > 1 else ''}", specs, more, done):
            training.run()
        return training

    @property
    def _gpus(self) -> tuple[int, ...]:
        return gpus_of(self.plan.evaluator, chosen_gpus(self.runtime.devices))

    @contextmanager
    def _shown(self, text: str, specs: Sequence[TrialSpec], more: AdaptiveStage | None, done: int) -> Iterator[None]:
        """Show a line, and then the bar until the block ends."""
        self.progress.say(text)
        self.progress.start("train", done + len(specs) + (more.left if more else 0), "candidate", done)
        try:
            yield
        finally:
            self.progress.stop()

    def _trial(self, candidate: Candidate) -> TrialSpec:
        return candidate.trial(self._seed(candidate), self.plan.settings.warm_start)

    def _seed(self, candidate: Candidate) -> int:
        """Seed of a candidate's network; candidates before it with the same architecture are its earlier replicas. It
        follows from the seed of its parent if it goes on with that one's training."""
        if candidate.parent is not None:
            return further_seed(self._seed(next(one for one in self.candidates if one.id == candidate.parent)))
        if self._replicas is None or self._replicas.candidates is not self.candidates:
            self._replicas = _Replicas(self._structure, self.candidates)
        return network_seed(self.plan.settings.seed, *self._replicas.of(candidate))

    @cached_property
    def _structure(self) -> EdgeStructure:
        return EdgeStructure.from_space(self.plan.space)

    def _strategy(self, specs: Sequence[TrialSpec], per_trial: int, more: AdaptiveStage | None) -> CandidateTraining:
        plan, remote = self.plan, self.service.fetches
        options = {"machines": Machines(self.service, self.folder.known_hosts)} if remote else {}
        return (RemoteTraining if remote else CandidateTraining)(
            specs,
            plan.evaluator,
            plan.data,
            self.folder.candidates_folder,
            self.runtime.concurrency,
            per_trial,
            plan.settings.threads,
            on_progress=self._on_trial,
            proposals=more,
            checksum=plan.fingerprint["data_checksum"],
            **options,
        )

    def _on_trial(self, candidate: str, accuracy: float | None, done: bool) -> None:
        self.progress.step(
            1 if done else 0, **({} if accuracy is None else {"accuracy": accuracy}), candidate=candidate
        )
