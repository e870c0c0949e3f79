"""Sections of a report on results: the verdict, the ensemble against all others, and every metric on test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.ticker import MaxNLocator

from nni_hypens.report import html as page
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import mappings, number, short
from nni_hypens.report.svg import FIRST, INK, MUTED, SECOND, drawing, inline_svg

USEFUL_RANKING = 0.3
"""Spearman correlation below which the supernet's ranking is called little better than chance."""
_NAMES = {"accuracy": "accuracy", "nll": "NLL"}


class Verdict(NamedTuple):
    """The ensemble against its best member on test data.

    Attributes:
        outcome: "better", "worse", "equal" or "mixed" over accuracy and NLL together.
        sentence: The sentence that says it, with its uncertainty where that was measured.
        chance: Those of accuracy and NLL that differ, but with an interval that holds zero.
        differs: Those of accuracy and NLL that differ.
    """

    outcome: str
    sentence: str
    chance: tuple[str, ...]
    differs: tuple[str, ...]


def _intervals_of(results: Mapping[str, Any], name: str) -> dict[str, tuple[float, float]]:
    """Interval of ensemble minus a model, for accuracy and NLL, as far as they were measured."""
    found = results.get("intervals") or {}
    rows = {key: difference_data(found, key) for key in _NAMES}
    return {key: (row.low, row.high) for key in rows for row in rows[key] if row.name == name}


def verdict(results: Mapping[str, Any], n_test: int | None) -> Verdict:
    """Compare the ensemble with its best member on test data.

    Args:
        results: results.json with `ensemble` and `best_member` (accuracy 0..1, nll in nats), and `intervals` if known.
        n_test: Number of test examples, if known.
    """
    # Compared as printed, so that the sentence never calls two numbers different that look the same.
    ours, best = ({k: round(results[part][k], 4) for k in _NAMES} for part in ("ensemble", "best_member"))
    gain, loss = ours["accuracy"] - best["accuracy"], ours["nll"] - best["nll"]
    accuracy = "is more accurate than" if gain > 0 else "is less accurate than" if gain < 0 else "is as accurate as"
    nll = "a lower (better)" if loss < 0 else "a higher (worse)" if loss > 0 else "the same"
    ends = _intervals_of(results, f"best member ({results['best_member'].get('id')})")
    points = f", {100 * gain:+.2f} points" if gain else ""
    if gain and n_test:
        points += f", which is {round(abs(gain) * n_test)} of {n_test} test examples"
    if "accuracy" in ends:
        points += f"; 95% interval {_range(ends['accuracy'], 'accuracy')}"
    less = f", {loss:+.4f}; 95% interval {_range(ends['nll'], 'nll')}" if "nll" in ends else ""
    signs = {value > 0 for value in (gain, -loss) if value}
    outcome = "equal" if not signs else "mixed" if len(signs) > 1 else "better" if signs == {True} else "worse"
    count = len(results.get("members") or ())
    who = f"The ensemble of {count} member{'s' if count != 1 else ''}" if count else "The ensemble"
    sentence = (
        f"{who} {accuracy} its best member ({ours['accuracy']:.2%} against {best['accuracy']:.2%}{points}) "
        f"{'but' if outcome == 'mixed' else 'and'} has {nll} NLL ({ours['nll']:.4f} against {best['nll']:.4f}{less})."
    )
    differs = tuple(key for key, value in (("accuracy", gain), ("nll", loss)) if value)
    chance = tuple(key for key in differs if key in ends and ends[key][0] <= 0 <= ends[key][1])
    return Verdict(outcome, sentence, chance, differs)


def _range(ends: tuple[float, float], key: str) -> str:
    """An interval of a difference, in points or nats."""
    low, high = (100 * end if key == "accuracy" else end for end in ends)
    return f"{low:+.2f} to {high:+.2f}" if key == "accuracy" else f"{low:+.4f} to {high:+.4f}"


def verdict_html(run: RunContent) -> str:
    """The verdict in a frame, with what a reader must know beside it."""
    said = verdict(run.results, run.n_test)
    head, look = said.outcome.capitalize(), said.outcome
    if said.chance and said.chance == said.differs:
        head, look = f"{head}, but it may be chance", "equal"
    elif said.chance:
        head += f", though the difference in {_NAMES[said.chance[0]]} may be chance"
    notes = "".join(f"<p>{page.esc(note)}</p>" for note in _caveats(run))
    return f'<div class="verdict {look}"><p><strong>{head}.</strong> {page.esc(said.sentence)}</p>{notes}</div>'


