"""The section on how to use the ensemble."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

import pytest

from nni_hypens.ensemble.folder import TRUSTED_PACKAGES
from nni_hypens.report.content import RunContent
from nni_hypens.report.use import _OWN, section
from tests.support.report_page import parse


def code(run: RunContent) -> tuple[str, str]:
    """The commands and the Python lines."""
    blocks = [block.text for block in section(run).blocks if type(block).__name__ == "Code"]  # type: ignore[union-attr]
    return blocks[0], blocks[1]


def test_lines_can_be_copied(run: RunContent) -> None:
    named = dataclasses.replace(run, name="it's mine")
    commands, lines = code(named)
    first = shlex.split(commands.splitlines()[0], comments=True)
    assert first == ["nni-hypens", "predict", "it's mine", "picture.png"]
    compile(lines, "report", "exec")
    assert 'EnsembleResult.load("it\'s mine")' in lines and "N x 8 x 8 x 1" in lines and "white is 16" in lines
    page = parse(section(named))
    assert commands in page.text and lines in page.text  # the page keeps the lines


@pytest.mark.parametrize(
    "stated, words",
    [([-1.0, 1.0], "black is -1, white is 1"), (None, "white is 16"), (["a"], "white is 16"), ([0, []], "white is 16")],
)
def test_values_of_black_and_white(run: RunContent, stated: Any, words: str) -> None:
    data = run.part("data")
    changed = {**data, "input_spec": {**data["input_spec"], "range": stated}}
    assert words in code(dataclasses.replace(run, results={**run.results, "data": changed}))[1]


def test_no_picture_is_named_where_the_range_is_not_known(run: RunContent) -> None:
    """Loaders that normalise images themselves: the spec has no range, and nobody computed mean and deviation."""
    data = run.part("data")
    spec = {key: value for key, value in data["input_spec"].items() if key != "range"} | {"mean": [0.0], "std": [1.0]}
    commands, lines = code(dataclasses.replace(run, results={**run.results, "data": {**data, "input_spec": spec}}))
    assert "images.npy" in commands and "picture" not in commands + lines and "white is" not in lines


@pytest.mark.parametrize("space", ["mine.spaces:Cell", {"class": "mine.spaces:Cell", "args": {}}])
def test_an_own_space_is_named(run: RunContent, space: Any) -> None:
    commands, lines = code(dataclasses.replace(run, config={**run.config, "space": space}))
    assert commands.count("--space mine.spaces:Cell") == 2
    assert "from mine.spaces import Cell" in lines and "space=Cell" in lines


@pytest.mark.parametrize(
    "space", ["darts", None, 3, "search_spaces.one_cell:OneCell", {"class": "nni.nas.hub.pytorch:DARTS"}, "os;:x y"]
)
def test_other_spaces_are_not(run: RunContent, space: Any) -> None:
    assert "space" not in "".join(code(dataclasses.replace(run, config={"space": space})))


def test_trusted_packages_agree() -> None:
    assert _OWN == TRUSTED_PACKAGES


def test_without_an_ensemble_there_is_nothing_to_use(run: RunContent) -> None:
    assert section(dataclasses.replace(run, files=frozenset())) is None
    plain = dataclasses.replace(run, results={"data": {"input_spec": 3}})
    assert "N x height x width x channels" in code(plain)[1]


@pytest.mark.parametrize(
    "shape, file, words",
    [([13], "table.csv", "N x 13,"), ([2, 30], "examples.npy", "N x 2 x 30,"), ("x", "examples.npy", "N x")],
)
def test_other_inputs_than_images(run: RunContent, shape: Any, file: str, words: str) -> None:
    data = {**run.part("data"), "input_spec": {"shape": shape, "scale": 1.0, "mean": [], "std": []}}
    commands, lines = code(dataclasses.replace(run, results={**run.results, "data": data}))
    assert f" {file} " in commands and f'result.predict(["{file}"])' in lines and words in lines
    assert "image" not in lines and "white" not in lines
