"""The paper's tables and figures drawn again: the parts of the script, and the guide that shows what it measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nni_hypens import InputError, __version__
from nni_hypens.compare.bench import Network
from nni_hypens.compare.comparison import IGNORED_SETTINGS
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell
from tests.benchmarks import paper_figures, paper_guide, paper_more, paper_tables
from tests.support.commands import module

ROOT = Path(__file__).parents[2]
PAPER = json.loads((ROOT / "tests" / "benchmarks" / "results" / "paper.json").read_text(encoding="utf-8"))
RESULTS = paper_more.with_more(PAPER)
GUIDE = (ROOT / "docs" / "guides" / "paper.md").read_text(encoding="utf-8")


# ---- the script ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", range(5))
def test_deviations_share_the_requested_edges(shared: int) -> None:
    structure = EdgeStructure.from_space(OneCell(channels=2))
    for base in random_architectures(structure, 3, 7):
        found = paper_tables.deviations(structure, base, shared, 6, seed=1)
        assert [structure.shared_edges(base, sample) for sample in found] == [shared] * (1 if shared == 4 else 6)
        assert len({structure.key(sample) for sample in found}) == len(found)
        assert found == paper_tables.deviations(structure, base, shared, 6, seed=1)
        assert shared == 4 or found != paper_tables.deviations(structure, base, shared, 6, seed=2)


class Bench:
    """Labels and edges, as far as ensembles ask for them."""

    structure = EdgeStructure.from_space(OneCell(channels=2))
    validation_labels = test_labels = np.array([0, 1, 0, 1])

    @staticmethod
    def network(right: tuple[int, ...], cost: float = 2.0) -> Network:
        """Sure of the label of those images, as sure of the other label elsewhere."""
        probs = np.full((4, 2), 0.5)
        for image, label in enumerate(Bench.test_labels):
            probs[image, label] = 0.9 if image in right else 0.1
            probs[image, 1 - label] = 1 - probs[image, label]
        return Network({}, 0, probs, probs, 1.0, cost)


def test_ensembles_are_chosen_on_validation_data() -> None:
    all_right, half, none = Bench.network((0, 1, 2, 3)), Bench.network((0, 1)), Bench.network(())
    pool = [none, all_right, half, all_right]
    assert paper_tables.best_of(Bench, pool, 2) == [all_right, all_right]
    found = paper_tables.outcome(Bench, pool, 2)
    assert found["accuracy"] == 100 and found["networks"] == 4 and found["training_s"] == 8.0
    assert found["nll"] == pytest.approx(-np.log(0.9))
    assert paper_tables.outcome(Bench, [none], 1, choose=False)["accuracy"] == 0
    blank = Network({}, 0, np.full((4, 2), np.nan), np.full((4, 2), np.nan), float("inf"), 1.0)
    assert paper_tables.best_of(Bench, [blank, half, none], 2) == [half, none]  # what diverged is no member
    # of the pairs of all_right, half and none: 100%, and two of which two images are even and two right or wrong
    pairs = [paper_tables.accuracy(Bench, pair) for pair in ([all_right, half], [all_right, none], [half, none])]
    assert paper_tables.mean_of_choices(Bench, [all_right, half, none], 2) == pytest.approx(np.mean(pairs))


def test_limits_keep_only_networks_that_share_enough() -> None:
    far, near = Bench.network((0,)), Bench.network((0, 1, 2, 3))
    replicas = [Bench.network((0, 1)) for _ in range(3)]
    ours = {0: [far, far], 1: [far, far], 2: [far, far], 3: [near, near]}
    rows = paper_tables.limits(Bench, ours, replicas, 3, seed=5)
    assert [row["limit"] for row in rows] == [0, 1, 2, 3, 4] and {row["seed"] for row in rows} == {5}
    assert [row["networks"] for row in rows] == [9, 7, 5, 3, 3]  # the base and those; at last three seeds of the base
    assert [row["accuracy"] for row in rows] == [100, 100, 100, 100, 50]
    assert rows[0]["mean_accuracy"] < rows[2]["mean_accuracy"] < rows[3]["mean_accuracy"] == 100
    few = paper_tables.limits(Bench, {0: [far], 1: [far], 2: [far], 3: [near]}, replicas, 3, seed=5)
    assert [row["networks"] for row in few] == [5, 4, 3, 3, 3]  # seeds of the base fill up


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--seeds", "0,0"], "seeds"),
        (["--seeds", "1,x"], "seeds"),
        (["--per-lam", "0"], "per_lam"),
        (["--darts-epochs", "-1"], "darts_epochs"),
        (["--lengths", "16"], "lengths"),
        (["--lengths", "8,0"], "search_epochs"),
        (["--epochs", "0"], "epochs"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = paper_tables.command_line().parse_args([*arguments, "--out", str(tmp_path / "run")])
    with pytest.raises(InputError, match=f"^{field}"):
        paper_tables.draw(given)
    assert not (tmp_path / "run").exists()


def test_a_folder_refuses_other_settings(tmp_path: Path) -> None:
    paper_tables.claim(tmp_path, {"epochs": 8, "data": "digits"})
    paper_tables.claim(tmp_path, {"epochs": 8, "data": "digits"})
    with pytest.raises(InputError, match="epochs: got 9; expected 8, as in"):
        paper_tables.claim(tmp_path, {"epochs": 9, "data": "digits"})


@pytest.mark.examples
def test_the_script_makes_every_table_and_figure(tmp_path: Path) -> None:
    """Every table and figure is made; a second run reads what the first has trained; other settings are refused."""
    out = tmp_path / "run"
    printed = module("tests.benchmarks.paper_tables", "--quick", "--out", out).out
    results = json.loads((out / "paper.json").read_text())
    rows = results["rows"]
    assert {row["method"] for row in rows["methods"]} >= {"darts", "random", "darts_ensemble", "edgenes"}
    assert {row["networks"] for row in rows["methods"] if row["method"].startswith(("random_", "edgenes"))} == {4}
    free = [row["search_s"] for row in rows["methods"] if row["method"] in ("random", "random_pool")]
    assert free == [0, 0] and all(row["search_s"] > 0 for row in rows["methods"] if "darts" in row["method"])
    shared = {(row["source"], row["shared"]) for row in rows["networks"]}
    assert shared >= {(source, count) for source in ("hypernetwork", "random") for count in range(4)} | {("base", 4)}
    assert [row["epochs"] for row in rows["lengths"]] == [3, 4] and [row["limit"] for row in rows["limits"]] == [
        *range(5)
    ]
    assert (out / "tables.md").read_text().strip() in printed
    assert all((out / f"{name}.png").stat().st_size > 5000 for name in ("dial", "accuracy", "lengths", "limits"))

    networks = {path: path.stat().st_mtime_ns for path in out.glob("seed-0/networks/*")}
    assert module("tests.benchmarks.paper_tables", "--quick", "--out", out).code == 0
    assert json.loads((out / "paper.json").read_text()) == results
    assert {path: path.stat().st_mtime_ns for path in out.glob("seed-0/networks/*")} == networks
    refused = module("tests.benchmarks.paper_tables", "--quick", "--out", out, "--epochs", "2")
    assert refused.code == 2 and "epochs: got 2" in refused.err and "Traceback" not in refused.err


# ---- tables and figures -------------------------------------------------------------------------------------------


def test_numbers_in_tables() -> None:
    assert paper_figures.spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0" and paper_figures.spread([4.0]) == "4.0"
    ours, other = pd.Series([10.0, 20.0, 30.0], index=[0, 1, 2]), pd.Series([28.0, 9.0, 19.0], index=[2, 0, 1])
    # differences 1, 1, 2: mean 4/3, sd 0.577, half 4.303 * 0.577 / sqrt(3)
    assert paper_figures.difference(ours, other) == "+1.3 (-0.1 to +2.8)"
    assert paper_figures.verdict(ours, other) == "+1.3 (-0.1 to +2.8) points, no measurable difference"
    assert paper_figures.verdict(ours + 1, other).endswith("points, higher")
    assert paper_figures.verdict(ours - 5, other).endswith("points, lower")
    assert paper_figures.difference(ours[:1], other[[0]]) == "+1.0"  # one pair has no interval
    assert paper_figures.verdict(ours[:1], other[[0]]) == "+1.0 points, of one seed"
    assert paper_figures.as_markdown(pd.DataFrame({"a": ["1"], "b": ["-"]})) == "| a | b |\n| --- | --- |\n| 1 | - |\n"


def test_tables_include_the_paper() -> None:
    tables = {name: table(RESULTS) for name, table in paper_figures.TABLES.items()}
    methods = tables["methods"].set_index("method")
    assert methods.loc["EdgeNES", "paper: accuracy %"] == "48.1 ± 1.7"
    assert methods.loc["seeds of the base", "paper: accuracy %"] == "-"
    shared = tables["shared"].set_index("shared edges")
    assert list(shared.index) == ["0", "1", "2", "3", "4 (the base)"]
    assert shared.loc["0", "paper: random deviation %"] == "43.9 ± 7.7"
    assert list(tables["warmup"]) == ["shared edges", "with warm-up %", "without %"]  # an experiment of ours only
    assert tables["annealing"].set_index("shared edges").loc["2"].tolist()[:2] == ["62.4 ± 2.0", "57.7 ± 2.1"]


# ---- the guide ----------------------------------------------------------------------------------------------------


def test_the_guide_matches_the_results() -> None:
    parts = set(paper_guide.parts(RESULTS))
    assert set(paper_guide.PART.findall(GUIDE)) == parts == set(re.findall(r"<!-- paper: (\w+) -->", GUIDE))
    assert paper_guide.fill(GUIDE, RESULTS) == GUIDE
    rest = paper_guide.PART.sub("", GUIDE).replace(__version__, "")
    rest = re.sub(r"```bash.*?```", "", rest, flags=re.DOTALL)  # commands have numbers
    assert (
        "|" not in rest and "![" not in rest and not re.search(r"\d\.\d", rest)
    )  # no number outside the generated parts


def test_the_guide_is_rewritten_from_other_results() -> None:
    changed = json.loads(json.dumps(RESULTS))
    changed["command"] = "another"
    for row in changed["rows"]["methods"]:
        row["accuracy"] = 50.0 + row["seed"] + 9 * (row["method"] == "edgenes")
    filled = paper_guide.fill(GUIDE, changed)
    assert "```bash\nanother\n```" in filled and RESULTS["command"] not in filled
    row = f"| EdgeNES | {paper_figures.spread(59.0 + seed for seed in RESULTS['seeds'])} | - |"
    assert row in filled and paper_guide.fill(filled, RESULTS) == GUIDE
    three = json.loads(json.dumps(changed))
    for seed in (1, 2):
        for name in PAPER["rows"]:
            rows = changed["rows"][name]
            own = [row for row in rows if row["seed"] == 0]
            three["rows"][name] = [row for row in three["rows"][name] if row["seed"] != seed]
            three["rows"][name] += [{**row, "seed": seed} for row in own]
    three["seeds"] = [0, 1, 2]
    for row in three["rows"]["methods"]:
        row["accuracy"] += row["seed"]
    filled = paper_guide.fill(GUIDE, three)
    assert "against DartsEns: +9.0 (+9.0 to +9.0) points, higher (paper: -0.1)" in filled
    assert "Of the 6 differences in the table, 6 have" in filled and "3 seeds" in filled


def test_figures_of_the_guide_match_the_results(tmp_path: Path) -> None:
    for name, label in paper_figures.labels(RESULTS).items():
        with Image.open(ROOT / "docs" / "paper" / f"{name}.png") as image:
            assert image.info["Description"] == label
    for path in paper_figures.draw_figures(RESULTS, tmp_path):
        with Image.open(path) as image:
            assert image.info["Description"] == paper_figures.labels(RESULTS)[path.stem] and image.size[0] == 800


def test_the_recipe_for_a_gpu_is_one_command_of_the_script() -> None:
    """Data are not asked for: they would be downloaded."""
    recipe = re.search(r"python -m tests\.benchmarks\.paper_tables --out runs/paper-cifar100[^`]*?seeds [\d,]+", GUIDE)[
        0
    ]
    given = paper_tables.command_line().parse_args(recipe.replace("\\\n", " ").split()[3:])
    config = Settings.from_mapping({**paper_tables.SMALL, **paper_tables.settings_of(given)})
    config.check()
    assert (config.data, config.search_epochs, config.epochs, config.test_size) == ("cifar100", 150, 100, None)
    assert paper_tables.scale_of(given, config) == paper_tables.Scale(150, (25, 50, 100), 4)
    assert paper_tables.numbers("seeds", given.seeds) == tuple(range(7))
    edges, members = EdgeStructure.from_space(OneCell(**config.space_args)).n_edges, config.members
    pool = 1 + 4 * (edges - 1)
    networks = 2 * 4 * edges + members + pool + 4 * (edges - 1) + 3 * pool + members
    assert f"about {round(networks, -1)} networks of 100 epochs, three DARTS searches and five of EdgeNES" in GUIDE


def test_the_results_are_of_this_script() -> None:
    now = Settings.from_mapping(paper_tables.SMALL).to_mapping()  # what that command means today
    kept = {name: value for name, value in RESULTS["settings"].items() if name in now and name not in IGNORED_SETTINGS}
    assert kept and kept == {name: now[name] for name in kept}
    for rows in PAPER["rows"].values():
        assert sorted({row["seed"] for row in rows}) == RESULTS["seeds"]
