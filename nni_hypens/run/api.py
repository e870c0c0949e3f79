"""The whole road in one call of Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nni
import pandas as pd
from nni.experiment.config.training_service import TrainingServiceConfig
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.data.module import LabelledData
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputError
from nni_hypens.run.pipeline import Run
from nni_hypens.run.plan import Plan
from nni_hypens.search.regularizers import Diversity
from nni_hypens.selection.costs import check_total_limits
from nni_hypens.space.architecture import Sample
from nni_hypens.space.build import describe_space
from nni_hypens.utils.progress import Progress


@dataclass
class EnsembleResult:
    """What :func:`search_ensemble` returns.

    Args:
        out: The run folder.
        results: The content of ``results.json``.
        space: Class of the model space.
    """

    out: Path
    results: dict[str, Any]
    space: type[ModelSpace] | None = None

    @property
    def ensemble(self) -> Ensemble:
        """The calibrated ensemble, read from the run folder."""
        return Ensemble.load(self.out / "ensemble", self.space)

    @property
    def members(self) -> pd.DataFrame:
        """One row per member: its test metrics, its own temperature, and why it is in.

        ``validation_gain`` and ``test_gain`` are the NLL of the average without it minus the NLL with it,
        ``swap_gain`` what it is ahead on validation data of the best candidate in its place (``swap_for``);
        ``disagreement``, ``right_alone``, ``wrong_alone`` and ``right_of_majority_wrong`` compare it with the others.
        """
        return pd.DataFrame(self.results["members"])

    @property
    def candidates(self) -> pd.DataFrame:
        """One row per candidate."""
        return pd.json_normalize(self.results["candidates"])

    @property
    def metrics(self) -> pd.DataFrame:
        """Test accuracy, NLL, ECE, Brier score and AURC of ensemble, best member and baselines."""
        rows = {
            "ensemble": self.results["ensemble"],
            "ensemble, uncalibrated": self.results["ensemble_uncalibrated"],
            "best member": self.results["best_member"],
        }
        rows |= {row["name"]: row for row in self.results["baselines"]}
        return pd.DataFrame(rows).T[["accuracy", "nll", "ece", "brier", "aurc"]].astype(float)

    @property
    def disagreement(self) -> pd.DataFrame:
        """Share of test examples on which two members predict different classes; members by members."""
        ids = [row["id"] for row in self.results["members"]]
        return pd.DataFrame(self.results["diversity"]["pairwise"], index=ids, columns=ids)

    @property
    def calibration(self) -> pd.DataFrame:
        """Test metrics of the ensemble by each way to calibrate it, and the temperatures of each."""
        return pd.DataFrame(self.results["calibration"]["rows"]).set_index("method")

    @property
    def uncertainty(self) -> pd.DataFrame:
        """Mean total, aleatoric and epistemic entropy (nats) of test examples: all, right and wrong ones."""
        return pd.DataFrame(self.results["uncertainty"]["rows"]).set_index("examples")

    @property
    def cost_front(self) -> pd.DataFrame:
        """Ensembles that no other of the candidates beats in validation NLL and a total cost, which ``by`` names."""
        return pd.DataFrame(self.results["cost_front"]["rows"])

    @property
    def ood(self) -> pd.DataFrame:
        """One row per set from elsewhere: AUROC by score, and mean entropies; empty where none was measured."""
        return pd.json_normalize(self.results["ood"].get("sets", []))

    @property
    def corruptions(self) -> pd.DataFrame:
        """Accuracy, NLL and ECE by corruption, severity (0: clean) and model; empty where none was measured."""
        return pd.DataFrame(self.results["corruptions"].get("rows", []))


def search_ensemble(
    space: ModelSpace,
    evaluator: Evaluator,
    data: LabelledData,
    out: str | Path,
    *,
    search_evaluator: Lightning | None = None,
    members: int = 3,
    candidates: int = 8,
    base: Sample | str | Path | None = None,
    diversity: Diversity | None = None,
    lam_range: tuple[float, float] | None = None,
    selection: str = "exhaustive",
    selection_options: Mapping[str, Any] | None = None,
    warm_start: bool = False,
    calibration: str = "ensemble",
    ood: str = "auto",
    stress_images: int = 256,
    threads: int = 1,
    ranking: str = "auto",
    halving: bool = False,
    adaptive: int | None = None,
    max_total_params: float | None = None,
    max_total_flops: float | None = None,
    max_latency_ms: float | None = None,
    known_results: str | Path | None = None,
    seed: int = 0,
    port: int | None = None,
    concurrency: int = 1,
    per_trial: int = 1,
    training_service: TrainingServiceConfig | None = None,
    quiet: bool = False,
    **strategy: Any,
) -> EnsembleResult:
    """The whole road in one call: search, train candidates as NNI trials, select, calibrate, evaluate, report.

    Calling it again with the same arguments continues where ``out`` left off; a finished folder is only read.

    Args:
        space: NNI model space for classification (output: logits).
        evaluator: Evaluator that trains one candidate; it and its parts wrapped by ``nni.trace``, importable by
            module path.
        data: The data module that the evaluator uses, with ``val_dataloader``, ``test_dataloader``, ``labels(split)``,
            ``describe()``, ``input_spec``, ``num_classes`` and ``class_names``, as
            :class:`nni_hypens.data.ImageData` has them.
        out: The run folder.
        search_evaluator: NNI Lightning evaluator of the search, when it is to train for another number of epochs.
        members: Members of the ensemble.
        candidates: Architectures to train.
        base: Base architecture, a JSON path, or None to search it.
        diversity: Regulariser.
        lam_range: Shared edges to request from candidates; None for the upper three quarters of the dial.
        selection: How members are chosen on validation data, a method of :func:`nni_hypens.selection.select`.
        selection_options: Its other arguments, such as ``{"objective": "brier"}``.
        warm_start: Whether candidates begin with the weights of their path in the supernet.
        calibration: Temperatures, fitted on validation data: ``ensemble`` (one on the average), ``members`` (one on
            each member's probabilities before they are averaged) or ``none``.
        ood: Images from elsewhere, as for :func:`nni_hypens.data.ood.ood_names`.
        stress_images: Most test images to corrupt and to hold against images from elsewhere; 0 for none.
        threads: Threads of torch in the search and in each trial.
        ranking: How what is trained is chosen on the supernet: ``spread`` (the best of each part of the dial),
            ``ensemble`` (greedily, by the ensemble's NLL, wherever on the dial), ``promising`` (the best by supernet
            and size together, large random architectures among them) or ``auto`` (``promising`` with ``adaptive``,
            else ``spread``).
        adaptive: How many of the candidates are decided on while others are trained: see
            :mod:`nni_hypens.proposals.adaptive`. None for all but three, and for none of them with ``halving``,
            ``warm_start``, a limit on the ensemble, a range of lam, or the ranking ``spread`` or ``ensemble``.
        halving: Whether candidates are compared by validation NLL at a quarter and at half of their epochs, and only
            the better half (at least one more than the members) is trained further. The evaluator must be an NNI
            Lightning evaluator with a number of epochs.
        max_total_params: Most parameters of the members together; None for no limit.
        max_total_flops: Most FLOPs of the members together for one image, a multiply-add as two.
        max_latency_ms: Most milliseconds of the members together for one image, by one thread, as measured after each
            one's training.
        known_results: CSV or JSON file of known results by architecture, as for
            :class:`nni_hypens.KnownResults`: candidates get their values, and the supernet's ranking and
            that after training are held against them.
        seed: Seed of everything.
        port: Port of NNI's web UI.
        concurrency: Trials at once.
        per_trial: Candidates that one trial trains, one after the other.
        training_service: Where trials run, a config object of NNI such as ``RemoteConfig``; None for this machine. It
            may differ from call to call: the results are the same.
        quiet: Show no progress.
        **strategy: More arguments of :class:`nni_hypens.search.EdgeNES`.

    Raises:
        InputError: Bad input, before any long work.
    """
    searching = search_evaluator or evaluator
    if not isinstance(searching, Lightning):
        raise InputError(
            "search_evaluator", type(searching).__name__, "an nni.nas.evaluator.pytorch.Lightning evaluator"
        )
    limits = check_total_limits(
        {"max_total_params": max_total_params, "max_total_flops": max_total_flops, "max_latency_ms": max_latency_ms}
    )
    identity = {
        "space": describe_space(space),
        "data": nni.dump(data),
        "evaluator": nni.dump(evaluator),
        "search_evaluator": nni.dump(searching),
        "members": members,
        "candidates": candidates,
        "base": None if base is None else str(base),
        "diversity": repr(vars(diversity)) if diversity else None,
        "lam_range": None if lam_range is None else list(lam_range),
        "selection": selection,
        "selection_options": {name: repr(value) for name, value in (selection_options or {}).items()},
        "warm_start": warm_start,
        "calibration": calibration,
        "ood": ood,
        "stress_images": stress_images,
        "threads": threads,
        "ranking": ranking,
        "halving": halving,
        "adaptive": adaptive,
        "limits": limits,
        "known_results": None if known_results is None else str(known_results),
        "seed": seed,
        "strategy": {name: repr(value) for name, value in strategy.items()},
    }
    plan = Plan(
        space,
        evaluator,
        searching,
        data,
        identity,
        members,
        candidates,
        lam_range,
        selection,
        base,
        diversity,
        strategy,
        seed,
        f"search_ensemble(..., out={str(out)!r})",
        warm_start,
        dict(selection_options or {}),
        calibration,
        ood,
        stress_images,
        threads,
        ranking,
        halving,
        adaptive,
        limits,
        known_results,
    )
    run = Run(plan, out, port, concurrency, Progress(quiet), per_trial=per_trial, training_service=training_service)
    run.prepare()
    results = run.results() if run.finished else run.run()
    return EnsembleResult(Path(out), results, type(space))
