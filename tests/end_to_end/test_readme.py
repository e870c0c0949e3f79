"""README and guides are true: their Python runs, their commands parse, their numbers are those of the results."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import nni_hypens
import search_spaces
from nni_hypens.cli import main as cli
from nni_hypens.compare.results import compared
from tests.benchmarks import export, hub_spaces, prediction_sets, selection
from tests.support.commands import Heard

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
README = "\n".join(TEXTS.values())  # figures may stand in the README or in a guide
BLOCKS = [
    (name, kind, body)
    for name, text in TEXTS.items()
    for kind, body in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
]
PARAGRAPHS = [" ".join(text.split()) for text in re.split(r"\n\n|\n- |\n(?=\|)", README)]
CHEAP = {f"docs/guides/{name}.md" for name in ("extending", "run_folder", "selection", "uncertainty")}
"""Their blocks start neither NNI's manager nor a training."""
PYTHON = [
    pytest.param(body, id=f"{name}:{i}", marks=[] if name in CHEAP else [pytest.mark.end_to_end])
    for i, (name, kind, body) in enumerate(BLOCKS)
    if kind == "python"
]


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code: str, tmp_path: Path) -> None:
    """Each in a process of its own, which has loaded NNI and torch (support/forked.py)."""
    ended = Heard(partial(as_main, code, tmp_path)).end()
    assert ended.code == 0, ended.err[-3000:]
    said = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)  # what it prints, and perhaps more words
    prints = len(re.findall(r"^ *print\(", code, re.MULTILINE))
    printed = ended.out.splitlines()
    if len(said) == prints == len(printed):
        assert all(words.startswith(line) for line, words in zip(printed, said, strict=True)), (printed, said)


def as_main(code: str, folder: Path) -> None:
    """As ``python -c`` does it."""
    os.chdir(folder)
    sys.path.insert(0, "")
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), vars(main))


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
    whole = [body.replace("\\\n", " ") for body in bash]  # a command may go on in the next line
    lines = [line for body in whole for line in body.splitlines() if line.startswith("nni-hypens")]
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


def test_defaults_in_the_method_guide() -> None:
    from nni_hypens.run.settings import Settings
    from nni_hypens.search.settings import SearchSettings

    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| `(\w+)` \|", TEXTS["docs/guides/method.md"], re.MULTILINE)
    assert len(rows) > 10
    for name, default, owner in rows:
        source = {"Settings": Settings, "EdgeNES": SearchSettings}.get(owner) or getattr(nni_hypens, owner)
        assert repr(inspect.signature(source).parameters[name].default) == default, f"{owner}.{name}"


def test_every_method_of_a_comparison_is_described() -> None:
    from nni_hypens.compare.methods import METHODS

    for name, method in METHODS.items():
        assert f"| `{name}` | {method.title} | " in TEXTS["docs/guides/comparing.md"]


# ---- numbers in the text are those of the results ------------------------------------------------------------------


