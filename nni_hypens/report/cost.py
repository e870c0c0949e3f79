"""Section: what the run cost, in seconds by stage."""

from __future__ import annotations

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Row, Section, Table, make_section, pairs_table
from nni_hypens.report.text import MISSING, fixed, number

_STAGES = {
    "base_search_s": "search for the base",
    "search_s": "search with the hypernetwork",
    "ranking_s": "ranking of the candidates",
    "training_s": "training",
    "selection_s": "selection and calibration",
    "robustness_s": "corrupted and out-of-distribution images",
}


def section(run: RunContent) -> Section | None:
    """Seconds of each stage and its share, then costs that are not seconds."""
    cost = run.part("cost")
    # Wall time covers work that is already in the sum, and parallel trials at once, so it is listed apart.
    walls = {key: value for key, value in cost.items() if key.endswith("wall_s") and number(value) is not None}
    stages = {
        key: value
        for key in cost
        if key.endswith("_s") and not key.endswith("wall_s") and (value := number(cost[key])) is not None
    }
    others = {key: value for key, value in cost.items() if not key.endswith("_s")}
    total = sum(stages.values())
    rows = []
    for key, value in stages.items():
        name = _STAGES.get(key, key.removesuffix("_s").replace("_", " "))
        rows.append(Row(name, [f"{value:.1f}", f"{value / total:.1%}" if total else MISSING]))
    if rows:
        rows.append(Row("all stages", [f"{total:.1f}", "100.0%" if total else MISSING], "top"))
    for key, value in walls.items():
        name = f"{key.removesuffix('wall_s').replace('_', ' ')}wall time"
        rows.append(Row(name, [fixed(value, 1), ""]))
    table = Table("Seconds by stage and share of all stages", ("stage", "seconds", "share"), rows)
    return make_section("Cost", table, pairs_table("Other costs", others))
