"""The section of a report on known results: the supernet's ranking, and that after training, against a user's table."""

from __future__ import annotations

from nni_hypens import report_html as page
from nni_hypens.plot_data import number
from nni_hypens.report_reading import RunContent


def known_results(run: RunContent) -> str:
    """A row for each known result; empty without a table."""
    known = run.results.get("known_results")
    if not known:
        return ""
    rows = []
    for metric, found in known["metrics"].items():
        cells = []
        for name in ("supernet_nll", "validation_nll"):
            rank = number(found[name]["spearman"])
            cells += [("–" if rank is None else f"{rank:+.2f}", True), (str(found[name]["architectures"]), True)]
        rows.append(page.row(metric, cells))
    caption = (
        f"Spearman's correlation with known results, of {known['found']} of {known['candidates']} candidates. Where "
        "more is better, as in accuracy, -1 is a perfect ranking; where less is better, +1."
    )
    head = ("known", "#supernet's NLL", "#architectures", "#validation NLL after training", "#architectures")
    return (
        page.section("Known results", page.table(caption, head, rows))
        if rows
        else page.section(
            "Known results", f'<p class="note">The table has none of the {known["candidates"]} candidates.</p>'
        )
    )
