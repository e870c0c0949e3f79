"""Cells and folders of a comparison; only the last test trains real networks, in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from nni_hypens import InputError, metrics
from nni_hypens.compare import comparison, outcomes, searches
from nni_hypens.compare.comparison import (
    COLUMNS,
    Comparison,
    cell_name,
    check_folder,
    check_same_data,
    run_cell,
    run_comparison,
    write_results,
)
from nni_hypens.utils.files import write_json
from nni_hypens.utils.progress import Progress
from tests.support.comparison_fixture import SETTINGS, SimulatedBench, SimulatedSearch, remember_sizes

POOLS = ("adaptive_random", "random_pool", "evolution", "random_deep_ensemble")
QUIET = Progress(quiet=True)


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SimulatedBench]]:
    """The simulated workbenches of the cells, which run in this process."""
    made: list[SimulatedBench] = []

    def bench(plan: Any, folder: Path, nni_evaluator: Any, evaluators: Any) -> SimulatedBench:
        made.append(SimulatedBench(folder, seed=plan.settings.seed))
        made[-1].evaluators = evaluators
        searched = (plan.search_evaluator, nni_evaluator or plan.search_evaluator)
        made[-1].epochs = tuple(evaluator.trainer.max_epochs for evaluator in searched)
        return made[-1]

    monkeypatch.setattr(comparison, "Workbench", bench)
    remember_sizes(monkeypatch)
    monkeypatch.setattr(comparison, "ProcessPoolExecutor", lambda jobs, *context, **workers: ThreadPoolExecutor(jobs))
    yield made


def compared(methods: tuple[str, ...] = POOLS, **changes: Any) -> Comparison:
    given = {"settings": SETTINGS, "data_sets": ["digits"], "seeds": [0], "methods": methods, "sizes": (2, 3)}
    return Comparison(**{**given, "budget": 12.0, **changes})


def begun(benches: list[SimulatedBench]) -> list[tuple[int, object, int]]:
    return [(bench.seed, *training) for bench in benches for training in bench.begun]


# ---- what is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": []}, "^seeds: got"),
        ({"seeds": [1, 1]}, "^seeds: got"),
        ({"sizes": (1, 3)}, "^sizes: got 1"),
        ({"methods": ("magic",)}, "^methods: got 'magic'"),
        ({"budget": 0.0}, "^budget: got 0"),
        ({"budget": float("nan")}, "^budget: got nan"),
        ({"budget": None, "reference": "random_pool"}, "^reference: got 'random_pool'|^reference: got random_pool"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compared(**changes)


def test_a_method_that_is_not_installed_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni_hypens.compare.searches.has_tianshou", lambda: False)
    with pytest.raises(InputError, match=r"^methods: got enas_ensemble without tianshou"):
        compared(methods=("random_pool", "enas_ensemble"))


def test_a_folder_belongs_to_one_comparison(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    check_folder(compared(), folder)
    check_folder(compared(methods=("random",), seeds=[7], data_sets=["fashion_mnist"]), folder)  # these may be added
    for changes, name in (
        ({"sizes": (2, 5)}, "sizes"),
        ({"budget": 13.0}, "seconds"),
        ({"settings": replace(SETTINGS, epochs=2)}, "epochs"),
        ({"reference": "random"}, "reference"),
    ):
        with pytest.raises(InputError, match=f"^{name}: got"):
            check_folder(compared(**changes), folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="^out: got"):
        check_folder(compared(), tmp_path / "other")


def test_changed_data_or_seeds_do_not_enter_a_comparison(tmp_path: Path) -> None:
    check_folder(compared(), tmp_path)
    check_same_data({"digits": "a"}, tmp_path)
    check_same_data({"digits": "a", "fashion_mnist": "b"}, tmp_path)  # may be added
    check_same_data({"digits": "a"}, tmp_path)
    with pytest.raises(InputError, match="^data: got fashion_mnist with other images or labels"):
        check_same_data({"digits": "a", "fashion_mnist": "c"}, tmp_path)
    about = json.loads((tmp_path / "comparison.json").read_text())
    del about["seed_scheme"]  # as earlier versions wrote it
    write_json(tmp_path / "comparison.json", about)
    with pytest.raises(InputError, match="^out: got .* seeds networks otherwise"):
        check_folder(compared(), tmp_path)


def test_cells_of_different_files_have_different_folders() -> None:
    names = [cell_name(data, 0) for data in ("digits", "a/set.npz", "b/set.npz", "m:load", "n:load", "/a/digits.npz")]
    assert len(set(names)) == 6 and names[0] == "digits-0"
    assert cell_name("a/set.npz", 1) != names[1]
    assert all(Path(name).name == name for name in names)


# ---- a cell -------------------------------------------------------------------------------------------------------


def test_a_cell_has_a_row_for_each_method_and_size(tmp_path: Path, benches: list[SimulatedBench]) -> None:
    rows = run_cell(compared(), "digits", 3, tmp_path)
    assert [(row["members"], row["method"]) for row in rows] == [(n, name) for n in (2, 3) for name in POOLS]
    for row in rows:
        assert set(COLUMNS) <= set(row) and row["seed"] == 3 and row["budget_s"] == 12.0
        assert 11 < row["total_s"] <= 12 and row["total_s"] == row["search_s"] + row["training_s"]
        assert len(row["chosen"]) == row["members"] <= row["networks"]
    trained = begun(benches)
    assert len(set(trained)) == len(trained)  # shared networks are trained once, and charged to each


def test_the_reference_sets_the_budget(tmp_path: Path, benches: list[SimulatedBench]) -> None:
    rows = run_cell(compared(("random_pool",), reference="random", budget=None), "digits", 0, tmp_path)
    assert [row["budget_s"] for row in rows] == [1.0, 1.0] and [row["networks"] for row in rows] == [2, 3]


def test_a_cell_that_was_interrupted_goes_on(
    tmp_path: Path, benches: list[SimulatedBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_cell(compared(), "digits", 0, tmp_path / "whole")
    trainings = begun(benches)
    benches.clear()
    train = SimulatedBench._train

    def killed(self: SimulatedBench, *training: Any) -> Any:
        if len(self.begun) == 7:
            raise KeyboardInterrupt
        return train(self, *training)

    monkeypatch.setattr(SimulatedBench, "_train", killed)
    for _ in range(len(trainings) // 7):
        with pytest.raises(KeyboardInterrupt):
            run_cell(compared(), "digits", 0, tmp_path / "parts")
    assert run_cell(compared(), "digits", 0, tmp_path / "parts") == whole
    assert sorted(map(str, begun(benches))) == sorted(map(str, trainings))


def test_every_comparison_says_how_true_the_supernet_was(
    tmp_path: Path, benches: list[SimulatedBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all that any method has trained for as long, also where the method itself has trained too few."""
    for module in (searches, outcomes):
        monkeypatch.setattr(module, "hypernetwork_search", lambda bench, name="", **changes: SimulatedSearch(bench))
    cost = tmp_path / "digits-0" / "searches" / "simulated" / "cost.json"
    methods = ("adaptive", "random_pool", "random_pool@3", "adaptive@3")
    first = run_cell(compared(methods[:1], budget=9.0, sizes=(2,)), "digits", 0, tmp_path)
    assert first == run_cell(compared(methods[:1], budget=9.0, sizes=(2,)), "digits", 0, tmp_path)  # the search is gone
    cost.parent.mkdir(parents=True, exist_ok=True)
    cost.write_text("5.0")
    rows = run_cell(compared(methods, budget=9.0, sizes=(2,)), "digits", 0, tmp_path)
    found = {row["method"]: (row["supernet_spearman"], row["ranked_architectures"]) for row in rows}
    assert first[0]["architectures"] < 4 and first[0]["supernet_spearman"] is None
    for name, folder in (("adaptive", "networks"), ("adaptive@3", "networks-3x")):
        records = [json.loads(path.read_text()) for path in (tmp_path / "digits-0" / folder).glob("*.json")]
        architectures = {str(record["architecture"]): record["architecture"] for record in records}
        nll = [np.mean([r["nll"] for r in records if r["architecture"] == one]) for one in architectures.values()]
        labels = benches[-1].plan.data.labels("validation")
        supernet = [metrics.nll(benches[-1].simulated(one, 7, labels, 0), labels) for one in architectures.values()]
        assert found[name] == (pytest.approx(spearmanr(supernet, nll).statistic), len(nll)) and len(nll) > 8
    assert found["random_pool"] == found["random_pool@3"] == (None, 0)
    table = write_results(tmp_path)
    assert set(table[table["method"].str.startswith("adaptive")]["ranked_architectures"]) == {
        n for _, n in found.values()
    } - {0}


