"""The report of a run: one self-contained page, made only from the files of the run folder.

A section is a module with its data, its figure and its table. To add one, write a module with a function
`section(run) -> Section | None` and list it in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nni_hypens.report import (
    architectures,
    calibration,
    classes,
    corruptions,
    cost,
    cost_front,
    dial,
    failures,
    files,
    history,
    images,
    intervals,
    known_results,
    members,
    prediction_sets,
    reproduce,
    results,
    settings,
    uncertainty,
    use,
)
from nni_hypens.report.content import REPORT, RunContent, read_run
from nni_hypens.report.html import Block, Note, Section, render_page
from nni_hypens.report.objects import data_name, space_name
from nni_hypens.report.reproduce import date_text
from nni_hypens.report.sizes import sizes_table
from nni_hypens.report.text import plural
from nni_hypens.report.verdict import verdict_block
from nni_hypens.utils.files import as_written, write_text

_EXPECTED = "the files of a run as it wrote them"
SECTIONS: tuple[Callable[[RunContent], Section | None], ...] = (
    use.section,
    results.section,
    intervals.section,
    classes.section,
    images.section,
    members.section,
    calibration.section,
    prediction_sets.section,
    dial.section,
    uncertainty.section,
    corruptions.section,
    architectures.section,
    cost_front.section,
    known_results.section,
    cost.section,
    history.section,
    settings.section,
    failures.section,
    reproduce.section,
    files.section,
)
"""The sections in the order of the page; those that return None are left out."""


def write_report(run_dir: Path) -> Path:
    """Write report.html from the files of a run folder.

    Args:
        run_dir: The run folder; config.yaml, candidates.json and results.json must be there, the rest is optional.

    Returns:
        The path of the page.

    Raises:
        InputError: A required file is missing, or a file is not what the run wrote.
    """
    path = Path(run_dir) / REPORT
    write_text(path, render_report(read_run(Path(run_dir))))
    return path


def render_report(run: RunContent) -> str:
    """The page as HTML: a summary, and sections that the reader unfolds."""
    with as_written("results.json", _EXPECTED):
        title = f"Ensemble search on {data_name(run)}"
        sizes = sizes_table(run)
        head = [*_summary(run), verdict_block(run), *([] if sizes is None else [sizes])]
    sections = []
    for section in SECTIONS:
        # a value may have any type, and many functions use it: what they raise names the section
        with as_written(f"run folder, section {section.__module__.rpartition('.')[2]} of the report", _EXPECTED):
            found = section(run)
        if found is not None:
            sections.append(replace(found, folded=True))
    with as_written("run folder", _EXPECTED):
        return render_page(title, head, sections)


def _summary(run: RunContent) -> list[Block]:
    """One line about what was run, and when."""
    parts = [f"model space {space_name(run)}"] if space_name(run) else []
    parts += [f"{plural(len(run.trained), 'candidate')} trained, {len(run.members)} chosen"] if run.members else []
    parts += [text] if (text := date_text(run)) else []
    return [Note("; ".join(parts))] if parts else []
