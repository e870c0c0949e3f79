"""Writes the guide "What a pool of trained networks says" from the measurements of `pool_figures`.

    python -m tests.benchmarks.pool_guide

The whole page is generated: the text is in `pool_page.md` beside this script, and the text between
`<!-- pool: NAME -->` and `<!-- end -->` is made here from `results/pool_figures.json`. The figures are drawn too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens.compare.figures import as_png
from nni_hypens.ensemble.weighting import SCALE
from nni_hypens.utils.files import read_json, write_bytes, write_text
from tests.benchmarks import map_trained_text
from tests.benchmarks.going_on_text import going_on_table, say_going_on
from tests.benchmarks.map_trained_text import percent_text
from tests.benchmarks.paper_guide import replaced
from tests.benchmarks.pool_drawings import calibration_figure, gains_figure
from tests.benchmarks.pool_tables import Results, Row, by_cell, found_or_none, one, percent, signed, table, with_error
from tests.benchmarks.pool_text import HALVING_TITLES, KINDS, KNOWN_TITLES, RULE_TITLES, TITLES, WAY_TITLES
from tests.benchmarks.spaces_text import CANDIDATES, NASBENCH, candidates_table, say_candidates, say_nasbench
from tests.benchmarks.supernet_text import RESULTS as SUPERNET, say_supernet, supernet_table

ROOT = Path(__file__).parents[2]
TEMPLATE, RESULTS = Path(__file__).parent / "pool_page.md", Path(__file__).parent / "results" / "pool_figures.json"
GUIDE, FIGURES = ROOT / "docs" / "guides" / "pool.md", ROOT / "docs" / "pool"
MARKS, LOOKS = Path(__file__).parent / "results" / "marks.json", ("25%", "50%", "70%")
CLEAR = 2.0
"""Standard errors from which a difference is called one."""


# ---- tables -------------------------------------------------------------------------------------------------------


def about_table(results: Results) -> str:
    """What was trained in each cell (table F)."""

    def augmentation(cell: Results) -> str:
        shift, flip = cell["about"]["shift"], cell["about"]["flip"]
        return ", ".join([f"shift {shift}"] * bool(shift) + ["mirrored"] * flip) or "none"

    def value(name: str, form: str = ",d", scale: int = 1) -> Callable[[Results], str]:
        return lambda cell: format(scale * cell["about"][name], form)

    return by_cell(results, "", [
        ("channels", value("channels")), ("training images", value("train_images")), ("epochs", value("epochs")),
        ("augmentation", augmentation), ("architectures", value("architectures")), ("networks", value("networks")),
        ("diverged", value("diverged")), ("training loss at the end, median", value("train_loss", ".2f")),
        ("temperature, median", value("temperature", ".2f")), ("NLL, best", value("best_nll", ".3f")),
        ("NLL, median", value("median_nll", ".3f")), ("accuracy %, median", value("median_accuracy", ".1f", 100)),
    ])  # fmt: skip


def scores_text(row: Row) -> str:
    """Accuracy, ECE and Brier score; their errors are in the results."""
    return f"{100 * row['accuracy']['mean']:.1f} / {100 * row['ece']['mean']:.1f} / {row['brier']['mean']:.3f}"


def selection_means(results: Results) -> str:
    """Mean, lowest and highest difference over cells, for each rule, size and number of images."""
    columns = sorted(
        {(row["members"], row["images"]) for cell in results["cells"].values() for row in cell["selection"]}
    )
    rows = []
    for rule, title in RULE_TITLES.items():
        texts = []
        for members, images in columns:
            found = differences(results, "selection", rule=rule, members=members, images=images)
            values = [100 * value for value, _ in found]
            texts.append(f"{signed(float(np.mean(values)))} ({signed(min(values))} to {signed(max(values))})")
        rows.append([title, *texts])
    heads = [f"{members} of 12, {images:,} images" for members, images in columns]
    return map_trained_text.table(["", *heads], rows)


def sizes_table(results: Results, images: int) -> str:
    """Table C for a number of validation images."""

    def line(kind: str) -> Callable[[Results], str]:
        def text(cell: Results) -> str:
            row, single = (one(cell["sizes"], kind=name, images=images) for name in (kind, "1"))
            assert row is not None and single is not None
            return f"{percent(row)} ({row['flops']['mean'] / single['flops']['mean']:.1f}x)"

        return text

    return by_cell(results, "", [(title, line(kind)) for kind, title in KINDS.items()])


def forecast_table(results: Results) -> str:
    """A line for each forecast and number of trained networks."""
    titles = {
        "outlook": "forecast",
        "without flow": "without flow",
        "without sizes": "without sizes",
        "ridge": "ridge",
        "parameters": "parameters alone",
    }
    known = sorted({row["known"] for cell in results["cells"].values() for row in cell["forecast"]})

    def line(count: int, name: str) -> Callable[[Results], str]:
        return lambda cell: found_or_none(
            one(cell["forecast"], known=count, forecast=name), lambda row: with_error(row, digits=2)
        )

    lines = [(f"{count} trained: {title}", line(count, name)) for count in known for name, title in titles.items()]
    return by_cell(results, "", lines)


def known_text(row: Row) -> str:
    """A correlation and its error."""
    return with_error({"mean": row["spearman"], "se": row["se"]}, digits=2)


def gains_table(results: Results) -> str:
    """Gains of pairs (table E)."""

    def value(name: str, scale: float, digits: int) -> Callable[[Results], str]:
        return lambda cell: with_error(cell["gains"][name], scale, digits)

    def shared(name: str) -> Callable[[Results], str]:
        return lambda cell: found_or_none(one(cell["gains"]["shared"], edges=name), lambda row: with_error(row, 1000))

    return by_cell(results, "", [
        ("two seeds", value("same", 1000, 1)), ("two architectures", value("different", 1000, 1)),
        ("ratio", value("ratio", 1, 2)), ("no common edge", shared("none")), ("one common edge", shared("one")),
        ("two or more", shared("two or more")),
        ("Spearman of gain and disagreement", value("disagreement", 1, 2)),
        ("share of sums over the two", lambda cell: f"{cell['gains']['sums']['share']:.2f}"),
        ("Spearman of such a part and the NLL", lambda cell: f"{cell['gains']['sums']['nll']:.2f}"),
    ])  # fmt: skip


def halving_table(results: Results) -> str:
    """Stopping early against adaptive training (table G)."""

    def text(row: Row) -> str:
        return f"{percent_text(row['difference'], row['low'], row['high'])}, cost {row['cost']:.2f}"

    def own(row: Row) -> str:
        return f"{row['nll']:.3f}, cost {row['cost']:.2f}"

    def line(name: str, show: Callable[[Row], str] = text) -> Callable[[Results], str]:
        return lambda cell: found_or_none(one(cell["halving"], method=name), show)

    lines = [("adaptive training", line("adaptive_random", own))]
    lines += [(title, line(name)) for name, title in HALVING_TITLES.items()]
    return by_cell(results, "", lines)


def marks_table(marks: Results) -> str:
    """Rank correlation of early looks with the end, by schedule (`tests.benchmarks.marks`)."""

    def value(schedule: str, look: str) -> Callable[[Results], str]:
        return lambda cell: f"{cell[schedule][look]['nll']:.2f}"

    def end(schedule: str) -> Callable[[Results], str]:
        return lambda cell: f"{cell[schedule]['test_nll']:.3f}"

    kinds = {"plain": "as they are", "averaged": "averaged", "decayed": "after a short decay"}
    lines = [(f"cosine, {mark}", value("cosine, the same networks", f"{mark} plain")) for mark in LOOKS]
    for kind, title in kinds.items():
        lines += [(f"constant rate, {title}, {mark}", value("can be cut", f"{mark} {kind}")) for mark in LOOKS]
    lines += [
        ("NLL at the end, cosine", end("cosine, the same networks")),
        ("NLL at the end, constant rate", end("can be cut")),
    ]
    return by_cell(marks, "", lines)


def spread_table(results: Results) -> str:
    """Standard deviations between networks, architectures and seeds."""
    names = {"networks": "networks, one of each architecture", "architectures": "architectures", "seeds": "seeds"}

    def line(name: str) -> Callable[[Results], str]:
        return lambda cell: with_error(cell["gains"]["spread"][name], 1000)

    return by_cell(results, "between", [(title, line(name)) for name, title in names.items()])


# ---- sentences ----------------------------------------------------------------------------------------------------


def differences(results: Results, part: str, **where: Any) -> list[tuple[float, float]]:
    """Relative difference and standard error in each cell."""
    rows = [one(cell[part], **where) for cell in results["cells"].values()]
    return [(row["difference"], row["se"]) for row in rows if row is not None]


def verdict(found: Sequence[tuple[float, float]]) -> str:
    """How often a difference is clear, in words."""
    lower, higher = (sum(sign * value > CLEAR * error for value, error in found) for sign in (-1, 1))
    values = [100 * value for value, _ in found]
    return (
        f"{signed(float(np.mean(values)))}% on average ({signed(min(values))} to {signed(max(values))}), "
        f"clearly lower in {lower} and clearly higher in {higher} of {len(found)} columns"
    )


def say_settings(results: Results) -> str:
    """How many draws."""
    used = results["settings"]
    return (
        f"{used['draws']} draws in comparisons of ensembles, {used['forecast_draws']} for forecasts; "
        f"{used['resamples']} bootstrap resamples."
    )


def say_pooling(results: Results) -> str:
    """The ways against the reference, 1,000 images and five members."""
    asked = {
        "log, ensemble": "Log average with one temperature", "log, members": "Log average, members' temperatures first",
        "linear, members": "Linear average, members' temperatures first",
    }  # fmt: skip
    return "\n".join(
        f"- {title}: {verdict(differences(results, 'pooling', way=way, members=5, images=1000))}."
        for way, title in asked.items()
    ) + (f"\n\nA difference is called clear from {CLEAR:g} standard errors.")


def say_selection(results: Results) -> str:
    """Rules against the reference for five members."""
    asked = ("raw", "bagged images", "bagged candidates", "random")
    return "\n".join(
        f"- {RULE_TITLES[rule].capitalize()}, {images:,} images: "
        f"{verdict(differences(results, 'selection', rule=rule, members=5, images=images))}."
        for rule in asked
        for images in (100, 1000)
    )


def say_sizes(results: Results) -> str:
    """All members against five."""
    return "\n".join(
        f"- {KINDS[kind].capitalize()}, {images:,} images: "
        f"{verdict(differences(results, 'sizes', kind=kind, images=images))}."
        for kind in ("3", "12", f"weights {SCALE:g}")
        for images in (100, 1000)
    ) + (f"\n\nThe product's default is a scale of {SCALE:g}.")


def say_forecast(results: Results) -> str:
    """The best score without training, and the forecast against parameters."""
    cells = results["cells"].values()
    before = [name for name in KNOWN_TITLES if " at " not in name and name != "training loss"]
    found = {name: [row["spearman"] for cell in cells if (row := one(cell["known"], score=name))] for name in before}
    means = {name: float(np.mean(values)) for name, values in found.items() if len(values) == len(cells)}
    best = max(means, key=lambda name: means[name])
    lines = [f"- Of what is known before training, {KNOWN_TITLES[best]} ranks best: {means[best]:.2f} on average."]
    for known in sorted({row["known"] for cell in cells for row in cell["forecast"]}):
        ours, other = (
            np.array([row["mean"] for cell in cells if (row := one(cell["forecast"], known=known, forecast=name))])
            for name in ("outlook", "parameters")
        )
        lines.append(
            f"- From {known} trained networks the forecast reaches {ours.mean():.2f} on average, parameters alone "
            f"{other.mean():.2f}; the forecast is ahead in {(ours > other).sum()} of {len(ours)} columns."
        )
    return "\n".join(lines)


def say_halving(results: Results) -> str:
    """Whether halving is better than adaptive training anywhere."""
    count, lines = len(results["cells"]), []
    for name in ("halving", "known end"):
        rows = [row for cell in results["cells"].values() if (row := one(cell["halving"], method=name))]
        better, worse = sum(row["high"] < 0 for row in rows), sum(row["low"] > 0 for row in rows)
        lines.append(
            f"- {HALVING_TITLES[name].capitalize()}: clearly better than adaptive training in {better} and clearly "
            f"worse in {worse} of {count} columns."
        )
    return "\n".join(lines)


def say_marks(marks: Results) -> str:
    """How early looks rank, by schedule."""
    texts = []
    for title, schedule, kind in (
        ("cosine", "cosine, the same networks", "plain"),
        ("constant rate, averaged", "can be cut", "averaged"),
        ("constant rate, after a short decay", "can be cut", "decayed"),
    ):
        values = [[cell[schedule][f"{mark} {kind}"]["nll"] for cell in marks["cells"].values()] for mark in LOOKS]
        means = ", ".join(f"{float(np.mean(one)):.2f} at {mark}" for one, mark in zip(values, LOOKS, strict=True))
        texts.append(f"- Mean over the columns, {title}: {means}.")
    networks = {cell["can be cut"]["networks"] for cell in marks["cells"].values()}
    return "\n".join(texts) + f"\n\n{min(networks)} networks a column."


def say_gains(results: Results) -> str:
    """Seeds against architectures."""
    ratios = [cell["gains"]["ratio"] for cell in results["cells"].values() if cell["gains"]["ratio"]]
    if not ratios:
        return "No architecture has several seeds yet."
    values, below = [ratio["mean"] for ratio in ratios], sum(r["mean"] + CLEAR * r["se"] < 1 for r in ratios)
    return (
        f"Two seeds of one architecture gain {100 * float(np.mean(values)):.0f}% of what two architectures gain, on "
        f"average ({100 * min(values):.0f} to {100 * max(values):.0f}%), clearly less in {below} of {len(ratios)} "
        "columns."
    )


# ---- the page -----------------------------------------------------------------------------------------------------


def parts(
    results: Results, marks: Results, supernet: Results, candidates: Results, nasbench: Results
) -> dict[str, str]:  # fmt: skip
    """Name of each generated part of the guide -> its text."""
    rest = {name: title for name, title in WAY_TITLES.items() if name != "linear, ensemble"}
    rules = {name: title for name, title in RULE_TITLES.items() if name != "calibrated"}
    return {
        "about": about_table(results), "settings": say_settings(results),
        "pooling_3": table(results, "pooling", "way", rest, members=3, images=1000),
        "pooling_5": table(results, "pooling", "way", rest, members=5, images=1000),
        "scores": table(results, "pooling", "way", WAY_TITLES, scores_text, members=5, images=1000),
        "say_pooling": say_pooling(results), "selection": selection_means(results),
        "selection_100": table(results, "selection", "rule", rules, members=5, images=100),
        "selection_1000": table(results, "selection", "rule", rules, members=5, images=1000),
        "say_selection": say_selection(results), "sizes_100": sizes_table(results, 100),
        "sizes_1000": sizes_table(results, 1000), "say_sizes": say_sizes(results),
        "known": table(results, "known", "score", KNOWN_TITLES, known_text), "forecast": forecast_table(results),
        "say_forecast": say_forecast(results), "gains": gains_table(results), "say_gains": say_gains(results),
        "spread": spread_table(results), "halving": halving_table(results), "say_halving": say_halving(results),
        "marks": marks_table(marks), "say_marks": say_marks(marks),
        "going_on": going_on_table(results), "say_going_on": say_going_on(results),
        "supernet": supernet_table(supernet, TITLES), "say_supernet": say_supernet(supernet),
        "candidates": candidates_table(candidates), "say_candidates": say_candidates(candidates),
        "say_nasbench": say_nasbench(nasbench),
    }  # fmt: skip


def written(*measured: Results) -> str:
    """The guide; what was measured is as for `parts`."""
    return replaced(TEMPLATE.read_text(encoding="utf-8"), "pool", parts(*measured))


def main() -> None:
    results = read_json(RESULTS)
    FIGURES.mkdir(exist_ok=True)
    write_bytes(FIGURES / "calibration.png", as_png(calibration_figure(results)))
    write_bytes(FIGURES / "pair_gains.png", as_png(gains_figure(results)))
    write_text(GUIDE, written(results, *map(read_json, (MARKS, SUPERNET, CANDIDATES, NASBENCH))))


if __name__ == "__main__":
    main()
