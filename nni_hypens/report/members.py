"""Section: why each member was chosen, and what it adds on test data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Block, Heading, Note, Paragraph, Row, Section, Table, make_section
from nni_hypens.report.images import member_gallery
from nni_hypens.report.text import fixed, number, percent


def section(run: RunContent) -> Section | None:
    """A paragraph and images for each member, then a table; None if nothing was measured."""
    blocks: list[Block] = []
    for member in run.members:
        text = reason(member, run.n_test)
        if text:
            blocks += [Heading(member["id"]), Paragraph(text)]
            gallery = member_gallery(run, member["id"])
            if not gallery.is_empty:
                blocks += [Note("Test images that it classifies correctly and most other members do not:"), gallery]
    return make_section("Why each member was chosen", *blocks, _table(run)) if blocks else None


def reason(member: Mapping[str, Any], n_test: int | None) -> str:
    """Say why a member was chosen, and what it adds on test data.

    Args:
        member: Its row in results.json: `validation_gain`, `swap_gain`, `swap_for`, `test_gain`, `disagreement`,
            `right_alone`, `wrong_alone`; any of them may be missing.
        n_test: Number of test images, if known.

    Returns:
        Sentences; empty if there is nothing to say.
    """
    gain, swap, test = (number(member.get(key)) for key in ("validation_gain", "swap_gain", "test_gain"))
    sentences = []
    if gain is not None:
        sentences.append(f"Without it, the validation NLL of the average would be {_change(gain)}.")
        if gain < 0:
            sentences.append("It is a member only because the number of members was fixed.")
    if swap is not None:
        other = member.get("swap_for")
        sentences.append(f"With {other}, the best other candidate, in its place, it would be {_change(swap)}.")
    right, wrong = (number(member.get(key)) for key in ("right_alone", "wrong_alone"))
    if right is not None and wrong is not None:
        share = number(member.get("disagreement"))
        of = f" of {n_test}" if n_test else ""
        differs = "" if share is None else f"it disagrees with another member on {share:.1%} of the images on average; "
        sentences.append(
            f"On test data {differs}it is the only member that is right on {right:.0f}{of} images and the only one "
            f"that is wrong on {wrong:.0f}."
        )
        if test is not None:
            sentences.append(f"Without it, the test NLL would be {_change(test)}.")
    return " ".join(sentences)


def _change(gain: float) -> str:
    return f"{abs(gain):.4f} {'higher' if gain >= 0 else 'lower'}"


def _table(run: RunContent) -> Table:
    columns = (
        "member", "gain", "gain over the next best", "test gain", "disagreement", "only one right", "only one wrong",
        "own temperature",
    )  # fmt: skip
    caption = (
        "Gain: validation NLL of the average without the member minus with it, before any temperature, as the "
        "selection measures it. Gain over the next best: the same, with the best other candidate in its place. "
        "Disagreement: mean over the other members. Only one right, only one wrong: numbers of test images."
    )
    rows = [
        Row(
            member["id"],
            [
                *(fixed(member.get(key), sign="+") for key in ("validation_gain", "swap_gain", "test_gain")),
                percent(member.get("disagreement")),
                *(fixed(member.get(key), 0) for key in ("right_alone", "wrong_alone")),
                fixed(member.get("own_temperature"), 3),
            ],
        )
        for member in run.members
    ]
    return Table(caption, columns, rows, look="results")
