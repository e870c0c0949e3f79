"""A result as a small card for notebooks: the verdict, two metrics, and a link to the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_hypens.report.html import render_template
from nni_hypens.report.text import fixed, percent, plural
from nni_hypens.report.verdict import verdict, verdict_head


def result_card(results: Mapping[str, Any], report: Path | None = None) -> str:
    """Write the card as HTML, with every text escaped.

    Args:
        results: results.json with `ensemble` and `best_member`.
        report: The report, if there is one, to link to.
    """
    sizes = (results.get("data") or {}).get("sizes") or {}
    found = verdict(results, sizes.get("test"))
    rows = {
        f"ensemble of {plural(len(results.get('members') or ()), 'member')}": results["ensemble"],
        f"best member ({results['best_member'].get('id')})": results["best_member"],
    }
    cells = {name: (percent(row["accuracy"]), fixed(row["nll"])) for name, row in rows.items()}
    link = None if report is None else report.resolve().as_uri()
    return render_template("card.html.j2", head=verdict_head(found)[0], rows=cells, link=link, report=report)
