"""The evaluation of a run: its ensemble on test data, for the first time, and what everything has cost."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from nni_hypens.ensemble.calibration import Temperatures, combine
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.report.verdict import is_chance
from nni_hypens.run.evaluation import Predictions, evaluate_pool
from nni_hypens.run.examples import collect_examples
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import Plan
from nni_hypens.run.robustness import STEPS, measure_robustness
from nni_hypens.selection.costs import fronts
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.runtime import versions


def evaluate_stage(plan: Plan, folder: RunFolder, progress: Progress) -> None:
    """Measure the ensemble on test data; ``results.json`` comes last.

    Args:
        plan: What the run does.
        folder: The run folder.
        progress: Where progress is shown.
    """
    if folder.done("evaluate"):
        return
    members = read_json(folder.require("select"))["members"]
    temperatures = _temperatures(folder)
    weights = [(member["id"], member["weight"]) for member in members]
    pool: Predictions = {name: folder.predictions(name, "val", "test") for name in folder.trained()}
    candidates, labels = folder.read_candidates(), (plan.data.labels("validation"), plan.data.labels("test"))
    trials = {candidate.id: folder.metrics(candidate.id) for candidate in candidates}
    results = evaluate_pool(
        pool, *labels, weights, temperatures, candidates, trials, plan.settings.calibration, plan.settings.seed
    )
    ensemble = Ensemble.load(folder.ensemble, type(plan.train_space))  # fail on damage before a bar or a file appears
    _write_examples(plan, folder, weights, pool, temperatures)
    start = time.perf_counter()
    results |= _robustness(plan, ensemble, results, progress)
    robustness_s = time.perf_counter() - start
    summary, selection = read_json(folder.search.summary), read_json(folder.selection)
    results["selection"] = selection
    results["ranking"]["method"] = plan.ranking
    trained = {name: trials[name] or {} for name in pool}
    results["cost_front"] = fronts(pool, *labels, trained, weights, plan.settings.members)
    results |= {name: summary[name] for name in ("n_edges", "base_edges", "dial")}
    results["cost"] = {
        **{name: summary[name] for name in ("base_search_s", "search_s")},
        "ranking_s": read_json(folder.search.ranking)["seconds"],
        # candidates that were stopped cost as well
        "training_s": sum((trial or {}).get("seconds", 0.0) for trial in trials.values()),
        "training_wall_s": read_json(folder.training_time)["seconds"] if folder.training_time.exists() else None,
        "selection_s": selection["seconds"],
        "robustness_s": robustness_s,
    }
    results["data"] = plan.data.describe()
    results["versions"] = versions()
    if is_chance(results, len(labels[1])):
        level = results["chance"]["accuracy"]
        progress.warn(
            f"the ensemble's accuracy of {results['ensemble']['accuracy']:.2%} is no better than chance ({level:.2%})"
        )
    write_json(folder.results, results)


def _temperatures(folder: RunFolder) -> Temperatures:
    index = read_json(folder.ensemble_index)
    return Temperatures(index["temperature"], tuple(member.get("temperature", 1.0) for member in index["members"]))


def _write_examples(
    plan: Plan, folder: RunFolder, members: list[tuple[str, float]], pool: Predictions, temperatures: Temperatures
) -> None:
    """Write ``examples.json``, the test images that the report shows."""
    ids = [name for name, _ in members]
    test = np.stack([pool[name][1] for name in ids]).astype(np.float64)
    ensemble = combine(test, np.array([weight for _, weight in members]), temperatures)
    write_json(folder.examples, collect_examples(test, ensemble, plan.data, ids))


def _robustness(plan: Plan, ensemble: Ensemble, results: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The parts of ``results.json`` about corruptions and out-of-distribution images."""
    best = next(row for row in results["members"] if row["id"] == results["best_member"]["id"])
    if plan.settings.stress_images:
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
