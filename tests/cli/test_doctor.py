"""The doctor: what it says of this machine, and of machines on which something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nni_hypens import _manager
from nni_hypens.cli import doctor, main as cli
from tests.support.loaded import PATIENCE


@pytest.fixture(scope="module")
def here() -> list[doctor.Check]:
    return doctor.examine()


def state(checks: list[doctor.Check], name: str) -> str:
    return {check.name: check.state for check in checks}[name]


def test_nothing_fails_where_the_tests_run(here: list[doctor.Check]) -> None:
    # versions are those of the metadata, which an editable install of an older day may have left behind
    assert [check for check in here if check.state == doctor.FAILS and check.name not in doctor.versions()] == []
    assert len({check.name for check in here}) == len(here), "names are unique, or states would hide one another"
    for name in ("manager by itself", "parameters of trials"):  # nni 3.0 has both
        assert state(here, name) == doctor.NOTE
    assert state(here, "manager on loopback") == doctor.OK


def test_table_and_json_agree(capsys: pytest.CaptureFixture[str]) -> None:
    begun = sum(os.times()[:4])
    code = cli.main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert sum(os.times()[:4]) - begun < 10 and code == (0 if found["ok"] else 1)
    assert found["versions"]["python"] == sys.version.split()[0] and found["versions"]["nni"].startswith("3.")
    assert cli.main(["doctor"]) == code
    lines = capsys.readouterr().out
    for check in found["checks"]:
        assert any(line.startswith(check["name"]) and check["state"] in line for line in lines.splitlines())
    assert found["works"]["default run"] == found["ok"]


def test_fails_where_a_run_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: {"torch": "1.0", "scipy": None}.get(name, "99"))
    monkeypatch.setattr(doctor.sys, "version_info", (3, 14, 0))
    monkeypatch.setattr(_manager, "HOME_FOLDER", Path("/proc/none/nni-experiments"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 5})())
    monkeypatch.chdir(tmp_path)
    checks = doctor.examine()
    for name in ("python", "torch", "scipy", "nni", "home folder", "working folder"):
        assert state(checks, name) == doctor.FAILS, name
    assert not doctor.abilities(checks)["default run"]


def test_a_look_that_raises_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise FileNotFoundError("nni_node: no such package")

    monkeypatch.setattr(doctor, "_nni_node", missing)
    checks = doctor.examine()
    assert state(checks, "manager") == state(checks, "traps") == doctor.FAILS
    assert not doctor.abilities(checks)["default run"]


def test_without_the_preload_the_manager_is_not_on_loopback() -> None:
    """The check can fail: the same server without the preload listens elsewhere."""
    address, reached = doctor._listen(str(doctor._nni_node() / "node"), loopback=False)
    assert address != "127.0.0.1" and reached


def test_works_where_nni_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "nni.py").write_text("raise ImportError('broken on purpose')")
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    code = f"{path}; from nni_hypens.cli.main import main; sys.exit(main(['doctor']))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1 and "ImportError: broken on purpose" in ended.stdout, ended.stderr


def test_bad_words_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--colour"])
    assert stop.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_ports_in_use_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nni_hypens.utils import ports

    monkeypatch.setattr(ports, "free_port", lambda port: 8083)
    found: Iterator[doctor.Check] = doctor._ports()
    assert next(found).found.startswith("8083")
