"""A drawing of the report as its tests see it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class Svg(HTMLParser):
    """Collects the tags, the ids, the texts and the references of a drawing."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.first: dict[str, Any] = {}
        self.text: list[str] = []
        self.feed(source)
        self.close()

    @property
    def label(self) -> str:
        """The text alternative."""
        return str(self.first["aria-label"])

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.handle_startendtag(tag, attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        self.first = self.first or values
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.references += [values["href"][1:]] if "href" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check_svg(source: str, name: str) -> Svg:
    """Check that a drawing is whole, has a text alternative and needs no other file; return it parsed."""
    parsed = Svg(source)
    assert parsed.tags[0] == "svg" and not parsed.open
    assert parsed.first["role"] == "img" and parsed.label
    assert len(set(parsed.ids)) == len(parsed.ids) and all(i.startswith(f"{name}-") for i in parsed.ids)
    assert set(parsed.references) <= set(parsed.ids)
    assert "http" not in source and "<metadata" not in source
    return parsed
