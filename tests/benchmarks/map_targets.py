"""The targets of the map: which are reached, and what would have to be better to reach the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nni_hypens.compare.blocks import Block, MethodDifference, title_of
from tests.benchmarks.map_trained_text import clean_rows, measured_difference, percent_text, table

OURS, ORACLE, RANDOM, SNAPSHOTS = "adaptive_random", "best_architecture", "random_pool", "snapshots"
CELLS = {
    "fashion_data": "Fashion-MNIST, few images",
    "cifar_data": "CIFAR-10, few images",
    "fashion_capacity": "Fashion-MNIST, small networks",
    "cifar_capacity": "CIFAR-10, small networks",
    "fashion_short": "Fashion-MNIST, short trainings",
    "cifar_short": "CIFAR-10, short trainings",
}
DATA_LIMITED = ("fashion_data", "cifar_data")
RUNS = {"all": "more training", "known": "a perfect forecast"}
BARS = {"data": (-0.015, ORACLE, 0.0, RANDOM), "other": (-0.03, RANDOM, 0.005, ORACLE)}
"""Where data is the limit, at five members: at least so much below the first method, and not above the second by more.
Elsewhere the same with the methods exchanged."""


def percent(one: MethodDifference | None) -> str:
    """``-5.1% [-7.0, -3.2]``."""
    if one is None:
        return "-"
    return percent_text(one.difference, *(one.interval or (np.nan, np.nan)))


def against(block: Block, other: str) -> MethodDifference | None:
    """Ours against another method."""
    return next((one for one in block.differences if one.method == other), None)


def target_of(name: str) -> tuple[float, str, float, str]:
    """The target of a cell, one of `BARS`."""
    return BARS["data" if name in DATA_LIMITED else "other"]


def reaches(block: Block) -> bool:
    """Whether ours reaches the target of its cell."""
    _, first, _, second = target_of(block.data)
    below, above = against(block, first), against(block, second)
    if below is None or above is None:
        return False
    return meets(block.data, below.difference, (below.interval or (0, 0))[1], above.difference)


def meets(name: str, below: float, upper_end: float, above: float) -> bool:
    """Whether differences from the two methods of a cell's target meet it; the first with the end of its interval."""
    low, _, high, _ = target_of(name)
    return below <= low and upper_end < 0 and above <= high


def say_bars(blocks: Sequence[Block]) -> str:
    """Whether the targets are reached, for each cell at five members."""
    lines = []
    for block in (block for block in blocks if block.members == 5):
        low, first, high, second = target_of(block.data)
        below, above = against(block, first), against(block, second)
        if below is None or above is None:
            continue
        over = 100 * (above.difference - high)
        hidden = f", missed by {over:.3f} points" if 0 < over < 0.05 else ""  # rounded, both look the same
        lines.append(
            f"- {CELLS[block.data]}: {percent(below)} against {below.title} (target {100 * low:+.1f}%), "
            f"{percent(above)} against {above.title} (target at most {100 * high:+.1f}%{hidden}): "
            f"{'reached' if reaches(block) else '**missed**'}."
        )
    return "\n".join(lines)


def say_reached(blocks: Sequence[Block]) -> str:
    """How many targets are reached."""
    lines = say_bars(blocks).splitlines()
    reached = sum(not line.endswith("**missed**.") for line in lines)
    verb = "is" if reached == 1 else "are"
    return (
        f"Of the {len(lines)} targets that we set before, {reached} {verb} reached, with a rule that was tuned on "
        "these pools ([the map](docs/guides/map.md))."
    )


class Agreement(NamedTuple):
    """What was trained anew against the simulated runs, five members, ours against Random-NES and seeds of our best.

    Attributes:
        others: Those whose simulated value is outside the interval of what was trained, in words.
        cells: Cells that were trained.
        seeds: Against seeds of our best, for each of these cells.
        reached: Those of them whose target the trained seeds alone reach.
    """

    others: tuple[str, ...]
    cells: tuple[str, ...]
    seeds: tuple[str, ...]
    reached: tuple[str, ...]

    @property
    def compared(self) -> int:
        """Differences that both have: two of each cell."""
        return 2 * len(self.cells)


