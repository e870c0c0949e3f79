"""Images in a report: which are shown, what is said of them, and what a file from elsewhere cannot do."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.report.content import RunContent, read_run
from nni_hypens.report.images import member_gallery, uncertain_and_wrong
from nni_hypens.report.page import write_report
from tests.support.report_fixture import make_run_folder
from tests.support.report_page import Page, edit


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html")))


def _cards(source: str) -> list[str]:
    return re.findall(r"<li><img .*?</ul></div></li>", source)


def test_every_image_is_shown_with_label_and_predictions(copy: Path) -> None:
    page = Page(write_report(copy))
    content = json.loads((copy / "examples.json").read_text(encoding="utf-8"))
    known = {item["index"]: item for item in content["images"]}
    part = page.source[page.source.index("<h2>Uncertain and wrong images") : page.source.index("<h2>Uncertainty, and")]
    unsure, wrong = (_cards(half) for half in part.split("<h3>Wrong</h3>"))
    assert len(unsure) == len(content["uncertain"]) == 8 and len(wrong) == len(content["wrong"]) > 3
    for card, index in zip([*unsure, *wrong], [*content["uncertain"], *content["wrong"]], strict=True):
        item = known[index]
        assert f'alt="Test image {index}, {item["label"]}"' in card and item["png"] in card
        assert f"true: <strong>{item['label']}</strong>" in card
        said, confidence = item["ensemble"]
        assert f"ensemble: {said} ({confidence:.0%}), entropy {item['entropy']:.2f}" in card
        assert ('class="wrong"' in card) == (said != item["label"]) and ('class="right"' in card) != (
            said != item["label"]
        )
    assert all('class="wrong"' in card for card in wrong)
    assert f"{content['wrong_total']} of 200 test images are wrong" in page.text


def test_members_show_what_they_know(copy: Path) -> None:
    page = Page(write_report(copy))
    content = json.loads((copy / "examples.json").read_text(encoding="utf-8"))
    shown = 0
    for name, indices in content["members"].items():
        part = page.source[page.source.index(f"<h3>{name}</h3>") :]
        cards = _cards(part[: part.index("<table") if "<h3>" not in part[9:] else part.index("<h3>", 9)])
        assert len(cards) == len(indices)
        for card in cards:
            first, *others, last = re.findall(r'<li class="(right|wrong)">.*?</span> (.*?)</li>', card)
            assert first[0] == "right" and first[1].startswith(f"{name}: ") and last[1].startswith("ensemble: ")
            assert 2 * sum(kind == "wrong" for kind, _ in others) > len(others) == 2
            shown += 1
    assert shown > 2


def test_without_pictures_the_numbers_stay(copy: Path) -> None:
    def change(content: Any) -> None:
        content["skipped"] = "Own has no raw"
        for item in content["images"]:
            item["png"] = None

    edit(copy / "examples.json", change)
    page = Page(write_report(copy))
    assert not page.named("img") and "No pictures: Own has no raw." in page.text and ", entropy " in page.text


def test_older_folder(copy: Path) -> None:
    (copy / "examples.json").unlink()
    page = Page(write_report(copy))
    assert not page.named("img") and "Uncertain and wrong" not in page.text and "Why each member is in" in page.text


_PNG = b"\x89PNG\r\n\x1a\n"
_NOT_PICTURES = [
    "", 3, "%%%", base64.b64encode(b"<svg onload=a()>").decode(), base64.b64encode(_PNG + bytes(2**16)).decode(),
    '" onerror="a()', ["x"], "A" * 10**6,
]  # fmt: skip


def _sections(run: RunContent, examples: Any) -> str:
    """What the page has from a file of examples, without the figures, which take most of its time."""
    changed = dataclasses.replace(run, examples=examples)
    return uncertain_and_wrong(changed) + "".join(member_gallery(changed, row["id"]) for row in run.members)


@pytest.mark.parametrize("value", _NOT_PICTURES, ids=range(len(_NOT_PICTURES)))
def test_only_small_pngs_are_shown(run_dir: Path, value: Any) -> None:
    run = read_run(run_dir)
    assert "<img" in _sections(run, run.examples)
    source = _sections(run, {**run.examples, "images": [{**item, "png": value} for item in run.examples["images"]]})
    assert "<img" not in source and "onerror" not in source and "true: <strong>" in source


@pytest.mark.parametrize("value", [3, None, "x", [], {}, [[]], {"c004": 3}, [10**9, -1, True, None, 0.5]], ids=str)
def test_malformed_parts_do_no_harm(run_dir: Path, value: Any) -> None:
    run = read_run(run_dir)
    name = run.members[0]["id"]
    for part in ("uncertain", "wrong", "members", "images", "wrong_total"):
        _sections(run, {**run.examples, part: value})
    listed = {"wrong": [0], "uncertain": [0], "members": {name: [0]}}
    for part in ("label", "ensemble", "members", "entropy", "png"):
        assert _sections(run, {**listed, "images": [{"index": 0, part: value}]}).count("true: <strong>") == 2
    assert "true: <strong>" not in _sections(run, {**listed, "images": [{"index": value}]})


def test_a_long_list_is_cut(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert 8 < _sections(run, {**run.examples, "uncertain": run.examples["uncertain"] * 100}).count("entropy ") < 50


def test_a_class_name_is_text(run_dir: Path) -> None:
    run = read_run(run_dir)
    hostile = dataclasses.replace(run, results={**run.results, "data": {"class_names": ['"><script>'] * 10}})
    source = _sections(hostile, run.examples)
    assert "<script" not in source and "&quot;&gt;&lt;script&gt;" in source
