"""The paper's further experiments: their parts, and the guide that shows what they measured."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_hypens import InputError
from nni_hypens.cli.main import build_parser
from nni_hypens.cli.settings import settings_of
from nni_hypens.run.plan import make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell, PaperCell
from tests.benchmarks import (
    paper_annealing,
    paper_divergence,
    paper_iterations,
    paper_more,
    paper_runs,
    paper_wide,
)
from tests.support.comparison_fixture import SimulatedBench, SimulatedSearch, remember_sizes

ROOT = Path(__file__).parents[2]
STUDIES = {module.STUDY.name: module.STUDY for module in (
    paper_annealing, paper_divergence, paper_iterations, paper_wide
)}  # fmt: skip
GUIDE = (ROOT / "docs" / "guides" / "paper.md").read_text(encoding="utf-8")


def made_up() -> dict[str, Any]:
    """Rows of every experiment, of three seeds."""
    rows: dict[str, list[Any]] = {name: [] for name in ("wide", "iterations", "divergence", "divergence_limits")}
    for seed in range(3):
        for chosen in (1, 2):
            for trained, more in (("small", 0), ("wide", 5)):
                row = {"seed": seed, "n_chosen": chosen, "edges": 4 * chosen, "trained": trained, "search_s": 9.0}
                marks = {"base": 60 + more, "base_ensemble": 61 + more, "edgenes": 62.0 + more + chosen + seed}
                rows["wide"].append({**row, **marks, "parameters": 1000, "network_s": 2.0})
        for epochs in (9, 12, 18):
            for method, level, seconds in (("edgenes", 60, 1.0), ("darts_ensemble", 50, 4.0)):
                row = {"seed": seed, "epochs": epochs, "method": method, "search_s": seconds * epochs}
                rows["iterations"].append({**row, "accuracy": level + epochs / 3 + seed})
        for data in ("fashion_mnist_14", "cifar10_16"):
            for form in ("linear", "target"):
                for source in ("hypernetwork", "fixed", "random"):
                    about = {"seed": seed, "data": data, "form": form, "source": source}
                    for weight in (0.0, 20.0, 40.0):
                        row = {"weight": weight, "accuracy": 60 - weight / 10, "shared": 8 - weight / 5}
                        rows["divergence"].append({**about, **row, "matching": 1 - weight / 50})
                    rows["divergence_limits"].append({**about, "limit": 40.0, "accuracy": 65.0})
    return {"rows": rows}


def test_what_is_not_run_is_said_and_what_is_run_is_shown() -> None:
    before, after = paper_more.parts({"rows": {}}), paper_more.parts(made_up())
    assert before.keys() == after.keys()
    for name in (*paper_more.PARTS, *(f"figure_{name}" for name in paper_more.FIGURES)):
        assert not before[name] and after[name], name
    assert {before[f"{study}_setting"] for study in paper_more.STUDIES} == {paper_more.NOT_RUN}
    assert "| two wider cells |" in after["wide"] and "+5.0 (+5.0 to +5.0) points, higher" in after["say_wide"]
    assert "| 88.5, 6% |" in after["divergence"] and "8.0 edges" not in after["say_divergence"]
    assert "no measurable" not in after["say_iterations"] and "0.25 times" in after["say_iterations"]


def test_areas_are_mean_accuracies_of_each_seed() -> None:
    areas = paper_more.own_areas(made_up())
    # 60 + epochs / 3 from 9 to 18: 63 to 66, a straight line
    np.testing.assert_allclose(areas["edgenes"], [64.5, 65.5, 66.5])
    np.testing.assert_allclose(areas["darts_ensemble"], [54.5, 55.5, 56.5])


def test_one_seed_has_no_test() -> None:
    results = made_up()
    results["rows"]["iterations"] = [row for row in results["rows"]["iterations"] if row["seed"] == 0]
    assert "no test" in paper_more.say_iterations(results)


def test_figures_have_their_text_alternative(tmp_path: Path) -> None:
    results = made_up()
    labels = paper_more.labels(results)
    assert labels.keys() == paper_more.FIGURES.keys()
    for path in paper_more.draw_figures(results, tmp_path):
        with Image.open(path) as image:
            assert image.info["Description"] == labels[path.stem]
    assert not paper_more.draw_figures({"rows": {}}, tmp_path)


def test_results_of_an_experiment_are_added_to_those_of_the_tables(tmp_path: Path) -> None:
    about = {"command": "python -m x", "seeds": [0], "skipped": {"a:b": "it is away"}}
    settings = {"train_size": 1000, "batch_size": 8, "search_epochs": 2, "epochs": 3, "space": "paper_cell"}
    settings["space_args"] = {"channels": 4}
    paper_runs.write_json(
        tmp_path / "paper_wide.json", {**about, "settings": settings, "rows": {"wide": [{"data": "x"}]}}
    )
    found = paper_more.with_more({"rows": {"methods": [2]}, "seeds": [5]}, tmp_path)
    assert found["rows"] == {"methods": [2], "wide": [{"data": "x"}]} and found["seeds"] == [5]
    assert "python -m x" in paper_more.own_command(found, "paper_wide")
    said = paper_more.say_setting(found, "paper_wide")
    assert "x: 1 seed, 1,000 training images" in said and "b was left out: it is away" in said
    assert paper_more.say_setting(found, "paper_iterations") == paper_more.NOT_RUN


# ---- the parts of the experiments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("kind", ["small", "quick"])
def test_settings_of_each_experiment_are_valid(name: str, kind: str) -> None:
    study = STUDIES[name]
    chosen = study.small if kind == "small" else {**paper_runs.TINY, **study.quick}
    Settings.from_mapping(chosen).check()
    assert paper_runs.command_line(study).parse_args([]).seeds is None


def test_weights_of_the_first_paper_are_places_of_the_dial() -> None:
    assert paper_divergence.weights(4) == [10, 20, 30, 40]
    assert [paper_divergence.lam_of(weight, 8) for weight in (0, 10, 40)] == [8, 6, 0]
    regulariser = paper_divergence.linear()
    assert not regulariser.target and regulariser.weight.start == regulariser.weight.end == 40


def test_equal_choices_count_those_on_inputs_that_are_not_chosen() -> None:
    structure = EdgeStructure.from_space(PaperCell(1, n_chosen=2))
    assert len(structure.table.labels) == 18  # 14 operations and 4 choices of inputs, the count of the first paper
    base = random_architectures(structure, 1, 0)[0]
    away = next(source for source in range(5) if source not in base["reduce/node_3/input"])
    label = f"reduce/node_3/op_{away}"
    other = {**base, label: next(name for name in structure.table.options[label] if name != base[label])}
    assert structure.shared_edges(base, other) == structure.n_edges
    assert paper_divergence.matching(structure, base, other) == pytest.approx(17 / 18)


def test_epochs_at_which_both_methods_have_an_ensemble() -> None:
    settings = Settings.from_mapping(paper_iterations.STUDY.small)
    assert paper_iterations.epochs_of(settings) == [9, 12, 15, 18]


def test_an_architecture_that_occurs_again_gets_another_network() -> None:
    structure = EdgeStructure.from_space(OneCell(channels=1))
    one, other = random_architectures(structure, 2, 0)
    bench: Any = SimpleNamespace(structure=structure, network=lambda sample, replica: (sample, replica))
    found = paper_iterations.distinct(bench, [one, other, one])
    assert found == [(one, 0), (other, 0), (one, 1)]


def test_wide_networks_have_the_choices_of_small_ones() -> None:
    settings = Settings.from_mapping({**paper_runs.TINY, **paper_wide.STUDY.quick})
    plan = make_plan(paper_wide.wide(settings))
    assert plan.train_space is not plan.space and len(plan.train_space.cells) == 2
    assert plan.train_space.simplify().keys() == plan.space.simplify().keys()
    assert plan.train_space.drop_path_prob == 0.1


def test_cifar_is_left_out_clearly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CIFAR10_NPZ", raising=False)
    assert "CIFAR10_NPZ is not set" in str(paper_runs.missing(paper_runs.CIFAR))
    monkeypatch.setenv("CIFAR10_NPZ", str(tmp_path / "none.npz"))
    assert "does not exist" in str(paper_runs.missing(paper_runs.CIFAR))
    (tmp_path / "none.npz").touch()
    assert paper_runs.missing(paper_runs.CIFAR) is None and paper_runs.missing("digits") is None


def test_a_script_keeps_each_seed_and_refuses_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIFAR10_NPZ", raising=False)
    asked: list[tuple[str, int, str]] = []

    def rows(settings: Settings, folder: Path, options: dict[str, Any]) -> dict[str, list[Any]]:
        asked.append((settings.data, settings.seed, folder.relative_to(tmp_path).as_posix()))
        if settings.seed == 9:
            raise KeyboardInterrupt
        return {"table": [{"value": options["steps"]}]}

    data_sets = ("digits", paper_runs.CIFAR)
    study = paper_runs.Study("paper_x", "About.", {"train_size": 50}, {}, rows, {"steps": 3}, data_sets)

    def run(*arguments: str) -> None:
        paper_runs.run(study, paper_runs.command_line(study).parse_args([*arguments, "--out", str(tmp_path)]))

    run("--seeds", "0,2", "--steps", "4")
    results = paper_runs.read_json(tmp_path / "paper_x.json")
    assert results["rows"]["table"] == [{"data": "digits", "seed": seed, "value": 4} for seed in (0, 2)]
    assert results["skipped"].keys() == {paper_runs.CIFAR} and results["settings"]["steps"] == 4
    assert asked == [("digits", seed, f"digits/seed-{seed}") for seed in (0, 2)]  # in a folder for each
    with pytest.raises(KeyboardInterrupt):
        run("--seeds", "2,0,9", "--steps", "4")
    assert paper_runs.read_json(tmp_path / "paper_x.json")["seeds"] == [2, 0]  # what is done is written
    with pytest.raises(InputError, match="^steps: got 3; expected 4"):
        run()
    with pytest.raises(InputError, match="^seeds: got"):
        run("--seeds", "1,1")


def test_the_command_for_their_setting_is_one_of_nni_hypens() -> None:
    """Data are not asked for: they would be downloaded."""
    found = re.search(r"nni-hypens (run --data cifar10 --space paper_cell[^`]*)", GUIDE)
    assert found is not None
    given = build_parser().parse_args(found[1].replace("\\\n", " ").split())
    settings = Settings.from_mapping(settings_of(given))
    settings.check()
    assert settings.train_space_args == {"layers": 2, "channels": 16, "drop_path_prob": 0.1}
    assert settings.space_args == {"channels": 10, "n_chosen": 1} and settings.auxiliary_weight == 0.4
    small, wide = PaperCell(**settings.space_args), PaperCell(**{**settings.space_args, **settings.train_space_args})
    assert small.simplify().keys() == wide.simplify().keys()


# ---- the experiments, with searches and trainings that are simulated ----------------------------------------------


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benches whose networks and searches are simulated."""
    for module in (paper_annealing, paper_divergence, paper_wide, paper_iterations):
        monkeypatch.setattr(module, "bench_of", lambda settings, folder: SimulatedBench(folder, settings.seed))
    for module in (paper_annealing, paper_divergence, paper_wide):
        monkeypatch.setattr(module, "hypernetwork_search", lambda bench, name="", **changes: SimulatedSearch(bench))
    fixed = lambda bench, search, lam: (search.sampler.mode(lam).architecture, 2.0)  # noqa: E731
    monkeypatch.setattr(paper_divergence, "fixed_lam_search", fixed)
    remember_sizes(monkeypatch)


