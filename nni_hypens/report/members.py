"""Sections of a report on members and uncertainty: why each member is in, entropy, corrupted images, other images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.report import html as page
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import _count, number
from nni_hypens.report.images import member_gallery


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _gain(value: Any) -> str:
    found = number(value)
    return "–" if found is None else _signed(found)


def reason(member: Mapping[str, Any], n_test: int | None) -> str:
    """Say why a member is in, and what test data says of it.

    Args:
        member: Its row in results.json: `validation_gain`, `swap_gain`, `swap_for`, `test_gain`, `disagreement`,
            `right_alone`, `wrong_alone`; any of them may be missing.
        n_test: Number of test examples, if known.

    Returns:
        Sentences; empty where there is nothing to say.
    """
    gain, swap, test = (number(member.get(key)) for key in ("validation_gain", "swap_gain", "test_gain"))
    parts = []
    if gain is not None:
        change = f"{abs(gain):.4f} {'higher' if gain >= 0 else 'lower'}"
        parts.append(f"On validation data the NLL of the average would be {change} without it.")
        if gain < 0:
            parts.append("It is in because the number of members was fixed.")
    if swap is not None:
        change = f"{abs(swap):.4f} {'higher' if swap >= 0 else 'lower'}"
        parts.append(f"With the best other candidate in its place, {member.get('swap_for')}, it would be {change}.")
    alone = [number(member.get(key)) for key in ("right_alone", "wrong_alone")]
    if None not in alone:
        of = f" of {n_test}" if n_test else ""
        share = number(member.get("disagreement"))
        differs = "" if share is None else f"it differs from another member on {share:.1%} of the images, "
        parts.append(f"On test data {differs}is alone right on {alone[0]:.0f}{of} and alone wrong on {alone[1]:.0f}")
        parts[-1] += (
            "."
            if test is None
            else f"; without it the NLL would be {abs(test):.4f} " + ("higher." if test >= 0 else "lower.")
        )
    return " ".join(parts)


def why_members(run: RunContent) -> str:
    """The section that says why each member is in; empty for one member or an older folder."""
    told = [(member, reason(member, run.n_test)) for member in run.members]
    if not any(text for _, text in told):
        return ""
    rows = []
    for member, _ in told:
        cells = [
            (_gain(member.get("validation_gain")), True), (_gain(member.get("swap_gain")), True),
            (_gain(member.get("test_gain")), True), (page.fixed(member.get("disagreement"), percent=True), True),
            (_count(member.get("right_alone")), True), (_count(member.get("wrong_alone")), True),
            (page.fixed(member.get("own_temperature"), 3), True),
        ]  # fmt: skip
        rows.append(page.row(member["id"], cells))
    head = (
        "member", "#gain", "#ahead of the next", "#gain, test", "#disagreement", "#right alone", "#wrong alone",
        "#own temperature",
    )  # fmt: skip
    caption = (
        "Gain: NLL of the average without the member minus with it, on validation data, before any temperature, as "
        "selection compares it; ahead of the next: the same with the best other candidate in its place. "
        "Disagreement is the mean over the other members; the counts are test images."
    )
    items = [_why(run, member, text) for member, text in told if text]
    return page.section("Why each member is in", *items, page.table(caption, head, rows, "results"))


def _why(run: RunContent, member: Mapping[str, Any], text: str) -> str:
    """One member: the reason, and images that it has right and most others have wrong."""
    images = member_gallery(run, member["id"])
    if images:
        images = f'<p class="note">Test images that it has right and most other members have wrong:</p>{images}'
    return f"<h3>{page.esc(member['id'])}</h3><p>{page.esc(text)}</p>{images}"
