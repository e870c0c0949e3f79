"""The members of a run: chosen on validation data, calibrated, and saved as one ensemble."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from nni_hypens.ensemble.calibration import Temperatures, calibrate, combine
from nni_hypens.ensemble.conformal import Conformal, fit_conformal
from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputError
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import Plan
from nni_hypens.selection.costs import choose, total_costs
from nni_hypens.space.build import describe_space, fixed_network
from nni_hypens.utils.files import as_written, write_json
from nni_hypens.utils.tensors import load_weights


def select_stage(plan: Plan, folder: RunFolder) -> None:
    """Choose members among the trained candidates, fit temperatures and prediction sets, and save the ensemble.

    ``ensemble.json`` comes last.

    Args:
        plan: What the run does.
        folder: The run folder.

    Raises:
        InputError: Fewer candidates are trained than the ensemble has members.
    """
    if folder.done("select"):
        return
    ids = folder.trained()
    if len(ids) < plan.settings.members:
        raise InputError(
            "out",
            f"{folder.out} with {len(ids)} trained candidates",
            f"at least {plan.settings.members}: `nni-hypens train`",
        )
    start = time.perf_counter()
    labels = plan.data.labels("validation")
    with as_written(f"{folder.candidates_folder}: predictions", "arrays `val` of one shape"):
        probabilities = np.stack([folder.predictions(name, "val")[0] for name in ids])
    options = {"size": plan.settings.members, **plan.selection_options}
    trials = [folder.metrics(name) or {} for name in ids]
    chosen = choose(plan.settings.selection, probabilities, labels, trials, plan.limits, **options)
    members = probabilities[list(chosen.members)]
    temperatures = calibrate(plan.settings.calibration, members, chosen.weights, labels)
    conformal = fit_conformal(combine(members, chosen.weights, temperatures), labels)
    names, weights = [ids[index] for index in chosen.members], chosen.weights.tolist()
    ensemble = build_ensemble(plan, folder, names, weights, temperatures, conformal)
    objective = _name(options.get("objective", "nll"))
    write_json(
        folder.selection,
        {
            "method": plan.settings.selection,
            "objective": objective,
            "score": chosen.score,
            **({"validation_nll": chosen.score} if objective == "nll" else {}),
            "members": names,
            "weights": weights,
            "limits": plan.limits,
            "costs": total_costs([trials[index] for index in chosen.members]),
            "seconds": time.perf_counter() - start,
        },
    )
    ensemble.save(folder.ensemble)


def build_ensemble(
    plan: Plan,
    folder: RunFolder,
    names: Sequence[str],
    weights: Sequence[float],
    temperatures: Temperatures,
    conformal: Conformal,
) -> Ensemble:
    """The ensemble of trained candidates.

    Args:
        plan: What the run does.
        folder: The run folder.
        names: Ids of the members.
        weights: Weight of each.
        temperatures: Of the ensemble and its members.
        conformal: What prediction sets need.
    """
    by_id = {candidate.id: candidate for candidate in folder.read_candidates()}
    members = [by_id[name] for name in names]
    info = EnsembleInfo(
        ids=list(names),
        architectures=[member.architecture for member in members],
        lams=[member.lam for member in members],
        shared_edges=[member.shared_edges for member in members],
        labels=list(plan.data.class_names),
        input_spec=plan.data.input_spec,
        space=describe_space(plan.train_space),
        conformal=conformal,
    )
    networks = [_trained_network(plan, folder, member) for member in members]
    return Ensemble(networks, list(weights), temperatures.ensemble, info=info, member_temperatures=temperatures.members)


def _trained_network(plan: Plan, folder: RunFolder, candidate: Candidate) -> Any:
    network = fixed_network(plan.train_space, candidate.architecture)
    load_weights(network, folder.candidate(candidate.id).weights)
    return network


def _name(objective: Any) -> str:
    """Name of an objective, which may be a function."""
    return objective if isinstance(objective, str) else getattr(objective, "__name__", "function")