@pytest.mark.usefixtures("simulated")
def test_rows_of_the_first_paper(tmp_path: Path) -> None:
    found = paper_divergence.rows_of(Settings(), tmp_path, {"steps": 2, "ensembles": 3})
    rows = found["divergence"]
    assert len(rows) == 2 * 3 * 3 and {row["weight"] for row in rows} == {0, 20, 40}
    assert all(row["shared"] == 4 and row["matching"] == 1 for row in rows if row["weight"] == 0)
    for form in ("linear", "target"):  # random deviations share as many edges as the hypernetwork's
        by = {row["source"]: row["shared"] for row in rows if row["form"] == form and row["weight"] == 40}
        assert by["random"] == by["hypernetwork"]
    assert [row["limit"] for row in found["divergence_limits"]] == [40.0] * 6  # of fewer there is no ensemble of three


@pytest.mark.usefixtures("simulated")
def test_rows_of_their_setting(tmp_path: Path) -> None:
    settings = Settings.from_mapping({**paper_runs.TINY, **paper_wide.STUDY.quick})
    rows = paper_wide.rows_of(settings, tmp_path, {})["wide"]
    assert [(row["n_chosen"], row["trained"]) for row in rows] == [
        (chosen, trained) for chosen in (1, 2) for trained in ("small", "wide")
    ]
    assert all(0 <= row[name] <= 100 for row in rows for name in paper_more.WIDE_COLUMNS)
    assert {row["network_s"] for row in rows} == {1.0} and {row["search_s"] for row in rows} == {5.0}


