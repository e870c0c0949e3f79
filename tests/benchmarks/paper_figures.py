"""Tables and figures of the measurements of `paper_tables`, beside the numbers of the paper.

The paper: P. Babkin, O. Bakhteev et al., "Differentiable algorithm for searching ensembles of deep learning models with
diversity control" (2024). Its numbers are in `paper_published`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import t

from nni_hypens.report.svg import FIRST, INK, LIGHT, MUTED, SECOND, drawing
from nni_hypens.utils.files import replacing
from tests.benchmarks import paper_published as published
from tests.benchmarks.paper_claims import areas_table, edges_table, versions_table

Results = dict[str, Any]
DPI = 200
HEIGHT = 2.8  # inches
TITLES = {
    "darts": "DARTS, single",
    "random": "random, single",
    "darts_ensemble": "DartsEns",
    "random_pool": "Random-NES",
    "random_deviations": "RandomD-NES",
    "edgenes": "EdgeNES",
    "base_ensemble": "seeds of the base",
}


def spread(values: Iterable[float]) -> str:
    """Mean ± standard deviation of a sample."""
    found = np.array(list(values), dtype=float)
    return f"{found.mean():.1f}" + (f" ± {found.std(ddof=1):.1f}" if len(found) > 1 else "")


def interval(ours: pd.Series, other: pd.Series) -> tuple[float, float, float]:
    """Mean of the differences of pairs, and its 95% t interval: everything where there is one pair."""
    pairs = (ours - other).to_numpy()
    half = math.inf
    if len(pairs) > 1:
        half = float(t.ppf(0.975, len(pairs) - 1)) * pairs.std(ddof=1) / math.sqrt(len(pairs))
    return pairs.mean(), pairs.mean() - half, pairs.mean() + half


def difference(ours: pd.Series, other: pd.Series) -> str:
    """The same for tables."""
    mean, low, high = interval(ours, other)
    return f"{mean:+.1f}" + (f" ({low:+.1f} to {high:+.1f})" if high < math.inf else "")


def verdict(ours: pd.Series, other: pd.Series) -> str:
    """The same for sentences."""
    _, low, high = interval(ours, other)
    if high == math.inf:
        return f"{difference(ours, other)} points, of one seed"
    said = "higher" if low > 0 else "lower" if high < 0 else "no measurable difference"
    return f"{difference(ours, other)} points, {said}"


def frame(results: Results, name: str) -> pd.DataFrame:
    """Rows of the results under a name."""
    return pd.DataFrame(results["rows"][name])


# ---- tables -------------------------------------------------------------------------------------------------------


def setup_table(results: Results) -> pd.DataFrame:
    """What was run."""
    own = results["settings"]
    name = own["data"].rsplit(":", 1)[-1]
    images = [
        f"{count:,}" if count else "all" for count in (own["train_size"], own["validation_size"], own["test_size"])
    ]
    arguments = ", ".join(f"{key}={value}" for key, value in own["space_args"].items())
    searches = f"EdgeNES {own['search_epochs']} epochs, DARTS {own['darts_epochs']}"
    rows = [
        (
            "data",
            f"{name}: {' / '.join(images)} training, validation and test images",
            "CIFAR-100; annealing: CIFAR-10",
        ),
        ("space", f"{own['space']}, {arguments}" if arguments else own["space"], "one cell"),
        ("search", searches, "150 epochs"),
        ("training of a network", f"{own['epochs']} epochs, batches of {own['batch_size']}", "-"),
        ("seeds", f"{len(results['seeds'])}, with {own['per_lam']} networks for each number of shared edges", "7 runs"),
    ]
    return pd.DataFrame(rows, columns=["", "here", "paper"])


def methods_table(results: Results) -> pd.DataFrame:
    """Accuracy and cost of each method, mean and sd over seeds, beside the paper's."""
    rows = frame(results, "methods").set_index("seed")
    ours = rows[rows["method"] == "edgenes"]["accuracy"]
    found = []
    for name, title in TITLES.items():
        own = rows[rows["method"] == name]
        found.append(
            {
                "method": title,
                "accuracy %": spread(own["accuracy"]),
                "EdgeNES minus this, points": "-" if name == "edgenes" else difference(ours, own["accuracy"]),
                "NLL": f"{own['nll'].mean():.3f}",
                "search, s": f"{own['search_s'].mean():.0f}",
                "networks": f"{own['networks'].mean():.0f}",
                "training, s": f"{own['training_s'].mean():.0f}",
                "paper: accuracy %": published.MAIN_TABLE[published.PAPER].get(name, "-"),
                "paper: search, GPU h": str(published.SEARCH_HOURS.get(name, "-")),
            }
        )
    return pd.DataFrame(found)


