"""What follows from the declaration of a setting: parsing and checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from nni_hypens.errors import InputError
from nni_hypens.run.fields import check_fields, setting
from nni_hypens.run.settings import Settings


@dataclass
class Options:
    """A few settings."""

    count: int | None = setting(None, "how many", at_least=1)
    share: float = setting(0.5, "which part", above=0, at_most=1)
    name: str = setting("a", "which", choices=("a", "bee"))


@pytest.mark.parametrize(
    ("values", "field"),
    [({"count": 0}, "count"), ({"share": 0.0}, "share"), ({"share": 1.5}, "share"), ({"name": "be"}, "name")],
)
def test_declared_ranges_and_choices_are_checked(values: dict[str, Any], field: str) -> None:
    check_fields(Options())
    with pytest.raises(InputError) as error:
        check_fields(Options(**values))
    assert error.value.field == field and str(values[field]) in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"membrs": 3}, "membrs.*nearest: members"),
        ({"members": "three"}, "members: got 'three'; expected a whole number"),
        ({"members": 2.5}, "members"),
        ({"members": True}, "members"),
        ({"members": None}, "members: got nothing"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate: got NaN"),
        ({"space_args": [1]}, "space_args: got .* a mapping"),
    ],
)
def test_values_that_cannot_be_read(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings.from_mapping(values)


def test_text_is_parsed_as_the_field_says() -> None:
    values = {"members": "3", "train_size": "none", "validation_size": "300", "learning_rate": "1e-3", "base": "none"}
    config = Settings.from_mapping(values)
    assert (config.members, config.train_size, config.learning_rate, config.base) == (3, None, 1e-3, None)
    assert config.validation_size == 300 and isinstance(config.validation_size, int)
    assert Settings.from_mapping({"validation_size": "0.25"}).validation_size == 0.25
