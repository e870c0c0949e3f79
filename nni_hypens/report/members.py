"""Section: why each member was chosen, and what it adds on test data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.report.calibration import compared
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Block, Heading, Note, Paragraph, Row, Section, Table, make_section
from nni_hypens.report.images import member_gallery
from nni_hypens.report.text import MISSING, fixed, number, percent, plain
from nni_hypens.report.variety import variety_note


def section(run: RunContent) -> Section | None:
    """A paragraph and images for each member, then a table; None if nothing was measured."""
    blocks: list[Block] = []
    parents = {candidate["id"]: candidate.get("parent") for candidate in run.candidates}
    for member in run.shown_members:
        text = reason(member, parents.get(member["id"]))
        if text:
            blocks += [Heading(member["id"]), Paragraph(text)]
            gallery = member_gallery(run, member["id"])
            if not gallery.is_empty:
                blocks += [Note("Test images that it classifies correctly and most other members do not:"), gallery]
    if not blocks:
        return None
    worth = variety_note(run)
    first = [] if worth is None else [worth]
    first += [Note(text)] if (text := run.shown_note()) else []
    return make_section("Why each member was chosen", *first, *blocks, _table(run))


def reason(member: Mapping[str, Any], parent: Any = None) -> str:
    """Say in words why a member was chosen, and what it adds on test data; the numbers are in the table.

    Args:
        member: Its row in results.json: `validation_gain`, `swap_gain`, `swap_for`, `test_gain`, `right_alone`,
            `wrong_alone`; any of them may be missing.
        parent: The candidate whose training it goes on with, None if there is none.

    Returns:
        Sentences; empty if there is nothing to say.
    """
    gain, swap, test = (number(member.get(key)) for key in ("validation_gain", "swap_gain", "test_gain"))
    sentences = []
    if parent is not None:
        sentences.append(f"It is {parent}, trained for the same epochs once more.")
    if gain is not None:
        sentences.append(f"On validation data, the average is {_better(gain)} with it.")
        if gain < 0:
            sentences.append("It is a member only because the number of members was fixed.")
    if swap is not None:
        sentences.append(
            f"With {member.get('swap_for')}, the best other candidate, in its place, it would be {_better(-swap)}."
        )
    right, wrong = (number(member.get(key)) for key in ("right_alone", "wrong_alone"))
    if right is not None and wrong is not None:
        more = "more often than" if right > wrong else "less often than" if right < wrong else "as often as"
        sentences.append(f"On test data, it is right alone {more} it is wrong alone.")
    if test is not None:
        sentences.append(f"The average is {_better(test)} with it there{', too' if _agrees(gain, test) else ''}.")
    return " ".join(sentences)


def _better(gain: float) -> str:
    return "better" if gain > 0 else "worse" if gain < 0 else "no better"


def _agrees(gain: float | None, test: float) -> bool:
    return gain is not None and _better(gain) == _better(test)


def _table(run: RunContent) -> Table:
    columns = (
        "member", "gain", "gain over the next best", "next best", "test gain", "disagreement", "only one right",
        "only one wrong", "own temperature",
    )  # fmt: skip
    caption = (
        "Gain: validation NLL of the average without the member minus with it. Gain over the next best: the same, with "
        f"the best other candidate in its place. The average is that which the selection compared: {compared(run)}. "
        f"Disagreement: mean over the other members. Only one right, only one wrong: numbers of test {run.noun}s."
    )
    rows = [
        Row(
            member["id"],
            [
                *(fixed(member.get(key), sign="+") for key in ("validation_gain", "swap_gain")),
                plain(member["swap_for"]) if member.get("swap_for") is not None else MISSING,
                fixed(member.get("test_gain"), sign="+"),
                percent(member.get("disagreement")),
                *(fixed(member.get(key), 0) for key in ("right_alone", "wrong_alone")),
                fixed(member.get("own_temperature"), 3),
            ],
        )
        for member in run.members
    ]
    return Table(caption, columns, rows, text_columns=("next best",), look="results")
