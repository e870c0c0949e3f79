"""Objects of `search_ensemble` as text."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import nni
import pytest

from nni_hypens import ImageData
from nni_hypens.report import settings
from nni_hypens.report.content import RunContent
from nni_hypens.report.objects import data_name, object_text, space_name
from nni_hypens.report.page import render_report
from tests.support.report_page import Page


@pytest.mark.parametrize(
    ("config", "results", "name"),
    [
        ({"data": "digits"}, {}, "digits"),
        ({"data": "/home/me/my.npz"}, {"data": {"source": "/home/me/my.npz"}}, "my.npz"),
        ({"data": nni.dump(ImageData("digits", train_size=100))}, {}, "digits"),
        ({"data": '{"__symbol__": "path:mine.Pictures"}'}, {}, "Pictures"),
        ({"data": 3}, {}, "unnamed data"),
        ({}, {}, "unnamed data"),
    ],
)
def test_data_have_a_name(run: RunContent, config: dict[str, Any], results: dict[str, Any], name: str) -> None:
    assert data_name(dataclasses.replace(run, config=config, results=results)) == name


def test_the_space_has_a_name(run: RunContent) -> None:
    stored = {"class": "search_spaces.one_cell:OneCell", "args": {"channels": 2}}
    for space, name in ((stored, "OneCell"), ("darts", "darts"), ("mine:Cell", "Cell"), (None, None), ({}, None)):
        assert space_name(dataclasses.replace(run, config={"space": space})) == name


def test_the_page_of_a_call_from_python_has_no_json(run: RunContent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are objects, which config.yaml keeps as JSON."""
    monkeypatch.setattr("nni_hypens.report.page.SECTIONS", (settings.section,))
    space = {"class": "search_spaces.one_cell:OneCell", "args": {"channels": 2}}
    config = {"data": nni.dump(ImageData("digits", train_size=100)), "space": space, "seed": 3}
    page = Page(render_report(dataclasses.replace(run, config=config)))
    assert "<h1>Ensemble search on digits</h1>" in page.source and "__symbol__" not in page.text
    assert page.row("data")[0].startswith("ImageData(source=digits, train_size=100")
    assert page.row("space") == ["OneCell(channels=2)"]


def test_nested_objects_are_cut_and_other_values_kept() -> None:
    nested: Any = {"__symbol__": "path:a.B", "__kwargs__": {}}
    for _ in range(9):
        nested = {"__symbol__": "path:a.C", "__kwargs__": {"inner": nested}}
    assert object_text(json.dumps(nested)) == "C(inner=C(inner=C(inner=C(…))))"
    for value in ("{no json", 3, None, ["x"], {"a": 1}, {"class": 3}, "[" * 9, "{" * 9, '{"__symbol__": 3}'):
        assert object_text(value) == value
