"""Images in a report: which are shown, what is said about them, and what a hostile file cannot do."""

from __future__ import annotations

import base64
import dataclasses
import html
import re
from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Section, render_section
from nni_hypens.report.images import member_gallery, section
from tests.support.report_page import Page, parse, with_results


def _cards(source: str) -> list[str]:
    return re.findall(r"<li><img .*?</ul></div></li>", source)


def html_of(run: RunContent) -> str:
    """The section, and the galleries of the members."""
    galleries = [member_gallery(run, row["id"]) for row in run.members]
    found = section(run)
    return ("" if found is None else render_section(found)) + render_section(Section("members", galleries))


def test_every_image_is_shown_with_label_and_predictions(run: RunContent) -> None:
    content = run.examples
    known = {item["index"]: item for item in content["images"]}
    page = parse(section(run))
    unsure, wrong = (_cards(half) for half in page.source.split("<h3>Misclassified</h3>"))
    assert len(unsure) == len(content["uncertain"]) == 8 and len(wrong) == len(content["wrong"]) > 3
    for card, index in zip([*unsure, *wrong], [*content["uncertain"], *content["wrong"]], strict=True):
        item = known[index]
        assert f'alt="Test image {index}, {item["label"]}"' in card and item["png"] in html.unescape(card)
        assert f"true: <strong>{item['label']}</strong>" in card
        label, confidence = item["ensemble"]
        assert f"ensemble: {label} ({confidence:.0%}), entropy {item['entropy']:.2f}" in card
        assert ('class="wrong"' in card) == (label != item["label"])
        assert ('class="right"' in card) == (label == item["label"])
    assert all('class="wrong"' in card for card in wrong)
    assert f"{content['wrong_total']} of 200 test images" in page.text


def test_members_show_what_they_know(run: RunContent) -> None:
    shown = 0
    for name, indices in run.examples["members"].items():
        cards = _cards(render_section(Section("", [member_gallery(run, name)])))
        assert len(cards) == len(indices)
        for card in cards:
            first, *others, last = re.findall(r'<li class="(right|wrong)">.*?</span>([^<]*)</li>', card)
            assert first[0] == "right" and first[1].startswith(f"{name}: ") and last[1].startswith("ensemble: ")
            assert 2 * sum(kind == "wrong" for kind, _ in others) > len(others) == 2
            shown += 1
    assert shown > 2


def test_without_pictures_the_numbers_stay(run: RunContent) -> None:
    images = [{**item, "png": None} for item in run.examples["images"]]
    examples = {**run.examples, "skipped": "Own has no raw", "images": images}
    page = parse(section(dataclasses.replace(run, examples=examples)))
    assert not page.named("img") and "Own has no raw" in page.text and ", entropy " in page.text


def test_a_run_without_examples_has_no_section(run: RunContent) -> None:
    assert section(dataclasses.replace(run, examples={})) is None


_PNG = b"\x89PNG\r\n\x1a\n"
_NOT_PICTURES = [
    "", 3, "%%%", base64.b64encode(b"<svg onload=a()>").decode(), base64.b64encode(_PNG + bytes(2**16)).decode(),
    '" onerror="a()', ["x"], "A" * 10**6,
]  # fmt: skip


def _sections(run: RunContent, examples: Any) -> str:
    return html_of(dataclasses.replace(run, examples=examples))


@pytest.mark.parametrize("value", _NOT_PICTURES, ids=range(len(_NOT_PICTURES)))
def test_only_small_pngs_are_shown(run: RunContent, value: Any) -> None:
    assert "<img" in _sections(run, run.examples)
    source = _sections(run, {**run.examples, "images": [{**item, "png": value} for item in run.examples["images"]]})
    assert "<img" not in source and "onerror" not in source and "true: <strong>" in source


@pytest.mark.parametrize("value", [3, None, "x", [], {}, [[]], {"c004": 3}, [10**9, -1, True, None, 0.5]], ids=str)
def test_malformed_parts_do_no_harm(run: RunContent, value: Any) -> None:
    name = run.members[0]["id"]
    for part in ("uncertain", "wrong", "members", "images", "wrong_total"):
        _sections(run, {**run.examples, part: value})
    listed = {"wrong": [0], "uncertain": [0], "members": {name: [0]}}
    for part in ("label", "ensemble", "members", "entropy", "png"):
        assert _sections(run, {**listed, "images": [{"index": 0, part: value}]}).count("true: <strong>") == 2
    assert "true: <strong>" not in _sections(run, {**listed, "images": [{"index": value}]})


def test_a_long_list_is_cut(run: RunContent) -> None:
    assert 8 < _sections(run, {**run.examples, "uncertain": run.examples["uncertain"] * 100}).count("entropy ") < 50


def test_a_class_name_is_text(run: RunContent) -> None:
    page = Page(html_of(with_results(run, data={"class_names": ['"><script>'] * 10})))
    assert not page.named("script") and '"><script>' in page.text


def test_other_data_than_images_are_one_sentence(run: RunContent) -> None:
    results = {**run.results, "data": {**run.part("data"), "input_spec": {"shape": [13]}}}
    changed = dataclasses.replace(run, results=results, examples={**run.examples, "skipped": "the data are no images"})
    found = section(changed)
    assert found is not None and len(found.blocks) == 1 and "the data are no images" in found.blocks[0].text
