"""What the authors of EdgeNES claim, computed again: how many edges a step trains, and how fast accuracy rises.

Their numbers are in `paper_published`. `paper_guide` writes what these functions say into the guide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind, ttest_ind_from_stats

from tests.benchmarks import paper_published as published

# ---- edges of the final ensemble that a step trains --------------------------------------------------------------

OPTIONS = (14, 21, 28, 35)
"""Edges (input, operation) that each node of the authors' cell chooses from: two to five inputs (regime "random" in
`code/engine/search.py`) and seven operations (section 4 of the paper). Nodes of `OneCell` have one input fewer."""


def statement(n_edges: int, members: int) -> float:
    """Statement 1 of the paper: ``N (L + 1)^2 / (4 L)`` edges, with N members and L edges of an architecture."""
    return members * (n_edges + 1) ** 2 / (4 * n_edges)


def expected_edges(n_edges: int, members: int, options: Sequence[int] = OPTIONS) -> dict[str, float]:
    """Expected edges of the final ensemble that one step trains, by the way in which they are drawn and counted.

    Args:
        n_edges: Edges of an architecture, L.
        members: Members of the ensemble, N.
        options: How many edges each of the L can be.

    Returns:
        As in `EDGE_ROWS`. With ``p = (L + 1) / (2 L)``, the probability that an architecture has an edge of the base:
        ``statement`` is N L p^2. ``other_edges`` adds edges that are not of the base, and are equal by chance.
        ``search_lam`` has p = 1/2, since lam is drawn from both sides of L / 2 alike. ``nested`` is N E[min(mu, nu)],
        ``once`` counts an edge of several members once.
    """
    p = (n_edges + 1) / (2 * n_edges)
    return {
        "statement": statement(n_edges, members),
        "other_edges": statement(n_edges, members) + members * sum((1 - p) ** 2 / (count - 1) for count in options),
        "search_lam": members * n_edges / 4,
        "nested": members * (n_edges + 1) * (2 * n_edges + 1) / (6 * n_edges),
        "once": n_edges * p * (1 - (1 - p) ** members),
    }


EDGE_ROWS = {
    "statement": "as in the proof",
    "other_edges": "and edges outside the base that are equal by chance",
    "search_lam": "as in the proof, but `lam` from U[-0.2, Λ + 0.2], as the search draws it, rounded",
    "nested": "as in the proof, but architectures with more of the base's edges contain those with fewer",
    "once": "as in the proof, but an edge of several members counts once",
}


def simulated_edges(
    way: str, n_edges: int, members: int, draws: int, seed: int, options: Sequence[int] = OPTIONS
) -> tuple[float, float]:
    """The same by drawing: the architecture of a step, the members, and the edges that they have in common.

    Args:
        way: A key of `EDGE_ROWS`.
        n_edges: Edges of an architecture.
        members: Members of the ensemble.
        draws: How often.
        seed: Seed of the draws.
        options: How many edges each of them can be; the base has edge 0 of each.

    Returns:
        Mean, and its standard error.
    """
    generator = np.random.default_rng(seed)
    shape = (draws, members + 1)  # the step, then the members
    if way == "search_lam":
        lam = np.rint(generator.uniform(-0.2, n_edges + 0.2, shape)).astype(int)
    else:
        lam = generator.integers(1, n_edges + 1, shape)
    order = np.broadcast_to(np.arange(n_edges), (*shape, n_edges))
    if way != "nested":
        order = generator.permuted(order, axis=-1)
    base = order < lam[..., None]  # lam edges of the base are kept
    other = np.stack([generator.integers(1, count, shape) for count in options], axis=-1)
    edges = np.where(base, 0, other)  # draws x (1 + members) x edges
    same = edges[:, :1] == edges[:, 1:]
    if way != "other_edges":
        same &= base[:, 1:]
    counts = same.any(1).sum(-1) if way == "once" else same.sum((1, 2))
    return float(counts.mean()), float(counts.std(ddof=1) / np.sqrt(draws))


def edges_table() -> pd.DataFrame:
    """Expected edges for the paper's cell and ensemble, four edges and three members."""
    found = expected_edges(4, 3)
    return pd.DataFrame(
        [{"how edges are drawn and counted": title, "edges": f"{found[way]:.2f}"} for way, title in EDGE_ROWS.items()]
    )


# ---- accuracy against iterations ----------------------------------------------------------------------------------


def areas(curves: Sequence[Sequence[float]], first: int) -> np.ndarray:
    """Area under each curve from iteration ``first`` on, by trapezoids, in accuracy times 15 iterations."""
    start = published.ITERATIONS.index(first)
    part = np.asarray(curves)[:, start:]
    return part.sum(-1) - (part[:, 0] + part[:, -1]) / 2


