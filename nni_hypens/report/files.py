"""Section: the files of the run folder, with links."""

from __future__ import annotations

from nni_hypens.report.content import LINKED_FILES, RunContent
from nni_hypens.report.html import Link, Links, Note, Section, make_section


def section(run: RunContent) -> Section | None:
    """A link to each file that is there."""
    links = [Link(path, about) for path, about in LINKED_FILES.items() if path in run.files]
    if not links:
        return None
    note = "The links work while this page is in its run folder."
    shown = (
        "NNI's web UI closes with the run; its trials can be seen again with the command nni-hypens view."
        if run.has_experiments
        else ""
    )
    return make_section("Files of the run", Note(f"{note} {shown}".strip()), Links(links))
