"""The report of a run: one self-contained page, made from the files of the run folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_hypens import plot_data, plots, report_html as page
from nni_hypens.plot_data import number
from nni_hypens.report_examples import uncertain_and_wrong
from nni_hypens.report_known import known_results
from nni_hypens.report_members import calibration_table, corrupted, cost_front, uncertainty, why_members
from nni_hypens.report_reading import RunContent, read_run
from nni_hypens.report_results import comparison, results_table, verdict_html
from nni_hypens.utils.files import write_text

_STAGES = {
    "base_search_s": "search of the base", "search_s": "search of the hypernetwork", "training_s": "training",
    "selection_s": "selection and calibration", "robustness_s": "corrupted images and images from elsewhere",
}  # fmt: skip
_RANKINGS = {
    "spread": "spread: the best of each part of the dial on the supernet",
    "ensemble": "ensemble: greedily by the supernet's NLL of the ensemble",
    "promising": "promising: the best by supernet and size together",
}
_SHOWN_SETTINGS = ("data", "space", "members", "candidates", "seed")


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
    folded = [("All other settings", rest), ("Base architecture", run.base)]
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
            text += f" Candidates for which no lam was asked are left out: {dial.omitted}."
        figures.append(page.figure(plots.draw_dial(dial, "dial"), text))
    if accuracy.points:
        text = "Accuracy of each trained candidate: circles on test data, squares on validation data."
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
    base = _base_candidate(run)  # with adaptive training the base is seldom a candidate
    base_edges = base.get("edges") if base else run.results.get("base_edges")
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
    kinds = (
        ' <strong class="shared">Solid</strong>: shared with the base. '
        '<strong class="differs">Dashed</strong>: differs from the base.'
    )
    legend = (
        '<p class="note">Each line is an edge: it leaves an input or a node and enters a node through the named '
        f"operation.{kinds if base_edges else ''}</p>"
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


def _how_to_repeat(run: RunContent) -> str:
    command = run.config.get("command") or f"nni-hypens run {run.name}/config.yaml"
    versions = run.config.get("versions")
    settings = {"seed": run.config["seed"]} if "seed" in run.config else {}
    settings |= versions if isinstance(versions, dict) else {}
    return page.section(
        "How to repeat",
        "<p>The settings are in the run folder's config.yaml. This repeats the run:</p>",
        f"<pre>{page.esc(command)}</pre>",
        page.pairs("Seed and versions: with the same ones the result is the same", settings) if settings else "",
    )


def _in_short(run: RunContent) -> str:
    """One line on what was run."""
    parts = [f"data: {run.config['data']}"] if "data" in run.config else []
    parts += [f"{run.n_test} test images"] if run.n_test else []
    parts += [f"space: {run.config['space']}"] if "space" in run.config else []
    parts += [f"{len(run.trained)} candidates trained, {len(run.members)} chosen"] if run.members else []
    parts += [f"seed {run.config['seed']}"] if "seed" in run.config else []
    return f'<p class="note">{page.esc("; ".join(parts))}</p>' if parts else ""


def _page(run: RunContent) -> str:
    sections = (
        comparison(run), results_table(run), _dial_figures(run), why_members(run), _prediction_figures(run),
        uncertain_and_wrong(run), uncertainty(run), corrupted(run), _architectures(run), cost_front(run),
        known_results(run), _cost(run), _history(run), _what_was_run(run), _failed(run), _how_to_repeat(run),
    )  # fmt: skip
    title = f"Ensemble search on {run.config.get('data', 'unnamed data')}"
    return page.document(title, _in_short(run) + verdict_html(run), sections)
