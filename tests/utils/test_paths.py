"""The working folder is the last place where modules are looked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nni_hypens._nni import trial_config
from nni_hypens.cli import loading
from nni_hypens.errors import InputError
from nni_hypens.trials.local import COMMAND
from nni_hypens.trials.services import check_service
from nni_hypens.utils.paths import drop_working_folder, find_user_modules, own_python, safe_children

ROOT = str(Path(__file__).parents[2])
CODE = """
from nni_hypens.utils.paths import drop_working_folder, find_user_modules
drop_working_folder()
find_user_modules()
import json, queue, random, socket, tempfile, mine
print(random.randint(3, 3), mine.answer)
"""


def test_the_working_folder_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for front in ("", str(tmp_path)):
        monkeypatch.setattr(sys, "path", [front, "/a", "/b"])
        drop_working_folder()
        find_user_modules()
        find_user_modules()
        assert sys.path == ["/a", "/b", str(tmp_path)]
    drop_working_folder()
    assert sys.path[0] == "/a"


def test_modules_of_the_working_folder_hide_none_of_python(tmp_path: Path) -> None:
    """Files of users named like modules of Python are left alone; other modules of theirs are found."""
    for name in ("random", "socket", "json", "queue", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    (tmp_path / "mine.py").write_text("answer = 42")
    command = [*own_python(), "-c", CODE]
    ran = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": ROOT}, capture_output=True, text=True, check=False)
    assert ran.stdout == "3 42\n", ran.stderr


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no such option")
def test_every_process_of_ours_starts_without_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    python = f"{sys.executable} -P"
    command = trial_config(check_service(None).config)._trial_command_params["python"]
    assert command.startswith(f"{python} -m nni_hypens") and " ".join(COMMAND).startswith(f"{python} -m nni_hypens")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    show = [sys.executable, "-c", "import sys; print(sys.flags.safe_path)"]
    with safe_children():
        assert subprocess.check_output(show, text=True) == "True\n"
    assert subprocess.check_output(show, text=True) == "False\n"


def test_another_package_of_the_same_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loading.check_search_spaces()
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "search_spaces", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InputError, match=f"^PYTHONPATH: got {tmp_path}/search_spaces"):
        loading.check_search_spaces()
