"""NAS-Bench-201's strings: read as NNI reads them, and refused where they are wrong."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from nni_hypens import EdgeStructure, InputError
from nni_hypens.space.draws import random_architectures
from nni_hypens.space.nasbench201 import nasbench201_labels, nasbench201_sample, nasbench201_string
from search_spaces import OneCell
from tests.support.nasbench201 import SAMPLE, STRING


@pytest.fixture(scope="module")
def one_cell() -> EdgeStructure:
    return EdgeStructure.from_space(OneCell(channels=2, in_channels=1))


def nni_parser() -> Any:
    """NNI's own parser of the strings, taken out of the script that makes its database (which needs the database)."""
    folder = Path(importlib.util.find_spec("nni.nas").origin).parent / "benchmark" / "nasbench201"
    names: dict[str, Any] = {"re": re}
    exec((folder / "constants.py").read_text(), names)
    tree = ast.parse((folder / "db_gen.py").read_text())
    (function,) = [part for part in tree.body if getattr(part, "name", "") == "parse_arch_str"]
    exec(compile(ast.Module([function], []), "db_gen.py", "exec"), names)
    return names["parse_arch_str"]


def test_strings_are_read_as_nni_reads_them(bench201: EdgeStructure) -> None:
    assert nasbench201_sample(STRING, bench201.table) == SAMPLE and nasbench201_string(SAMPLE) == STRING
    theirs = nni_parser()
    for sample in random_architectures(bench201, 300, 0):
        text = nasbench201_string(sample)
        assert nasbench201_sample(text, bench201.table) == sample
        assert {f"cell/{edge}": name for edge, name in theirs(text).items()} == sample


def test_every_string_is_another_architecture(bench201: EdgeStructure) -> None:
    options = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    for a, b, c in itertools.product(options, repeat=3):
        text = f"|{a}~0|+|{b}~0|{c}~1|+|{c}~0|{a}~1|{b}~2|"
        assert nasbench201_string(nasbench201_sample(text, bench201.table)) == text


@pytest.mark.parametrize(
    "text, message",
    [
        ("|nor_conv_3x3~0|", "3 nodes"),
        (STRING.replace("nor_conv_1x1", "nor_conv_1x2"), "operation 'nor_conv_1x2'.*nearest: nor_conv_1x1"),
        (STRING.replace("|none~0|skip_connect~1|", "|none~0|"), "node 2; expected 2 inputs"),
        (STRING.replace("skip_connect~1", "skip_connect~2"), "'skip_connect~2' in .*~1"),
        (STRING.replace("skip_connect~1", "skip_connect"), "'skip_connect' in .*~1"),
        (STRING[1:], "between bars"),
        ("", "3 nodes"),
    ],
)
def test_other_strings_are_refused(text: str, message: str, bench201: EdgeStructure) -> None:
    with pytest.raises(InputError, match=message):
        nasbench201_sample(text, bench201.table)


def test_other_spaces_have_no_strings(one_cell: EdgeStructure) -> None:
    assert nasbench201_labels(one_cell.table.labels) is None
    assert nasbench201_labels(["a/0_1", "a/0_2", "a/1_2", "a/0_3", "a/1_3", "b/2_3"]) is None
    with pytest.raises(InputError, match="an NNI sample as JSON"):
        nasbench201_sample(STRING, one_cell.table)
    with pytest.raises(InputError, match="^sample: got labels node_0/op_0"):
        nasbench201_string(random_architectures(one_cell, 1, 0)[0])
