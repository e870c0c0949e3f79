"""A machine reached by ssh: its command, and connections that are cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from nni_hypens.trials.machine import MARK, FetchError, Machine
from nni_hypens.trials.received import FILES
from nni_hypens.trials.remote import Machines
from tests.support.far_candidate import bring, nothing_came


def test_ssh_is_told_where_to_look_for_nothing_else(tmp_path: Path) -> None:
    words = Machine("h", 2222, "me", "/k", tmp_path / "a b%").command("echo 'x y'")
    assert words[:4] == ["ssh", "-F", "none", "-T"] and words[-2:] == ["h", "exec sh -c 'echo '\"'\"'x y'\"'\"''"]
    assert f'UserKnownHostsFile="{tmp_path}/a b%%" ~/.ssh/known_hosts' in words and "BatchMode=yes" in words


def test_a_connection_that_is_cut_leaves_no_half_candidate(
    machines: Machines, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(place / "c00" / name).stat().st_size for name in FILES]
    header = len(MARK) + 1 + sum(len(f"{size}\n") for size in sizes)
    total = header + sum(sizes)
    for count in (0, 3, 10, header - 1, header, header + 9, header + sizes[0], total - sizes[2], total - 1):
        monkeypatch.setattr(Machine, "command", lambda self, s, n=count: ["sh", "-c", f"({s}) | head -c {n}"])
        with pytest.raises(FetchError, match="cut off|cannot be read"):
            bring(machines, place, tmp_path / str(count))
        assert nothing_came(tmp_path / str(count))
