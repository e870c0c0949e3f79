"""Reserved ports."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils.ports import free_port, held_port


def test_a_reserved_port_is_not_given_twice() -> None:
    with held_port(None, 2) as first:
        with held_port(None) as second:
            assert second >= first + 2
        with pytest.raises(InputError, match=f"^port: got {first}"), held_port(first):
            pass
    with held_port(first) as again:
        assert again == first


def test_another_user_of_the_machine_cannot_keep_ports_from_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reserving needs no place for files that others could make, fill or forbid."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.chdir(tmp_path)
    with held_port(None):
        assert not list(tmp_path.iterdir())


def test_a_process_that_dies_frees_its_ports() -> None:
    code = (
        "import os\nfrom nni_hypens.utils.ports import held_port\n"
        "with held_port(None) as port: print(port, flush=True); os._exit(9)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    with held_port(int(ran.stdout)) as port:
        assert port == int(ran.stdout)


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match=f"^port: got {port}, which is in use"):
            free_port(port)


@pytest.mark.parametrize("port", [80, 65536, "8080"])
def test_ports_out_of_range_are_refused(port: int) -> None:
    with pytest.raises(InputError, match="^port"):
        free_port(port)
