"""The whole road in a run folder: search, sample, train, select, evaluate, report; each stage can be resumed.

A stage is done when the file it writes last is there. What an interrupted stage left is taken up: the search from its
last epoch, training from the candidates that finished. Validation data chooses; the labels of test data are read by
``evaluate`` alone.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from nni.experiment.config.training_service import TrainingServiceConfig

from nni_hypens.ensemble.calibration import Temperatures, calibrate, combine
from nni_hypens.ensemble.module import Ensemble, EnsembleInfo
from nni_hypens.errors import InputError
from nni_hypens.run.evaluation import evaluate_pool
from nni_hypens.run.examples import collect_examples
from nni_hypens.run.folder import check_folder, damage, is_finished
from nni_hypens.run.plan import Plan
from nni_hypens.run.robustness import STEPS, measure_robustness
from nni_hypens.run.sample_stage import draw_candidates
from nni_hypens.run.search_stage import check_logger, live_search_stage, search_stage
from nni_hypens.run.settings import Runtime
from nni_hypens.run.train_stage import TrainStage
from nni_hypens.selection.costs import choose, fronts, total_costs
from nni_hypens.space.build import describe_space, fixed_network
from nni_hypens.trials.experiment import stop_orphan
from nni_hypens.trials.remote import Machines
from nni_hypens.trials.services import check_service
from nni_hypens.utils.files import read_arrays, read_json, write_json, write_text
from nni_hypens.utils.ports import free_port
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.runtime import versions
from nni_hypens.utils.tensors import read_tensors

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
        self.logger = runtime.logger
        self.plan = plan
        self.out = Path(out)
        self.port = runtime.port
        self.concurrency, self.per_trial = runtime.concurrency, runtime.per_trial
        self.progress = Progress(runtime.quiet)
        self.live = runtime.live
        self.service = check_service(training_service)

    # ---- the folder -----------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Check folder, port and training service, then claim the folder by writing ``config.yaml``.

        Raises:
            InputError: Naming what is wrong; the folder holds another run, or something else.
        """
        check_folder(self.out, self.plan.identity)
        if self.finished:
            return
        if (self.out / "nni" / "manager.json").exists():
            with self.locked():  # it is no orphan while the run that started it goes on
                stop_orphan(self.out)
        if self.port is not None:
            free_port(self.port, self.service.ports)
        self._check_service()
        if not (self.out / "config.yaml").exists():
            content = {**self.plan.identity, "versions": versions(), "command": self.plan.command}
            write_text(self.out / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def _check_service(self) -> None:
        """Whether trials could run on the training service, as far as it can be seen from here."""
        if not self.service.fetches or (self.out / "ensemble" / "ensemble.json").exists():
            return
        if self.plan.settings.warm_start:
            raise InputError("warm_start", "true with trials on remote machines", "false, or the local service")
        if self.plan.settings.halving:  # what is needed to go on from a rung would have to travel
            raise InputError("halving", "true with trials on remote machines", "false, or the local service")
        known = self.out / "nni" / "known_hosts"
        with tempfile.TemporaryDirectory() as empty:  # the folder is not claimed yet, and may be another's
            Machines(self.service, known if known.exists() else Path(empty, "known_hosts")).check(versions())

    @property
    def finished(self) -> bool:
        """Whether the report, the last file of a run, is there."""
        return is_finished(self.out)

    def require(self, path: str, stage: str) -> Path:
        """A file that an earlier stage writes.

        Raises:
            InputError: It is not there.
        """
        if not (self.out / path).exists():
            raise InputError(
                "out", f"{self.out} without {path}", f"a run folder where `nni-hypens {stage}` has finished"
            )
        return self.out / path

    def run(self) -> dict[str, Any]:
        """All stages that are not done yet; the content of ``results.json``."""
        start = time.perf_counter()
        with self.locked():
            for stage in STAGES:
                getattr(self, stage)()
        self.progress.say(f"finished in {time.perf_counter() - start:.0f} s")
        return self.results()

    def results(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        results: dict[str, Any] = read_json(self.require("results.json", "evaluate"))
        return results

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run."""
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    "out", f"{self.out}, in use by another run", "a folder that no run is using, or wait"
                ) from None
            yield

    # ---- stages ---------------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Search base and hypernetwork; ``base.json`` comes last."""
        if self.live:
            live_search_stage(self.plan, self.out, self.port, self.progress, self.logger)
        else:
            search_stage(self.plan, self.out, self.progress, self.logger)

    def sample(self, more: int = 0) -> None:
        """Draw candidates, rank them on the supernet, keep the wanted number: ``candidates.json``.

        Args:
            more: Where candidates are drawn already: how many to add to them. What was chosen and reported is taken
                back then; what was trained stays.

        Raises:
            InputError: No more different architectures could be found.
        """
        if (self.out / "candidates.json").exists():
            if more:
                added = draw_candidates(self.plan, self.out / "search", more, self.candidates(), self.progress)
                for name in ("report.html", "results.json", "examples.json", "ensemble/ensemble.json"):
                    (self.out / name).unlink(missing_ok=True)
                shutil.rmtree(self.out / "ensemble", ignore_errors=True)
                write_json(self.out / "candidates.json", [*self.candidates(), *added])
            return
        folder = self.require("search/base.json", "search").parent
        drawn = self.plan.settings.candidates - self.plan.adaptive
        write_json(self.out / "candidates.json", draw_candidates(self.plan, folder, drawn, [], self.progress))

    def candidates(self) -> list[dict[str, Any]]:
        """The content of ``candidates.json``."""
        candidates: list[dict[str, Any]] = read_json(self.require("candidates.json", "sample"))
        return candidates

    def metrics(self, candidate: str) -> dict[str, Any] | None:
        """What the trial of a candidate wrote, or None before it has."""
        path = self.out / "candidates" / candidate / "metrics.json"
        return read_json(path) if path.exists() else None

    def trained(self) -> list[str]:
        """Ids of the candidates that finished."""
        found = [(record["id"], self.metrics(record["id"])) for record in self.candidates()]
        return [name for name, metrics in found if metrics is not None and metrics["status"] == "trained"]

    def train(self) -> None:
        """Train what is not trained yet, as NNI trials; what fails is tried once more, in a second experiment."""
        records = self.candidates()
        damaged = self._forget_damaged(records)
        if damaged or not (self.out / "ensemble" / "ensemble.json").exists():
            at_once = (self.concurrency, self.per_trial)
            TrainStage(self.plan, self.out, self.port, *at_once, self.progress, self.service).run(records)

    def _forget_damaged(self, records: list[dict[str, Any]]) -> bool:
        """Whether files of finished candidates are missing or cut off, and still needed: those train anew."""
        if (self.out / "results.json").exists():
            return False
        found = {record["id"]: damage(self.out / "candidates" / record["id"]) for record in records}
        for candidate, what in found.items():
            if what is not None:
                self.progress.warn(f"candidate {candidate} is trained anew: {what}")
                (self.out / "candidates" / candidate / "metrics.json").unlink()
        return any(found.values())

    def select(self) -> None:
        """Choose members on validation data, fit the temperature, save the ensemble; ``ensemble.json`` comes last."""
        folder = self.out / "ensemble"
        if (folder / "ensemble.json").exists():
            return
        plan, ids = self.plan, self.trained()
        if len(ids) < plan.settings.members:
            raise InputError(
                "out",
                f"{self.out} with {len(ids)} trained candidates",
                f"at least {plan.settings.members}: `nni-hypens train`",
            )
        start = time.perf_counter()
        labels = plan.data.labels("validation")
        probabilities = np.stack(
            [read_arrays(self.out / "candidates" / name / "predictions.npz", "val")[0] for name in ids]
        )
        options = {"size": plan.settings.members, **plan.selection_options}
        trials = [self.metrics(name) or {} for name in ids]
        chosen = choose(plan.settings.selection, probabilities, labels, trials, plan.limits, **options)
        temperatures = calibrate(plan.settings.calibration, probabilities[list(chosen.members)], chosen.weights, labels)
        names = [ids[index] for index in chosen.members]
        ensemble = self._build(names, chosen.weights.tolist(), temperatures)
        objective = options.get("objective", "nll")
        objective = objective if isinstance(objective, str) else getattr(objective, "__name__", "function")
        write_json(
            folder / "selection.json",
            {
                "method": plan.settings.selection,
                "objective": objective,
                "score": chosen.score,
                **({"validation_nll": chosen.score} if objective == "nll" else {}),
                "members": names,
                "weights": chosen.weights.tolist(),
                "limits": plan.limits,
                "costs": total_costs([trials[index] for index in chosen.members]),
                "seconds": time.perf_counter() - start,
            },
        )
        ensemble.save(folder)

    def _build(self, names: list[str], weights: list[float], temperatures: Temperatures) -> Ensemble:
        records = {record["id"]: record for record in self.candidates()}
        chosen = [records[name] for name in names]
        networks = []
        for record in chosen:
            network = fixed_network(self.plan.space, record["architecture"])
            network.load_state_dict(read_tensors(self.out / "candidates" / record["id"] / "weights.safetensors"))
            networks.append(network)
        data = self.plan.data
        info = EnsembleInfo(
            ids=names,
            architectures=[record["architecture"] for record in chosen],
            lams=[record["lam"] for record in chosen],
            shared_edges=[record["shared_edges"] for record in chosen],
            labels=list(data.class_names),
            input_spec=data.input_spec,
            space=describe_space(self.plan.space),
        )
        return Ensemble(networks, weights, temperatures.ensemble, info=info, member_temperatures=temperatures.members)

    def evaluate(self) -> None:
        """Measure on test data, for the first time: ``results.json``."""
        if (self.out / "results.json").exists():
            return
        index = read_json(self.require("ensemble/ensemble.json", "select"))
        data = self.plan.data
        temperatures = Temperatures(
            index["temperature"], tuple(member.get("temperature", 1.0) for member in index["members"])
        )
        pool = {
            name: read_arrays(self.out / "candidates" / name / "predictions.npz", "val", "test")
            for name in self.trained()
        }
        results = evaluate_pool(
            pool,
            data.labels("validation"),
            data.labels("test"),
            [(member["id"], member["weight"]) for member in index["members"]],
            temperatures,
            self.candidates(),
            {record["id"]: self.metrics(record["id"]) for record in self.candidates()},
            self.plan.settings.calibration,
            self.plan.settings.seed,
        )
        ensemble = Ensemble.load(self.out / "ensemble", type(self.plan.space))  # damage shows before a bar or a file
        self._collect_examples(index, pool, temperatures)
        start = time.perf_counter()
        best = next(row for row in results["members"] if row["id"] == results["best_member"]["id"])
        if self.plan.settings.stress_images:
            self.progress.start("evaluate", STEPS, "corruption")
        results |= measure_robustness(
            ensemble,
            data,
            best=best["id"],
            best_temperature=best["own_temperature"],
            ood=self.plan.settings.ood,
            images=self.plan.settings.stress_images,
            seed=self.plan.settings.seed,
            on_step=self.progress.step,
        )
        self.progress.stop()
        robustness_s = time.perf_counter() - start
        summary, selection = (
            read_json(self.out / "search" / "summary.json"),
            read_json(self.out / "ensemble" / "selection.json"),
        )
        # those that were stopped cost as well
        known = [self.metrics(record["id"]) or {} for record in self.candidates()]
        wall = self.out / "candidates" / "wall.json"
        results["selection"] = selection
        results["ranking"]["method"] = self.plan.ranking
        members = [(member["id"], member["weight"]) for member in index["members"]]
        trials = {name: self.metrics(name) or {} for name in pool}
        truth = (data.labels("validation"), data.labels("test"))
        results["cost_front"] = fronts(pool, *truth, trials, members, self.plan.settings.members)
        results["n_edges"] = summary["n_edges"]
        results["base_edges"] = summary.get("base_edges")  # searches of earlier versions did not say
        results["dial"] = summary["dial"]
        results["cost"] = {
            "base_search_s": summary["base_search_s"],
            "search_s": summary["search_s"],
            "ranking_s": read_json(self.out / "search" / "ranking.json")["seconds"],
            "training_s": sum(found.get("seconds", 0.0) for found in known),
            "training_wall_s": read_json(wall)["seconds"] if wall.exists() else None,
            "selection_s": selection["seconds"],
            "robustness_s": robustness_s,
        }
        results["data"] = data.describe()
        results["versions"] = versions()
        write_json(self.out / "results.json", results)

    def _collect_examples(
        self, index: dict[str, Any], pool: dict[str, list[np.ndarray]], temperatures: Temperatures
    ) -> None:
        """Write ``examples.json``, the test images that the report shows."""
        members = index["members"]
        ids = [member["id"] for member in members]
        test = np.stack([pool[name][1] for name in ids]).astype(np.float64)
        whole = combine(test, np.array([member["weight"] for member in members]), temperatures)
        write_json(self.out / "examples.json", collect_examples(test, whole, self.plan.data, ids))

    def report(self) -> None:
        """Write ``report.html``."""
        from nni_hypens.report.page import write_report

        self.require("results.json", "evaluate")
        if not (self.out / "report.html").exists():
            write_report(self.out)
