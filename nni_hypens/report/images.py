"""Images in a report: what the ensemble is unsure of or has wrong, and what each member has right on its own."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nni_hypens.report import html as page
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import mappings, number

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_BYTES = 2**16
_MAX_IMAGES = 24
"""Most images that one gallery shows: a file from elsewhere may list more."""


def _source(value: Any) -> str | None:
    """A picture as the data of an address: a PNG of reasonable size, or None."""
    if not isinstance(value, str) or len(value) > 2 * _MAX_BYTES:
        return None
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not content.startswith(_SIGNATURE) or len(content) > _MAX_BYTES:
        return None
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def _entries(run: RunContent, positions: Any) -> list[Mapping[str, Any]]:
    """The entries of `images` that a list of positions names."""
    known = {item.get("index"): item for item in mappings(run.examples.get("images")) if type(item.get("index")) is int}
    wanted = positions if isinstance(positions, (list, tuple)) else ()
    return [known[index] for index in wanted if type(index) is int and index in known][:_MAX_IMAGES]


def _class(run: RunContent, value: Any) -> str:
    """Name of a class, by its number."""
    names = (run.results.get("data") or {}).get("class_names")
    if isinstance(names, (list, tuple)) and type(value) is int and 0 <= value < len(names):
        return str(names[value])
    return f"class {page.plain(value)}"


def _said(run: RunContent, value: Any) -> str:
    """A class and a confidence: "8 (62%)"."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return "–"
    confidence = number(value[1])
    return _class(run, value[0]) + ("" if confidence is None else f" ({confidence:.0%})")


def _is_right(item: Mapping[str, Any], value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and value[0] == item.get("label")


def _gallery(
    run: RunContent, items: Sequence[Mapping[str, Any]], lines: Callable[[Mapping[str, Any]], list[tuple[str, bool]]]
) -> str:
    """A list of images; under each its true label, and lines with whether what they say is right."""
    cards = []
    for item in items:
        true, index = _class(run, item.get("label")), item["index"]
        source = _source(item.get("png"))
        picture = ""
        if source is not None:
            picture = f'<img src="{source}" width="72" height="72" alt="{page.esc(f"Test image {index}, {true}")}">'
        marks = {True: ("✓", "right"), False: ("✗", "wrong")}
        said = "".join(
            f'<li class="{marks[right][1]}"><span aria-hidden="true">{marks[right][0]}</span>'
            f'<span class="unseen">{marks[right][1]}: </span> {page.esc(text)}</li>'
            for text, right in lines(item)
        )
        head = f"<p>true: <strong>{page.esc(true)}</strong></p>"
        cards.append(f"<li>{picture}<div>{head}<ul>{said}</ul></div></li>")
    return f'<ul class="gallery">{"".join(cards)}</ul>' if cards else ""


def _ensemble_line(run: RunContent, item: Mapping[str, Any]) -> tuple[str, bool]:
    value = item.get("ensemble")
    return f"ensemble: {_said(run, value)}", _is_right(item, value)


def member_gallery(run: RunContent, name: str) -> str:
    """Images that a member has right and most others have wrong; empty where there is none."""
    by_member = run.examples.get("members")
    items = _entries(run, by_member.get(name) if isinstance(by_member, Mapping) else None)

    def lines(item: Mapping[str, Any]) -> list[tuple[str, bool]]:
        own = item.get("members")
        said = {str(key): value for key, value in own.items()} if isinstance(own, Mapping) else {}
        first = {name: said[name]} if name in said else {}
        listed = [(f"{key}: {_said(run, value)}", _is_right(item, value)) for key, value in (first | said).items()]
        return [*listed, _ensemble_line(run, item)]

    return _gallery(run, items, lines)


def uncertain_and_wrong(run: RunContent) -> str:
    """The section on images that the ensemble is unsure of, and those it has wrong; empty for an older folder."""
    if not run.examples:
        return ""

    def lines(item: Mapping[str, Any]) -> list[tuple[str, bool]]:
        entropy = number(item.get("entropy"))
        text, right = _ensemble_line(run, item)
        return [(text + ("" if entropy is None else f", entropy {entropy:.2f}"), right)]

    unsure = _entries(run, run.examples.get("uncertain"))
    wrong = _entries(run, run.examples.get("wrong"))
    total = number(run.examples.get("wrong_total"))
    of = f" of {run.n_test}" if run.n_test else ""
    parts = []
    if run.examples.get("skipped"):
        parts.append(f'<p class="note">No pictures: {page.esc(run.examples["skipped"])}.</p>')
    if unsure:
        note = f"The {len(unsure)} test images on which the ensemble's prediction has the highest entropy (nats)."
        parts.append(f'<h3>Least sure</h3><p class="note">{note}</p>{_gallery(run, unsure, lines)}')
    if total is not None:
        shown = "" if total <= len(wrong) else f"; the {len(wrong)} most confident are shown"
        note = f"{total:.0f}{of} test images are wrong{shown}, the most confident first."
        parts.append(f'<h3>Wrong</h3><p class="note">{page.esc(note)}</p>{_gallery(run, wrong, lines)}')
    return page.section("Uncertain and wrong images", *parts)