def area_test(rows: Sequence[tuple[int, ...]], first: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Areas of DartsEns and EdgeNES, and the two-sided p of Student's t-test between them.

    Args:
        rows: Curves of DartsEns, keys of ``DARTS_CURVES``.
        first: Iteration from which on.
    """
    darts = areas([published.DARTS_CURVES[row] for row in rows], first)
    ours = areas(published.EDGENES_CURVES, first)
    return darts, ours, float(ttest_ind(ours, darts).pvalue)


def areas_table() -> pd.DataFrame:
    """Areas and p, with the rows of their figure and with the right ones, over all iterations and from 90 on."""
    found = []
    for title, rows in (
        ("as in their figure", published.DARTS_ROWS),
        ("five different", tuple(published.DARTS_CURVES)),
    ):
        for first in (published.ITERATIONS[0], 90):
            darts, ours, p = area_test(rows, first)
            found.append(
                {
                    "runs of DartsEns": title,
                    "iterations": f"{first} to {published.ITERATIONS[-1]}",
                    "DartsEns": f"{darts.mean():.2f} ± {darts.std(ddof=1):.2f}",
                    "EdgeNES": f"{ours.mean():.2f} ± {ours.std(ddof=1):.2f}",
                    "p, two-sided": f"{p:.3f}",
                    "p, one-sided": f"{p / 2:.3f}",
                }
            )
    return pd.DataFrame(found)


def p_of_slide() -> float:
    """Two-sided p of the t-test from the means and spreads on the slide, of five runs each."""
    (darts, darts_sd), (ours, ours_sd) = (published.AREAS_SLIDE[name] for name in ("darts_ensemble", "edgenes"))
    return float(ttest_ind_from_stats(ours, ours_sd, 5, darts, darts_sd, 5).pvalue)


def say_areas() -> str:
    """What is published about the areas, and what comes out."""
    paper, slides = (f"{published.AREA_P[version]:.4f}" for version in (published.PAPER, published.SLIDES))
    stated = {name: f"{mean:.2f} ± {sd:.2f}" for name, (mean, sd) in published.AREAS_SLIDE.items()}
    ps = areas_table()["p, two-sided"].tolist()
    return (
        f"- Published: p = {paper} from iteration 80 on in paper and diploma, and p = {slides} on the slides, where "
        f"DartsEns has the larger area: {stated['darts_ensemble']} against {stated['edgenes']} for EdgeNES.\n"
        f"- From their curves, p is {ps[1]} with the rows of the figure and {ps[3]} with five different runs: no "
        "measurable difference. Only with a run there twice is a one-sided p below 0.05, and no p "
        "that we computed is as small as theirs.\n"
        f"- The slide's means and spreads, of five runs each, give p = {p_of_slide():.2f}."
    )


# ---- the versions of the main table -------------------------------------------------------------------------------


def versions_table(titles: dict[str, str], ours: dict[str, str]) -> pd.DataFrame:
    """The published versions of the main table and ours side by side; the last row is where each is.

    Args:
        titles: Name of each method in the guide.
        ours: Our accuracies in %.
    """
    rows = [
        {"method": title}
        | {f"{version} %": table.get(name, "-") for version, table in published.MAIN_TABLE.items()}
        | {"here %": ours[name]}
        for name, title in titles.items()
    ]
    sources = {f"{version} %": source for version, source in published.SOURCES.items()}
    return pd.DataFrame([*rows, {"method": "from"} | sources | {"here %": "`tests/benchmarks/results/paper.json`"}])


def say_versions(titles: dict[str, str]) -> str:
    """Which cells of the published versions differ, and what that does to the main claim."""
    tables = published.MAIN_TABLE
    first = tables[published.PAPER]
    lines = []
    for version in (published.DIPLOMA, published.SLIDES):
        other = [titles[name] for name in first if name in tables[version] and tables[version][name] != first[name]]
        lines.append(f"Cells in which {published.PAPER} and {version} differ: {'; '.join(other)}.")
    gains = {
        version: float(table["edgenes"].split()[0]) - float(table["darts_ensemble"].split()[0])
        for version, table in tables.items()
    }
    absent = [
        f"{titles[name]} is not in the {version}."
        for version, table in tables.items()
        for name in first
        if name not in table
    ]
    signs = ", ".join(f"{gain:+.1f} ({version})" for version, gain in gains.items())
    ours, darts = published.EARLIER_SLIDES["edgenes"], published.EARLIER_SLIDES["darts_ensemble"]
    lines += [
        *absent,
        f"EdgeNES minus DartsEns, points: {signs}.",
        f"Earlier slides (`slides/slides_1.pdf`, page 9), also on CIFAR-100, have {ours} for EdgeNES and {darts} for "
        "DartsEns.",
    ]
    return "\n".join(f"- {line}" for line in lines)