# ---- all cells ----------------------------------------------------------------------------------------------------


def test_adding_methods_and_seeds_trains_nothing_twice(tmp_path: Path, benches: list[SimulatedBench]) -> None:
    first = run_comparison(compared(("random_pool",)), tmp_path, progress=QUIET)
    assert len(first) == 2 and list(first.columns) == list(COLUMNS)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), first, check_dtype=False)
    second = run_comparison(compared(("evolution",), seeds=[0, 1]), tmp_path, progress=QUIET)
    assert len(second) == 2 + 4  # what is known stays
    trained = begun(benches)
    assert len(set(map(str, trained))) == len(trained)
    before = len(trained)
    third = run_comparison(compared(("random_pool", "evolution"), seeds=[0, 1]), tmp_path, progress=QUIET)
    assert len(third) == 8 and {row[0] for row in begun(benches)[before:]} == {1}
    kept = third[(third["method"] == "random_pool") & (third["seed"] == 0)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)


def test_a_cell_that_fails_does_not_lose_the_others(tmp_path: Path, benches: list[SimulatedBench]) -> None:
    asked = compared(("random_pool",), seeds=[0, 1, 2])
    check_folder(asked, tmp_path)
    (tmp_path / "digits-1").mkdir()
    (tmp_path / "digits-1" / "networks").write_text("in the way")
    with pytest.raises(RuntimeError, match="^1 of 3 cells failed; digits-1: (NotADirectory|FileExists)Error"):
        run_comparison(asked, tmp_path, progress=QUIET)
    assert set(pd.read_csv(tmp_path / "results.csv")["seed"]) == {0, 2}
    (tmp_path / "digits-1" / "networks").unlink()
    before = len(begun(benches))
    assert set(run_comparison(asked, tmp_path, progress=QUIET)["seed"]) == {0, 1, 2}
    assert {seed for seed, *_ in begun(benches)[before:]} == {1}


