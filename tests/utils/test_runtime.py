from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from nni_hypens.utils.runtime import _processor, machine, torch_threads, versions


def test_versions_are_plain_text() -> None:
    assert all(type(name) is str and type(value) is str for name, value in versions().items())


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    found = machine()
    assert {"system", "processor", "cores"} <= {*found} <= {"system", "processor", "cores", "gpu"}
    assert isinstance(found["cores"], int) and found["cores"] >= 1 and platform.node() not in found.values()
    table = tmp_path / "cpuinfo"
    table.write_text("processor\t: 0\nmodel name\t: A: fast one\nmodel name\t: A: fast one\n")
    assert _processor(table) == "A: fast one"
    assert _processor(tmp_path / "missing") == (platform.processor() or platform.machine())


def test_threads_are_those_asked_for_and_then_as_before() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