def _caveats(run: RunContent) -> list[str]:
    """Say what a reader must know so as not to read too much into the verdict."""
    ours, best = run.results["ensemble"], run.results["best_member"]
    notes = []
    if len(run.members) == 1:
        notes.append("With one member there is nothing to average: only the temperature can make a difference.")
    if run.n_test:
        error = (ours["accuracy"] * (1 - ours["accuracy"]) / run.n_test) ** 0.5
        notes.append(
            f"One standard error of this accuracy on {run.n_test} test examples is {100 * error:.2f} points: "
            "differences of that size may be chance."
        )
    notes += _calibrated_note(run.results)
    ranking = run.results.get("ranking") or {}
    rank = number(ranking.get("spearman"))
    alone = ranking.get("method") != "promising"  # which was chosen by sizes as well, and so correlates less
    if rank is not None and rank < USEFUL_RANKING and alone:
        notes.append(
            f"The supernet's order of the {ranking['candidates']} candidates says little about how they trained "
            f"(Spearman {rank:+.2f}): which of them to train was close to chance."
        )
    for name, rows, bar in (("members", run.members, best), ("baselines", run.results.get("baselines") or (), ours)):
        better = [row for row in rows if (nll := number(row.get("nll"))) is not None and nll < bar["nll"]]
        if better:
            named = ", ".join(f"{row.get('id', row.get('name'))} ({row['nll']:.4f})" for row in better)
            against = "the best member" if bar is best else "the ensemble"
            notes.append(f"On test data these {name} have a lower NLL than {against}: {named}.")
    return notes


def _calibrated_note(results: Mapping[str, Any]) -> list[str]:
    """The ensemble against a best member with a temperature of its own: what is left beside calibration."""
    name = "best member, calibrated"
    found = results.get("intervals") or {}
    row = next((row for row in difference_data(found, "nll") if row.name == name), None)
    if row is None:
        return []
    change = f"{abs(row.value):.4f} {'lower' if row.value < 0 else 'higher'}"
    note = f"Against the best member with a temperature of its own, the ensemble's NLL is {change} "
    note += f"(95% interval {_range((row.low, row.high), 'nll')})"
    return [note + (": that may be chance." if row.sign == 0 else ".")]


def comparison(run: RunContent) -> str:
    """The section that holds the ensemble against members and baselines; empty for an older folder."""
    found = run.results.get("intervals") or {}
    figures: list[str] = []
    rows: list[str] = []
    texts = {
        "accuracy": "Right of zero the ensemble is more accurate.",
        "nll": "Left of zero the ensemble has the lower (better) NLL. Of the others, only the calibrated one has a "
        "temperature.",
    }
    for key, text in texts.items():
        differences = difference_data(found, key)
        if differences:
            more = " Filled: the 95% interval leaves out zero; open: it holds zero, so it may be chance."
            figures.append(page.figure(draw_differences(differences, key, f"intervals-{key}"), text + more))
    for item in mappings(found.get("rows")):
        name = str(item.get("name"))
        rows.append(page.row(name, [*_cells(item, "accuracy"), *_cells(item, "nll")], "top" if not rows else ""))
    if not rows:
        return ""
    level, images, resamples = (number(found.get(key)) for key in ("level", "images", "resamples"))
    caption = (
        f"With {page.fixed(100 * (level or 0), 0)}% intervals: percentile bootstrap over the {page.fixed(images, 0)} "
        f"test images, paired, {page.fixed(resamples, 0)} resamples, seed {page.plain(found.get('seed'))}. They say "
        "what other test images might change, not what another seed of search and training might."
    )
    head = ("what", "#accuracy", "#ensemble's, minus it (points)", "#NLL", "#ensemble's, minus it")
    body = f'<div class="figures">{"".join(figures)}</div>' if figures else ""
    return page.section("The ensemble against its members and others", body, page.table(caption, head, rows, "results"))


def _cells(item: Mapping[str, Any], key: str) -> list[tuple[str, bool]]:
    """A value with its interval, and the ensemble's difference from it with its own."""
    found = item.get(key)
    measure: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    value, ends = number(measure.get("value")), interval(measure.get("interval"))
    difference, span = number(measure.get("difference")), interval(measure.get("difference_interval"))
    percent = key == "accuracy"
    said = page.fixed(value, percent=percent)
    if ends is not None:
        low, high = (f"{end:.2%}" if percent else f"{end:.4f}" for end in ends)
        said += f" ({low} to {high})"
    against = "–" if difference is None else f"{100 * difference:+.2f}" if percent else f"{difference:+.4f}"
    if span is not None:
        against += f" ({_range(span, key)})"
    return [(said, True), (against, True)]


