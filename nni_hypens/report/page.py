"""The report of a run: one self-contained page, made only from the files of the run folder.

A section is a module with its data, its figure and its table. To add one, write a module with a function
`section(run) -> Section | None` and list it in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nni_hypens.report import (
    architectures,
    calibration,
    corruptions,
    cost,
    cost_front,
    dial,
    failures,
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
)
from nni_hypens.report.content import REPORT, RunContent, read_run
from nni_hypens.report.html import Block, Note, Section, render_page
from nni_hypens.report.text import plural
from nni_hypens.report.verdict import verdict_block
from nni_hypens.utils.files import as_written, write_text

_EXPECTED = "the files of a run as it wrote them"
SECTIONS: tuple[Callable[[RunContent], Section | None], ...] = (
    intervals.section,
    results.section,
    dial.section,
    members.section,
    calibration.section,
    prediction_sets.section,
    images.section,
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
    """The page as HTML."""
    title = f"Ensemble search on {run.config.get('data', 'unnamed data')}"
    with as_written("results.json", _EXPECTED):
        head = [*_summary(run), verdict_block(run)]
    sections = []
    for section in SECTIONS:
        # a value may have any type, and many functions use it: what they raise names the section
        with as_written(f"run folder, section {section.__module__.rpartition('.')[2]} of the report", _EXPECTED):
            sections.append(section(run))
    with as_written("run folder", _EXPECTED):
        return render_page(title, head, sections)


def _summary(run: RunContent) -> list[Block]:
    """One line about what was run."""
    parts = [f"data: {run.config['data']}"] if "data" in run.config else []
    parts += [plural(run.n_test, "test image")] if run.n_test else []
    parts += [f"space: {run.config['space']}"] if "space" in run.config else []
    parts += [f"{plural(len(run.trained), 'candidate')} trained, {len(run.members)} chosen"] if run.members else []
    parts += [f"seed {run.config['seed']}"] if "seed" in run.config else []
    return [Note("; ".join(parts))] if parts else []
