"""Writes the tables, sentences and figures of the guide "Methods at equal cost" from committed results.

    python -m tests.benchmarks.equal_cost_guide [runs/fashion runs/cifar]

This copies `results.csv` and `comparison.json` of the given comparisons into `tests/benchmarks/results/equal_cost`. It
then rewrites the text between `<!-- equal_cost: NAME -->` and `<!-- end -->` in the guide and the README, and redraws
the figures. Every sentence that contains a number is generated here. `--quick` only checks that the pages match.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from nni_hypens.compare.blocks import Block, MethodCost, MethodDifference, comparison_blocks
from nni_hypens.compare.figures import as_png, scores_figure
from nni_hypens.compare.page import read_results
from nni_hypens.utils.files import read_json, write_bytes, write_json, write_text
from tests.benchmarks.paper_figures import as_markdown
from tests.benchmarks.paper_guide import pattern, replaced

RESULTS = Path("tests/benchmarks/results/equal_cost")
GUIDE, README, FIGURES = Path("docs/guides/equal_cost.md"), Path("README.md"), Path("docs/equal_cost")
OURS = "adaptive@3"
TITLES = {"fashion_mnist_14": "Fashion-MNIST, 14 x 14", "cifar10_16": "CIFAR-10, 16 x 16"}
DARTS = ("darts_ensemble", "darts_deep_ensemble")
POOL = "random_pool@3"
HARDEST = "best_architecture@3"
LONGER = "darts_deep_ensemble@3"
"""Exceeds the budget; shows how much of the difference comes from longer training."""
IN_README = (*DARTS, POOL, HARDEST, LONGER)
BAR = 0.05
"""Target: relative improvement over the better DARTS ensemble."""
PART = pattern("equal_cost")


@dataclass
class Measured:
    """One comparison.

    Args:
        name: Of the data.
        results: As ``nni-hypens compare`` writes them.
        settings: ``comparison.json``.
    """

    name: str
    results: pd.DataFrame
    settings: dict[str, Any]

    @cached_property
    def blocks(self) -> list[Block]:
        """One for each size."""
        return comparison_blocks(self.results, OURS)

    @property
    def title(self) -> str:
        """For tables."""
        return TITLES.get(self.name, self.name)


def collect(folders: Sequence[Path]) -> None:
    """Copy the results of comparisons, one data set each, into `RESULTS`."""
    for folder in folders:
        results = read_results(folder / "results.csv")
        (data,) = set(results["data"])
        place = RESULTS / data.rpartition(":")[2]
        write_text(place / "results.csv", (folder / "results.csv").read_text(encoding="utf-8"))
        about = read_json(folder / "comparison.json")
        about["command"] = re.sub(r"--out \S+", f"--out runs/{place.name}", about["command"])  # not the local path
        write_json(place / "comparison.json", about)


def measured() -> list[Measured]:
    """The copied comparisons, in the order of `TITLES`."""
    there = [name for name in TITLES if (RESULTS / name).is_dir()]
    return [
        Measured(name, read_results(RESULTS / name / "results.csv"), read_json(RESULTS / name / "comparison.json"))
        for name in there
    ]


# ---- sentences ----------------------------------------------------------------------------------------------------


def percent(one: MethodDifference) -> str:
    """``-5.1% [-7.0, -3.2]``."""
    interval = f" [{100 * one.interval[0]:+.1f}, {100 * one.interval[1]:+.1f}]" if one.interval else ""
    return f"{100 * one.difference:+.1f}%{interval}"


def against(block: Block, other: str) -> MethodDifference | None:
    """Ours against another method, or None if it was not run."""
    return next((one for one in block.differences if one.method == other), None)


def cost_of(block: Block, method: str) -> MethodCost:
    """The cost of a method in a block."""
    return next(cost for cost in block.costs if cost.method == method)


def each_block(comparisons: Sequence[Measured]) -> list[tuple[Measured, Block]]:
    """Every data set and size."""
    return [(one, block) for one in comparisons for block in one.blocks]


def better_of_darts(block: Block) -> MethodDifference:
    """Ours against the one of the DARTS ensembles with the lower mean NLL."""
    return max((one for one in block.differences if one.method in DARTS), key=lambda one: one.difference)


def verdict(one: MethodDifference) -> str:
    """A difference in words."""
    low, high = one.interval or (0.0, 0.0)
    if low <= 0 <= high:
        return "no measurable difference"
    return "lower" if high < 0 else "**higher**"


def count(number: int, unit: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{number} {unit}{'s' * (number != 1)}"


def say_bar(comparisons: Sequence[Measured]) -> str:
    """Whether the target was reached, for each data set and size."""
    lines = []
    for one, block in each_block(comparisons):
        found = better_of_darts(block)
        reached = found.difference <= -BAR and found.interval is not None and found.interval[1] < 0
        said = "reached" if reached else "**missed**"
        lines.append(
            f"- {one.title}, {block.members} members: {percent(found)} against {found.title}, the better DARTS "
            f"ensemble (target: -{100 * BAR:.0f}%, {said}); lower on {found.wins} of {found.pairs} seeds. "
            f"{_accuracy(one, block, found.method)}"
        )
    return "\n".join(lines)


def _accuracy(one: Measured, block: Block, other: str) -> str:
    rows = one.results[one.results["members"] == block.members]
    wide = rows.pivot(index="seed", columns="method", values="accuracy")
    change = 100 * (wide[OURS] - wide[other])
    return f"Accuracy: {change.mean():+.1f} points on average ({change.min():+.1f} to {change.max():+.1f})."


def say_others(comparisons: Sequence[Measured]) -> str:
    """Ours against each other method."""
    lines = []
    for one, block in each_block(comparisons):
        for found in sorted(block.differences, key=lambda row: row.method):
            if found.method not in (*DARTS, LONGER):
                where = f"{one.title}, {block.members} members"
                lines.append(f"- {where}, against {found.title}: {percent(found)}, {verdict(found)}.")
    return "\n".join(lines)


def say_longer(comparisons: Sequence[Measured]) -> str:
    """Ours against the architecture of DARTS trained as long, and the cost of that."""
    lines = []
    for one, block in each_block(comparisons):
        found = against(block, LONGER)
        if found is not None:
            cost = cost_of(block, LONGER)
            lines.append(
                f"- {one.title}, {block.members} members: our NLL is {percent(found)} against it ({verdict(found)}). "
                f"It costs {cost.total_s / cost.budget_s:.2f} times the budget."
            )
    return "\n".join(lines)


def say_search(comparisons: Sequence[Measured]) -> str:
    """Cost of our search in units of DARTS runs."""
    lines = []
    for one in comparisons:
        ours, darts = (cost_of(one.blocks[0], name).search_s for name in (OURS, "darts_deep_ensemble"))
        share = ours / (3 * darts)
        epochs = one.settings["search_epochs"], one.settings["nni_epochs"]
        each = (ours / epochs[0]) / (3 * darts / epochs[1])
        lines.append(
            f"- {one.title}: {ours:.0f} s for {epochs[0]} epochs with all ranking, against {3 * darts:.0f} s for "
            f"three DARTS runs of {count(epochs[1], 'epoch')}. That is {share:.2f} times as much, or {each:.3f} times "
            "per epoch."
        )
    return "\n".join(lines)


def say_truth(comparisons: Sequence[Measured]) -> str:
    """Rank correlation of our supernet with training."""
    lines = []
    for one in comparisons:
        rows = one.results[one.results["method"] == OURS].drop_duplicates("seed")
        found, ranked = rows["supernet_spearman"].dropna(), rows["ranked_architectures"]
        lines.append(
            f"- {one.title}: {found.mean():+.2f} on average ({found.min():+.2f} to {found.max():+.2f}), with "
            f"{ranked.min():.0f} to {ranked.max():.0f} architectures."
        )
    return "\n".join(lines)


def say_commands(comparisons: Sequence[Measured]) -> str:
    """The commands that made the results."""
    lines = [one.settings["command"] for one in comparisons]
    return "```bash\n" + "\n".join(lines) + "\n```"


# ---- tables -------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return as_markdown(pd.DataFrame(rows, columns=list(head))).strip()


def setup_table(comparisons: Sequence[Measured]) -> str:
    """The main settings."""
    own = [one.settings for one in comparisons]
    numbers = [
        ("training images", "train_size"),
        ("validation images", "validation_size"),
        ("test images", "test_size"),
    ]
    numbers += [("epochs per network", "epochs"), ("epochs of our search", "search_epochs")]
    numbers += [("epochs per DARTS run", "nni_epochs")]
    rows = [[title, *(f"{settings[name]:,.0f}" for settings in own)] for title, name in numbers]
    seeds = [str(one.results["seed"].nunique()) for one in comparisons]
    space = [f"{settings['space']}, channels={settings['space_args']['channels']}" for settings in own]
    return table(["", *(one.title for one in comparisons)], [*rows, ["seeds", *seeds], ["space", *space]])


def result_table(block: Block) -> str:
    """Every method of a block, the best first."""
    rows = []
    for score in block.scores:
        found, cost = against(block, score.method), cost_of(block, score.method)
        sd = f" ± {score.sd:.4f}" if score.sd is not None else ""
        rows.append(
            [
                score.title, f"{score.mean:.4f}{sd}", f"{100 * cost.accuracy:.1f}", f"{100 * cost.ece:.1f}",
                percent(found) if found else "-", f"{cost.search_s:.0f}", f"{cost.training_s:.0f}",
                f"{cost.networks:.1f}", f"{cost.total_s / cost.budget_s:.2f}",
            ]
        )  # fmt: skip
    head = ["method", "test NLL", "accuracy %", "ECE %", "ours against it", "search, s", "training, s", "networks"]
    return table([*head, "cost / budget"], rows)


def readme_table(comparisons: Sequence[Measured]) -> str:
    """Ours against the main baselines."""
    blocks = each_block(comparisons)
    names = [name for name in IN_README if any(against(block, name) for _, block in blocks)]
    titles = {found.method: found.title for _, block in blocks for found in block.differences}
    rows = []
    for one, block in blocks:
        own = next(score for score in block.scores if score.method == OURS)
        cells = [percent(found) if (found := against(block, name)) else "-" for name in names]
        rows.append([f"{one.title}, {block.members} members", f"{own.mean:.3f}", *cells])
    return table(["data", "test NLL", *(f"against {titles[name]}" for name in names)], rows)


def parts(comparisons: Sequence[Measured]) -> dict[str, str]:
    """Name of each generated part of the guide and the README -> its text."""
    found = {
        "setup": setup_table(comparisons),
        "commands": say_commands(comparisons),
        "bar": say_bar(comparisons),
        "others": say_others(comparisons),
        "longer": say_longer(comparisons),
        "search": say_search(comparisons),
        "truth": say_truth(comparisons),
        "readme": readme_table(comparisons),
    }
    for one, block in each_block(comparisons):
        name = f"{one.name}_{block.members}"
        title = f"{one.title}, ensembles of {block.members}"
        found[f"table_{name}"] = result_table(block)
        found[f"figure_{name}"] = f"![{title}: test NLL of each method](../equal_cost/{name}.png)"
    return found


def filled(text: str, made: dict[str, str]) -> str:
    """The text with its generated parts replaced."""
    return replaced(text, "equal_cost", made)


def draw(comparisons: Sequence[Measured], folder: Path = FIGURES) -> list[Path]:
    """The figure of each block."""
    written = []
    for one, block in each_block(comparisons):
        written.append(folder / f"{one.name}_{block.members}.png")
        write_bytes(written[-1], as_png(scores_figure(block, OURS)))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite the guide to methods at equal cost from its results.")
    parser.add_argument("folders", type=Path, nargs="*", help="comparisons whose results are copied first")
    parser.add_argument("--quick", action="store_true", help="only check that guide and README match the results")
    arguments = parser.parse_args()
    if not arguments.quick:
        collect(arguments.folders)
    comparisons = measured()
    made = parts(comparisons)
    texts = {path: path.read_text(encoding="utf-8") for path in (GUIDE, README)}
    if arguments.quick:
        same = all(filled(text, made) == text for text in texts.values())
        print(f"guide and README {'match' if same else 'do not match'} the results")
        sys.exit(not same)
    for path, text in texts.items():
        write_text(path, filled(text, made))
    for path in draw(comparisons):
        print(f"figure: {path}")


if __name__ == "__main__":
    main()
