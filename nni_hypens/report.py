"""The report of a run: one self-contained page, made from the files of the run folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens import plot_data, plots
from nni_hypens import report_html as page
from nni_hypens.files import write_text
from nni_hypens.plot_data import number
from nni_hypens.report_known import known_results
from nni_hypens.report_members import calibration_table, corrupted, cost_front, uncertainty, why_members
from nni_hypens.report_reading import RunContent, read_run

_STAGES = {
    "base_search_s": "search of the base", "search_s": "search of the hypernetwork", "training_s": "training",
    "selection_s": "selection and calibration", "robustness_s": "corrupted images and images from elsewhere",
}  # fmt: skip
_RANKINGS = {
    "spread": "spread: the best of each part of the dial on the supernet",
    "ensemble": "ensemble: greedily by the supernet's NLL of the ensemble",
}
_SHOWN_SETTINGS = ("data", "space", "members", "candidates", "seed")


USEFUL_RANKING = 0.3
"""Spearman correlation below which the supernet's ranking is called little better than chance."""


def write_report(run_dir: Path) -> Path:
    """Write DIR/report.html from the files of a run folder.

    Args:
        run_dir: The run folder; config.yaml, candidates.json and results.json must be there, the rest is optional.

    Returns:
        The path of the page.

    Raises:
        InputError: If a required file is missing or a file cannot be read as what it should be.
    """
    run_dir = Path(run_dir)
    path = run_dir / "report.html"
    write_text(path, _page(read_run(run_dir)))
    return path


def verdict(results: Mapping[str, Any], n_test: int | None) -> tuple[str, str]:
    """Compare the ensemble with its best member on test data.

    Args:
        results: results.json with `ensemble` and `best_member` (accuracy 0..1, nll in nats).
        n_test: Number of test examples, if known.

    Returns:
        "better", "worse", "equal" or "mixed" over accuracy and NLL together, and the sentence that says it.
    """
    # Compared as printed, so that the sentence never calls two numbers different that look the same.
    ours, best = ({k: round(results[part][k], 4) for k in ("accuracy", "nll")} for part in ("ensemble", "best_member"))
    gain, loss = ours["accuracy"] - best["accuracy"], ours["nll"] - best["nll"]
    accuracy = "is more accurate than" if gain > 0 else "is less accurate than" if gain < 0 else "is as accurate as"
    nll = "a lower (better)" if loss < 0 else "a higher (worse)" if loss > 0 else "the same"
    points = f", {100 * gain:+.2f} points" if gain else ""
    if gain and n_test:
        points += f", which is {round(abs(gain) * n_test)} of {n_test} test examples"
    signs = {sign for sign in (np.sign(gain), -np.sign(loss)) if sign}
    outcome = "equal" if not signs else "mixed" if len(signs) > 1 else "better" if signs == {1} else "worse"
    count = len(results.get("members") or ())
    who = f"The ensemble of {count} member{'s' if count != 1 else ''}" if count else "The ensemble"
    sentence = (
        f"{who} {accuracy} its best member ({ours['accuracy']:.2%} against {best['accuracy']:.2%}{points}) "
        f"{'but' if outcome == 'mixed' else 'and'} has {nll} NLL ({ours['nll']:.4f} against {best['nll']:.4f})."
    )
    return outcome, sentence


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
    ranking = run.results.get("ranking") or {}
    rank = number(ranking.get("spearman"))
    if rank is not None and rank < USEFUL_RANKING:
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


def _verdict_html(run: RunContent) -> str:
    outcome, sentence = verdict(run.results, run.n_test)
    notes = "".join(f"<p>{page.esc(note)}</p>" for note in _caveats(run))
    said = f"<p><strong>{outcome.capitalize()}.</strong> {page.esc(sentence)}</p>"
    return f'<div class="verdict {outcome}">{said}{notes}</div>'