def test_bad_data_is_refused_before_the_folder_is_claimed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^data"):
        run_comparison(compared(settings=replace(SETTINGS, train_size=5)), tmp_path / "out", progress=QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.end_to_end
def test_real_cells_in_processes(tmp_path: Path) -> None:
    """Searches and trainings for real, tiny; the same command again computes nothing."""
    asked = compared(("fixed_lam", "random_pool"), sizes=(2,), budget=0.5)
    table = run_comparison(asked, tmp_path, progress=QUIET)
    assert list(table["method"]) == ["fixed_lam", "random_pool"]
    assert (table["nll"] > 0).all() and (table["networks"] >= 2).all()
    assert table["search_s"][0] > 0 == table["search_s"][1]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    pd.testing.assert_frame_equal(run_comparison(asked, tmp_path, progress=QUIET), table)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}


def test_searches_of_nni_may_have_a_length_of_their_own(benches: list[SimulatedBench], tmp_path: Path) -> None:
    run_cell(compared(nni_epochs=3, settings=replace(SETTINGS, search_epochs=9)), "digits", 0, tmp_path)
    assert benches[0].epochs == (9, 3)
    run_cell(compared(settings=replace(SETTINGS, search_epochs=9)), "digits", 0, tmp_path / "other")
    assert benches[1].epochs == (9, 9)
    with pytest.raises(InputError, match="nni_epochs: got 0"):
        compared(nni_epochs=0)


def test_networks_may_be_trained_for_longer(benches: list[SimulatedBench], tmp_path: Path) -> None:
    asked = compared(("random_pool", "random_pool@3"), settings=replace(SETTINGS, epochs=2))
    rows = run_cell(asked, "digits", 0, tmp_path)
    assert [row["method"] for row in rows] == ["random_pool", "random_pool@3"] * 2
    evaluator = benches[0].evaluators(3)
    assert evaluator.trainer.max_epochs == 6 and evaluator.module.epochs == 6  # the schedule is as long
    with pytest.raises(InputError, match="methods: got 'random_pool@x'"):
        compared(("random_pool@x",))


def test_a_folder_keeps_versions_and_the_command_that_made_it(benches: list[SimulatedBench], tmp_path: Path) -> None:
    run_comparison(compared(), tmp_path / "run", command="nni-hypens compare --jobs 1")
    about = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert about["command"] == "nni-hypens compare --jobs 1" and about["versions"]["nni"]
    run_comparison(compared(), tmp_path / "run", command="another")  # goes on: how it began is kept
    assert json.loads((tmp_path / "run" / "comparison.json").read_text()) == about
