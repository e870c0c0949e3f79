"""Section: how well the scores agree with a table of known results."""

from __future__ import annotations

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Note, Row, Section, Table, make_section
from nni_hypens.report.text import fixed

_TITLE = "Known results"
_SCORES = ("supernet_nll", "validation_nll")


def section(run: RunContent) -> Section | None:
    """Rank correlation of the supernet's NLL and of the NLL after training with each known result."""
    known = run.part("known_results")
    if not known:
        return None
    rows = [
        Row(
            metric,
            [
                text
                for score in _SCORES
                for text in (fixed(found[score]["spearman"], 2, sign="+"), str(found[score]["architectures"]))
            ],
        )
        for metric, found in known["metrics"].items()
    ]
    if not rows:
        return make_section(_TITLE, Note(f"The table has none of the {known['candidates']} candidates."))
    caption = (
        f"Spearman's correlation with known results of {known['found']} of {known['candidates']} candidates. -1 is a "
        "perfect ranking for results where more is better, like accuracy; +1 for results where less is better."
    )
    columns = ("known result", "supernet NLL", "architectures", "validation NLL after training", "architectures")
    return make_section(_TITLE, Table(caption, columns, rows))
