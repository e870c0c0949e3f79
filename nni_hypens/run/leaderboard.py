"""The models of a run in one table, for the command line and for pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEASURES = ("accuracy", "nll", "ece", "brier", "aurc")
COSTS = ("parameters", "flops", "seconds")


def leaderboard(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ensemble, members, other candidates and baselines with their test metrics, the lowest NLL first.

    Args:
        results: The content of ``results.json``.

    Returns:
        Rows with `model`; `kind`, which is "ensemble", "member", "candidate" or "baseline"; `validation_nll`; the test
        metrics `MEASURES`; and `COSTS`. What is unknown is None. Candidates without test metrics are left out.

    Examples:
        >>> results = {
        ...     "ensemble": {"nll": 0.2},
        ...     "candidates": [{"id": "c1", "is_member": True, "test": {"nll": 0.1}}, {"id": "c2", "status": "failed"}],
        ...     "baselines": [],
        ... }
        >>> [(row["model"], row["kind"], row["nll"]) for row in leaderboard(results)]
        [('c1', 'member', 0.1), ('ensemble', 'ensemble', 0.2)]
    """
    rows = [_row("ensemble", "ensemble", results["ensemble"], {})]
    for candidate in results["candidates"]:
        if "test" in candidate:
            kind = "member" if candidate.get("is_member") else "candidate"
            rows.append(_row(candidate["id"], kind, candidate["test"], candidate))
    rows += [_row(baseline["name"], "baseline", baseline, {}) for baseline in results["baselines"]]
    return sorted(rows, key=lambda row: row["nll"])


def _row(model: str, kind: str, metrics: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "kind": kind,
        "validation_nll": (candidate.get("validation") or {}).get("nll"),
        **{name: metrics.get(name) for name in MEASURES},
        **{name: candidate.get(name) for name in COSTS},
    }
