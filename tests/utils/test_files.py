from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nni_hypens.errors import InputError
from nni_hypens.utils.files import (
    MAX_TEXT_BYTES,
    as_written,
    check_place,
    json_text,
    move_into_place,
    parse_json,
    read_json,
    read_text,
    read_yaml,
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


@pytest.mark.parametrize(
    ("mask", "before", "after"), [(0o022, None, 0o644), (0o077, None, 0o600), (0o022, 0o600, 0o600)]
)
def test_files_have_the_permissions_that_the_user_wants(
    tmp_path: Path, mask: int, before: int | None, after: int
) -> None:
    path = tmp_path / "a.json"
    if before is not None:
        path.touch(before)
    usual = os.umask(mask)
    try:
        write_json(path, {})
    finally:
        os.umask(usual)
    assert path.stat().st_mode & 0o777 == after and read_json(path) == {}


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


# ---- what is not read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link", "dangling", "large"])
def test_only_regular_files_of_limited_size_are_opened(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "a.json", tmp_path / "target.json"
    target.write_text("{}")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(MAX_TEXT_BYTES + 1)
    else:
        path.symlink_to({"device": Path("/dev/zero"), "link": target, "dangling": tmp_path / "gone"}[kind])
    with pytest.raises(InputError, match=r"a\.json: got .*(pipe|folder|link|MB)") as error:
        read_json(path)
    assert "\n" not in str(error.value)
    if kind == "link":
        assert read_text(path, links=True) == "{}"  # where the user has named it
    else:
        with pytest.raises(OSError):
            read_text(path, links=True)


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "[1e999]", "9" * 30, "9" * 5000, "[" * 100_000, '{"a": 1', "\xff"]
)
def test_json_that_is_not_standard_or_too_deep_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json: got invalid JSON") as error:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert parse_json('[18446744073709551615, -1.5e300, "NaN"]') == [2**64 - 1, -1.5e300, "NaN"]


def bomb(levels: int) -> str:
    """YAML in which each level stands for ten of the level before."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines)


MERGED = "a: &a {k: v}\n" + "\n".join(
    f"b{i}: &b{i} {{<<: [{', '.join([f'*b{i - 1}' if i else '*a'] * 10)}]}}" for i in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        bomb(9), MERGED, "a: &a [*a]", "seed: " + "9" * 5000, "seed: 0x" + "f" * 5000, "[" * 5000, "? [1]\n: 2",
        "a: 1\n" * 300_000, "!!python/object/apply:os.system [true]",
    ],
)  # fmt: skip
def test_yaml_that_stands_for_more_than_it_holds_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match="^config: got .*a.yaml; expected (valid|a readable) YAML") as error:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_yaml_may_use_aliases(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one: &one {host: a}\ntwo: {<<: *one, user: b}\nthree: [*one, *one]\n")
    assert read_yaml(tmp_path / "a.yaml")["two"] == {"host": "a", "user": "b"}


def test_values_of_the_wrong_kind_name_their_file() -> None:
    wrong = [lambda: {}["a"], lambda: None + 1, lambda: [].x, lambda: float(10**400), lambda: [][0], lambda: int("x")]  # type: ignore[operator, attr-defined, list-item]
    for use in wrong:
        with pytest.raises(InputError, match="^results.json: got a missing value, or one of the wrong kind"):
            with as_written("results.json"):
                use()
    with pytest.raises(InputError, match="^mine"), as_written("results.json"):
        raise InputError("mine", 1, "2")
    with pytest.raises(OSError), as_written("results.json"):
        raise OSError
