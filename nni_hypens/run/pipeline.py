"""All stages of a run in one folder: search, sample, train, select, evaluate, report; each can be resumed.

`nni_hypens.run.folder` says what makes a stage done. What an interrupted stage left is taken up: the search from its
last epoch, training from the candidates that finished. Validation data chooses; only ``evaluate`` measures on test
data.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nni.experiment.config.training_service import TrainingServiceConfig

from nni_hypens._manager import check_home, check_node
from nni_hypens.errors import InputError
from nni_hypens.report.text import plural
from nni_hypens.report.weak_spots import few_validation
from nni_hypens.run.candidate import Candidate, adaptive_left
from nni_hypens.run.evaluate_stage import evaluate_stage
from nni_hypens.run.folder import RunFolder, damage
from nni_hypens.run.plan import Plan
from nni_hypens.run.request import Request
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.sample_stage import check_more, draw_candidates
from nni_hypens.run.search_processes import processes_for
from nni_hypens.run.search_stage import check_logger, live_search_stage, search_stage
from nni_hypens.run.select_stage import select_stage
from nni_hypens.run.train_stage import TrainStage
from nni_hypens.run.updates import FEW_UPDATES
from nni_hypens.trials.evaluators import gpus_of
from nni_hypens.trials.experiment import stop_orphan
from nni_hypens.trials.parts import check_trial_parts
from nni_hypens.trials.remote import Machines
from nni_hypens.trials.services import check_service
from nni_hypens.utils.devices import chosen_gpus
from nni_hypens.utils.disks import check_writable
from nni_hypens.utils.inputs import noun
from nni_hypens.utils.ports import free_port
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.run_files import EXPORTED_FILES
from nni_hypens.utils.runtime import versions

STAGES = ("search", "sample", "train", "select", "evaluate", "report")


class Run:
    """A run folder and the stages that fill it.

    Args:
        plan: What to do.
        out: The folder; made if it does not exist.
        runtime: Options that do not change results; None for the defaults with one trial at once. ``live`` is for runs
            of the command line, whose ``config.yaml`` holds all settings.
        training_service: Where trials run, one of NNI's config objects; None for NNI's local service.

    Raises:
        InputError: The training service cannot be used as it is, or there is no such logger.
    """

    def __init__(
        self,
        plan: Plan,
        out: str | Path,
        runtime: Runtime | None = None,
        training_service: TrainingServiceConfig | None = None,
    ) -> None:
        runtime = runtime or Runtime(concurrency=1)
        runtime.check()
        check_logger(runtime.logger)
        self.plan, self.runtime = plan, runtime
        self.folder = RunFolder(out)
        self.progress = Progress(runtime.quiet)
        if runtime.runner == "local" and training_service is not None:
            raise InputError("training_service", "one with runner=local", "runner=nni: local workers are here only")
        self.service = check_service(training_service)
        self._said_updates = False

    # ---- the folder -----------------------------------------------------------------------------------------------

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.folder.out

    def prepare(self) -> None:
        """Check folder, port and training service, then claim the folder by writing ``config.yaml``.

        Raises:
            InputError: Naming what is wrong; the folder holds another run, or something else.
        """
        self.folder.check(self.plan.identity)
        if not self.folder.done("evaluate"):  # only the report is left otherwise, and it reads files alone
            self.folder.check_fingerprint(self.plan.fingerprint)
        if self.finished:
            return
        if self.out.exists():
            check_writable(self.out)
        if self.folder.manager.exists():
            with self.locked():  # it is no orphan while the run that started it goes on
                stop_orphan(self.out)
        if self.runtime.port is not None:
            free_port(self.runtime.port, self.service.ports)
        self._check_service()
        check_trial_parts(self.plan.evaluator, self.plan.data, local=self.runtime.runner == "local")
        gpus_of(self.plan.evaluator, chosen_gpus(self.runtime.devices))
        processes_for(self.plan.search_evaluator, self.runtime.devices)
        self._check_nni()
        self.folder.claim({**self.plan.identity, **self.plan.fingerprint}, self.plan.command)

    def _check_nni(self) -> None:
        """Check what NNI needs on this machine, before the search rather than after it."""
        manager = self.runtime.runner == "nni" and not self.folder.done("select")
        if manager or not self.folder.done("search"):
            check_home()
        if manager or self.runtime.live:
            check_node()

    def _say_updates(self) -> None:
        """Say how much each candidate will be trained and whether few images choose, once, before anything is."""
        if self._said_updates or self.folder.done("select"):
            return
        self._said_updates = True
        updates = self.plan.updates
        if updates is not None and updates.total is not None and updates.total < FEW_UPDATES:
            self.progress.warn(f"{updates}; that is hardly enough to learn: give more epochs, or a smaller batch size")
        elif updates is not None:
            self.progress.say(str(updates))
        few = few_validation(len(self.plan.data.labels("validation")), noun(self.plan.data.input_spec))
        if few:
            self.progress.warn(few)

    def _check_service(self) -> None:
        """Check that trials could run on the training service, as far as this machine can tell."""
        if not self.service.fetches or self.folder.done("select"):
            return
        if self.plan.settings.warm_start:
            raise InputError("warm_start", "true with trials on remote machines", "false, or the local service")
        known = self.folder.known_hosts
        with tempfile.TemporaryDirectory() as empty:  # the folder is not claimed yet, and may be another's
            Machines(self.service, known if known.exists() else Path(empty, known.name)).check(versions())

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return self.folder.finished

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run.

        Raises:
            InputError: Another run holds it, or has claimed it since it was looked at.
        """
        with self.folder.locked():
            self.folder.check(self.plan.identity)
            yield

    def run(self) -> dict[str, Any]:
        """Run all stages that are not done yet.

        Returns:
            The content of ``results.json``.
        """
        start = time.perf_counter()
        with self.locked():
            for stage in STAGES:
                getattr(self, stage)()
        self.progress.say(f"finished in {time.perf_counter() - start:.0f} s")
        return self.results()

    def results(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        return self.folder.read_results()

    # ---- stages ---------------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Search base and hypernetwork."""
        self._say_updates()
        runtime = self.runtime
        if runtime.live:
            live_search_stage(self.plan, self.out, runtime.port, self.progress, runtime.logger, runtime.save_each_epoch)
        else:
            processes = self._search_processes
            search_stage(self.plan, self.out, self.progress, runtime.logger, processes, runtime.save_each_epoch)

    @property
    def _search_processes(self) -> int:
        """Processes of the search. The others build the plan from the run folder, so it must hold all."""
        if self.plan.identity != self.plan.settings.to_mapping():
            return 1
        return processes_for(self.plan.search_evaluator, self.runtime.devices)

    def sample(self, more: int = 0) -> None:
        """Draw candidates, rank them on the supernet, keep the wanted number.

        Args:
            more: How many candidates to add to those of the run, which are drawn first if there are none. What was
                chosen and reported is taken back then; what was trained stays.

        Raises:
            InputError: No more different architectures could be found, members could not be chosen among so many, or
                the data or seeds are no longer those of the run.
        """
        drawn = self.folder.done("sample")
        if drawn and not more:
            return
        if more:
            self.folder.check_fingerprint(self.plan.fingerprint)
            check_more(self.plan, self.folder.read_candidates() if drawn else None, more)
        search = self.folder.require("search").parent
        if not drawn:
            number = self.plan.settings.candidates - self.plan.adaptive
            self.folder.write_candidates(draw_candidates(self.plan, search, number, [], self.progress))
        if more:
            known = self.folder.read_candidates()
            added = draw_candidates(self.plan, search, more, known, self.progress)
            self.folder.take_back_choice()
            self.folder.write_candidates([*known, *added])

    def train(self, again: bool = False) -> None:
        """Train what is not trained yet, by NNI trials or local workers; what fails is tried once more.

        Args:
            again: Whether to train candidates that were still waiting when members were chosen among the others. That
                choice is taken back, with what was measured and reported.
        """
        candidates = self.folder.read_candidates()
        if again and self.folder.done("select") and (waiting := self.folder.waiting()):
            self.folder.check_fingerprint(self.plan.fingerprint)
            self.progress.warn(f"members were chosen without {', '.join(waiting)}: the choice is taken back")
            self.folder.take_back_choice()
        self._say_updates()
        damaged = self._forget_damaged(candidates)
        if damaged or not self.folder.done("select"):
            TrainStage(self.plan, self.folder, self.runtime, self.progress, self.service).run(candidates)

    def _forget_damaged(self, candidates: Sequence[Candidate]) -> bool:
        """Whether files of finished candidates are missing or cut off, and still needed: those train anew."""
        if self.folder.done("evaluate"):
            return False
        found = {candidate.id: damage(self.folder.candidate(candidate.id)) for candidate in candidates}
        for name, what in found.items():
            if what is not None:
                self.progress.warn(f"candidate {name} is trained anew: {what}")
                self.folder.candidate(name).metrics.unlink()
        return any(found.values())

    def select(self, request: Request | None = None) -> None:
        """Choose members on validation data, fit the temperature, save the ensemble.

        Args:
            request: What to choose instead of what the settings say, although there may be a choice. Results and report
                are then written again; nothing is trained.

        Raises:
            InputError: Too few candidates are trained, or the data or seeds are no longer those of the run.
        """
        if request is not None:
            self.folder.check_fingerprint(self.plan.fingerprint)
        elif not self.folder.done("select"):
            self._check_trained()
        exported = [path for name in EXPORTED_FILES if (path := self.folder.ensemble / name).exists()]
        select_stage(self.plan, self.folder, request)
        if request is not None:
            for path in exported:
                self.progress.warn(f"{path} held the ensemble chosen before and was removed; `nni-hypens export` again")
            self.evaluate()
            self.report()
            if waiting := self.folder.waiting():
                self.progress.warn(
                    f"{', '.join(waiting)} left out, not trained; `nni-hypens train` takes the choice back"
                )

    def _check_trained(self) -> None:
        """Check that no candidate is still to be trained: once members are chosen, none is trained any more."""
        candidates = self.folder.read_candidates()
        undecided = adaptive_left(self.plan.adaptive, candidates)
        left = undecided + len(self.folder.waiting())
        if left:
            got = f"{self.out} with {left} of {plural(len(candidates) + undecided, 'candidate')} still to be trained"
            expected = "none: `nni-hypens train`, or --members or --ids to choose among the others and train no more"
            raise InputError("out", got, expected)

    def evaluate(self) -> None:
        """Measure on test data, for the first time."""
        evaluate_stage(self.plan, self.folder, self.progress)

    def report(self) -> None:
        """Write the report."""
        from nni_hypens.report.page import write_report

        self.folder.require("evaluate")
        if not self.folder.done("report"):
            write_report(self.out)
