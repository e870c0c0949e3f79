"""README and guides are true: their Python runs, their commands parse, their figures are those of the results."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nni_hypens.cli import main as cli
from nni_hypens.compare.results import compared
from tests.support.loaded import PATIENCE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
README = "\n".join(TEXTS.values())  # figures may stand in the README or in a guide
BLOCKS = [
    (name, kind, body)
    for name, text in TEXTS.items()
    for kind, body in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
]
CHEAP = {f"docs/guides/{name}.md" for name in ("extending", "run_folder", "selection", "uncertainty")}
"""Their blocks start neither NNI's manager nor a training."""
PYTHON = [
    pytest.param(body, id=f"{name}:{i}", marks=[] if name in CHEAP else [pytest.mark.end_to_end])
    for i, (name, kind, body) in enumerate(BLOCKS)
    if kind == "python"
]


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code: str, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr[-3000:]
    said = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)  # what it prints, and perhaps more words
    prints = len(re.findall(r"^ *print\(", code, re.MULTILINE))
    printed = run.stdout.splitlines()
    if len(said) == prints == len(printed):
        assert all(words.startswith(line) for line, words in zip(printed, said, strict=True)), (printed, said)


def test_reading_a_run_folder(tmp_path: Path) -> None:
    """The block of the guide, on a small folder."""
    candidates = {"c00": 0.5, "c01": 0.4, "c02": None}
    for name, nll in candidates.items():
        folder = tmp_path / "runs" / "digits-one_cell-0" / "candidates" / name
        folder.mkdir(parents=True)
        found = {"id": name, "status": "failed" if nll is None else "trained", "validation": {"nll": nll}}
        (folder / "metrics.json").write_text(json.dumps(found))
    (folder.parents[1] / "ensemble").mkdir()
    (folder.parents[1] / "ensemble" / "ensemble.json").write_text(json.dumps({"members": [{"id": "c00"}]}))
    code = next(body for name, kind, body in BLOCKS if name == "docs/guides/run_folder.md" and kind == "python")
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout == "[(0.4, 'c01', False), (0.5, 'c00', True)]\n"


def examples_of_the_help() -> list[str]:
    """Commands that end the help of the program and of its commands."""
    helps = [parser.epilog or "" for parser in cli.build_parser().commands.values()]
    return [line.strip() for text in helps for line in text.splitlines() if line.startswith("  nni-hypens")]


def test_commands_parse() -> None:
    parser = cli.build_parser()
    bash = [body for _, kind, body in BLOCKS if kind == "bash"]
    lines = [line for body in bash for line in body.splitlines() if line.startswith("nni-hypens")]
    assert len(lines) >= 4 and len(examples_of_the_help()) >= 25
    for line in [*lines, *(re.split(r"  +|>", line)[0] for line in examples_of_the_help())]:
        words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
        if "--help" not in words:
            parser.parse_args(words)


def test_links_and_pictures_exist() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            inside = target.partition("#")[0]
            assert target.startswith("http") or (path.parent / inside).exists(), f"{path.name}: {target}"


def test_numbers_of_the_method_are_the_defaults() -> None:
    import nni_hypens
    from nni_hypens.run.settings import RunConfig

    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| `(\w+)` \|", TEXTS["docs/guides/method.md"], re.MULTILINE)
    assert len(rows) > 10
    for name, default, owner in rows:
        source = RunConfig if owner == "RunConfig" else getattr(nni_hypens, owner)
        assert repr(inspect.signature(source).parameters[name].default) == default, f"{owner}.{name}"


def test_every_method_of_a_comparison_is_described() -> None:
    from nni_hypens.compare.methods import METHODS

    for name, method in METHODS.items():
        own = "" if method.fills else "; a cost of its own"
        assert f"| `{name}` | {method.title} | {method.about}{own} |" in README


