from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nni_hypens.errors import InputError
from nni_hypens.utils.files import (
    check_place,
    json_text,
    move_into_place,
    read_json,
    replacing,
    write_json,
    write_text,
)
from nni_hypens.utils.npz import read_arrays, write_arrays


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_round_trips(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, None, "é"]})
    assert read_json(tmp_path / "a.json") == {"x": [1, None, "é"]}
    write_arrays(tmp_path / "a.npz", {"a": np.arange(3), "b": np.eye(2)})
    assert read_arrays(tmp_path / "a.npz", "b")[0].tolist() == [[1, 0], [0, 1]]


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        read_arrays(tmp_path / "a.npz", "a")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"a": np.arange(2)})
    with pytest.raises(InputError, match="a.npz: got no readable arrays"):
        read_arrays(tmp_path / "a.npz", "b")
    write_json(tmp_path / "a.json", list(range(100)))
    readers = {"npz": lambda path: read_arrays(path, "a"), "json": read_json}
    for kind, read in readers.items():
        path = tmp_path / f"a.{kind}"
        read(path)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(InputError, match=f"a.{kind}: got (no readable|invalid)"):
            read(path)
        path.unlink()
        with pytest.raises(InputError, match=f"a.{kind}: got no file"):
            read(path)


def test_nothing_can_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_place(tmp_path / "new" / "a", "out", "a folder")
    with pytest.raises(InputError, match="^out: .*file/new/a, where .*file is a file; expected a folder"):
        check_place(tmp_path / "file" / "new" / "a", "out", "a folder")


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert not list(tmp_path.iterdir())


def test_a_finished_file_takes_its_name(tmp_path: Path) -> None:
    source, target = tmp_path / "part", tmp_path / "whole"
    source.write_bytes(b"new")
    source.chmod(0o600)
    target.write_bytes(b"old")
    move_into_place(source, target)
    assert target.read_bytes() == b"new" and not source.exists() and target.stat().st_mode & 0o777 == 0o644


@given(content=st.dictionaries(st.text(), st.lists(st.text() | st.integers() | st.none())))
def test_json_is_ascii_and_comes_back(content: object) -> None:
    assert json_text(content).isascii() and json.loads(json_text(content)) == content


def test_json_has_no_nan_and_no_lone_surrogate() -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="JSON compliant"):
            json_text([{"a": value}])
    assert json.loads(json_text({"\udcff": "\ud800 \U0001f600"})) == {"\\udcff": "\\ud800 \U0001f600"}
