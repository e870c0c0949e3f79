"""Checks of a pool of predictions; those of a single model are tested through the scores."""

from __future__ import annotations

import numpy as np
import pytest

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import check_pool, check_weights

POOL = np.full((3, 4, 2), 0.5, dtype=np.float32)
LABELS = np.array([0, 1, 0, 1], dtype=np.uint8)


def test_a_pool_keeps_its_dtype_and_names_candidates_with_nan() -> None:
    pool = POOL.copy()
    pool[1, 2, 0] = np.nan
    probs, labels, broken = check_pool(pool, LABELS)
    assert probs is pool and labels.dtype == np.int64 and broken == (1,)


@pytest.mark.parametrize(
    ("pool", "field"),
    [
        (POOL * np.nan, "probs"),
        (POOL[0], "probs"),
        (POOL.astype(int), "probs"),
        (np.concatenate([POOL, POOL * 1.1]), r"probs\[3\]"),
        (np.concatenate([POOL, POOL - 1]), r"probs\[3\]"),
        (np.concatenate([POOL, POOL * np.inf]), r"probs\[3\]"),
        (POOL[:, :3], "labels"),
    ],
)
def test_bad_pools_are_named(pool: np.ndarray, field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}: "):
        check_pool(pool, LABELS)


def test_weights_sum_to_one_over_the_members() -> None:
    assert check_weights(None, 4).tolist() == [0.25] * 4
    for weights in ([0.5, 0.6], [1.0], [1.5, -0.5]):
        with pytest.raises(InputError, match="^weights"):
            check_weights(weights, 2)
