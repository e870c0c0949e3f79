"""Section: what was run: task, outcome, data, and all settings."""

from __future__ import annotations

from typing import Any

from nni_hypens.report.content import BASE, CONFIG, RunContent
from nni_hypens.report.html import Columns, Folded, Section, make_section, pairs_table
from nni_hypens.report.objects import object_text
from nni_hypens.report.text import number, plural

_MAIN_SETTINGS = ("data", "space", "members", "candidates", "seed")
_SHOWN_ELSEWHERE = ("seed_scheme", "data_checksum", "versions", "command")
_RANKINGS = {
    "none": "none: the base, two by size and depth, and draws along the dial",
    "spread": "spread: the best on the supernet in each part of the dial",
    "ensemble": "ensemble: greedily, by the NLL of the ensemble on the supernet",
    "promising": "promising: the best by supernet NLL and size together",
}


def section(run: RunContent) -> Section | None:
    """Task and outcome beside the data; the other settings and the base architecture are folded."""
    config = {key: object_text(value) for key, value in run.config.items()}
    main = {key: config[key] for key in _MAIN_SETTINGS if key in config}
    tables = [pairs_table("Task and outcome", main | _outcome(run)), pairs_table("Data", run.part("data"))]
    others = {key: value for key, value in config.items() if key not in (*_MAIN_SETTINGS, *_SHOWN_ELSEWHERE)}
    folded = {
        "All other settings": pairs_table(f"As in {CONFIG}", others),
        "Base architecture": pairs_table(f"The choices in {BASE}", run.base or {}),
    }
    return make_section(
        "What was run",
        Columns([table for table in tables if not table.is_empty]),
        *(Folded(title, table) for title, table in folded.items()),
    )


def _outcome(run: RunContent) -> dict[str, Any]:
    """What came out, as far as it is known."""
    diversity, ranking = run.part("diversity"), run.part("ranking")
    rank = number(ranking.get("spearman"))
    outcome = {
        "candidates failed": len(run.failed),
        "edges of an architecture": run.results.get("n_edges"),
        "selection": _selection(run),
        "candidates chosen by": _chosen_by(run),
        "supernet's ranking (Spearman)": None if rank is None else f"{rank:+.2f} with the NLL after training",
        "mean disagreement": diversity.get("disagreement"),
        "oracle accuracy": diversity.get("oracle_accuracy"),
    }
    return {name: value for name, value in outcome.items() if value is not None}


def _chosen_by(run: RunContent) -> str | None:
    """How the candidates were chosen, before training and by adaptive training."""
    first = _RANKINGS.get(str(run.part("ranking").get("method")))
    added = [item.get("source") for item in run.candidates if "expected_gain" in item]
    if first is None or not added:
        return first
    seeds, further = added.count("replica"), added.count("further")
    counts = {"new architecture": len(added) - seeds - further, "new seed": seeds, "further training": further}
    kinds = ", ".join(plural(count, kind) for kind, count in counts.items() if count)
    return f"{first}; then {len(added)} of {len(run.candidates)} by adaptive training ({kinds})"


def _selection(run: RunContent) -> str | None:
    """How the members were selected, in a few words."""
    found = run.part("selection")
    if not found:
        return None
    return f"{found.get('method', 'unnamed')} on validation {str(found.get('objective', '')).upper()}".strip()
