"""Section: how to reproduce the run."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from nni_hypens.report.content import CONFIG, RunContent
from nni_hypens.report.html import Code, Paragraph, Section, make_section, pairs_table


def section(run: RunContent) -> Section | None:
    """The command; when, where and with which versions the run was made."""
    command = run.config.get("command") or f"nni-hypens run {run.name}/{CONFIG}"
    versions, machine = run.config.get("versions"), run.part("made").get("machine")
    made = {"date": date_text(run)} if date_text(run) else {}
    made |= machine if isinstance(machine, dict) else {}
    asked = run.part("selection").get("asked")
    again = f"nni-hypens select {shlex.quote(run.name)} {asked}" if asked else ""
    return make_section(
        "How to reproduce this run",
        Paragraph(f"All settings are in the run folder's {CONFIG}. This command repeats the run:"),
        Code(str(command)),
        Paragraph("Its members were chosen again afterwards, by this command:") if again else None,
        Code(again) if again else None,
        pairs_table(
            "Versions: with the same ones, the result is the same", versions if isinstance(versions, dict) else {}
        ),
        pairs_table("When and where it was evaluated", made),
    )


def date_text(run: RunContent) -> str | None:
    """When the run was evaluated, to the minute and in UTC; None if the run did not write it."""
    try:
        date = datetime.fromisoformat(str(run.part("made").get("date")))
    except ValueError:
        return None
    return f"{date.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if date.tzinfo and date.year > 1 else None
