from __future__ import annotations

import inspect

import pytest

from nni_hypens import ImageData
from nni_hypens.data.protocols import LabelledData, Loaders

EXPECTED = {
    name: part for protocol in (Loaders, LabelledData) for name, part in vars(protocol).items() if name[0] != "_"
}


@pytest.mark.parametrize("name", EXPECTED)
def test_image_data_is_what_runs_expect(name: str) -> None:
    own, expected = getattr(ImageData, name), EXPECTED[name]
    assert isinstance(own, property) == isinstance(expected, property)
    if not isinstance(own, property):
        assert list(inspect.signature(own).parameters) == list(inspect.signature(expected).parameters)
