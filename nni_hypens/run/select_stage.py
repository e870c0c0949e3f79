"""The members of a run: chosen on validation data, calibrated, and saved as one ensemble."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import Combination, calibrate, calibrated_alone, combine
from nni_hypens.ensemble.conformal import Conformal, fit_conformal
from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.ensemble.names import LOG
from nni_hypens.ensemble.weighting import weigh_all
from nni_hypens.errors import InputError
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.choice import replacing_choice
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import Plan
from nni_hypens.run.request import Request
from nni_hypens.selection.costs import choose, total_costs
from nni_hypens.selection.names import ALL
from nni_hypens.selection.objectives import make_scorer
from nni_hypens.selection.task import Selection
from nni_hypens.space.build import describe_space, fixed_network
from nni_hypens.utils.checks import nearest
from nni_hypens.utils.files import as_written, write_json
from nni_hypens.utils.tensors import load_weights

SIZES = (1, 2, 3, 5)
"""Numbers of members that every report shows."""
MOST_SMALLER = 10
"""Below so many members, a report shows every smaller ensemble."""


class _Pool(NamedTuple):
    """The trained candidates: ids, content of metrics.json, labels ``N``, validation probabilities ``P x N x C``.

    `compared` are the probabilities that the choice compares: each candidate's with its own temperature, unless the
    run uses none.
    """

    ids: list[str]
    probabilities: np.ndarray
    compared: np.ndarray
    labels: np.ndarray
    trials: list[dict[str, Any]]


def select_stage(plan: Plan, folder: RunFolder, request: Request | None = None) -> None:
    """Choose members among the trained candidates, fit temperatures and prediction sets, and save the ensemble.

    ``ensemble.json`` comes last.

    Args:
        plan: What the run does.
        folder: The run folder.
        request: What to choose instead of what the settings say. An earlier choice is then replaced, and what was
            measured and reported is taken back, once the new choice is completely written.

    Raises:
        InputError: Fewer candidates are trained than the ensemble has members, or an id is not that of one.
    """
    if request is None and folder.done("select"):
        return
    start = time.perf_counter()
    pool = _read_pool(plan, folder, max(request.sizes, default=1) if request else plan.settings.least_trained)
    tried = [(one, _fit(plan, pool, one)) for one in _allowed(plan, pool, request)]
    objective = plan.selection_options.get("objective", "nll")

    def value(pair: tuple[Selection, _Fitted]) -> float:
        """Of equals the first is taken, which has the fewest members."""
        return round(pair[1].validation_nll if objective == "nll" else pair[0].score, 12)

    chosen, (combination, conformal, validation_nll) = min(tried, key=value)
    names, weights = [pool.ids[index] for index in chosen.members], chosen.weights.tolist()
    ensemble = build_ensemble(plan, folder, names, weights, combination, conformal)
    content = {
        "method": chosen.method,
        "objective": _name(objective),
        "score": chosen.score,
        "validation_nll": validation_nll,
        "members": names,
        "weights": weights,
        "limits": plan.limits,
        "costs": total_costs([pool.trials[index] for index in chosen.members]),
        "sizes": [_described(plan, pool, one) for one in _other_sizes(plan, pool, chosen)],
        "seconds": time.perf_counter() - start,
    }
    if request is not None:
        content["asked"] = request.flags
        content["tried"] = [
            {
                "members": [pool.ids[i] for i in one.members],
                "score": one.score,
                "validation_nll": fitted.validation_nll,
            }
            for one, fitted in tried
        ]
        with replacing_choice(folder) as place:  # a full disk or a kill must not cost the choice that there is
            write_json(place / folder.selection.name, content)
            ensemble.save(place)
        return
    write_json(folder.selection, content)
    ensemble.save(folder.ensemble)


def _read_pool(plan: Plan, folder: RunFolder, least: int) -> _Pool:
    ids = folder.trained()
    if len(ids) < least:
        got = f"{folder.out} with {len(ids)} trained candidates"
        raise InputError("out", got, f"at least {least}: `nni-hypens train`")
    with as_written(f"{folder.candidates_folder}: predictions", "arrays `val` of one shape"):
        probabilities = np.stack([folder.predictions(name, "val")[0] for name in ids])
    labels = plan.data.labels("validation")
    compared = probabilities if plan.settings.calibration == "none" else calibrated_alone(probabilities, labels)
    return _Pool(ids, probabilities, compared, labels, [folder.metrics(name) or {} for name in ids])


def _allowed(plan: Plan, pool: _Pool, request: Request | None) -> list[Selection]:
    """The ensembles that a request allows, one for each size; without a request, that of the settings."""
    if request.all if request else plan.settings.members == ALL:
        plan.settings.check_all()  # a request may contradict the settings of the run
        return [_everyone(plan, pool)]
    if request is None:
        return [_choose(plan, pool, {"size": plan.settings.ensemble_size, **plan.selection_options})]
    if not request.ids:
        return [_of_size(plan, pool, size) for size in request.sizes]
    unknown = [name for name in request.ids if name not in pool.ids]
    if unknown:
        raise InputError("ids", unknown[0], f"trained candidates: {', '.join(pool.ids)}{nearest(unknown[0], pool.ids)}")
    rows = [pool.ids.index(name) for name in request.ids]
    objective = plan.selection_options.get("objective", "nll")
    trials = [pool.trials[row] for row in rows]
    size = len(rows)  # of so many, all are chosen
    found = choose("exhaustive", pool.compared[rows], pool.labels, trials, plan.limits, size=size, objective=objective)
    return [replace(found, members=tuple(rows[index] for index in found.members))]


def _everyone(plan: Plan, pool: _Pool) -> Selection:
    """All candidates, with fitted weights; those with the weight 0 are left out."""
    # Temperatures of members come before their weights, as they do before the average.
    own = pool.compared if plan.settings.calibration == "members" else pool.probabilities
    kept, weights = weigh_all(own, pool.labels)
    members = tuple(kept.tolist())
    objective = plan.selection_options.get("objective", "nll")
    average = np.tensordot(weights, pool.compared[kept].astype(np.float64), axes=1)
    score = make_scorer(average[None], pool.labels, objective).value([0])
    return Selection(members, members, weights, score, ALL)


def _of_size(plan: Plan, pool: _Pool, size: int) -> Selection:
    """The choice of the run's method with another number of members than that of the run."""
    settings, options = plan.settings, dict(plan.selection_options)
    if options == settings.selection_options():
        options = {"size": size, **replace(settings, members=size).selection_options()}
    elif settings.selection == "greedy_with_replacement":  # `size` is a number of steps
        options |= {"size": max(size, options.get("size", settings.ensemble_size)), "max_members": size}
    else:
        options["size"] = size
    return _choose(plan, pool, options)


