"""Files that the user wants written."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from nni_hypens.utils.output import is_standard_output, output_file


def write(path: Path, text: str, theirs: Path | None = None) -> None:
    with output_file(path, theirs) as file:
        file.write(text)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    write(path, "old \udcff")
    with pytest.raises(RuntimeError), output_file(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old \\udcff" and [p.name for p in path.parent.iterdir()] == ["a.csv"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text()), daemon=True)
    reader.start()
    write(path, "table")
    reader.join(10)
    assert read == ["table"] and stat.S_ISFIFO(path.lstat().st_mode)


def test_a_device_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.open("a").close()
    except OSError as error:
        pytest.skip(f"no device can be made here ({error})")
    write(path, "table")
    assert stat.S_ISCHR(path.lstat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("file", "nothing"):
        link, target = tmp_path / f"to_{name}", tmp_path / "there" / name
        (tmp_path / "step").unlink(missing_ok=True)
        (tmp_path / "step").symlink_to(Path("there") / name)
        link.symlink_to("step")
        if name == "file":
            target.write_text("old and longer")
        write(link, "table")
        assert link.is_symlink() and target.read_text() == "table" and not target.is_symlink()


def test_an_open_file_is_written_on(tmp_path: Path) -> None:
    """As with /dev/stdout, which leads to it: replaced, it would lose what is printed later."""
    path = tmp_path / "out.txt"
    with path.open("w") as file:
        file.write("before\n")
        file.flush()
        inode = path.stat().st_ino
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{file.fileno()}")
        write(tmp_path / "stdout", "table\n")
    assert path.read_text() == "before\ntable\n" and path.stat().st_ino == inode


def test_links_and_pipes_in_a_folder_of_somebody_else_are_replaced(tmp_path: Path) -> None:
    run, mine = tmp_path / "run", tmp_path / "mine"
    run.mkdir()
    mine.write_text("keep")
    (run / "link.csv").symlink_to(mine)
    os.mkfifo(run / "pipe.csv")
    for name in ("link.csv", "pipe.csv"):
        write(run / name, "table", run)
        assert stat.S_ISREG((run / name).lstat().st_mode) and (run / name).read_text() == "table"
    assert mine.read_text() == "keep"


def test_where_standard_output_goes_is_known(tmp_path: Path) -> None:
    assert is_standard_output(Path("/proc/self/fd/1"))
    (tmp_path / "a").touch()
    assert not is_standard_output(tmp_path / "a") and not is_standard_output(tmp_path / "gone")