def agreement(trained: pd.DataFrame, blocks: Sequence[Block]) -> Agreement | None:
    """Compare the rows of `tests.benchmarks.map_trained` with the simulated comparison, where a cell has enough seeds
    for intervals; None if none has."""
    others, cells, seeds, reached = [], [], [], []
    clean = clean_rows(trained, 5)
    for name in (name for name in CELLS if name in set(clean["data"])):
        block = next(block for block in blocks if block.data == name and block.members == 5)
        rows = clean[clean["data"] == name]
        found = {method: measured_difference(rows, OURS, method) for method in (ORACLE, RANDOM)}
        anew = {method: one for method, one in found.items() if one is not None and np.isfinite(one).all()}
        if len(anew) < len(found):
            continue
        cells.append(name)
        seeds.append(percent_text(*anew[ORACLE]))
        for method, (difference, low, high) in anew.items():
            simulated = against(block, method)
            if simulated is not None and not low <= simulated.difference <= high:
                where = f"{CELLS[name]} against {simulated.title}"
                others.append(f"{where} ({percent_text(difference, low, high)}, simulated {percent(simulated)})")
        _, first, _, second = target_of(name)
        if meets(name, anew[first][0], anew[first][2], anew[second][0]):
            reached.append(CELLS[name])
    return Agreement(tuple(others), tuple(cells), tuple(seeds), tuple(reached)) if cells else None


def say_agreement(found: Agreement | None) -> str:
    """The agreement for the map's page; empty without one."""
    if found is None:
        return ""
    texts = [
        f"Of the {found.compared} differences at five members, {found.compared - len(found.others)} agree with the "
        "simulated runs: the simulated difference is within the interval."
    ]
    if found.others:
        texts.append(f"Not so: {'; '.join(found.others)}.")
    which = f": {'; '.join(found.reached)}" if found.reached else ""
    texts.append(
        f"Taken alone, these seeds reach {len(found.reached)} of {len(found.cells)} [targets](#targets){which}."
    )
    return " ".join(texts)


def say_trained_anew(found: Agreement | None) -> str:
    """The agreement for the README; empty without one."""
    if found is None:
        return ""
    which = "All rows" if len(found.cells) == len(CELLS) else ", ".join(CELLS[name] for name in found.cells)
    return (
        f"{which} were also trained anew, at equal cost, with five seeds that have images of their own: against seeds "
        f"of our best, ours is {', '.join(found.seeds)}. {found.compared - len(found.others)} of {found.compared} "
        "simulated differences are within such intervals, and these seeds alone reach "
        f"{len(found.reached)} of {len(found.cells)} targets ([trained anew](docs/guides/map.md#trained-anew))."
    )


def limits_table(found: Mapping[str, Any]) -> str:
    """What more training and a perfect forecast would give in each cell, against two methods."""
    pairs = [(run, method) for run in RUNS for method in (RANDOM, ORACLE)]
    lines = [
        [CELLS[name], *(percent_text(**found["cells"][name][run][method]) for run, method in pairs)]
        for name in CELLS
        if name in found["cells"]
    ]
    return table(["networks", *(f"{RUNS[run]}, against {title_of(method)}" for run, method in pairs)], lines)


def say_limits(found: Mapping[str, Any] | None, blocks: Sequence[Block]) -> str:
    """What the two runs of `tests.benchmarks.map_limits` are, and whether they reach the targets that ours misses;
    empty if they were not measured."""
    if found is None:
        return ""
    wanted = {block.data: block for block in blocks if block.members == found["members"]}
    cells = {name: found["cells"][name] for name in CELLS if name in found["cells"]}
    networks, costs = ([one["all"][key] for one in cells.values()] for key in ("networks", "cost"))
    texts = [
        f"- *More training* has every network that a run can see ({min(networks):.0f} to {max(networks):.0f} on "
        f"average, {min(costs):.1f} to {max(costs):.1f} times the budget), and chooses its {found['members']} members "
        "among them as everywhere, on validation images.",
        "- *A perfect forecast* knows before training how good each architecture is on validation images, and spends "
        "the budget on the best ones, once each.",
        "",
        limits_table(found),
    ]
    missed = [name for name in cells if name not in wanted or not reaches(wanted[name])]
    for run, title in RUNS.items():
        without = [CELLS[name] for name in missed if not _reached(name, cells[name][run])]
        if without:
            texts += ["", f"Of the targets that ours misses, {title} would not reach: {'; '.join(without)}."]
    lower = []
    for name, one in cells.items():
        ours = against(wanted[name], RANDOM) if name in wanted else None
        if ours is not None and ours.difference < one["all"][RANDOM]["difference"]:
            lower.append(CELLS[name])
    if lower:
        said = f"Ours, which goes on with networks and does not choose among so many, is lower in {'; '.join(lower)}."
        texts += ["", said]
    return "\n".join(texts)


def _reached(name: str, run: Mapping[str, Any]) -> bool:
    _, first, _, second = target_of(name)
    return meets(name, run[first]["difference"], run[first]["high"], run[second]["difference"])
