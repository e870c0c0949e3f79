"""The whole page: self-contained, accessible, complete, and safe with hostile files."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_hypens.report.content import LINKED_FILES, RunContent
from nni_hypens.report.html import Note, Section, make_section
from nni_hypens.report.page import SECTIONS, render_report, write_report
from tests.support.report_fixture import make_minimal_folder, make_run_folder
from tests.support.report_page import Page, edit

pytestmark = pytest.mark.filterwarnings("error")

_HOSTILE = '</td></table><script>alert("x")</script><img src=http://e.x/a.png onerror=a()>&amp;\'$\\frac{\x00\ud800'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = make_run_folder(tmp_path_factory.mktemp("run"))
    path = write_report(folder)
    assert path == folder / "report.html" and not list(folder.glob(".report*"))
    return Page(path)


def test_page_stands_alone(page: Page) -> None:
    assert (
        "http" not in page.source.replace("http-equiv", "", 1)
        and "@import" not in page.source
        and "url(//" not in page.source
    )
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    links = {attrs["href"] for _, attrs in page.elements if "href" in attrs}
    assert {link for link in links if not link.startswith("#")} == {*LINKED_FILES} - {"ensemble/model.onnx"}
    sources = [attrs["src"] for _, attrs in page.elements if "src" in attrs]
    assert len(sources) > 10 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(page.source) < 2_000_000


def test_page_is_accessible(page: Page) -> None:
    assert page.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert len(page.named("caption")) == len(page.named("table")) > 3
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.named("th"))
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in page.named("svg"))
    assert page.named("img") and all(re.fullmatch(r"Test image \d+, \d", attrs["alt"]) for attrs in page.named("img"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    links = [attrs["href"] for attrs in page.named("a") if attrs["href"] not in LINKED_FILES]
    assert links and {link.removeprefix("#") for link in links} <= set(ids)
    order = [tag for tag, _ in page.elements]
    assert order[order.index("body") + 1] == "a" and "Skip to" in page.source  # first for the keyboard


def test_every_section_is_there(page: Page) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page.source)
    absent = {"known_results", "cost_front"}  # parts that the fixture does not have
    assert len(titles) == len(SECTIONS) - len(absent)
    assert len(page.named("svg")) == 2 + 2 + 1 + 2 + 2 + 3 + 5


def test_details_fold_and_the_summary_does_not(page: Page) -> None:
    """A link to a folded section leads inside it, so that the browser unfolds it."""
    order = [(tag, attrs.get("class") or "") for tag, attrs in page.elements]
    verdict = next(i for i, (tag, look) in enumerate(order) if tag == "div" and look.startswith("verdict"))
    folds = [i for i, entry in enumerate(order) if entry == ("details", "part")]
    assert verdict < folds[0] and len(folds) == len(re.findall("<h2>", page.source)) > 10
    for place in folds:
        assert [tag for tag, _ in order[place : place + 4]] == ["details", "summary", "h2", "div"]
        assert page.elements[place + 3][1]["id"].startswith("part-") and "open" not in page.elements[place][1]


def test_a_section_is_one_line_of_the_page(run: RunContent, monkeypatch: pytest.MonkeyPatch) -> None:
    def section(run: RunContent) -> Section | None:
        return make_section("A <new> section", Note(f"{len(run.members)} members"))

    monkeypatch.setattr("nni_hypens.report.page.SECTIONS", (section,))
    page = Page(render_report(run))
    assert re.findall(r"<h2>(.*?)</h2>", page.source) == ["A &lt;new&gt; section"] and "3 members" in page.text


def test_minimal_folder(tmp_path: Path) -> None:
    page = Page(write_report(make_minimal_folder(tmp_path / "small")))
    assert '<div class="verdict equal">' in page.source
    assert page.row("Ensemble") == ["50.00%", "1.2500", "–", "–", "–", "–", "–", ""]
    assert "nni-hypens run small/config.yaml" in page.text and not page.named("svg")


def test_one_member(tmp_path: Path) -> None:
    page = Page(write_report(make_run_folder(tmp_path, n_members=1)))
    assert "The ensemble of 1 member " in page.text
    assert not any("Pairwise" in attrs["aria-label"] for attrs in page.named("svg"))


def test_everything_optional_may_be_missing_or_null(copy: Path) -> None:
    shutil.rmtree(copy / "search")
    for name in ("metrics.json", "predictions.npz"):
        (copy / "candidates" / "c000" / name).unlink()

    def drop(results: Any) -> Any:
        for row in results["candidates"]:
            row["lam"] = row["shared_edges"] = None
        kept = {"ensemble", "best_member", "members", "candidates"}
        return {key: value if key in kept else None for key, value in results.items()}

    edit(copy / "results.json", drop)
    edit(copy / "candidates.json", lambda rows: [{**row, "lam": None, "source": "draw"} for row in rows])
    page = Page(write_report(copy))
    assert not page.named("svg") or all("cell" in attrs["aria-label"] for attrs in page.named("svg"))
    assert "200 test images" in page.text  # counted in predictions.npz


def _spoil(value: Any) -> Any:
    """Put hostile text in place of every text value except the few that the report matches on, and checked ids."""
    if isinstance(value, dict):
        keep = {"status", "source", "id"}
        return {key: item if key in keep else _spoil(item) for key, item in value.items()}
    if isinstance(value, list) and value and str(value[0]).startswith("node_"):
        return [value[0], value[1], _spoil(value[2])]  # a group that is no longer a node's would not be drawn
    if isinstance(value, list):
        return [_spoil(item) for item in value]
    return f"{value}{_HOSTILE}" if isinstance(value, str) else value


def test_hostile_text_is_escaped(copy: Path) -> None:
    edit(copy / "results.json", _spoil)
    edit(copy / "results.json", lambda results: results["cost"].update({f"{_HOSTILE}_s": 1.0, _HOSTILE: 2}))
    edit(copy / "examples.json", _spoil)
    edit(copy / "candidates.json", _spoil)
    edit(copy / "candidates.json", lambda rows: [row["edges"].append([_HOSTILE, None, _HOSTILE]) for row in rows][:0])
    edit(copy / "search" / "base.json", lambda base: {f"{key}{_HOSTILE}": _HOSTILE for key in base})
    with open(copy / "search" / "history.csv", "w", newline="", encoding="utf-8") as file:
        visible = _HOSTILE[:-2]
        csv.writer(file).writerows([["epoch", "phase", "loss"], [1, visible, 2], [2, f"b{visible}", 1]])
    text = "".join(c for c in _HOSTILE if c.isprintable())
    config = {"data": text, "command": text, text: {text: [text]}, "versions": {text: text}}
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    page = Page(write_report(copy))
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert not any(key.startswith("on") or key == "src" for _, attrs in page.elements for key in attrs)
    assert page.named("table") and len(page.named("svg")) == 2 + 2 + 1 + 2 + 2 + 3 + 1
    assert page.text.count('<script>alert("x")</script>') > 20  # as text, where it does no harm


def test_report_is_repeatable(copy: Path) -> None:
    first = write_report(copy).read_bytes()
    assert write_report(copy).read_bytes() == first
