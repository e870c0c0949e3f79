"""The report of a run: one self-contained page, made from the files of the run folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_hypens.report import html as page
from nni_hypens.report.calibration import _prediction_figures
from nni_hypens.report.cells import _architectures
from nni_hypens.report.content import RunContent, read_run
from nni_hypens.report.cost import _cost, cost_front
from nni_hypens.report.dial import _dial_figures
from nni_hypens.report.history import _history, known_results
from nni_hypens.report.html import number
from nni_hypens.report.images import uncertain_and_wrong
from nni_hypens.report.members import why_members
from nni_hypens.report.results import comparison, results_table, verdict_html
from nni_hypens.report.uncertainty import corrupted, uncertainty
from nni_hypens.utils.files import write_text

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
