"""Section: candidates whose training failed, and why."""

from __future__ import annotations

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Row, Section, Table, make_section


def section(run: RunContent) -> Section | None:
    """A row for each failed candidate."""
    rows = [Row(row["id"], [str(row.get("error") or "no error was recorded")]) for row in run.failed]
    columns = ("candidate", "error")
    table = Table("Candidates that could not be trained", columns, rows, text_columns=columns)
    return make_section("Failed candidates", table)
