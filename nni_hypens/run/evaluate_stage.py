"""The evaluation of a run: its ensemble on test data, for the first time, and what everything has cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from nni_hypens.ensemble.calibration import Combination, combine
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.ensemble.names import LINEAR
from nni_hypens.errors import InputError
from nni_hypens.report.content import heaviest
from nni_hypens.report.verdict import is_chance
from nni_hypens.run.baselines import Predictions, other_sizes
from nni_hypens.run.evaluation import candidates_alone, evaluate_pool
from nni_hypens.run.examples import collect_examples
from nni_hypens.run.folder import MEASURED, RunFolder, read_fields
from nni_hypens.run.plan import Plan
from nni_hypens.run.robustness import STEPS, measure_robustness
from nni_hypens.selection.costs import fronts
from nni_hypens.utils.checks import NUMBER, require
from nni_hypens.utils.files import as_written, read_object, write_json
from nni_hypens.utils.inputs import is_image
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.runtime import machine, versions

MOST_IN_FRONT = 10
"""Most members of the ensembles that are compared by cost."""
_SECONDS = {"base_search_s": NUMBER, "search_s": NUMBER}


def evaluate_stage(plan: Plan, folder: RunFolder, progress: Progress) -> None:
    """Measure the ensemble on test data; ``results.json`` comes last.

    Args:
        plan: What the run does.
        folder: The run folder.
        progress: Where progress is shown.
    """
    if folder.done("evaluate"):
        return
    with as_written(str(folder.require("select"))):
        weights, combination = _members(folder)
    pool: Predictions = {name: folder.predictions(name, "val", "test") for name in folder.trained()}
    candidates, labels = folder.read_candidates(), (plan.data.labels("validation"), plan.data.labels("test"))
    trials = {candidate.id: folder.metrics(candidate.id) for candidate in candidates}
    for name in pool:
        require(trials[name] or {}, MEASURED, str(folder.candidate(name).metrics))
    selection = read_fields(folder.selection, seconds=NUMBER)
    with as_written(str(folder.selection)):
        sizes = other_sizes(pool, selection.get("sizes", []), combination.pooling)
    settings = plan.settings
    alone = candidates_alone(pool, labels[0], settings.calibration)
    results = evaluate_pool(
        pool, *labels, weights, combination, candidates, trials, settings.calibration, settings.seed, sizes, alone
    )
    ensemble = Ensemble.load(folder.ensemble, type(plan.train_space))  # fail on damage before a bar or a file appears
    _check_names(ensemble.info.labels, plan.data.class_names)
    _write_examples(plan, folder, weights, pool, combination)
    start = time.perf_counter()
    results |= _robustness(plan, ensemble, results, progress)
    robustness_s = time.perf_counter() - start
    summary = read_fields(folder.search.summary, n_edges=int, base_edges=list, dial=list, **_SECONDS)
    results["selection"] = selection
    results["ranking"]["method"] = plan.ranking
    trained = {name: trials[name] or {} for name in pool}
    results["cost_front"] = fronts(alone.compared, *labels, trained, weights, min(len(weights), MOST_IN_FRONT))
    results |= {name: summary[name] for name in ("n_edges", "base_edges", "dial")}
    results["counts_edges"] = summary.get("counts_edges", True)  # searches of earlier versions did not write it
    results["cost"] = {
        **{name: summary[name] for name in ("base_search_s", "search_s")},
        "ranking_s": read_fields(folder.search.ranking, seconds=NUMBER)["seconds"],
        "training_s": sum((trial or {}).get("seconds", 0.0) for trial in trials.values()),
        "training_wall_s": _training_wall(folder),
        "selection_s": selection["seconds"],
        "robustness_s": robustness_s,
    }
    results["data"] = plan.data.describe()
    results["versions"] = versions()
    results["made"] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    if is_chance(results, len(labels[1])):
        level = results["chance"]["accuracy"]
        progress.warn(
            f"the ensemble's accuracy of {results['ensemble']['accuracy']:.2%} is no better than chance ({level:.2%})"
        )
    write_json(folder.results, results)


def _check_names(chosen: Sequence[str], names: Sequence[str]) -> None:
    """Check that classes have the names with which the ensemble was saved; the checksum of the data leaves them out."""
    changed = [f"{new!r} for {old!r}" for old, new in zip(chosen, names, strict=False) if old != new]
    if changed:
        expected = "the names in ensemble/ensemble.json; to take the new ones, choose the members again (select)"
        raise InputError("data.class_names", ", ".join(changed[:3]), expected)


def _members(folder: RunFolder) -> tuple[list[tuple[str, float]], Combination]:
    """Id and weight of each member, and how they are combined."""
    index = read_object(folder.ensemble_index)  # `Ensemble.load` checks the rest
    own = tuple(member.get("temperature", 1.0) for member in index["members"])
    fitted = Combination(index["temperature"], own, index.get("pooling", LINEAR))
    return [(one["id"], one["weight"]) for one in index["members"]], fitted


def _training_wall(folder: RunFolder) -> float | None:
    path = folder.training_time
    return read_fields(path, seconds=NUMBER)["seconds"] if path.exists() else None


def _write_examples(
    plan: Plan, folder: RunFolder, members: list[tuple[str, float]], pool: Predictions, combination: Combination
) -> None:
    """Write ``examples.json``, the test images that the report shows."""
    ids = [name for name, _ in members]
    test = np.stack([pool[name][1] for name in ids]).astype(np.float64)
    ensemble = combine(test, np.array([weight for _, weight in members]), combination)
    shown = heaviest(dict(members))
    write_json(folder.examples, collect_examples(test, ensemble, plan.data, ids, shown))


def _robustness(plan: Plan, ensemble: Ensemble, results: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The parts of ``results.json`` about corruptions and out-of-distribution images."""
    best = next(row for row in results["members"] if row["id"] == results["best_member"]["id"])
    if plan.settings.stress_images and is_image(plan.data.input_spec):
        progress.start("evaluate", STEPS, "corruption")
    found = measure_robustness(
        ensemble,
        plan.data,
        best=best["id"],
        best_temperature=best["own_temperature"],
        ood=plan.settings.ood,
        images=plan.settings.stress_images,
        seed=plan.settings.seed,
        on_step=progress.step,
    )
    progress.stop()
    return found
