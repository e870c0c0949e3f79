"""The targets of the map: which are reached, and what would have to be better to reach the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nni_hypens.compare.blocks import Block, MethodDifference, title_of
from tests.benchmarks.map_trained_text import percent_text

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


def say_bars(blocks: Sequence[Block]) -> str:
    """Whether the targets are reached, for each cell at five members."""
    lines = []
    for block in (block for block in blocks if block.members == 5):
        low, first, high, second = BARS["data" if block.data in DATA_LIMITED else "other"]
        below, above = against(block, first), against(block, second)
        if below is None or above is None:
            continue
        reached = below.difference <= low and (below.interval or (0, 0))[1] < 0 and above.difference <= high
        lines.append(
            f"- {CELLS[block.data]}: {percent(below)} against {below.title} (target {100 * low:+.1f}%), "
            f"{percent(above)} against {above.title} (target at most {100 * high:+.1f}%): "
            f"{'reached' if reached else '**missed**'}."
        )
    return "\n".join(lines)


def say_reached(blocks: Sequence[Block]) -> str:
    """How many targets are reached."""
    lines = say_bars(blocks).splitlines()
    reached = sum(not line.endswith("**missed**.") for line in lines)
    verb = "is" if reached == 1 else "are"
    return f"Of the {len(lines)} targets that we set before, {reached} {verb} reached ([the map](docs/guides/map.md))."


def say_limits(found: Mapping[str, Any] | None, blocks: Sequence[Block]) -> str:
    """What more training and a perfect forecast would give, and the targets that neither reaches; empty if not
    measured."""
    if found is None:
        return ""
    wanted = {block.data: block for block in blocks if block.members == found["members"]}
    cells = [(name, found["cells"][name]) for name in CELLS if name in found["cells"]]
    networks, costs = ([one["all"][key] for _, one in cells] for key in ("networks", "cost"))
    texts = [
        "**More training.** Suppose that a run had every network that it can see "
        f"({min(networks):.0f} to {max(networks):.0f} on average, {min(costs):.1f} to {max(costs):.1f} times the "
        f"budget) and chose its {found['members']} members among them as everywhere, on validation images. "
        + _differences(cells, "all"),
        "**A perfect forecast.** Suppose that a run knew before training how good each architecture is on validation "
        "images, and spent the budget on the best ones, once each. " + _differences(cells, "known"),
    ]
    if lower := [CELLS[name] for name, one in cells if _ours(wanted, name, RANDOM) < one["all"][RANDOM]["difference"]]:
        texts[0] += f" The choice among so many fits the validation images: ours is lower in {'; '.join(lower)}."
    if missed := [CELLS[name] for name, one in cells if not any(_reaches(name, one[run]) for run in ("all", "known"))]:
        texts.append(f"Neither would reach the target in {'; '.join(missed)}.")
    return "\n\n".join(texts)


def _differences(cells: Sequence[tuple[str, Any]], run: str) -> str:
    return " ".join(
        f"Against {title_of(method)}: "
        + "; ".join(f"{CELLS[name]} {percent_text(**one[run][method])}" for name, one in cells)
        + "."
        for method in (RANDOM, ORACLE)
    )


def _ours(blocks: Mapping[str, Block], name: str, other: str) -> float:
    one = against(blocks[name], other) if name in blocks else None
    return np.inf if one is None else one.difference


def _reaches(name: str, run: Mapping[str, Any]) -> bool:
    low, first, high, second = BARS["data" if name in DATA_LIMITED else "other"]
    below, above = run[first], run[second]
    return bool(below["difference"] <= low and below["high"] < 0 and above["difference"] <= high)
