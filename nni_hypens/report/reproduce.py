"""Section: how to reproduce the run."""

from __future__ import annotations

from nni_hypens.report.content import CONFIG, RunContent
from nni_hypens.report.html import Code, Paragraph, Section, make_section, pairs_table


def section(run: RunContent) -> Section | None:
    """The command, the seed and the versions."""
    command = run.config.get("command") or f"nni-hypens run {run.name}/{CONFIG}"
    versions = run.config.get("versions")
    settings = {"seed": run.config["seed"]} if "seed" in run.config else {}
    settings |= versions if isinstance(versions, dict) else {}
    return make_section(
        "How to reproduce this run",
        Paragraph(f"All settings are in the run folder's {CONFIG}. This command repeats the run:"),
        Code(str(command)),
        pairs_table("Seed and versions: with the same ones, the result is the same", settings),
    )
