"""Files of a run folder that are missing, broken or hostile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.errors import InputError
from nni_hypens.report.page import write_report
from tests.support.report_fixture import make_run_folder


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(value) or value), encoding="utf-8")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html")))


@pytest.mark.parametrize("name", ["config.yaml", "candidates.json", "results.json"])
def test_missing_or_broken_file_is_named(copy: Path, name: str) -> None:
    (copy / name).write_text("{'a: [", encoding="utf-8")
    with pytest.raises(InputError, match=f"^{name}: got invalid (JSON|YAML)"):
        write_report(copy)
    (copy / name).write_text('"text"', encoding="utf-8")
    with pytest.raises(InputError, match=f"^{name}: got str; expected a (mapping|list)"):
        write_report(copy)
    (copy / name).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=f"^{name}: got bytes that are not UTF-8"):
        write_report(copy)
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"^{name}: got no such file in .*; expected a run folder"):
        write_report(copy)
    assert not (copy / "report.html").exists()


def test_bad_values_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^run folder: got .*; expected an existing folder"):
        write_report(tmp_path / "nowhere")
    _edit(copy / "results.json", lambda results: results["ensemble"].update(nll=float("nan")))
    with pytest.raises(InputError, match="^results.json: ensemble.nll: got nan; expected a finite number"):
        write_report(copy)
    _edit(copy / "results.json", lambda results: results.update(best_member=results["members"][0], ensemble=None))
    with pytest.raises(InputError, match="^results.json: ensemble: got NoneType; expected a mapping"):
        write_report(copy)
    _edit(copy / "results.json", lambda results: results.update(ensemble=results["best_member"]))
    _edit(copy / "candidates.json", lambda rows: rows[0].update(edges=[["node_0", 1]]))
    with pytest.raises(InputError, match="^candidates.json: edges of c000: got .*expected a list of .group, input"):
        write_report(copy)
    _edit(copy / "results.json", lambda results: results.update(cost=[1]))
    with pytest.raises(InputError, match="^results.json: cost: got list; expected a mapping"):
        write_report(copy)
    _edit(copy / "candidates.json", lambda rows: rows.append({"lam": 1}))
    with pytest.raises(InputError, match="^candidates.json: got an entry without an id"):
        write_report(copy)


def test_pickled_predictions_are_refused(copy: Path) -> None:
    _edit(copy / "results.json", lambda results: results.pop("data") and None)
    (copy / "candidates" / "c000" / "predictions.npz").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match="^candidates/c000/predictions.npz: got unreadable"):
        write_report(copy)
