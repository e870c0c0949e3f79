"""The report of a run: one self-contained page, made from the files of the run folder alone."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens import plot_data, plots
from nni_hypens.files import write_text
from nni_hypens.plot_data import clean, number
from nni_hypens.report_reading import RunContent, read_run

_METRICS = ("accuracy", "nll", "ece", "brier")
_STAGES = {
    "base_search_s": "search of the base", "search_s": "search of the hypernetwork", "training_s": "training",
    "selection_s": "selection and calibration",
}  # fmt: skip
_NUMERIC = ' class="n"'
_SHOWN_SETTINGS = ("data", "space", "members", "candidates", "seed")

_CSS = """
:root { color-scheme: light dark; --page: #fff; --card: #f3f5f8; --ink: #1b2026; --muted: #5f6873; --grid: #d5dae1;
  --first: #0b62b8; --second: #b8480a; --good: #1a7f37; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1f242a; --ink: #e7eaee; --muted: #9ba5b0;
  --grid: #39404a; --first: #6db3ff; --second: #ffa25c; --good: #56d364; --bad: #ff8f86; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
.verdict { border-left: .35rem solid var(--muted); background: var(--card); padding: .8rem 1rem; font-size: 1.1rem; }
.verdict.better { border-color: var(--good); } .verdict.worse { border-color: var(--bad); }
.verdict p { margin: 0; } .verdict p + p { margin-top: .5rem; font-size: .95rem; color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: .4rem; }
caption span { display: block; position: sticky; left: 0; max-width: min(66rem, calc(100vw - 2rem)); }
.tables { display: flex; flex-wrap: wrap; gap: 1.5rem 3rem; } .tables > * { max-width: 100%; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
.results th, .results td { white-space: nowrap; }
th { overflow-wrap: break-word; } th.n, td.n { text-align: right; }
tr.member th { color: var(--second); } tr.top { background: var(--card); }
.figures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; } figure svg { display: block; width: 100%; height: auto; max-width: 34rem; }
figcaption, .note { font-size: .88rem; color: var(--muted); }
.shared { color: var(--first); } .differs { color: var(--second); }
pre { background: var(--card); padding: .8rem; white-space: pre-wrap; } details { margin: .6rem 0; }
summary { cursor: pointer; }
@media (max-width: 40rem) {
  table { font-size: .82rem; } th, td { padding: .3rem .4rem; }
  .results th[scope=row] { white-space: normal; min-width: 7rem; max-width: 7.5rem; overflow-wrap: anywhere;
    position: sticky; left: 0; background: var(--page); }
}
"""


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
    page = _page(read_run(run_dir))
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def _esc(value: object) -> str:
    return html.escape(clean(value))


def _fixed(value: Any, digits: int = 4, percent: bool = False) -> str:
    """Write a number, or a dash where there is none."""
    found = number(value)
    if found is None:
        return "–"
    return f"{found:.2%}" if percent else f"{found:.{digits}f}"


def _plain(value: Any) -> str:
    """Write a value from a settings or data mapping in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value[:12]) + (" …" if len(value) > 12 else "")
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _table(caption: str, head: Sequence[str], rows: Iterable[str], name: str = "plain") -> str:
    """Lay out a table whose head's numeric columns start with "#"; `rows` are finished <tr> elements."""
    heads = [(text.removeprefix("#"), _NUMERIC if text.startswith("#") else "") for text in head]
    cells = "".join(f'<th scope="col"{numeric}>{_esc(text)}</th>' for text, numeric in heads)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_esc(caption)}"><table class="{name}">'
        f"<caption><span>{_esc(caption)}</span></caption><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(head: object, cells: Iterable[tuple[str, bool]], name: str = "") -> str:
    """Lay out a table row: its heading, then (text, whether it is a number) cells."""
    body = "".join(f"<td{_NUMERIC if numeric else ''}>{_esc(text)}</td>" for text, numeric in cells)
    return f'<tr class="{name}"><th scope="row">{_esc(head)}</th>{body}</tr>'


def _pairs(caption: str, pairs: Mapping[str, Any]) -> str:
    rows = [_row(key, [(_plain(value), False)]) for key, value in pairs.items()]
    return _table(caption, ("what", "value"), rows)


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{_esc(caption)}</figcaption></figure>"


def _section(title: str, *parts: str) -> str:
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{_esc(title)}</h2>\n{body}\n</section>" if body else ""


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
    for name, rows, bar in (("members", run.members, best), ("baselines", run.results.get("baselines") or (), ours)):
        better = [row for row in rows if (nll := number(row.get("nll"))) is not None and nll < bar["nll"]]
        if better:
            named = ", ".join(f"{row.get('id', row.get('name'))} ({row['nll']:.4f})" for row in better)
            against = "the best member" if bar is best else "the ensemble"
            notes.append(f"On test data these {name} have a lower NLL than {against}: {named}.")
    return notes