def _what_was_run(run: RunContent) -> str:
    config, results = run.config, run.results
    settings = {key: config[key] for key in _SHOWN_SETTINGS if key in config}
    outcome = {
        "candidates trained": len(run.trained), "candidates stopped early": len(run.stopped) or None,
        "candidates failed": len(run.failed),
        "members chosen": len(run.members), "edges of an architecture": results.get("n_edges"),
        "selection": _selection(results.get("selection")), "temperature": results.get("temperature"),
    }  # fmt: skip
    diversity = results.get("diversity") or {}
    ranking = results.get("ranking") or {}
    rank = number(ranking.get("spearman"))
    extra = {
        "candidates chosen by": _RANKINGS.get(str(ranking.get("method"))),
        "supernet's ranking (Spearman)": None if rank is None else f"{rank:+.2f} with the NLL after training",
        "mean disagreement": diversity.get("disagreement"), "oracle accuracy": diversity.get("oracle_accuracy"),
        "edges shared with the base": diversity.get("base_shared_edges"),
    }  # fmt: skip
    rest = {k: v for k, v in config.items() if k not in (*_SHOWN_SETTINGS, "versions", "command")}
    folded = [("All other settings", rest), ("Versions", config.get("versions")), ("Base architecture", run.base)]
    found = {key: value for key, value in (outcome | extra).items() if value is not None}
    data = results.get("data")
    data_table = page.pairs("Data", data) if isinstance(data, dict) and data else ""
    return page.section(
        "What was run",
        f'<div class="tables">{page.pairs("Task and outcome", settings | found)}{data_table}</div>',
        *(
            f"<details><summary>{title}</summary>{page.pairs(title, content)}</details>"
            for title, content in folded
            if isinstance(content, dict) and content
        ),
    )


def _selection(found: Any) -> str | None:
    """How members were chosen, in a few words."""
    if not isinstance(found, Mapping):
        return None
    said = f"{found.get('method', 'unnamed')} on validation {str(found.get('objective', '')).upper()}".strip()
    nll = number(found.get("validation_nll"))
    return said if nll is None else f"{said}, {nll:.4f}"


def _results_table(run: RunContent) -> str:
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


def _base_candidate(run: RunContent) -> Mapping[str, Any] | None:
    return next((item for item in run.candidates if item.get("source") == "base"), None)


def _dial_figures(run: RunContent) -> str:
    base = _base_candidate(run)
    members = {item["id"] for item in run.members}
    n_edges = number(run.results.get("n_edges"))
    if n_edges is None:
        n_edges = max((len(item.get("edges") or ()) for item in run.candidates), default=0)
    dial = plot_data.dial_data(
        run.candidates, {row["id"] for row in run.trained}, members, int(n_edges), run.results.get("dial") or ()
    )
    rows = [{**row, "is_member": row["id"] in members} for row in run.trained]
    accuracy = plot_data.accuracy_data(rows, run.results["ensemble"]["accuracy"], base["id"] if base else None)
    figures = []
    if dial.points:
        text = f"Shared edges against lam. Mean error of the dial: {dial.mean_absolute_error:.2f} edges."
        if dial.omitted:
            text += f" Candidates without a lam, such as the base, are left out: {dial.omitted}."
        figures.append(page.figure(plots.draw_dial(dial, "dial"), text))
    if accuracy.points:
        text = "Accuracy of each trained candidate against its lam: circles on test data, squares on validation data."
        figures.append(page.figure(plots.draw_accuracy(accuracy, "accuracy"), text))
    if not figures:
        return ""
    return page.section("The diversity dial", f'<div class="figures">{"".join(figures)}</div>')


def _prediction_figures(run: RunContent) -> str:
    figures = []
    reliability = run.results.get("reliability") or {}
    best = run.results["best_member"].get("id", "")
    names = {"ensemble": "ensemble", "best_member": f"best member {best}".strip()}
    curves = [plot_data.reliability_data(text, reliability[key]) for key, text in names.items() if reliability.get(key)]
    if curves:
        text = "Reliability on test data: below the diagonal the model is too sure of itself, above it too unsure."
        figures.append(page.figure(plots.draw_reliability(curves, "reliability"), text))
    pairwise = (run.results.get("diversity") or {}).get("pairwise")
    if pairwise and len(run.members) > 1:
        data = plot_data.disagreement_data([item["id"] for item in run.members], pairwise)
        text = "Pairwise disagreement: the share of test examples on which two members predict different classes."
        figures.append(page.figure(plots.draw_disagreement(data, "disagreement"), text))
    body = f'<div class="figures">{"".join(figures)}</div>' if figures else ""
    return page.section("Calibration and disagreement", body, calibration_table(run))


