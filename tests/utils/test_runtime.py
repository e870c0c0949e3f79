from __future__ import annotations

import pytest
import torch

from nni_hypens.utils.runtime import torch_threads, versions


def test_versions_are_plain_text() -> None:
    assert all(type(name) is str and type(value) is str for name, value in versions().items())


def test_threads_are_those_asked_for_and_then_as_before() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