def _choose(plan: Plan, pool: _Pool, options: Mapping[str, Any]) -> Selection:
    return choose(plan.settings.selection, pool.compared, pool.labels, pool.trials, plan.limits, **options)


def _other_sizes(plan: Plan, pool: _Pool, chosen: Selection) -> list[Selection]:
    """Ensembles of other sizes, which the evaluation compares with the one that was chosen."""
    found: list[Selection] = []
    count = len(chosen.members)
    for size in sorted({*SIZES, *range(2, min(count, MOST_SMALLER))} - {count}):
        try:
            other = _of_size(plan, pool, size)
        except InputError:  # too few candidates, or more combinations than the method looks at: this one is not needed
            continue
        if not any(_same(other, one) for one in (chosen, *found)):  # with replacement, more steps may add nobody
            found.append(other)
    if plan.settings.pooling == LOG and chosen.method != ALL and not plan.limits and len(pool.ids) > 1:
        found.append(_everyone(plan, pool))
    return found


def _same(one: Selection, other: Selection) -> bool:
    """Whether two choices are the same ensemble."""
    return one.members == other.members and np.array_equal(one.weights, other.weights)


class _Fitted(NamedTuple):
    combination: Combination
    conformal: Conformal
    validation_nll: float


def _fit(plan: Plan, pool: _Pool, chosen: Selection) -> _Fitted:
    """How the members are combined, what prediction sets need, and the NLL of validation images."""
    members = pool.probabilities[list(chosen.members)]
    found = calibrate(plan.settings.calibration, members, chosen.weights, pool.labels, plan.settings.pooling)
    validation = combine(members, chosen.weights, found)
    return _Fitted(found, fit_conformal(validation, pool.labels), metrics.nll(validation, pool.labels))


def _described(plan: Plan, pool: _Pool, chosen: Selection) -> dict[str, Any]:
    combination, _, validation_nll = _fit(plan, pool, chosen)
    return {
        "method": chosen.method,
        "members": [pool.ids[index] for index in chosen.members],
        "weights": chosen.weights.tolist(),
        "score": chosen.score,
        "validation_nll": validation_nll,
        "temperature": combination.temperature,
        "member_temperatures": list(combination.members),
        "costs": total_costs([pool.trials[index] for index in chosen.members]),
    }


def build_ensemble(
    plan: Plan,
    folder: RunFolder,
    names: Sequence[str],
    weights: Sequence[float],
    combination: Combination,
    conformal: Conformal,
) -> Ensemble:
    """The ensemble of trained candidates.

    Args:
        plan: What the run does.
        folder: The run folder.
        names: Ids of the members.
        weights: Weight of each.
        combination: Temperatures and pooling.
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
    return Ensemble(
        networks,
        list(weights),
        combination.temperature,
        info=info,
        member_temperatures=combination.members,
        pooling=combination.pooling,
    )


def _trained_network(plan: Plan, folder: RunFolder, candidate: Candidate) -> Any:
    network = fixed_network(plan.train_space, candidate.architecture)
    load_weights(network, folder.candidate(candidate.id).weights)
    return network


def _name(objective: Any) -> str:
    """Name of an objective, which may be a function."""
    return objective if isinstance(objective, str) else getattr(objective, "__name__", "function")