def saved(name: str) -> Any:
    """A committed result of tests/benchmarks."""
    return json.loads((ROOT / "tests" / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def assert_stated(*figures: str) -> None:
    """One paragraph, list item or table row of the pages contains all of these figures; wording is free."""
    found = [text for text in PARAGRAPHS if all(figure in text for figure in figures)]
    assert found, f"no paragraph states all of {figures}"


def test_seeds_of_the_default_run() -> None:
    seeds = saved("default_run")["seeds"]
    for row in seeds:
        assert f"| {row['seed']} | {row['ensemble']:.4f} | {row['best_member']:.4f} |" in README
    against = [("ensemble", "best_member"), ("ensemble", "best_member_calibrated")]
    against += [("ensemble_uncalibrated", "best_member"), ("accuracy", "best_member_accuracy")]
    for one, other in against:
        found = compared(*(np.array([row[name] for row in seeds]) for name in (one, other)), relative=False, seed=0)
        scale, digits = (100, 2) if one == "accuracy" else (1, 3)
        mean, low, high = (f"{scale * found[name]:+.{digits}f}" for name in ("difference", "low", "high"))
        assert_stated(mean, f"[{low}, {high}]")


def test_warm_start() -> None:
    for row in saved("warm_start")["mean"].values():
        figures = [row[name] for name in ("mean_candidate", "best_member", "disagreement", "ensemble")]
        assert " | ".join(f"{figure:.4f}" for figure in figures) + f" | {row['accuracy']:.2%} |" in README


def test_cost_of_a_search_step() -> None:
    for row in saved("search_step").values():
        ratios = [row[name] for name in ("warmup_vs_random", "search_vs_random_same_batches")]
        more = [row[name] for name in ("search_vs_random_one_step", "memory_vs_random")]
        assert " | ".join(f"{ratio:.2f}" for ratio in ratios + more) in README
        assert max(*ratios, row["memory_vs_random"]) <= 1.15
        if "darts" in row:
            assert f"{row['time_vs_darts']:.3f}, {row['memory_vs_darts']:.3f}" in README


def test_cost_of_a_trial() -> None:
    median = saved("trial_start")["median"]
    ours, nni, alone = (median[name]["cpu_s"] for name in ("ours", "nni", "nni without nni_hypens"))
    assert_stated(f"{ours:.2f} s", f"{ours / nni:.2f}", f"{nni:.2f} s", f"{alone:.2f} s")
    assert ours < 0.7 * nni


def test_import_time() -> None:
    found = saved("import_time")
    assert_stated(f"{found['ratio_alone']:.4f}", f"{found['ratio_with_strategy']:.2f}")


def test_selection() -> None:
    results = json.loads(selection.OUT.read_text())
    assert selection.table(results) in README
    found = results["exhaustive"]
    assert_stated(f"{found['loop_probabilities_s']:.0f} s", f"{found['vs_loop_probabilities']:.0f}")
    assert_stated(f"{found['loop_true_class_s']:.1f} s", f"{found['vs_loop_true_class']:.1f}")
    assert_stated(f"{found['nll_all_scored_s']:.2f} s", f"{found['all_scored_vs_loop_true_class']:.1f}")
    assert results["pool"]["examples"] == 10_000 and results["pool"]["classes"] == 100
    assert found["vs_loop_probabilities"] >= 20
    for row in results["deephyper"]:
        assert_stated(f"{row['deephyper_s']:.1f} s", f"{row['ours_s']:.2f} s")
        assert_stated(f"{row['deephyper_nll']:.4f}", f"{row['ours_nll']:.4f}")
        assert row["ours_nll"] <= row["deephyper_nll"] + 1e-6


def test_exports() -> None:
    """Exported files are at least 1.5 times faster than the loop, at both batch sizes and in both spaces."""
    results = json.loads(export.OUT.read_text())
    assert export.table(results) in README
    rows = [case["batches"][str(size)] for case in results.values() for size in (1, 256)]
    assert len(rows) == 4 and all(row["ratio"] >= 1.5 and row["difference"] < 1e-5 for row in rows)


def test_prediction_sets() -> None:
    """Validation images that also choose and calibrate cost less than a point of coverage, as the guide says."""
    results = saved("prediction_sets")
    assert prediction_sets.table(results) in README and f"{results['splits']} splits" in README
    assert all(-0.01 < row["difference"] < 0 for row in results["rows"])


def test_hub_spaces() -> None:
    assert hub_spaces.table(json.loads(hub_spaces.OUT.read_text())["spaces"]) in README


def test_accuracy_of_the_dial() -> None:
    """Five seeds, both spaces, both regularisers, one default: error, order and both ends."""
    rows = saved("dial")["summary"]
    assert {(row["space"], row["regularizer"]) for row in rows} == {
        (space, regularizer)
        for space in ("one_cell", "hub_darts")
        for regularizer in ("shared_edges", "jensen_shannon")
    }
    for row in rows:
        assert f"| {row['error']:.3f} | {row['error_share']:.1%} | {row['worst_error']:.3f} |" in README
        assert row["seeds"] == 5 and row["spearman"] >= 0.95
        assert row["error_share"] <= (0.07 if row["space"] == "one_cell" else 0.06)
        assert row["low"] <= 0.01 * row["n_edges"] and row["high"] >= 0.99 * row["n_edges"]


def test_the_reference_documents_every_public_name() -> None:
    """A name that users can import from nni_hypens or from search_spaces has an entry."""
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    for name in {*nni_hypens.__all__, *search_spaces.__all__} - {"__version__"}:
        assert re.search(rf"\b{name}\b", pages), name


def test_the_reference_can_show_docstrings() -> None:
    """mkdocstrings shows 'Examples:' sections as code, but neither 'Example:' nor Sphinx roles."""
    for package in ("nni_hypens", "search_spaces"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"^ +Example:$|:(class|func|data|mod|meth|attr):`", text, re.MULTILINE), path


def test_every_guide_is_in_the_menu_and_in_the_readme() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        assert path.relative_to(ROOT / "docs").as_posix() in menu, path
    for path in (ROOT / "docs" / "guides").glob("*.md"):
        assert f"docs/guides/{path.name}" in TEXTS["README.md"], path
    assert len(TEXTS["README.md"].splitlines()) <= 150, "the README is the way in; guides have the rest"
