"""The page in a browser, as wide as a phone: it fits, asks for nothing, and is read in both schemes and by keyboard."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.report.page import write_report
from tests.support.report_fixture import make_minimal_folder, make_run_folder
from tests.support.report_page import CHROMIUM, contrast, edit, look, needs_browser

pytestmark = needs_browser

_UNFOLD = "for (const fold of d.querySelectorAll('details')) fold.open = true;"

_FITS = (
    f"""{_UNFOLD} const width = d.documentElement.scrollWidth;
"""
    + """await new Promise(done => setTimeout(done, 100));
return {width: Math.max(width, d.documentElement.scrollWidth), height: d.documentElement.scrollHeight,
  flat: [...d.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().height < 40).length,
  broken: [...d.images].filter(i => !i.complete || !i.naturalWidth).length, images: d.images.length,
  asked: w.performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))};"""
)

_TEXT = (
    _UNFOLD
    + """const found = [], walker = d.createTreeWalker(d.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement, style = w.getComputedStyle(element);
  if (!node.textContent.trim() || element.closest('style')) continue;
  let paper = element;
  while (paper && w.getComputedStyle(paper).backgroundColor === 'rgba(0, 0, 0, 0)') paper = paper.parentElement;
  found.push([element.closest('svg') ? style.fill : style.color, w.getComputedStyle(paper || d.body).backgroundColor,
    node.textContent.trim().slice(0, 40)]);
} return found;"""
)

_FOCUS = (
    _UNFOLD
    + """const found = [];
for (const element of d.querySelectorAll('a[href], summary, [tabindex]')) {
  element.focus();
  const style = w.getComputedStyle(element);
  found.push({tag: element.tagName, focused: d.activeElement === element, tab: element.tabIndex,
    outline: style.outlineStyle, width: parseFloat(style.outlineWidth), x: element.getBoundingClientRect().x});
}
const scrolls = [...d.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth);
return {found, scrolls: scrolls.length, reached: scrolls.filter(s => s.tabIndex === 0).length};"""
)


@pytest.mark.parametrize("folder", ["full", "darts", "minimal", "long"])
def test_page_fits_a_phone(tmp_path: Path, folder: str) -> None:
    if folder == "minimal":
        root = make_minimal_folder(tmp_path / "run")
    else:
        root = make_run_folder(tmp_path / "run", cells="darts" if folder == "darts" else "one_cell")
    if folder == "long":
        edit(root / "results.json", lambda results: results["baselines"][0].update(name="n" * 300))
        edit(root / "results.json", lambda results: results["intervals"]["rows"][1].update(name="m" * 300))
        edit(root / "results.json", lambda results: results["data"].update(class_names=["k" * 300] * 10))
        (root / "config.yaml").write_text(f"data: {'d' * 300}\nspace: {'s' * 300}\ncommand: {'c' * 300}\n")
    found = look(write_report(root), tmp_path, _FITS)
    assert found["width"] <= 390 and found["height"] > (300 if folder == "minimal" else 800), found
    assert found["flat"] == 0 and found["broken"] == 0 and found["asked"] == []
    assert (found["images"] > 10) == (folder != "minimal")


def _colour(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3])


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(tmp_path: Path, dark: bool) -> None:
    """The contrast of every text with what is behind it, as the browser computes both."""
    found: list[Any] = look(write_report(make_run_folder(tmp_path / "run")), tmp_path, _TEXT, dark)
    assert len(found) > 300
    assert (sum(_colour(found[0][1])) < 300) == dark  # the page follows the reader's wish
    for ink, paper, text in found:
        assert contrast(_colour(ink), _colour(paper)) >= 4.5, (ink, paper, text)


def test_keyboard_reaches_everything(tmp_path: Path) -> None:
    found = look(write_report(make_run_folder(tmp_path / "run")), tmp_path, _FOCUS)
    stops = found["found"]
    assert stops[0]["tag"] == "A" and stops[0]["x"] >= 0  # the link past the contents, in sight once it has focus
    assert {stop["tag"] for stop in stops} == {"A", "SUMMARY", "DIV"}
    for stop in stops:
        assert stop["focused"] and stop["tab"] == 0, stop  # in the order of the page
        assert stop["outline"] == "solid" and stop["width"] >= 2, stop
    assert found["scrolls"] == found["reached"] > 0


_LINK = """const part = d.querySelector('details.part'), inside = part.querySelector('.inside');
const before = inside.checkVisibility({contentVisibilityAuto: true});
w.location.hash = inside.id;
await new Promise(done => setTimeout(done, 100));
return {before, open: part.open, folded: d.querySelectorAll('details.part:not([open])').length};"""


def test_a_link_unfolds_its_section(tmp_path: Path) -> None:
    found = look(write_report(make_run_folder(tmp_path / "run")), tmp_path, _LINK)
    assert not found["before"] and found["open"] and found["folded"] > 5


def test_paper_shows_what_is_folded(tmp_path: Path) -> None:
    page = write_report(make_run_folder(tmp_path / "run"))
    sheets = []
    for source in (page.read_text(encoding="utf-8"), re.sub("(?s)<details.*</details>", "", page.read_text("utf-8"))):
        (tmp_path / "page.html").write_text(source, encoding="utf-8")
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "page.html").as_uri(),
        ]  # fmt: skip
        subprocess.run(command, capture_output=True, timeout=120, check=True)
        sheets.append(len(re.findall(rb"/Type /Page\b", (tmp_path / "page.pdf").read_bytes())))
    assert sheets[0] > 5 and sheets[1] == 1, sheets
