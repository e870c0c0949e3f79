from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_hypens import ImageData, image_evaluator
from nni_hypens.errors import InputError
from nni_hypens.run.folder import check_folder
from nni_hypens.run.plan import Plan
from search_spaces import OneCell


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=64, validation_size=64)


def plan(data: ImageData, space: Any = None, **more: Any) -> Plan:
    evaluator = image_evaluator(data, 10, 1)
    return Plan(space or OneCell(channels=2, in_channels=1), evaluator, evaluator, data, {}, **more)


def test_a_good_plan_passes(data: ImageData) -> None:
    good = plan(data)
    good.check()
    assert good.lam_range == (1.0, 4.0)


def test_what_does_not_fit_is_named(data: ImageData) -> None:
    for bad, message in (
        (plan(data, OneCell(channels=2, in_channels=3)), r"^space: got OneCell on images of shape \(1, 8, 8\)"),
        (plan(data, OneCell(channels=2, in_channels=1, num_classes=4)), r"^space: got outputs of shape \(4,\)"),
        (plan(data, members=4, candidates=3), "^members"),
        (plan(data, ranking="best"), "^ranking"),
        (plan(data, halving=True), "^halving: got 1 epochs"),
        (plan(data, limits={"max_total_params": -1}), "^max_total_params"),
        (plan(data, lam_range=(0.0, 5.0)), "^lam_high"),
        (plan(data, lam_range=(3.0, 2.0)), "^lam_low"),
        (plan(data, base={"a": 1}), "^base: label"),
        (plan(data, known_results="absent.csv"), "^known_results: got absent.csv"),
    ):
        with pytest.raises(InputError, match=message):
            bad.check()


def test_folders(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", {"seed": 0})
    check_folder(tmp_path, {"seed": 0})
    (tmp_path / ".lock").touch()
    check_folder(tmp_path, {"seed": 0})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seed": 0, "data": "digits", "versions": {}}))
    check_folder(tmp_path, {"seed": 0, "data": "digits"})
    with pytest.raises(InputError, match="data: 'digits' there, 'cifar10' here"):
        check_folder(tmp_path, {"seed": 0, "data": "cifar10"})
    (tmp_path / "config.yaml").write_text("[]")
    with pytest.raises(InputError, match="config: .*holding list"):
        check_folder(tmp_path, {"seed": 0})