def _verdict_html(run: RunContent) -> str:
    outcome, sentence = verdict(run.results, run.n_test)
    notes = "".join(f"<p>{_esc(note)}</p>" for note in _caveats(run))
    return (
        f'<div class="verdict {outcome}"><p><strong>{outcome.capitalize()}.</strong> {_esc(sentence)}</p>{notes}</div>'
    )


def _what_was_run(run: RunContent) -> str:
    config, results = run.config, run.results
    settings = {key: config[key] for key in _SHOWN_SETTINGS if key in config}
    outcome = {
        "candidates trained": len(run.trained), "candidates failed": len(run.failed),
        "members chosen": len(run.members), "edges of an architecture": results.get("n_edges"),
        "selection": _selection(results.get("selection")), "temperature": results.get("temperature"),
    }  # fmt: skip
    diversity = results.get("diversity") or {}
    extra = {
        "mean disagreement": diversity.get("disagreement"), "oracle accuracy": diversity.get("oracle_accuracy"),
        "edges shared with the base": diversity.get("base_shared_edges"),
    }  # fmt: skip
    rest = {k: v for k, v in config.items() if k not in (*_SHOWN_SETTINGS, "versions", "command")}
    folded = [("All other settings", rest), ("Versions", config.get("versions")), ("Base architecture", run.base)]
    found = {key: value for key, value in (outcome | extra).items() if value is not None}
    data = results.get("data")
    data_table = _pairs("Data", data) if isinstance(data, dict) and data else ""
    return _section(
        "What was run",
        f'<div class="tables">{_pairs("Task and outcome", settings | found)}{data_table}</div>',
        *(
            f"<details><summary>{title}</summary>{_pairs(title, content)}</details>"
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


def _metric_cells(metrics: Mapping[str, Any] | None) -> list[tuple[str, bool]]:
    return [(_fixed((metrics or {}).get(key), percent=key == "accuracy"), True) for key in _METRICS]


def _results_table(run: RunContent) -> str:
    results = run.results
    best = results["best_member"]
    weights = {item["id"]: item.get("weight") for item in run.members}
    by_id = {row["id"]: row for row in run.trained}

    def own(row: Mapping[str, Any]) -> list[tuple[str, bool]]:
        shared = number(row.get("shared_edges"))
        return [(_fixed(row.get("lam"), 2), True), ("–" if shared is None else f"{shared:.0f}", True)]

    none = own({})
    rows = [_row("Ensemble", [*_metric_cells(results["ensemble"]), *none, ("", False)], "top")]
    if results.get("ensemble_uncalibrated"):
        cells = _metric_cells(results["ensemble_uncalibrated"])
        rows.append(_row("Ensemble before temperature", [*cells, *none, ("", False)], "top"))
    cells = [*_metric_cells(best), *own(by_id.get(best.get("id"), {}))]
    rows.append(_row(f"Best member ({best.get('id', 'unnamed')})", [*cells, ("", False)], "top"))

    def order(row: Mapping[str, Any]) -> tuple[bool, float]:
        nll = number((row.get("test") or {}).get("nll"))
        return row["id"] not in weights, float("inf") if nll is None else nll

    for row in sorted(run.trained, key=order):
        is_member = row["id"] in weights
        said = _fixed(weights[row["id"]], 3) if is_member else "–"
        cells = [*_metric_cells(row.get("test")), *own(row), (said, True)]
        rows.append(_row(row["id"], cells, "member" if is_member else ""))
    for row in results.get("baselines") or ():
        rows.append(_row(f"Baseline: {row.get('name', 'unnamed')}", [*_metric_cells(row), *none, ("", False)]))
    head = ("what", "#accuracy", "#NLL", "#ECE", "#Brier", "#lam", "#shared edges", "#weight")
    return _section("Results on test data", _table(
        "Accuracy: higher is better; NLL (nats), ECE and Brier (0 to 2): lower is better. Candidates: members first, "
        "then by NLL.", head, rows, "results",
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
        figures.append(_figure(plots.draw_dial(dial, "dial"), text))
    if accuracy.points:
        text = "Accuracy of each trained candidate against its lam: circles on test data, squares on validation data."
        figures.append(_figure(plots.draw_accuracy(accuracy, "accuracy"), text))
    if not figures:
        return ""
    return _section("The diversity dial", f'<div class="figures">{"".join(figures)}</div>')


def _prediction_figures(run: RunContent) -> str:
    figures = []
    reliability = run.results.get("reliability") or {}
    best = run.results["best_member"].get("id", "")
    names = {"ensemble": "ensemble", "best_member": f"best member {best}".strip()}
    curves = [plot_data.reliability_data(text, reliability[key]) for key, text in names.items() if reliability.get(key)]
    if curves:
        text = "Reliability on test data: below the diagonal the model is too sure of itself, above it too unsure."
        figures.append(_figure(plots.draw_reliability(curves, "reliability"), text))
    pairwise = (run.results.get("diversity") or {}).get("pairwise")
    if pairwise and len(run.members) > 1:
        data = plot_data.disagreement_data([item["id"] for item in run.members], pairwise)
        text = "Pairwise disagreement: the share of test examples on which two members predict different classes."
        figures.append(_figure(plots.draw_disagreement(data, "disagreement"), text))
    return _section("Calibration and disagreement", f'<div class="figures">{"".join(figures)}</div>') if figures else ""


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
            _figure(plots.draw_cell(graph, f"cell{position}-{index}"), graph.name) for index, graph in enumerate(graphs)
        )
        rows = []
        for choice in choices:
            said = {None: "–", True: "shared", False: "differs"}[choice.shared]
            rows.append(_row(choice.label, [(choice.value, False), (said, False)]))
        shared = number(member.get("shared_edges"))
        plural = "" if shared == 1 else "s"
        title = member["id"] + ("" if shared is None else f": {shared:.0f} edge{plural} shared with the base")
        table = _table(f"Choices of {member['id']}", ("label", "value", "base"), rows) if rows else ""
        figures = f'<div class="figures">{figures}</div>' if figures else ""
        parts.append(f"<article><h3>{_esc(title)}</h3>{figures}{table}</article>")
    legend = (
        '<p class="note">Each line is an edge: it leaves an input or a node and enters a node through the named '
        'operation. <strong class="shared">Solid</strong>: shared with the base. '
        '<strong class="differs">Dashed</strong>: differs from the base.</p>'
    )
    layout = "" if wide else ' class="figures"'
    body = f"<div{layout}>{''.join(parts)}</div>"
    return _section("Architectures of the members", legend, body) if parts else ""


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
    return _section("Search history", note, f'<div class="figures">{"".join(figures)}</div>')


def _cost(run: RunContent) -> str:
    cost = run.results.get("cost") or {}
    clocks = [key for key in cost if key.endswith("wall_s")]  # the same work seen by the clock: in no sum
    seconds = {key: number(value) for key, value in cost.items() if key.endswith("_s") and key not in clocks}
    stages = {key: value for key, value in seconds.items() if value is not None}
    total = sum(stages.values())
    rows = []
    for key, value in stages.items():
        name = _STAGES.get(key, key.removesuffix("_s").replace("_", " "))
        rows.append(_row(name, [(f"{value:.1f}", True), (f"{value / total:.1%}" if total else "–", True)]))
    if rows:
        rows.append(_row("all stages", [(f"{total:.1f}", True), ("100.0%" if total else "–", True)], "top"))
    for key in clocks:
        if number(cost[key]) is not None:
            name = f"{key.removesuffix('wall_s').replace('_', ' ')}by the clock"
            rows.append(_row(name, [(_fixed(cost[key], 1), True), ("", True)]))
    others = {key: value for key, value in cost.items() if not key.endswith("_s")}
    caption, head = "Seconds by stage, and the share of all stages", ("stage", "#seconds", "#share")
    return _section(
        "Cost", _table(caption, head, rows) if rows else "", _pairs("Further figures", others) if others else ""
    )


def _failed(run: RunContent) -> str:
    rows = [_row(row["id"], [(str(row.get("error") or "no error was recorded"), False)]) for row in run.failed]
    if not rows:
        return ""
    return _section("Failed candidates", _table("Candidates that could not be trained", ("id", "error"), rows))


def _page(run: RunContent) -> str:
    command = run.config.get("command") or f"nni-hypens run {run.name}/config.yaml"
    repeat = f"<p>The settings are in the run folder's config.yaml. This repeats the run:</p><pre>{_esc(command)}</pre>"
    title = f"Ensemble search on {run.config.get('data', 'unnamed data')}"
    sections = (
        _what_was_run(run), _results_table(run), _dial_figures(run), _prediction_figures(run), _architectures(run),
        _history(run), _cost(run), _failed(run), _section("How to repeat", repeat),
    )  # fmt: skip
    body = "\n".join(section for section in sections if section)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_esc(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_CSS}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{_esc(title)}</h1>\n{_verdict_html(run)}\n{body}\n</main>\n</body>\n</html>\n"
    )
