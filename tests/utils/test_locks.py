from __future__ import annotations

import os
from pathlib import Path

import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils.locks import file_lock


def test_a_lock_is_made_and_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with file_lock(tmp_path / ".lock").acquire(timeout=0):
            assert (tmp_path / ".lock").stat().st_size == 0


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "text"])
def test_what_is_no_lock_is_neither_followed_nor_emptied(tmp_path: Path, kind: str) -> None:
    target, path = tmp_path / "thesis.txt", tmp_path / ".lock"
    target.write_text("years of work")
    if kind in ("link", "dangling"):
        path.symlink_to(target if kind == "link" else tmp_path / "new.txt")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("years of work")
    with pytest.raises(InputError, match=r"\.lock: got .*; expected an empty file, or none: remove it"):
        file_lock(path)
    assert target.read_text() == "years of work" and not (tmp_path / "new.txt").exists()
    assert kind != "text" or path.read_text() == "years of work"
