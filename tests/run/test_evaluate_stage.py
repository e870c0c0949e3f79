"""The evaluate stage of a run, with its measurements played: what is measured when, and what it has cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nni_hypens.ensemble import calibration
from nni_hypens.errors import InputError
from nni_hypens.run import evaluate_stage as stage
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.settings import Settings
from nni_hypens.utils.files import write_json
from nni_hypens.utils.npz import write_arrays
from nni_hypens.utils.progress import Progress

SECONDS = {"c00": 2.0, "c01": 4.0}
"""Of the trainings."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run whose choice is made."""
    folder = RunFolder(tmp_path)
    folder.write_candidates([Candidate(name, None, 0, "draw", 1.0, {}, (), "") for name in [*SECONDS, "c02", "c03"]])
    for name, seconds in SECONDS.items():
        measured = {"validation": {}, "parameters": 1, "flops": 2, "latency_ms": 0.5}
        write_json(folder.candidate(name).metrics, {"status": "trained", "seconds": seconds, **measured})
        write_arrays(folder.candidate(name).predictions, dict.fromkeys(("val", "test"), np.full((4, 2), 0.5)))
    write_json(folder.candidate("c02").metrics, {"status": "failed", "error": "too hot"})
    given = {"lam": None, "shared_edges": None, "architecture": {}}
    members = [
        {"id": name, "file": f"member-{name}.safetensors", "weight": weight, "temperature": temperature, **given}
        for name, weight, temperature in (("c01", 0.75, 1.5), ("c00", 0.25, 1.0))
    ]
    about: dict[str, Any] = {"labels": ["a", "b"], "input": {}, "space": {"class": "a:B", "args": {}}, "versions": {}}
    write_json(folder.ensemble_index, {"format_version": 2, "members": members, "temperature": 0.5, **about})
    write_json(folder.selection, {"seconds": 7.0})
    write_json(folder.search.summary, {"n_edges": 2, "base_edges": [], "dial": [], "base_search_s": 3.0, "search_s": 5})
    write_json(folder.search.ranking, {"seconds": 1.0})
    return folder


@pytest.fixture
def played(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the measurements were asked, by name."""
    asked: dict[str, Any] = {}

    def pool(pool: Any, validation: Any, test: Any, weights: Any, combination: Any, *rest: Any) -> dict[str, Any]:
        asked.update(pool=sorted(pool), weights=weights, combination=combination, sizes=rest[-2], alone=rest[-1])
        members = [{"id": "c01", "own_temperature": 1.5}, {"id": "c00", "own_temperature": 2.5}]
        return {"members": members, "best_member": {"id": "c00"}, "ranking": {}}

    def robustness(ensemble: Any, data: Any, **options: Any) -> dict[str, Any]:
        assert not folder.results.exists() and folder.examples.exists()
        asked.update(best=(options["best"], options["best_temperature"]))
        return {"corruptions": []}

    monkeypatch.setattr(stage, "evaluate_pool", pool)
    monkeypatch.setattr(stage, "measure_robustness", robustness)
    monkeypatch.setattr(stage, "collect_examples", lambda test, ensemble, data, ids, shown: {"members": ids})
    monkeypatch.setattr(stage, "fronts", lambda pool, *rest: asked.update(compared=pool) or {})
    monkeypatch.setattr(stage, "versions", dict)
    monkeypatch.setattr(
        stage.Ensemble, "load", lambda path, space: SimpleNamespace(info=SimpleNamespace(labels=["a", "b"]))
    )
    yield asked


def evaluate(folder: RunFolder, class_names: Sequence[str] = ("a", "b")) -> None:
    data = SimpleNamespace(
        labels=lambda split: np.zeros(4, dtype=int), describe=lambda: {"name": "played"}, class_names=class_names
    )
    plan: Any = SimpleNamespace(settings=Settings(stress_images=0), data=data, train_space=None, ranking="promising")
    stage.evaluate_stage(plan, folder, Progress(quiet=True))


def test_what_is_measured_and_what_it_has_cost(folder: RunFolder, played: dict[str, Any]) -> None:
    evaluate(folder)
    assert played["pool"] == ["c00", "c01"] and played["weights"] == [("c01", 0.75), ("c00", 0.25)]
    assert played["combination"] == (0.5, (1.5, 1.0), "linear") and played["sizes"] == []  # as formats 1 and 2 average
    assert played["best"] == ("c00", 2.5)
    results = folder.read_results()
    cost = results["cost"]
    assert cost["training_s"] == 6.0 and cost["training_wall_s"] is None
    names = ("base_search_s", "search_s", "ranking_s", "selection_s")
    assert [cost[name] for name in names] == [3.0, 5.0, 1.0, 7.0]
    assert datetime.fromisoformat(results["made"]["date"]).tzinfo and results["made"]["machine"]["cores"] >= 1
    assert results["ranking"] == {"method": "promising"} and results["selection"] == {"seconds": 7.0}


@pytest.mark.parametrize(("written", "counts"), [({}, True), ({"counts_edges": False}, False)])
def test_results_say_whether_the_dial_counts_edges(
    folder: RunFolder, played: dict[str, Any], written: dict[str, bool], counts: bool
) -> None:
    summary = json.loads(folder.search.summary.read_text())
    write_json(folder.search.summary, {**summary, **written})  # searches of earlier versions did not write it
    evaluate(folder)
    assert folder.read_results()["counts_edges"] is counts


def test_the_temperature_of_each_candidate_is_fitted_once(
    folder: RunFolder, played: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, own = [], calibration._fit
    monkeypatch.setattr(calibration, "_fit", lambda p, *rest: fits.append(p) or own(p, *rest))
    evaluate(folder)
    assert len(fits) == 2  # of two trained candidates
    assert played["alone"].compared is played["compared"] and played["alone"].temperatures.keys() == {"c00", "c01"}


def test_the_ensemble_says_how_its_members_are_averaged(folder: RunFolder, played: dict[str, Any]) -> None:
    index = {**json.loads(folder.ensemble_index.read_text()), "format_version": 3, "pooling": "log"}
    write_json(folder.ensemble_index, index)
    fitted = {"method": "all", "temperature": 2.0, "member_temperatures": [1.0], "costs": {}}
    write_json(folder.selection, {"seconds": 7.0, "sizes": [{"members": ["c00"], "weights": [1.0], **fitted}]})
    evaluate(folder)
    assert played["combination"].pooling == "log"
    (size,) = played["sizes"]
    assert size.row["members"] == ["c00"] and size.row["method"] == "all" and size.test.shape == (4, 2)


def test_a_finished_stage_measures_nothing(folder: RunFolder, played: dict[str, Any]) -> None:
    write_json(folder.results, {"kept": 1})
    evaluate(folder)
    assert not played and folder.read_results() == {"kept": 1}


def test_other_names_of_classes_than_the_ensembles_are_refused(folder: RunFolder, played: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="^data.class_names: got 'b' for 'a', 'a' for 'b'; expected the names in ens"):
        evaluate(folder, ["b", "a"])
    assert not folder.results.exists() and not folder.examples.exists()


def test_a_damaged_ensemble_leaves_no_file(
    folder: RunFolder, played: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path, space: Any) -> None:
        raise InputError("ensemble", "weights.safetensors", "an intact file")

    monkeypatch.setattr(stage.Ensemble, "load", damaged)
    with pytest.raises(InputError, match="^ensemble"):
        evaluate(folder)
    assert not folder.results.exists() and not folder.examples.exists()