def shared_table(results: Results) -> pd.DataFrame:
    """Accuracy of single networks by the edges they share with the base, mean and sd over networks."""
    rows = frame(results, "networks")
    found = []
    for shared in sorted(set(rows.loc[rows["source"] == "hypernetwork", "shared"])):
        cells = {"shared edges": str(shared)}
        for source, title in (("hypernetwork", "hypernetwork"), ("random", "random deviation")):
            own = rows[(rows["source"] == source) & (rows["shared"] == shared)]
            cells[f"{title} %"] = spread(own["accuracy"])
        for source, title in (("hypernetwork", "hypernetwork"), ("random", "random deviation")):
            known = published.SHARED[source]
            cells[f"paper: {title} %"] = known[shared] if shared < len(known) else "-"
        found.append(cells)
    base = rows[rows["source"] == "base"]
    last = {"shared edges": f"{base['shared'].iloc[0]} (the base)", "hypernetwork %": spread(base["accuracy"])}
    return pd.DataFrame([*found, last]).fillna("-")


def versions(results: Results) -> pd.DataFrame:
    """The published versions of the table of methods, beside ours."""
    rows = frame(results, "methods")
    return versions_table(TITLES, {name: spread(rows[rows["method"] == name]["accuracy"]) for name in TITLES})


def warmup_table(results: Results) -> pd.DataFrame:
    """Accuracy of single networks from searches with and without warm-up, mean and sd over networks."""
    rows = frame(results, "networks")
    found = []
    for shared in sorted(set(rows.loc[rows["source"] == "no_warmup", "shared"])):
        cells = {"shared edges": str(shared)}
        for source, title in (("hypernetwork", "with warm-up"), ("no_warmup", "without")):
            own = rows[(rows["source"] == source) & (rows["shared"] == shared)]
            cells[f"{title} %"] = spread(own["accuracy"])
        found.append(cells)
    return pd.DataFrame(found)


def annealing_table(results: Results) -> pd.DataFrame:
    """What is published about annealing the regulariser, the paper's table and a slide's, and ours if it was run."""
    own = pd.DataFrame(results["rows"].get("annealing", []), columns=["seed", "variant", "shared", "accuracy"])
    rows = []
    for shared, (both, neither) in published.ANNEALED.items():
        slide = [f"{value:.1f}" for value in published.ANNEALED_SLIDE[shared]]
        names = ("slide: constant weight %", "slide: weight annealed %", "slide: temperature annealed %")
        rows.append(
            {"shared edges": str(shared), "paper: both annealed %": both, "paper: both constant %": neither}
            | dict(zip(names, slide, strict=True))
            | {
                f"here: {variant} %": spread(found.loc[found["shared"] == shared, "accuracy"])
                for variant, found in own.groupby("variant", sort=False)
            }
        )
    return pd.DataFrame(rows)


def lengths_table(results: Results) -> pd.DataFrame:
    """Ensembles of searches of several lengths."""
    rows = frame(results, "lengths")
    found = [
        {
            "epochs of search": str(epochs),
            "search, s": f"{own['search_s'].mean():.0f}",
            "ensemble accuracy %": spread(own["accuracy"]),
        }
        for epochs, own in rows.groupby("epochs")
    ]
    return pd.DataFrame(found)


def limits_table(results: Results) -> pd.DataFrame:
    """Ensembles by the fewest edges that members share with the base."""
    rows = frame(results, "limits")
    found = [
        {
            "shared edges at least": str(limit),
            "networks": f"{own['networks'].mean():.0f}",
            "chosen ensemble %": spread(own["accuracy"]),
            "mean of every ensemble %": spread(own["mean_accuracy"]),
        }
        for limit, own in rows.groupby("limit")
    ]
    return pd.DataFrame(found)


TABLES: dict[str, Callable[[Results], pd.DataFrame]] = {
    "setup": setup_table,
    "methods": methods_table,
    "versions": versions,
    "edges": lambda _: edges_table(),
    "shared": shared_table,
    "warmup": warmup_table,
    "annealing": annealing_table,
    "lengths": lengths_table,
    "areas": lambda _: areas_table(),
    "limits": limits_table,
}


def markdown_tables(results: Results) -> dict[str, str]:
    """Every table as Markdown."""
    return {name: as_markdown(table(results)) for name, table in TABLES.items()}