def test_figures_are_those_of_the_results() -> None:
    results = ROOT / "tests" / "benchmarks" / "results"
    seeds = json.loads((results / "default_run.json").read_text())["seeds"]
    for row in seeds:
        assert f"| {row['seed']} | {row['ensemble']:.4f} | {row['best_member']:.4f} |" in README
    text = " ".join(README.split())
    against = [("ensemble", "best_member"), ("ensemble", "best_member_calibrated")]
    against += [("ensemble_uncalibrated", "best_member"), ("accuracy", "best_member_accuracy")]
    for one, other in against:
        found = compared(*(np.array([row[name] for row in seeds]) for name in (one, other)), relative=False, seed=0)
        scale, digits = (100, 2) if one == "accuracy" else (1, 3)
        mean, low, high = (f"{scale * found[name]:+.{digits}f}" for name in ("difference", "low", "high"))
        unit = "points of accuracy" if one == "accuracy" else "NLL"
        assert f"{mean} {unit} [{low}, {high}]" in text
    forecast = json.loads((results / "forecast.json").read_text())
    for known, row in forecast["mean"].items():
        assert f"| {known} | {row['edges']:.2f} | {row['edges and sizes']:.2f} |" in README
    alone = list(dict.fromkeys(f"{row['FLOPs alone']:.2f}" for row in forecast["rows"]))
    said = "come to {}, {} and {} on Fashion-MNIST and {} and {} on CIFAR-10".format(*alone)
    assert said in text
    for row in json.loads((results / "warm_start.json").read_text())["mean"].values():
        figures = [row[name] for name in ("mean_candidate", "best_member", "disagreement", "ensemble")]
        assert " | ".join(f"{figure:.4f}" for figure in figures) + f" | {row['accuracy']:.2%} |" in README
    off, on = (json.loads((results / "halving.json").read_text())["mean"][name] for name in ("false", "true"))
    spent = [f"{row['training_cpu_s']:.1f} s" for row in (on, off)]
    assert f"{spent[0]} of processor time for training instead of {spent[1]}" in text
    assert f"({on['training_s']:.1f} s instead of {off['training_s']:.1f} s by the clock" in text
    assert f"ensemble test NLL {on['ensemble']:.4f} instead of {off['ensemble']:.4f}" in text
    assert f"a validation NLL of {on['validation_nll']:.4f} instead of {off['validation_nll']:.4f}" in text
    assert f"{on['training_wall_s']:.0f} s instead of {off['training_wall_s']:.0f} s; it pays" in text
    ranking = json.loads((results / "ranking.json").read_text())
    means = [ranking["mean"][name]["ensemble"] for name in ("ensemble", "spread")]
    said = f"mean test NLL {means[0]:.4f} instead of {means[1]:.4f}, worse in three, alike in one, better in one"
    assert said in text
    differences = [round(row["ensemble"]["ensemble"] - row["spread"]["ensemble"], 4) for row in ranking["seeds"]]
    assert sorted(np.sign(differences)) == [-1, 0, 1, 1, 1]
    adaptive = json.loads((results / "adaptive.json").read_text())
    names = ("adaptive", "drawn", "promising")
    means = {name: np.mean([row[name]["nll"] for row in adaptive["rows"]]) for name in names}
    said = f"gave a mean test NLL of {means['adaptive']:.4f}, all 8 drawn along the dial {means['drawn']:.4f}, all 8 by"
    assert f"{said} supernet and size {means['promising']:.4f}" in text and means == pytest.approx(adaptive["mean"])
    assert len(adaptive["rows"]) == 5
    for row, run in zip(adaptive["rows"], seeds, strict=True):  # the default run is the adaptive one
        assert row["adaptive"]["nll"] == pytest.approx(run["ensemble"], abs=1e-4)
    dial = json.loads((results / "dial.json").read_text())
    for row in dial["summary"]:
        assert f"| {row['error']:.3f} | {row['error_share']:.1%} | {row['worst_error']:.3f} |" in README
    for row in json.loads((results / "search_step.json").read_text()).values():
        ratios = [row[name] for name in ("warmup_vs_random", "search_vs_random_same_batches")]
        more = [row[name] for name in ("search_vs_random_one_step", "memory_vs_random")]
        assert " | ".join(f"{ratio:.2f}" for ratio in ratios + more) in README
        assert max(*ratios, row["memory_vs_random"]) <= 1.15
        if "darts" in row:
            assert f"{row['time_vs_darts']:.3f}, {row['memory_vs_darts']:.3f}" in README


