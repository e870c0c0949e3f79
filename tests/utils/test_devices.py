"""Which GPUs a run may use."""

from __future__ import annotations

import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils.devices import VISIBLE, chosen_gpus, show_only


@pytest.mark.parametrize(
    "devices, visible, expected",
    [
        (None, None, None),
        ("1", None, [0]),
        ("3", None, [0, 1, 2]),
        ("0,2", None, [0, 2]),
        ("0, 2", None, [0, 2]),
        ("2", "5,3,1", [5, 3]),
        ("2,0", "5,3,1", [1, 5]),
    ],
)
def test_a_number_or_places_among_the_visible(
    devices: str | None, visible: str | None, expected: list[int] | None
) -> None:
    environment = {} if visible is None else {VISIBLE: visible}
    found = chosen_gpus(devices, environment)
    assert found == expected
    show_only(found, environment)
    assert environment.get(VISIBLE) == (visible if expected is None else ",".join(map(str, expected)))
    assert chosen_gpus(devices, environment) == expected, "the same as before"


@pytest.mark.parametrize(
    "devices, visible",
    [("0", None), ("-1", None), ("gpu", None), ("0,0", None), ("", None), ("2", "4"), ("0,2", "4,5"), ("1", "GPU-8a")],
)
def test_what_is_not_there_is_refused(devices: str, visible: str | None) -> None:
    with pytest.raises(InputError, match="^devices: "):
        chosen_gpus(devices, {} if visible is None else {VISIBLE: visible})
