from __future__ import annotations

import pytest

from nni_hypens.errors import InputError
from nni_hypens.selection.names import MAX_COMBINATIONS, check_combinations


def test_most_combinations_of_one_size() -> None:
    """Each size counts alone: 60 candidates have 487,635 ensembles of four and 5,461,512 of five."""
    check_combinations(60, range(1, 5))
    check_combinations(MAX_COMBINATIONS, [1])
    with pytest.raises(InputError, match="^size: got 5 of 60 candidates, 5461512 combinations; .* greedy"):
        check_combinations(60, range(1, 6))
    with pytest.raises(InputError, match="^members: got 1 of 5000001 candidates"):
        check_combinations(MAX_COMBINATIONS + 1, [1], "members")
