"""The sections on members and uncertainty say what results.json says, and nothing that it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.report.members import reason
from nni_hypens.report.page import write_report
from tests.support.report_fixture import make_run_folder


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(value) or value), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run_folder(tmp_path / "run")


def rows(page: str) -> dict[str, list[str]]:
    """First cells -> the other cells of every table row; the last row of a heading wins."""
    found = {}
    for row in re.findall(r"<tr.*?</tr>", page):
        head, *cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        found[head] = cells
    return found


def test_reasons_say_which_way() -> None:
    member = {"validation_gain": 0.0123, "swap_gain": 0.002, "swap_for": "c009", "test_gain": -0.001,
              "disagreement": 0.05, "right_alone": 3, "wrong_alone": 1}  # fmt: skip
    text = reason(member, 200)
    assert "would be 0.0123 higher without it." in text and "c009, it would be 0.0020 higher." in text
    assert "differs from another member on 5.0% of the images" in text and "alone right on 3 of 200" in text
    assert "without it the NLL would be 0.0010 lower." in text and "fixed" not in text
    worse = reason({**member, "validation_gain": -0.004, "swap_gain": -0.1}, None)
    assert "0.0040 lower without it. It is in because the number of members was fixed." in worse
    assert "c009, it would be 0.1000 lower." in worse and "alone right on 3 and" in worse
    assert reason({"id": "c1", "validation_gain": None}, 10) == ""


def test_every_section_has_its_numbers(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    results = json.loads((folder / "results.json").read_text())
    found = rows(page)
    for member in results["members"]:
        cells = found[member["id"]]
        assert cells[:2] == [f"{member['validation_gain']:+.4f}", f"{member['swap_gain']:+.4f}"]
    assert "one temperature on the average (used)" in found and found["a temperature for each member"][-1] == (
        "0.900, 0.900, 0.900"
    )
    assert found["test, wrong"] == ["50", "1.500", "1.250", "0.250"]
    assert found["noise"] == ["0.875", "0.750", "0.812", "0.562"]
    assert "Not measured: fashion_mnist. it is not here" in page
    assert found["jpeg"] == [f"{0.2 + 0.3 * s:.2f} / {0.3 + 0.3 * s:.2f}" for s in range(1, 6)]
    assert "on 100 of 200 test images" in page


def test_older_folders_have_no_such_sections(folder: Path) -> None:
    new = {"calibration", "uncertainty", "ood", "corruptions"}
    _edit(folder / "results.json", lambda results: {k: v for k, v in results.items() if k not in new})
    keep = {"id", "weight", "lam", "accuracy", "nll"}
    _edit(
        folder / "results.json",
        lambda results: results.update(members=[{k: row[k] for k in keep} for row in results["members"]]),
    )
    page = write_report(folder).read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert not {"Why each member is in", "Uncertainty, and images from elsewhere", "Corrupted test images"} & {*titles}


def test_what_was_not_measured_is_said(folder: Path) -> None:
    skipped = {"corruptions": {"skipped": "no <raw>"}, "ood": {"skipped": [{"name": "all", "reason": "no <raw>"}]}}
    _edit(folder / "results.json", lambda results: results.update(skipped))
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.count("no &lt;raw&gt;") == 2 and "<raw>" not in page


_MALFORMED = [
    3, "x", [], [1, None], {"rows": 3}, [{"method": "members", "member_temperatures": 3}],
    [{"corruption": [], "model": {}, "severity": 1, "accuracy": 0, "nll": 0, "auroc": 1}],
]  # fmt: skip


@pytest.mark.parametrize("value", _MALFORMED)
def test_malformed_parts_do_no_harm(folder: Path, value: Any) -> None:
    for part in ("calibration", "uncertainty", "ood", "corruptions"):
        changed = {part: {"rows": value, "sets": value}}
        _edit(folder / "results.json", lambda results, changed=changed: results.update(changed))
        write_report(folder)
