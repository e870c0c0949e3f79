"""Tables, sentences and figures of the paper's further experiments: `paper_wide`, `paper_iterations`,
`paper_divergence` and `paper_annealing`, each from its own results file.

An experiment that has not been run has a sentence that says so instead.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import ttest_ind

from nni_hypens.report.svg import FIRST, INK, LIGHT, SECOND, drawing
from nni_hypens.utils.files import read_json, replacing
from tests.benchmarks import paper_published as published
from tests.benchmarks.paper_figures import DPI, Results, as_markdown, frame, spread, verdict
from tests.benchmarks.paper_runs import RESULTS

STUDIES = ("paper_wide", "paper_iterations", "paper_divergence", "paper_annealing")
NOT_RUN = "**This has not been run here yet.**"
SOURCES = {"hypernetwork": FIRST, "fixed": SECOND, "random": INK}
SOURCE_TITLES = {"hypernetwork": "hypernetwork", "fixed": "one search each", "random": "random deviation"}
FORMS = {"linear": "the paper's form", "target": "our form"}


def with_more(results: Results, folder: Path = RESULTS) -> Results:
    """Results of `paper_tables`, with the rows of the experiments that were run, and about each of them in ``more``."""
    rows, more = dict(results["rows"]), {}
    for name in STUDIES:
        path = folder / f"{name}.json"
        if path.exists():
            more[name] = read_json(path)
            own = more[name].pop("rows")
            more[name]["data"] = list(dict.fromkeys(row["data"] for part in own.values() for row in part))
            rows |= own
    return {**results, "rows": rows, "more": more}


def ran(results: Results, name: str) -> bool:
    """Whether there are rows of an experiment."""
    return bool(results["rows"].get(name))


def own_command(results: Results, study: str) -> str:
    """The command that made the results of an experiment, or that would."""
    about = results.get("more", {}).get(study)
    variable = "CIFAR10_NPZ=cifar10.npz " if study == "paper_divergence" else ""
    usual = f"python -m tests.benchmarks.{study} --out runs/{study} --results tests/benchmarks/results/{study}.json"
    return f"```bash\n{variable}{about['command'] if about else usual}\n```"


def say_setting(results: Results, study: str) -> str:
    """Sizes of an experiment."""
    about = results.get("more", {}).get(study)
    if about is None:
        return NOT_RUN
    own, seeds = about["settings"], len(about["seeds"])
    said = (
        f"{', '.join(about['data'])}: {seeds} {'seeds' if seeds > 1 else 'seed'}, {own['train_size']:,} training "
        f"images, batches of "
        f"{own['batch_size']}, {own['search_epochs']} epochs of search and {own['epochs']} of training, "
        f"{own['space']} with channels={own['space_args']['channels']}."
    )
    left_out = [f" {data.rsplit(':', 1)[-1]} was left out: {reason}." for data, reason in about["skipped"].items()]
    return said + "".join(left_out)


# ---- search small, train wide -------------------------------------------------------------------------------------

WIDE_COLUMNS = {"base": "base, single %", "base_ensemble": "seeds of the base %", "edgenes": "EdgeNES %"}


def wide_table(results: Results) -> pd.DataFrame:
    """Accuracy by inputs per node and by how the networks were trained."""
    rows = frame(results, "wide")
    found = []
    for (chosen, trained), own in rows.groupby(["n_chosen", "trained"]):
        about = {
            "inputs per node": str(chosen),
            "edges": str(own["edges"].iloc[0]),
            "trained": "one cell" if trained == "small" else "two wider cells",
            "parameters of the base": f"{own['parameters'].mean():,.0f}",
        }
        marks = {title: spread(own[name]) for name, title in WIDE_COLUMNS.items()}
        seconds = {"search, s": f"{own['search_s'].mean():.0f}", "a network, s": f"{own['network_s'].mean():.1f}"}
        found.append(about | marks | seconds)
    return pd.DataFrame(found)


def say_wide(results: Results) -> str:
    """Whether wider networks are better, and whether a second input is."""
    rows = frame(results, "wide").set_index("seed")

    def of(chosen: int, trained: str) -> pd.Series:
        return rows[(rows["n_chosen"] == chosen) & (rows["trained"] == trained)]["edgenes"]

    lines = [
        f"- Two wider cells against one, {chosen} {'input' if chosen == 1 else 'inputs'} per node, EdgeNES, paired by "
        f"seed: {verdict(of(chosen, 'wide'), of(chosen, 'small'))}."
        for chosen in (1, 2)
    ]
    lines.append(f"- Two inputs against one, wider cells: {verdict(of(2, 'wide'), of(1, 'wide'))}.")
    return "\n".join(lines)


# ---- accuracy against iterations ----------------------------------------------------------------------------------

METHODS = {"edgenes": ("EdgeNES", FIRST), "darts_ensemble": ("DartsEns", SECOND)}


def iterations_table(results: Results) -> pd.DataFrame:
    """Accuracy and cost after some epochs of search."""
    rows = frame(results, "iterations")
    found = []
    for epochs, own in rows.groupby("epochs"):
        cells = {"epochs of search": str(epochs)}
        for name, (title, _) in METHODS.items():
            cells[f"{title} %"] = spread(own[own["method"] == name]["accuracy"])
        for name, (title, _) in METHODS.items():
            cells[f"{title}: search, s"] = f"{own[own['method'] == name]['search_s'].mean():.0f}"
        found.append(cells)
    return pd.DataFrame(found)


def own_areas(results: Results) -> dict[str, np.ndarray]:
    """Method -> area under each seed's curve by trapezoids, over the width of the curve: a mean accuracy in %."""
    rows = frame(results, "iterations")
    areas = {}
    for name in METHODS:
        curves = rows[rows["method"] == name].pivot(index="seed", columns="epochs", values="accuracy").sort_index()
        epochs = curves.columns.to_numpy(dtype=float)
        areas[name] = np.trapezoid(curves.to_numpy(), epochs, axis=1) / (epochs[-1] - epochs[0])
    return areas


