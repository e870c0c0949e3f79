"""Writes the guide "When diversity pays" and the README's results from a comparison on the pool of trained networks.

    nni-hypens compare --pool tests/benchmarks/results/pool/*.npz --methods METHODS --sizes 3,5,all --seeds 0..49 \
        --out runs/map
    python -m tests.benchmarks.map_guide [runs/map]

This copies what the comparison wrote into `tests/benchmarks/results/map`, where `tests.benchmarks.map_trained` puts
the rows of what was trained for the map alone; the section about these is left out as long as there are none. It then
writes the guide from `tests/benchmarks/map_page.md`, with a text for each `<!-- map: NAME -->`, puts the headline into
the README, and draws the figure. Every sentence that contains a number is generated here. `--quick` only checks that
the pages match.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator

from nni_hypens.compare.blocks import Block, MethodCost, MethodDifference, comparison_blocks
from nni_hypens.compare.figures import Drawing, as_png
from nni_hypens.compare.page import read_results
from nni_hypens.report.svg import FIRST, MUTED
from nni_hypens.selection.names import EVERY
from nni_hypens.utils.files import read_json, write_bytes, write_json, write_text
from tests.benchmarks.map_further import WITHOUT, is_short, longer_table, say_further, without_table
from tests.benchmarks.map_targets import (
    CELLS,
    ORACLE,
    OURS,
    SNAPSHOTS,
    Agreement,
    against,
    agreement,
    percent,
    say_agreement,
    say_bars,
    say_limits,
    say_reached,
    say_trained_anew,
)
from tests.benchmarks.map_trained_text import (
    clean_table,
    corruption_table,
    members_text,
    say_trained,
    severity_table,
    table,
)
from tests.benchmarks.paper_guide import pattern, replaced

RESULTS = Path("tests/benchmarks/results/map")
POOLS = "tests/benchmarks/results/pool"
PAGE, TRAINED_PAGE = Path("tests/benchmarks/map_page.md"), Path("tests/benchmarks/map_trained_page.md")
"""The guide without its generated parts, and its section on what was trained for the map alone."""
GUIDE, README, FIGURE = Path("docs/guides/map.md"), Path("README.md"), Path("docs/map.png")
PART = pattern("map")
REPEAT = (
    "Nothing is trained in these runs: all networks come from a [pool](docs/guides/pool.md) that was trained once. "
    "On one core this takes some minutes:"
)


def blocks_of(results: pd.DataFrame) -> list[Block]:
    """Every cell and size, in the order of `CELLS`."""
    order = list(CELLS)
    found = [block for block in comparison_blocks(results, OURS) if block.data in CELLS]
    return sorted(found, key=lambda block: (order.index(block.data), block.members == EVERY, block.members))


def others(blocks: Sequence[Block]) -> dict[str, str]:
    """Titles of the other methods by name. Ours without going on is left out: it has its own section."""
    return {one.method: one.title for block in blocks for one in block.differences if one.method != WITHOUT}


def main_table(blocks: Sequence[Block]) -> str:
    """Ours against every other method, for each cell and size."""
    names = others(blocks)
    rows = []
    for block in blocks:
        own = next(score for score in block.scores if score.method == OURS)
        cells = [percent(against(block, name)) for name in names]
        rows.append([CELLS[block.data], members_text(block.members), f"{own.mean:.3f}", *cells])
    return table(["networks", "members", "NLL", *(f"against {title}" for title in names.values())], rows)


def by_method_table(blocks: Sequence[Block], head: str, text: Callable[[MethodCost], str], members: int = 5) -> str:
    """A text for every method and cell at one size."""
    wanted = [block for block in blocks if block.members == members]
    titles = {cost.method: cost.title for block in wanted for cost in block.costs}
    rows = []
    for block in wanted:
        by_method = {cost.method: cost for cost in block.costs}
        rows.append([CELLS[block.data], *(text(by_method[name]) if name in by_method else "-" for name in titles)])
    return table([head, *titles.values()], rows)


def _measures_text(cost: MethodCost) -> str:
    return f"{100 * cost.accuracy:.1f} / {100 * cost.ece:.1f}"


def _share(cost: MethodCost) -> float:
    """Share of the budget that a method spends."""
    return (cost.search_s + cost.training_s) / cost.budget_s if cost.budget_s else float("nan")


def _cost_text(cost: MethodCost) -> str:
    return f"{cost.networks:.1f} / {_share(cost):.2f}"


def readme_table(blocks: Sequence[Block], members: int = 5) -> str:
    """The headline: a row for each cell."""
    names = {name: title for name, title in others(blocks).items() if name != ORACLE}
    wanted = [block for block in blocks if block.members == members]
    rows = []
    for block in wanted:
        own = next(score for score in block.scores if score.method == OURS)
        cells = [percent(against(block, name)) for name in (ORACLE, *names)]
        rows.append([CELLS[block.data], f"{own.mean:.3f}", *cells])
    titles = [others(blocks).get(ORACLE, ORACLE), *names.values()]
    return table(["networks", "test NLL", *(f"against {title}" for title in titles)], rows)


def _range(values: Sequence[float], sign: str = "+") -> str:
    """``-0.3 to +0.5%``."""
    return f"{100 * min(values):{sign}.1f} to {100 * max(values):{sign}.1f}%"


def _seeds_of_best(blocks: Sequence[Block], members: int) -> dict[str, MethodDifference]:
    """Title of a cell -> ours against seeds of our best."""
    wanted = [block for block in blocks if block.members == members]
    return {CELLS[block.data]: one for block in wanted if (one := against(block, ORACLE)) is not None}


def say_choice(blocks: Sequence[Block], members: int = 5) -> str:
    """Ours against a deep ensemble of the best architecture that it found."""
    found = _seeds_of_best(blocks, members)
    if not found:
        return ""
    ends = {title: one.interval or (one.difference, one.difference) for title, one in found.items()}
    better = [f"{title} ({percent(found[title])})" for title, (_, high) in ends.items() if high < 0]
    worse = [f"{title} ({percent(found[title])})" for title, (low, _) in ends.items() if low > 0]
    rest = [found[title].difference for title, (low, high) in ends.items() if low <= 0 <= high]
    return (
        f"Against seeds of the best architecture that it found, ours is clearly better in {len(better)} of "
        f"{len(found)} rows"
        + (f": {'; '.join(better)}" if better else "")
        + (f"; and clearly worse in {len(worse)}: {'; '.join(worse)}" if worse else "")
        + (f". Elsewhere it is about as good ({_range(rest)})." if rest else ".")
    )


def say_snapshots(blocks: Sequence[Block], members: int = 5) -> str:
    """Ours against snapshots in the cells with short trainings; empty if there are none."""
    wanted = [block for block in blocks if block.members == members and is_short(block.data)]
    found = [(CELLS[block.data], one.difference) for block in wanted if (one := against(block, SNAPSHOTS)) is not None]
    if not found:
        return ""
    each = [
        f"{abs(100 * one):.1f}% {'better' if one < 0 else 'worse'} on {title.split(',')[0]}" for title, one in found
    ]
    advice = ": train longer before you train more" if min(one for _, one in found) > 0 else ""
    return f"In the simulated runs it is {' and '.join(each)} than snapshots of one longer training{advice}."


def say_when(blocks: Sequence[Block], further: str, anew: str) -> str:
    """When a deep ensemble is the better choice, with what has been measured."""
    advice = (
        "**So a deep ensemble is the better choice if you know a good architecture already and train it until it no "
        "longer helps.** Ours is, if you do not know one, or cannot say whether your networks are trained enough."
    )
    points = [say_choice(blocks), f"{further} {say_snapshots(blocks)}".strip(), anew, advice]
    return "\n".join(f"- {text}" for text in points if text)


def say_shares(blocks: Sequence[Block], members: int = 5) -> str:
    """What share of the budget each method spends, over the cells."""
    shares: dict[str, list[float]] = {}
    for block in (block for block in blocks if block.members == members):
        for cost in block.costs:
            if cost.method != WITHOUT:
                shares.setdefault("ours" if cost.method == OURS else cost.title, []).append(_share(cost))
    listed = ", ".join(f"{title} {min(found):.2f} to {max(found):.2f}" for title, found in shares.items())
    return f"Share of the budget that each method spends: {listed}."


def say_setup(pools: dict[str, Any], results: pd.DataFrame) -> str:
    """What was compared."""
    rows = []
    for name, about in pools.items():
        if name not in CELLS:
            continue
        settings = {key.removeprefix("settings: "): value for key, value in about.items()}
        moved = [f"shifts of {settings['shift']}"] if settings.get("shift") else []
        changed = ", ".join([*moved, *(["mirrored"] if settings.get("flip") else [])]) or "none"
        rows.append(
            [
                CELLS[name], str(settings["channels"]), str(settings["train_images"]), str(settings["epochs"]), changed,
                str(about["architectures"]), str(about["networks"]),
            ]
        )  # fmt: skip
    head = ["networks", "channels", "training images", "epochs", "augmentation", "architectures", "trained networks"]
    return f"{results['seed'].nunique()} simulated runs of each method.\n\n" + table(head, rows)


def say_peers(pools: dict[str, Any]) -> str:
    """How many trainings and searches of the other methods there are, and what the intervals therefore leave out."""

    def counts(name: str) -> str:
        found = [
            sum(int(part) > 0 for part in str(about[f"{name}, networks"]).split(","))
            for cell, about in pools.items()
            if cell in CELLS and f"{name}, networks" in about
        ]
        low, high = min(found, default=0), max(found, default=0)
        return str(low) if low == high else f"{low} to {high}"

    return (
        f"For each row the pools have searches by DARTS: {counts('darts')}; trainings with snapshots: "
        f"{counts('snapshots')}; and a few seeds of the ResNet. So the intervals against these three cover the chance "
        "in our method, but little of that in theirs: another search or training may differ by more."
    )


def figure(blocks: Sequence[Block], members: int = 5) -> Drawing:
    """Ours against each other method in each cell: differences with their intervals, small ones magnified."""
    wanted = [block for block in blocks if block.members == members]
    names = others(wanted)

    def draw(canvas: Any, paint: Callable[[str], str]) -> None:
        grid = canvas.subplots(-(-len(wanted) // 2), 2, sharex=True, sharey=True, squeeze=False)
        for axes, block in zip(grid.flat, wanted, strict=False):
            axes.axvline(0, color=paint(MUTED), linewidth=1)
            for place, name in enumerate(names):
                one = against(block, name)
                if one is not None:
                    low, high = one.interval or (one.difference, one.difference)
                    axes.plot([100 * low, 100 * high], [place, place], color=paint(FIRST), linewidth=4, alpha=0.4)
                    axes.plot([100 * one.difference], [place], "o", color=paint(FIRST), markersize=4)
            axes.set_xscale("symlog", linthresh=2, linscale=1.5)
            axes.set_xlim(-40, 40)
            axes.set_xticks([-30, -3, -1, 0, 1, 3, 30], ["-30", "-3", "-1", "0", "1", "3", "30"], fontsize=8)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_yticks(range(len(names)), list(names.values()), fontsize=8)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_title(CELLS[block.data].replace(", ", "\n"), fontsize=9)
        canvas.supxlabel("our NLL against it, % (below 0 ours is better)", fontsize=9)

    said = "; ".join(
        f"{CELLS[b.data]}: " + ", ".join(f"{title} {percent(against(b, name))}" for name, title in names.items())
        for b in wanted
    )
    return Drawing(2.2 + 1.5 * -(-len(wanted) // 2), draw, f"Our test NLL against other methods. {said}.")


def trained_section(trained: pd.DataFrame | None, anew: Agreement | None) -> str:
    """The section on what was trained for the map alone; empty if there is nothing yet."""
    if trained is None:
        return ""
    made = {
        "trained_setup": say_trained(trained, CELLS),
        "trained": clean_table(trained, CELLS, OURS),
        "agreement": say_agreement(anew),
        "longer": longer_table(trained),
        "severities": severity_table(trained, CELLS, OURS),
        "corruptions": corruption_table(trained, CELLS, OURS, ORACLE),
    }
    return replaced(TRAINED_PAGE.read_text(encoding="utf-8"), "map", made).strip()


def parts(
    results: pd.DataFrame,
    about: dict[str, Any],
    pools: dict[str, Any],
    trained: pd.DataFrame | None,
    limits: dict[str, Any] | None,
) -> dict[str, str]:
    """Name of each generated part of the guide and the README -> its text."""
    blocks = blocks_of(results)
    anew = None if trained is None else agreement(trained, blocks)
    further = say_further(results, trained)
    return {
        "setup": say_setup(pools, results),
        "peers": say_peers(pools),
        "table": main_table(blocks),
        "measures": by_method_table(blocks, "accuracy / ECE, %", _measures_text),
        "costs": by_method_table(blocks, "networks / cost", _cost_text),
        "choice": say_when(blocks, further, ""),
        "without": without_table(results),
        "bars": say_bars(blocks),
        "limits": say_limits(limits, blocks),
        "readme": "\n\n".join(
            [
                readme_table(blocks),
                say_when(blocks, further, say_trained_anew(anew)),
                f"{say_shares(blocks)} {say_reached(blocks)} {REPEAT}",
                f"```bash\n{about['command']}\n```",
            ]
        ),
        "command": f"```bash\n{about['command']}\n```",
        "trained_section": trained_section(trained, anew),
        "figure": "![Our test NLL against other methods, five members](../map.png)",
    }


def collect(folder: Path) -> None:
    """Copy the results of a comparison into `RESULTS`."""
    for name in ("results.csv", "pools.json"):
        write_text(RESULTS / name, (folder / name).read_text(encoding="utf-8"))
    about = read_json(folder / "comparison.json")
    command = re.sub(r"--out \S+", "--out runs/map", about["command"]).removesuffix(" --quiet")  # not the local path
    files = " ".join(f"{POOLS}/{cell}.npz" for cell in sorted(CELLS))
    about["command"] = command.replace(files, f"{POOLS}/*.npz")
    write_json(RESULTS / "comparison.json", about)


def measured() -> tuple[
    pd.DataFrame, dict[str, Any], dict[str, Any], pd.DataFrame | None, dict[str, Any] | None
]:  # fmt: skip
    """The copied results: rows, what was compared, what the pools hold, what was trained anew, what limits the results.

    The last two are None as long as they were not measured.
    """
    results = read_results(RESULTS / "results.csv")
    trained, limits = RESULTS / "trained.csv", RESULTS / "limits.json"
    return (
        results.astype({"nll": np.float64}),
        read_json(RESULTS / "comparison.json"),
        read_json(RESULTS / "pools.json"),
        pd.read_csv(trained) if trained.exists() else None,
        read_json(limits) if limits.exists() else None,
    )


def written(made: dict[str, str]) -> dict[Path, str]:
    """Guide and README with the generated parts."""
    return {
        path: replaced(source.read_text(encoding="utf-8"), "map", made)
        for path, source in ((GUIDE, PAGE), (README, README))
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a comparison whose results are copied first")
    parser.add_argument("--quick", action="store_true", help="only check that guide and README match the results")
    given = parser.parse_args()
    if given.folder is not None and not given.quick:
        collect(given.folder)
    results, *rest = measured()
    made = parts(results, *rest)
    texts = written(made)
    if given.quick:
        same = all(path.read_text(encoding="utf-8") == text for path, text in texts.items())
        print(f"guide and README {'match' if same else 'do not match'} the results")
        sys.exit(not same)
    for path, text in texts.items():
        write_text(path, text)
    write_bytes(FIGURE, as_png(figure(blocks_of(results))))


if __name__ == "__main__":
    main()
