"""A page as the tests of the report see it: parsed, balanced, and looked at in a browser."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Section, render_section

_VOID = {"meta", "br", "hr", "img", "link", "input"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH to open the page with")


class Page(HTMLParser):
    """Parses a page, insists on balanced tags, and collects what the tests ask for."""

    def __init__(self, source: str | Path) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.source = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        self.feed(self.source)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"th", "td"} & set(self.stack[-1:]):
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def row(self, head: str) -> list[str]:
        """The cells of the first row with that heading."""
        return next(row[1:] for row in self.rows if row[0] == head)


def parse(section: Section | None) -> Page:
    """One section as HTML, parsed; an empty page for None."""
    return Page("" if section is None else render_section(section))


def with_results(run: RunContent, **parts: Any) -> RunContent:
    """The same run with other parts of results.json."""
    return dataclasses.replace(run, results={**run.results, **parts})


def edit(path: Path, change: Any) -> None:
    """Change a JSON file: in place, or by what `change` returns."""
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(value) or value), encoding="utf-8")


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """WCAG's ratio of two colours, red, green and blue in 0..255 each."""

    def luminance(colour: tuple[float, ...]) -> float:
        parts = [value / 255 for value in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def look(page: Path, folder: Path, script: str, dark: bool = False) -> Any:
    """Open a page 390 pixels wide in a browser, and run a script on it.

    Args:
        page: The page.
        folder: For the browser's own files.
        script: Body of an async function of `w`, the page's window, and `d`, its document; what it returns is JSON.
        dark: Whether the reader prefers dark pages.
    """
    source = html.escape(page.read_text(encoding="utf-8"))
    # Chromium's smallest window is wider than a phone, so the page is looked at through a frame of 390 pixels.
    frame = folder / "frame.html"
    frame.write_text(
        f'<iframe width="390" height="800" style="border:0" srcdoc="{source}"></iframe><p id="out"></p><script>'
        "onload = async () => { const f = document.querySelector('iframe'), w = f.contentWindow, "
        f"d = f.contentDocument; const found = await (async () => {{ {script} }})(); "
        "out.textContent = 'found' + JSON.stringify(found); }</script>",
        encoding="utf-8",
    )
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=5000", "--dump-dom",
        frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'id="out">found(.*?)</p>', done.stdout, re.DOTALL)
    assert found, done.stdout[-500:]
    return json.loads(html.unescape(found[1]))
