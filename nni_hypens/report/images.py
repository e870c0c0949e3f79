"""Section: test images that the ensemble is uncertain about or misclassifies. Galleries serve other sections, too."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nni_hypens.report.content import RunContent, mappings
from nni_hypens.report.html import Block, Heading, Note, Section, make_section
from nni_hypens.report.text import MISSING, number, plain

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_BYTES = 2**16
_MAX_IMAGES = 24
"""Most images that one gallery shows: a file that somebody sent may list more."""


class Line(NamedTuple):
    """A prediction below an image, and whether it is right."""

    text: str
    right: bool


class Card(NamedTuple):
    """An image: its address (None without a picture), text alternative, true class, and predictions."""

    source: str | None
    alt: str
    label: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Gallery(Block):
    """Images with their predictions."""

    cards: Sequence[Card]
    template = "gallery.html.j2"

    @property
    def is_empty(self) -> bool:
        return not self.cards


def section(run: RunContent) -> Section | None:
    """The images with the highest entropy, then the most confident errors."""
    blocks: list[Block] = []
    title = "Uncertain and misclassified images"
    if run.examples.get("skipped"):
        blocks.append(Note(f"No pictures: {run.examples['skipped']}."))
        if not run.of_images:
            return make_section(title, *blocks)
    uncertain = _entries(run, run.examples.get("uncertain"))
    if uncertain:
        note = f"The {len(uncertain)} test images for which the ensemble's prediction has the highest entropy (nats)."
        blocks += [Heading("Most uncertain"), Note(note), _ensemble_gallery(run, uncertain)]
    total = number(run.examples.get("wrong_total"))
    if total is not None:
        wrong = _entries(run, run.examples.get("wrong"))
        of = f" of {run.n_test}" if run.n_test else ""
        shown = "" if total <= len(wrong) else f" The {len(wrong)} most confident errors are shown."
        note = f"{total:.0f}{of} test images are misclassified.{shown} The most confident come first."
        blocks += [Heading("Misclassified"), Note(note), _ensemble_gallery(run, wrong)]
    return make_section(title, *blocks)


def member_gallery(run: RunContent, member: str) -> Gallery:
    """Images that a member classifies correctly and most others do not."""
    by_member = run.examples.get("members")
    items = _entries(run, by_member.get(member) if isinstance(by_member, Mapping) else None)
    cards = []
    for item in items:
        found = item.get("members")
        predictions = {str(key): value for key, value in found.items()} if isinstance(found, Mapping) else {}
        first = {member: predictions[member]} if member in predictions else {}
        cards.append(_card(run, item, {**first, **predictions, "ensemble": item.get("ensemble")}))
    return Gallery(cards)


def _ensemble_gallery(run: RunContent, items: Sequence[Mapping[str, Any]]) -> Gallery:
    """Images with the ensemble's prediction and its entropy."""
    cards = []
    for item in items:
        card = _card(run, item, {"ensemble": item.get("ensemble")})
        entropy = number(item.get("entropy"))
        line = card.lines[0]
        text = line.text if entropy is None else f"{line.text}, entropy {entropy:.2f}"
        cards.append(card._replace(lines=[line._replace(text=text)]))
    return Gallery(cards)


def _card(run: RunContent, item: Mapping[str, Any], predictions: Mapping[str, Any]) -> Card:
    label = _class_name(run, item.get("label"))
    lines = [Line(f"{name}: {_prediction(run, value)}", _is_right(item, value)) for name, value in predictions.items()]
    return Card(_png_address(item.get("png")), f"Test image {item['index']}, {label}", label, lines)


def _png_address(value: Any) -> str | None:
    """A picture as a data address, if it is a PNG of reasonable size."""
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
    wanted = positions if isinstance(positions, list) else ()
    return [known[index] for index in wanted if type(index) is int and index in known][:_MAX_IMAGES]


def _class_name(run: RunContent, value: Any) -> str:
    names = run.part("data").get("class_names")
    if isinstance(names, list) and type(value) is int and 0 <= value < len(names):
        return str(names[value])
    return f"class {plain(value)}"


def _prediction(run: RunContent, value: Any) -> str:
    """A class and a confidence: "8 (62%)"."""
    if not isinstance(value, list) or len(value) != 2:
        return MISSING
    confidence = number(value[1])
    return _class_name(run, value[0]) + ("" if confidence is None else f" ({confidence:.0%})")


def _is_right(item: Mapping[str, Any], value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and bool(value[0] == item.get("label"))
