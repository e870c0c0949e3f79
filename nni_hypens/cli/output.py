"""What a run, or one of its stages, shows at its end: a table for people, or JSON for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni_hypens.errors import printable
from nni_hypens.utils.files import as_written, json_text, read_json
from nni_hypens.utils.inputs import noun
from nni_hypens.utils.run_files import RunFiles


def show(text: str) -> None:
    """Print a text of several lines. Names in it may come from anybody's files, so a terminal must not obey them."""
    print("\n".join(map(printable, text.split("\n"))))


def show_json(content: Any) -> None:
    """Print standard JSON in one line."""
    print(json_text(content))


def summary_table(results: dict[str, Any]) -> str:
    """Ensemble, best member and baselines, in a table for the terminal."""
    rows = {
        f"ensemble of {len(results['members'])}": results["ensemble"],
        "  before temperature": results["ensemble_uncalibrated"],
        f"best member ({results['best_member']['id']})": results["best_member"],
    }
    rows |= {row["name"]: row for row in results["baselines"]}
    names = ("accuracy", "nll", "ece", "brier")
    return cells_table(["", *names], [[name, *(row[each] for each in names)] for name, row in rows.items()])


def test_summary(results: dict[str, Any]) -> str:
    """How many test examples there are, and `summary_table`."""
    data = results["data"]
    return f"test data, {data['sizes']['test']} {noun(data.get('input_spec') or {})}s\n{summary_table(results)}"


def stage_summary(stage: str, out: Path) -> tuple[dict[str, Any], str]:
    """What a finished stage has made: for JSON, and for the terminal.

    Args:
        stage: ``search``, ``sample``, ``train``, ``select``, ``evaluate`` or ``report``.
        out: The run folder.
    """
    path = _SUMMARISED[stage](RunFiles(out))
    with as_written(str(path)):
        found, text = _SUMMARIES[stage](out)
    return {"out": str(out), "stage": stage, **found}, text


def _search(out: Path) -> tuple[dict[str, Any], str]:
    summary = read_json(RunFiles(out).search.summary)
    dial = summary["dial"]
    error = None
    if summary.get("counts_edges", True):  # otherwise lam is no number of edges; earlier versions did not write it
        error = sum(abs(lam - shared) for lam, shared in dial) / len(dial)
    found = {
        "base": read_json(RunFiles(out).search.base),
        "dial_error": error,
        **{name: summary[name] for name in ("n_edges", "base_search_s", "search_s")},
    }
    seconds = summary["base_search_s"] + summary["search_s"]
    text = f"{summary['n_edges']} edges, searched in {seconds:.0f} s"
    if error is not None:
        text += f"; mean error of the dial: {error:.2f} edges"
    return found, f"{text}\nbase: {RunFiles(out).search.base}"


def _sample(out: Path) -> tuple[dict[str, Any], str]:
    columns = ("id", "lam", "shared_edges", "source", "supernet_nll")
    candidates = [{name: record[name] for name in columns} for record in read_json(RunFiles(out).candidates)]
    shown = [{**record, "lam": None if record["lam"] is None else f"{record['lam']:g}"} for record in candidates]
    return {"candidates": candidates}, cells_table(columns, [list(record.values()) for record in shown])


def _train(out: Path) -> tuple[dict[str, Any], str]:
    rows = []
    for record in read_json(RunFiles(out).candidates):
        path = RunFiles(out).candidate(record["id"]).metrics
        known: dict[str, Any] = read_json(path) if path.exists() else {"status": "waiting"}
        measured = known.get("validation", {})
        row = {"id": record["id"], "status": known["status"], "accuracy": measured.get("accuracy")}
        rows.append({**row, "nll": measured.get("nll"), "seconds": known.get("seconds")})
    text = cells_table(("id", "status", "accuracy", "nll", "seconds"), [list(row.values()) for row in rows])
    return {"candidates": rows}, f"{text}\n(validation data)"


def _select(out: Path) -> tuple[dict[str, Any], str]:
    chosen = read_json(RunFiles(out).selection)
    temperature = read_json(RunFiles(out).ensemble_index)["temperature"]
    found = {name: chosen[name] for name in ("method", "objective", "score", "members", "weights")}
    found["validation_nll"] = chosen.get("validation_nll")
    text = cells_table(
        ("member", "weight"), [list(row) for row in zip(chosen["members"], chosen["weights"], strict=True)]
    )
    score = f"chosen by {chosen['objective']} {chosen['score']:.4f} of the average on validation data"
    if found["validation_nll"] is not None:
        score += f"; nll {found['validation_nll']:.4f} with temperature {temperature:.3f}"
    places = f"ensemble: {RunFiles(out).ensemble}"
    if "asked" in chosen:  # results and report were written again as well
        places += f"\nreport:   {RunFiles(out).report}"
    return {**found, "temperature": temperature}, f"{text}\n{score}\n{places}"


def _evaluate(out: Path) -> tuple[dict[str, Any], str]:
    results = read_json(RunFiles(out).results)
    return results, test_summary(results)


def _report(out: Path) -> tuple[dict[str, Any], str]:
    return {"report": str(RunFiles(out).report)}, f"report: {RunFiles(out).report}"


_SUMMARISED = {
    "search": lambda files: files.search.summary,
    "sample": lambda files: files.candidates,
    "train": lambda files: files.candidates,
    "select": lambda files: files.selection,
    "evaluate": lambda files: files.results,
    "report": lambda files: files.report,
}
_SUMMARIES = {
    "search": _search,
    "sample": _sample,
    "train": _train,
    "select": _select,
    "evaluate": _evaluate,
    "report": _report,
}


def cells_table(head: Any, rows: list[list[Any]]) -> str:
    """Columns for the terminal: the first to the left, the others to the right."""
    lines = [list(map(printable, head)), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[0] += 1
    pad = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return "\n".join(" ".join(pad[i](line[i], widths[i]) for i in range(len(widths))).rstrip() for line in lines)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else printable(value)