def results_table(run: RunContent) -> str:
    """The section with every metric of ensemble, members, candidates and baselines."""
    results = run.results
    best = results["best_member"]
    weights = {item["id"]: item.get("weight") for item in run.members}
    by_id = {row["id"]: row for row in run.trained}

    def own(row: Mapping[str, Any]) -> list[tuple[str, bool]]:
        shared = number(row.get("shared_edges"))
        return [(page.fixed(row.get("lam"), 2), True), ("–" if shared is None else f"{shared:.0f}", True)]

    none = own({})
    rows = [page.row("Ensemble", [*page.metric_cells(results["ensemble"]), *none, ("", False)], "top")]
    if results.get("ensemble_uncalibrated"):
        cells = page.metric_cells(results["ensemble_uncalibrated"])
        rows.append(page.row("Ensemble before temperature", [*cells, *none, ("", False)], "top"))
    cells = [*page.metric_cells(best), *own(by_id.get(best.get("id"), {}))]
    rows.append(page.row(f"Best member ({best.get('id', 'unnamed')})", [*cells, ("", False)], "top"))

    def order(row: Mapping[str, Any]) -> tuple[bool, float]:
        nll = number((row.get("test") or {}).get("nll"))
        return row["id"] not in weights, float("inf") if nll is None else nll

    row: Mapping[str, Any]
    for row in sorted(run.trained, key=order):
        is_member = row["id"] in weights
        said = page.fixed(weights[row["id"]], 3) if is_member else "–"
        cells = [*page.metric_cells(row.get("test")), *own(row), (said, True)]
        rows.append(page.row(row["id"], cells, "member" if is_member else ""))
    for row in run.stopped:
        said = f"{row['id']}, stopped after epoch {row.get('epoch')}: "
        nll = page.fixed((row.get("validation") or {}).get("nll"))
        cells = [*page.metric_cells(None), *own(row), ("–", True)]
        rows.append(page.row(f"{said}validation NLL {nll}", cells))
    for row in results.get("baselines") or ():
        rows.append(page.row(f"Baseline: {row.get('name', 'unnamed')}", [*page.metric_cells(row), *none, ("", False)]))
    head = ("what", "#accuracy", "#NLL", "#ECE", "#Brier", "#AURC", "#lam", "#shared edges", "#weight")
    last = ", then those that halving stopped on validation data, without test metrics" if run.stopped else ""
    return page.section("Results on test data", page.table(
        "Accuracy: higher is better; NLL (nats), ECE, Brier (0 to 2) and AURC: lower is better. Candidates: members "
        f"first, then by NLL{last}.", head, rows, "results",
    ))  # fmt: skip


_ROW = 0.42  # inches for a model: its name and, below, its interval
TITLES = {
    "accuracy": "accuracy of the ensemble minus that of the other",
    "nll": "NLL of the ensemble minus the other's",
}


class Difference(NamedTuple):
    """Ensemble minus another model in accuracy (0..1) or NLL (nats), with the interval of the paired difference.

    `sign` is 1 where the whole interval speaks for the ensemble, -1 where it speaks against it, 0 where it holds zero.
    """

    name: str
    value: float
    low: float
    high: float
    sign: int


def interval(value: Any) -> tuple[float, float] | None:
    """Two finite numbers, or None."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None else (low, high)


def difference_data(found: Mapping[str, Any], key: str) -> tuple[Difference, ...]:
    """Collect the differences of `intervals` in results.json; rows without numbers are left out.

    Args:
        found: `rows` with `name` and, for accuracy and NLL, `difference` and `difference_interval`.
        key: "accuracy", where more is better, or "nll", where less is.
    """
    rows = []
    for row in mappings(found.get("rows")):
        measure = row.get(key)
        if not isinstance(measure, Mapping):
            continue
        value, ends = number(measure.get("difference")), interval(measure.get("difference_interval"))
        if value is not None and ends is not None:
            sign = 1 if ends[0] > 0 else -1 if ends[1] < 0 else 0
            rows.append(Difference(str(row.get("name")), value, *ends, sign if key == "accuracy" else -sign))
    return tuple(rows)


def draw_differences(rows: Sequence[Difference], key: str, name: str) -> str:
    """Draw one line for each other model: a filled diamond where the interval leaves out zero, an open one where not.

    Args:
        rows: At least one difference.
        key: "accuracy" or "nll".
        name: Prefix of ids.
    """
    factor = 100 if key == "accuracy" else 1
    looks = {1: FIRST, -1: SECOND, 0: INK}
    with drawing(0.75 + _ROW * len(rows)) as figure:
        axes = figure.add_subplot(xlabel=f"{TITLES[key]}{', points' if factor == 100 else ''}")
        for place, row in enumerate(rows):
            colour = looks[row.sign]
            axes.plot([0, 0], [place - 0.22, place + 0.3], color=MUTED, linewidth=1.2)  # leaves the names free
            axes.plot([factor * row.low, factor * row.high], [place, place], color=colour, linewidth=1.8)
            face = colour if row.sign else "none"
            axes.scatter([factor * row.value], [place], marker="D", s=30, facecolors=face, edgecolors=colour, zorder=3)
            axes.annotate(
                short(row.name, 46), (0, place), (2, 6), xycoords=axes.get_yaxis_transform(), fontsize=8.5,
                textcoords="offset points", va="bottom",
            )  # fmt: skip
        axes.set_ylim(len(rows) - 0.6, -0.95)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        digits, unit = (2, " points") if factor == 100 else (4, "")
        said = [
            f"{row.name}: {factor * row.value:+.{digits}f}{unit} "
            f"({factor * row.low:+.{digits}f} to {factor * row.high:+.{digits}f})."
            for row in rows
        ]
        better = "right" if key == "accuracy" else "left"
        label = (
            f"{TITLES[key][0].upper()}{TITLES[key][1:]}, with 95% intervals; {better} of zero the ensemble is better. "
        )
        return inline_svg(figure, name, label + " ".join(said))