def say_iterations(results: Results) -> str:
    """The test of the areas, as the authors make it."""
    areas = own_areas(results)
    means = {METHODS[name][0]: spread(values) for name, values in areas.items()}
    said = f"Mean accuracy under the curves: EdgeNES {means['EdgeNES']}, DartsEns {means['DartsEns']}"
    if len(areas["edgenes"]) < 2:
        return f"{said}, of one seed, so there is no test."
    p = float(ttest_ind(areas["edgenes"], areas["darts_ensemble"]).pvalue)
    told = "a measurable difference" if p < 0.05 else "no measurable difference"
    rows = frame(results, "iterations")
    cost = {name: rows[rows["method"] == name].groupby("seed")["search_s"].max().mean() for name in METHODS}
    return (
        f"{said}; Student's t-test between them, two-sided, gives p = {p:.3f}: {told}. To the last epoch, the search "
        f"of EdgeNES takes {cost['edgenes'] / cost['darts_ensemble']:.2f} times as long as those of DartsEns."
    )


def draw_iterations(figure: Figure, results: Results) -> str:
    """Accuracy against epochs of search."""
    axes, rows, said = figure.add_subplot(), frame(results, "iterations"), []
    for name, (title, colour) in METHODS.items():
        own = rows[rows["method"] == name]
        found = own.groupby("epochs")["accuracy"].mean()
        axes.scatter(own["epochs"], own["accuracy"], s=12, facecolors="none", edgecolors=LIGHT[colour], linewidths=0.8)
        axes.plot(found.index, found, "D-", markersize=4, color=LIGHT[colour], label=title)
        said.append(f"{title} {', '.join(f'{epochs}: {mean:.1f}' for epochs, mean in found.items())}")
    axes.set(xlabel="epochs of search, all searches together", ylabel="accuracy of the ensemble, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=2)
    return (
        f"Test accuracy of the ensemble against epochs of search, mean over seeds, a dot for each. {'; '.join(said)}."
    )


# ---- the first paper ----------------------------------------------------------------------------------------------


def divergence_table(results: Results) -> pd.DataFrame:
    """Accuracy and choices in common with the base, by data set, form of the regulariser and its weight."""
    rows = frame(results, "divergence")
    found = []
    for (data, form, weight), own in rows.groupby(["data", "form", "weight"]):
        cells = {"data": data, "form": FORMS[form], "weight": f"{weight:.0f}"}
        by_source = {source: own[own["source"] == source] for source in SOURCES}
        for source, title in SOURCE_TITLES.items():
            cells[f"{title} %"] = spread(by_source[source]["accuracy"])
        for source in ("hypernetwork", "fixed"):
            part = by_source[source]
            shared = f"{part['shared'].mean():.1f}, {100 * part['matching'].mean():.0f}%"
            cells[f"{SOURCE_TITLES[source]}: shared edges, equal choices"] = shared
        accuracy, equal = published.FIRST_TABLE.get(int(weight), (None, 0))
        theirs = accuracy is not None and form == "linear" and data.startswith("fashion")
        share = 100 * equal / published.FIRST_CHOICES
        cells["paper: accuracy %, equal choices"] = f"{accuracy:.1f}, {share:.0f}%" if theirs else "-"
        found.append(cells)
    return pd.DataFrame(found)


def say_divergence(results: Results) -> str:
    """Whether the weight is a dial, and what it costs."""
    rows = frame(results, "divergence")
    lines = []
    for form, title in FORMS.items():
        own = rows[(rows["form"] == form) & (rows["source"] == "hypernetwork") & (rows["weight"] > 0)]
        means = own.groupby("weight")["shared"].mean()
        lines.append(
            f"- With {title}, the hypernetwork's architectures share {means.iloc[0]:.1f} edges with the base at "
            f"weight {means.index[0]:.0f} and {means.iloc[-1]:.1f} at {means.index[-1]:.0f}, on average over data sets."
        )
        for data, part in rows[(rows["form"] == form) & (rows["weight"] > 0)].groupby("data"):
            by = {source: part[part["source"] == source].groupby("seed")["accuracy"].mean() for source in SOURCES}
            pairs = [
                f"against {SOURCE_TITLES[other]} {verdict(by['hypernetwork'], by[other])}"
                for other in ("fixed", "random")
            ]
            lines.append(f"- {data}, {title}, hypernetwork, all weights, paired by seed: {'; '.join(pairs)}.")
    return "\n".join(lines)


def draw_divergence(figure: Figure, results: Results) -> str:
    """The first paper's three figures for each data set, with its form of the regulariser."""
    rows, limits = (frame(results, name) for name in ("divergence", "divergence_limits"))
    rows, limits = rows[rows["form"] == "linear"], limits[limits["form"] == "linear"]
    data_sets, said = list(dict.fromkeys(rows["data"])), []
    axes = figure.subplots(len(data_sets), 3, squeeze=False)
    for line, data in zip(axes, data_sets, strict=True):
        for place, (table, x, y, label) in enumerate(
            (
                (rows, "weight", "accuracy", "accuracy, %"),
                (rows, "weight", "matching", "equal choices"),
                (limits, "limit", "accuracy", "ensemble, %"),
            )
        ):
            for source, colour in SOURCES.items():
                own = table[(table["data"] == data) & (table["source"] == source)].groupby(x)[y].mean()
                title = SOURCE_TITLES[source] if place == 0 and data == data_sets[0] else None
                line[place].plot(own.index, own, "o-", markersize=3, color=LIGHT[colour], label=title)
                if source == "hypernetwork":
                    marks = ", ".join(f"{at:.0f}: {value:.{2 if y == 'matching' else 1}f}" for at, value in own.items())
                    said.append(f"{data}, {label} {marks}")
            line[place].set(xlabel="weight up to" if x == "limit" else "weight", ylabel=label)
        line[0].set_title(data, loc="left", fontsize=8)
    figure.legend(loc="outside upper center", ncols=3, fontsize=7, handlelength=1.4, columnspacing=1.2)
    return (
        "Accuracy of networks, share of choices equal to the base's, and accuracy of ensembles, against the weight of "
        f"the Jensen-Shannon divergence in the paper's form, means over seeds. Hypernetwork: {'; '.join(said)}."
    )


# ---- all of them --------------------------------------------------------------------------------------------------

FIGURES: dict[str, tuple[str, float, Callable[[Figure, Results], str]]] = {
    "iterations": ("iterations", 2.8, draw_iterations),
    "divergence": ("divergence", 4.4, draw_divergence),
}
"""Name: rows that it needs, height in inches, function that draws and returns the text alternative."""
PARTS: dict[str, tuple[str, Callable[[Results], Any]]] = {
    "wide": ("wide", wide_table),
    "say_wide": ("wide", say_wide),
    "iterations": ("iterations", iterations_table),
    "say_iterations": ("iterations", say_iterations),
    "divergence": ("divergence", divergence_table),
    "say_divergence": ("divergence", say_divergence),
}
"""Name: rows that it needs, table or sentence."""


def parts(results: Results) -> dict[str, str]:
    """Name of each generated part of the guide about these experiments -> its text."""
    found = {}
    for name, (needed, make) in PARTS.items():
        made = make(results) if ran(results, needed) else ""  # the part with its settings says that it was not run
        found[name] = as_markdown(made).strip() if isinstance(made, pd.DataFrame) else made
    for study in STUDIES:
        found[f"{study}_command"] = own_command(results, study)
        found[f"{study}_setting"] = say_setting(results, study)
    shown = labels(results)
    for name in FIGURES:
        found[f"figure_{name}"] = f"![{shown[name]}](../paper/{name}.png)" if name in shown else ""
    return found


def labels(results: Results) -> dict[str, str]:
    """Text alternative of each figure that there are results for."""
    found = {}
    for name, (needed, height, draw) in FIGURES.items():
        if ran(results, needed):
            with drawing(height, light=True) as figure:
                found[name] = draw(figure, results)
    return found


def draw_figures(results: Results, folder: Path) -> list[Path]:
    """Write each figure that there are results for as PNG, with its text alternative in the file's metadata.

    Args:
        results: From `with_more`.
        folder: Where they go.
    """
    paths = []
    for name in labels(results):
        _, height, draw = FIGURES[name]
        paths.append(folder / f"{name}.png")
        with drawing(height, light=True) as figure, replacing(paths[-1]) as temporary:
            label = draw(figure, results)
            figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Description": label})
    return paths