def _architectures(run: RunContent) -> str:
    base = _base_candidate(run)
    base_edges = base.get("edges") if base else None
    edges = {item["id"]: item["edges"] for item in run.candidates if item.get("edges")}
    pool = [edge for item in edges.values() for edge in item]
    parts, wide = [], False
    for position, member in enumerate(run.members):
        if member["id"] not in edges:
            continue
        graphs, choices = plot_data.cell_graphs(edges[member["id"]], base_edges, pool)
        wide = wide or len(graphs) > 1 or bool(choices)
        figures = "".join(
            page.figure(plots.draw_cell(graph, f"cell{position}-{index}"), graph.name)
            for index, graph in enumerate(graphs)
        )
        rows = []
        for choice in choices:
            said = {None: "–", True: "shared", False: "differs"}[choice.shared]
            rows.append(page.row(choice.label, [(choice.value, False), (said, False)]))
        shared = number(member.get("shared_edges"))
        plural = "" if shared == 1 else "s"
        title = member["id"] + ("" if shared is None else f": {shared:.0f} edge{plural} shared with the base")
        table = page.table(f"Choices of {member['id']}", ("label", "value", "base"), rows) if rows else ""
        figures = f'<div class="figures">{figures}</div>' if figures else ""
        parts.append(f"<article><h3>{page.esc(title)}</h3>{figures}{table}</article>")
    legend = (
        '<p class="note">Each line is an edge: it leaves an input or a node and enters a node through the named '
        'operation. <strong class="shared">Solid</strong>: shared with the base. '
        '<strong class="differs">Dashed</strong>: differs from the base.</p>'
    )
    layout = "" if wide else ' class="figures"'
    body = f"<div{layout}>{''.join(parts)}</div>"
    return page.section("Architectures of the members", legend, body) if parts else ""


def _history(run: RunContent) -> str:
    panels = [
        ("Loss", {"loss": "training", "val_loss": "validation"}), ("Accuracy", {"accuracy": "accuracy"}),
        ("Regulariser weight", {"weight": "weight"}), ("Temperature", {"temperature": "temperature"}),
        ("Error of the dial (edges)", {"dial_error": "error"}),
    ]  # fmt: skip
    data = plot_data.history_data(run.history, [column for _, columns in panels for column in columns])
    figures = [
        f"<figure>{plots.draw_history(data, columns, title, f'history{index}')}</figure>"
        for index, (title, columns) in enumerate(panels)
        if any(column in data.series for column in columns)
    ]
    if not figures:
        return ""
    note = '<p class="note">Means over the steps of each epoch; epochs are counted through all phases.</p>'
    return page.section("Search history", note, f'<div class="figures">{"".join(figures)}</div>')


def _cost(run: RunContent) -> str:
    cost = run.results.get("cost") or {}
    clocks = [key for key in cost if key.endswith("wall_s")]  # the same work seen by the clock: in no sum
    seconds = {key: number(value) for key, value in cost.items() if key.endswith("_s") and key not in clocks}
    stages = {key: value for key, value in seconds.items() if value is not None}
    total = sum(stages.values())
    rows = []
    for key, value in stages.items():
        name = _STAGES.get(key, key.removesuffix("_s").replace("_", " "))
        rows.append(page.row(name, [(f"{value:.1f}", True), (f"{value / total:.1%}" if total else "–", True)]))
    if rows:
        rows.append(page.row("all stages", [(f"{total:.1f}", True), ("100.0%" if total else "–", True)], "top"))
    for key in clocks:
        if number(cost[key]) is not None:
            name = f"{key.removesuffix('wall_s').replace('_', ' ')}by the clock"
            rows.append(page.row(name, [(page.fixed(cost[key], 1), True), ("", True)]))
    others = {key: value for key, value in cost.items() if not key.endswith("_s")}
    caption, head = "Seconds by stage, and the share of all stages", ("stage", "#seconds", "#share")
    return page.section(
        "Cost", page.table(caption, head, rows) if rows else "", page.pairs("Further figures", others) if others else ""
    )


def _failed(run: RunContent) -> str:
    rows = [page.row(row["id"], [(str(row.get("error") or "no error was recorded"), False)]) for row in run.failed]
    if not rows:
        return ""
    return page.section("Failed candidates", page.table("Candidates that could not be trained", ("id", "error"), rows))


def _page(run: RunContent) -> str:
    command = run.config.get("command") or f"nni-hypens run {run.name}/config.yaml"
    repeat = "<p>The settings are in the run folder's config.yaml. This repeats the run:</p>"
    repeat += f"<pre>{page.esc(command)}</pre>"
    title = f"Ensemble search on {run.config.get('data', 'unnamed data')}"
    sections = (
        _what_was_run(run), _results_table(run), why_members(run), _dial_figures(run), _prediction_figures(run),
        uncertainty(run), corrupted(run), cost_front(run), known_results(run), _architectures(run),
        _history(run), _cost(run), _failed(run), page.section("How to repeat", repeat),
    )  # fmt: skip
    body = "\n".join(section for section in sections if section)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{page.esc(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{page.CSS}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{page.esc(title)}</h1>\n{_verdict_html(run)}\n{body}\n</main>\n</body>\n</html>\n"
    )
