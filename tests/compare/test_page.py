"""The page of a comparison, from made-up results."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from nni_hypens import InputError
from nni_hypens.compare.blocks import comparison_blocks
from nni_hypens.compare.page import write_comparison_page
from nni_hypens.utils.files import write_json
from tests.support.comparison_results import results

FEW = ("adaptive", "edgenes", "darts_deep_ensemble", "random_pool", "darts")


class Cells(HTMLParser):
    """Rows of all tables as lists of text, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data


def parsed(path: Path) -> Cells:
    found = Cells()
    found.feed(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("comparison")
    results(methods=FEW, seeds=4).to_csv(path / "results.csv", index=False)
    write_json(path / "comparison.json", {"space": "one_cell", "note": "<b>bold</b>"})
    write_comparison_page(path)
    return path


def test_the_tables_hold_the_numbers(folder: Path) -> None:
    rows = parsed(folder / "comparison.html").rows
    blocks = comparison_blocks(pd.read_csv(folder / "results.csv"), "adaptive")
    assert len(blocks) == 4
    for block in blocks:
        against = {one.method: one for one in block.differences}
        for score, cost in zip(block.scores, block.costs, strict=True):
            start = [score.title, str(score.rank), f"{score.mean:.4f} ± {score.sd:.4f}", f"{cost.accuracy:.2%}"]
            (row,) = [row for row in rows if row[:4] == start]
            one = against.get(score.method)
            p = "" if one is None else "<0.001" if one.p < 0.001 else f"{one.p:.3f}"
            assert row[5] == ("" if one is None else f"{one.difference:+.1%}") and row[7] == p
            assert row[8] == ("" if one is None else f"{one.wins} of 4")
            spent = [f"{cost.search_s:.0f}", f"{cost.training_s:.0f}", f"{cost.total_s / cost.budget_s:.0%}"]
            few = "– (3)" if score.method == "fixed_lam" else ""
            spearman = few if cost.spearman is None else f"{cost.spearman:+.2f} (12)"
            assert (cost.spearman is not None) == (score.method == "edgenes")
            assert [score.title, str(score.rank), f"{cost.networks:.1f}", "1.0", *spent, spearman] in rows


def test_the_page_needs_no_other_file_and_escapes_names(folder: Path) -> None:
    text = (folder / "comparison.html").read_text(encoding="utf-8")
    tags = parsed(folder / "comparison.html").tags
    assert not [tag for tag, attrs in tags if tag in ("script", "link", "img", "iframe") or attrs.get("src")]
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert "<set>" not in text and "a/&lt;set&gt;.npz" in text and "<b>bold" not in text
    pictures = [attrs for tag, attrs in tags if tag == "svg"]
    assert len(pictures) == 16 and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(set(ids)) == len(ids)


def test_a_png_for_each_figure(folder: Path) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    assert len(names) == 16 and {f"digits-3-{kind}.png" for kind in ("nll", "difference", "cost", "split")} <= names
    for name in names:
        assert Image.open(folder / "figures" / name).size[0] == 800


def test_the_summary_counts(folder: Path) -> None:
    text = (folder / "comparison.html").read_text(encoding="utf-8")
    blocks = comparison_blocks(pd.read_csv(folder / "results.csv"), "adaptive")
    first = sum(block.scores[0].method == "adaptive" for block in blocks)
    pairs = [one for block in blocks for one in block.differences]
    below = sum(one.interval[1] < 0 for one in pairs)
    above = sum(one.interval[0] > 0 for one in pairs)
    assert f"{first} of 4 comparisons" in text and len(pairs) == 16 and "16 pairwise comparisons" in text
    assert f"(better) {below} times" in text and f"(worse) {above} times" in text and "4 pairs" in text


def test_methods_of_different_seeds(tmp_path: Path) -> None:
    table = results(methods=FEW, data=("digits",))
    common = table[(table["method"] != "darts") | (table["seed"] < 2)]
    apart = table[(table["method"] == "adaptive") == (table["seed"] < 2)]
    for found, heading, columns in (
        (common, "2 seeds of all methods", ["method", "#", "test NLL"]),
        (apart, "2 to 3 seeds", ["method", "#", "seeds", "test NLL"]),
    ):
        found.to_csv(tmp_path / "results.csv", index=False)
        text = write_comparison_page(tmp_path).read_text(encoding="utf-8")
        assert f"digits, ensembles of 3, {heading}</h2>" in text and "5 seeds" not in text
        assert text.count("Methods have different seeds") == 2  # one data set, two sizes
        rows = parsed(tmp_path / "comparison.html").rows
        assert [row for row in rows if row[: len(columns)] == columns]
        if found is apart:
            assert {row[2] for row in rows if row[0] == "EdgeNES, adaptive" and len(row) == 10} == {"2"}
        else:
            assert "NLL in 2 of 2 comparisons" in text and "In 2 comparisons, methods have different seeds" in text


def test_methods_that_share_no_seed_are_not_ranked_in_the_summary(tmp_path: Path) -> None:
    table = results(methods=("adaptive", "edgenes", "darts"), data=("digits",))
    lowest = {"adaptive": (0, 1), "edgenes": (1, 2), "darts": (2, 3, 4)}
    parts = [table[(table["method"] == name) & table["seed"].isin(seeds)] for name, seeds in lowest.items()]
    pd.concat(parts).to_csv(tmp_path / "results.csv", index=False)
    text = write_comparison_page(tmp_path).read_text(encoding="utf-8")
    assert "lowest mean test NLL" not in text and "In 2 pairwise comparisons" in text


def test_without_the_main_method_nothing_is_held_against_it(tmp_path: Path) -> None:
    results(methods=("darts", "random_pool"), seeds=1, data=("digits",)).to_csv(tmp_path / "results.csv", index=False)
    text = write_comparison_page(tmp_path).read_text(encoding="utf-8")
    assert "no other method" in text
    rows = parsed(tmp_path / "comparison.html").rows
    assert len([row for row in rows if row[0] in ("DARTS, single", "Random-NES")]) == 2 * 2 * 2
    assert not any("±" in cell for row in rows for cell in row)  # one seed
    assert {path.name for path in (tmp_path / "figures").glob("*difference*")} == set()


def test_what_is_no_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^results: got .*results.csv"):
        write_comparison_page(tmp_path)
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(InputError, match="^results: got"):
        write_comparison_page(tmp_path)
    results(data=("digits",)).drop(columns="budget_s").to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(InputError, match="without budget_s"):
        write_comparison_page(tmp_path)
    results(data=("digits",)).iloc[:0].to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(InputError, match="without a row"):
        write_comparison_page(tmp_path)
    assert not (tmp_path / "comparison.html").exists()