def test_cost_of_a_trial_is_that_of_the_results() -> None:
    results = json.loads((ROOT / "tests" / "benchmarks" / "results" / "trial_start.json").read_text())
    ours, nni, alone = (results["median"][name]["cpu_s"] for name in ("ours", "nni", "nni without nni_hypens"))
    text = " ".join(README.split())
    assert f"costs {ours:.2f} s of CPU time before and after its training, {ours / nni:.2f} of what it costs" in text
    assert f"({nni:.2f} s, of which {alone:.2f} s are without nni_hypens)" in text and ours < 0.7 * nni


def load_benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "benchmarks" / f"{name}.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    return benchmark


def test_selection_is_that_of_the_results() -> None:
    benchmark = load_benchmark("selection")
    results = json.loads(benchmark.OUT.read_text())
    assert benchmark.table(results) in README
    text = " ".join(README.split())
    assert all(said in text for said in benchmark.sentences(results))
    assert results["pool"]["examples"] == 10_000 and results["pool"]["classes"] == 100
    assert results["exhaustive"]["vs_loop_probabilities"] >= 20
    for row in results["deephyper"]:
        assert row["ours_nll"] <= row["deephyper_nll"] + 1e-6


def test_table_of_exports_is_that_of_the_results() -> None:
    """And the bar is held: 1.5 times faster than the loop, at both batch sizes and in both spaces."""
    benchmark = load_benchmark("export")
    results = json.loads(benchmark.OUT.read_text())
    assert benchmark.table(results) in README
    rows = [case["batches"][str(size)] for case in results.values() for size in (1, 256)]
    assert len(rows) == 4 and all(row["ratio"] >= 1.5 and row["difference"] < 1e-5 for row in rows)


def test_table_of_spaces_is_that_of_the_results() -> None:
    benchmark = load_benchmark("hub_spaces")
    assert benchmark.table(json.loads(benchmark.OUT.read_text())["spaces"]) in README


def test_the_dial_obeys_in_the_results() -> None:
    """Five seeds, both spaces, both regularisers, one default: error, order and both ends."""
    rows = json.loads((ROOT / "tests" / "benchmarks" / "results" / "dial.json").read_text())["summary"]
    assert {(row["space"], row["regularizer"]) for row in rows} == {
        (space, regularizer)
        for space in ("one_cell", "hub_darts")
        for regularizer in ("shared_edges", "jensen_shannon")
    }
    for row in rows:
        assert row["seeds"] == 5 and row["spearman"] >= 0.95
        assert row["error_share"] <= (0.07 if row["space"] == "one_cell" else 0.06)
        assert row["low"] <= 0.01 * row["n_edges"] and row["high"] >= 0.99 * row["n_edges"]


def test_no_placeholder_is_left() -> None:
    assert not re.search(r"^(FIVE_SEEDS|BENCHMARKS|DIAL_TABLE)$", README, re.MULTILINE)


def test_every_public_module_is_in_the_reference() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    listed = re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)
    files = [*(ROOT / "nni_hypens").glob("*.py"), *(ROOT / "search_spaces").glob("*.py")]
    public = {f"{path.parent.name}.{path.stem}" for path in files if not path.stem.startswith("_")}
    assert set(listed) == public and len(listed) == len(public)


def test_every_guide_is_in_the_menu_and_in_the_readme() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        assert path.relative_to(ROOT / "docs").as_posix() in menu, path
    for path in (ROOT / "docs" / "guides").glob("*.md"):
        assert f"docs/guides/{path.name}" in TEXTS["README.md"], path
    assert len(TEXTS["README.md"].splitlines()) <= 150, "the README is the way in; guides have the rest"


def test_import_time_is_that_of_the_results() -> None:
    found = json.loads((ROOT / "tests" / "benchmarks" / "results" / "import_time.json").read_text())
    said = f"takes {found['ratio_alone']:.4f} of the CPU time of NNI's own NAS import"
    more = f"with `EdgeNES` it takes {found['ratio_with_strategy']:.2f} of it"
    assert said in " ".join(README.split()) and more in " ".join(README.split())