def as_markdown(table: pd.DataFrame) -> str:
    """A table of text as Markdown."""
    lines = [table.columns.tolist(), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ---- figures ------------------------------------------------------------------------------------------------------


def draw_dial(axes: Axes, results: Results) -> str:
    """Shared edges against lam."""
    rows = frame(results, "dial")
    found = rows.groupby("lam")["shared"].agg(["mean", "min", "max"])
    top = found.index.max()
    axes.plot([0, top], [0, top], color=LIGHT[MUTED], linestyle="--", linewidth=1, label="as requested")
    axes.fill_between(found.index, found["min"], found["max"], color=LIGHT[FIRST], alpha=0.2, linewidth=0, step="mid")
    axes.step(found.index, found["mean"], color=LIGHT[FIRST], where="mid", label="mean over seeds")
    axes.set(xlabel="lam (requested shared edges)", ylabel="shared edges with the base")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    error = (rows["shared"] - rows["lam"]).abs().mean()
    whole = [f"{lam:.0f}: {found.loc[lam, 'mean']:.1f}" for lam in found.index if lam == int(lam)]
    return f"Shared edges against lam, mean over seeds. {', '.join(whole)}. Mean absolute error {error:.2f} edges."


def draw_accuracy(axes: Axes, results: Results) -> str:
    """Accuracy of single networks against lam."""
    rows = frame(results, "networks")
    said = []
    for source, title, colour, shift in (
        ("hypernetwork", "hypernetwork", FIRST, -0.06),
        ("random", "random deviation", SECOND, 0.06),
        ("base", "the base", INK, 0.0),
    ):
        found = rows[rows["source"] == source].groupby("shared")["accuracy"].agg(["mean", "std"])
        errors = found["std"].fillna(0.0)
        axes.errorbar(
            found.index + shift,
            found["mean"],
            errors,
            fmt="o-",
            markersize=4,
            capsize=2,
            color=LIGHT[colour],
            label=title,
        )
        said.append(f"{title} {', '.join(f'{shared}: {mean:.1f}' for shared, mean in found['mean'].items())}")
    axes.set(xlabel="lam (shared edges with the base)", ylabel="accuracy of a network, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return f"Test accuracy of single networks against lam, mean and standard deviation. {'; '.join(said)}."


def draw_lengths(axes: Axes, results: Results) -> str:
    """Accuracy of the ensemble against the length of the search."""
    rows = frame(results, "lengths")
    said = _means(axes, rows, "epochs", "accuracy", FIRST, "")
    axes.set(xlabel="epochs of search", ylabel="accuracy of the ensemble, %", xticks=sorted(set(rows["epochs"])))
    return f"Test accuracy of the ensemble against epochs of search, mean over seeds, a dot for each. {said}."


def draw_limits(axes: Axes, results: Results) -> str:
    """Accuracy of the ensemble against the fewest shared edges that are allowed."""
    rows = frame(results, "limits")
    chosen = _means(axes, rows, "limit", "accuracy", FIRST, "chosen on validation data")
    every = _means(axes, rows, "limit", "mean_accuracy", SECOND, "mean of every choice")
    axes.set(xlabel="diversity limit (fewest shared edges)", ylabel="accuracy of the ensemble, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    text = (
        "Test accuracy of the ensemble against the fewest shared edges of its members, mean over seeds, a dot for each."
    )
    return f"{text} Chosen on validation data {chosen}; mean of every choice {every}."


def _legend(axes: Axes) -> None:
    """Above the drawing, where it hides nothing."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.legend(loc="outside upper center", ncols=3)


def _means(axes: Axes, rows: pd.DataFrame, x: str, y: str, colour: str, title: str) -> str:
    found = rows.groupby(x)[y].mean()
    axes.scatter(rows[x], rows[y], s=12, facecolors="none", edgecolors=LIGHT[colour], linewidths=0.8)
    axes.plot(found.index, found, "D-", markersize=4, color=LIGHT[colour], label=title)
    return ", ".join(f"{place}: {mean:.1f}" for place, mean in found.items())


FIGURES: dict[str, Callable[[Axes, Results], str]] = {
    "dial": draw_dial,
    "accuracy": draw_accuracy,
    "lengths": draw_lengths,
    "limits": draw_limits,
}


def labels(results: Results) -> dict[str, str]:
    """Text alternative of each figure."""
    found = {}
    for name, draw in FIGURES.items():
        with drawing(HEIGHT, light=True) as figure:
            found[name] = draw(figure.add_subplot(), results)
    return found


def draw_figures(results: Results, folder: Path) -> list[Path]:
    """Write each figure as PNG, with its text alternative in the file's metadata.

    Args:
        results: As `paper_tables` writes them.
        folder: Where they go.
    """
    paths = []
    for name, draw in FIGURES.items():
        paths.append(folder / f"{name}.png")
        with drawing(HEIGHT, light=True) as figure, replacing(paths[-1]) as temporary:
            label = draw(figure.add_subplot(), results)
            figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Description": label})
    return paths