@pytest.mark.usefixtures("simulated")
def test_rows_of_annealing(tmp_path: Path) -> None:
    rows = paper_annealing.rows_of(Settings(), tmp_path, {"per_lam": 2})["annealing"]
    assert len(rows) == 4 * 3 * 2 and {row["shared"] for row in rows} == {1, 2, 3}


@pytest.mark.usefixtures("simulated")
def test_rows_of_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structure = EdgeStructure.from_space(OneCell(channels=2))
    samples = random_architectures(structure, 6, 0)
    pools = {epoch: samples[:4] for epoch in range(7, 19)}
    asked: list[int] = []
    monkeypatch.setattr(paper_iterations, "edgenes_by_epoch", lambda bench: (pools, 18.0))

    def darts(bench: Any, settings: Settings, epochs: int, index: int) -> tuple[list[Any], float]:
        asked.append(epochs)
        return samples, 60.0

    monkeypatch.setattr(paper_iterations, "darts_by_epoch", darts)
    settings = Settings.from_mapping(paper_iterations.STUDY.small)
    rows = paper_iterations.rows_of(settings, tmp_path, {})["iterations"]
    assert asked == [6, 6, 6]
    assert [row["epochs"] for row in rows if row["method"] == "edgenes"] == [9, 12, 15, 18]
    assert [row["search_s"] for row in rows if row["method"] == "darts_ensemble"] == [90.0, 120.0, 150.0, 180.0]


def test_what_darts_would_export_is_noted_after_each_epoch() -> None:
    notes, epoch = paper_iterations.EpochArchitectures(), iter("ab")
    module: Any = SimpleNamespace(export=lambda: {"op": next(epoch)})
    for _ in range(2):
        notes.on_train_epoch_end(SimpleNamespace(), module)  # type: ignore[arg-type]
    assert notes.found == [{"op": "a"}, {"op": "b"}]
