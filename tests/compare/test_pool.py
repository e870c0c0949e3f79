"""The file of a pool: what is written is read, and any other file is refused in one line that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_hypens import InputError
from nni_hypens.compare import Pool
from nni_hypens.compare.pool import FLOW, FORMAT
from nni_hypens.compare.pool_bench import PoolBench, PooledNetworks
from tests.support.pools import made_up

Arrays = dict[str, Any]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    pool = made_up((3, 1, 2))
    pool = replace(pool, early={50: pool.codes["validation"][pool.early_rows]}, chosen=[0, 2])
    pool.save(tmp_path / "pool.npz")
    read = Pool.load(tmp_path / "pool.npz")
    assert read.networks == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)] and len(read) == 6
    assert (read.settings, read.architectures, read.chosen) == (pool.settings, pool.architectures, [0, 2])
    assert read.rows(1).tolist() == [1, 5]
    for part in ("validation", "test"):
        np.testing.assert_array_equal(read.codes[part], pool.codes[part])
        np.testing.assert_array_equal(read.labels[part], pool.labels[part])
        np.testing.assert_allclose(read.probabilities(part).sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(read.early[50], pool.early[50])
    for name, values in pool.columns.items():
        np.testing.assert_array_equal(read.columns[name], values)


def test_the_flow_may_be_there(tmp_path: Path) -> None:
    pool = made_up((3, 1, 2))
    assert PoolBench(PooledNetworks(pool, "made up"), 0).flow() is None
    flows = np.array([5, 5, 5, 7, np.nan, np.nan], dtype=np.float32)
    replace(pool, columns={**pool.columns, FLOW: flows}).save(tmp_path / "pool.npz")
    read = Pool.load(tmp_path / "pool.npz")
    np.testing.assert_array_equal(read.columns[FLOW], flows)
    pooled = PooledNetworks(read, "made up")
    flow = PoolBench(pooled, 0).flow()
    assert flow is not None
    np.testing.assert_array_equal([flow(sample) for sample in pooled.samples], [5, 7, np.nan])


def _meta(**changes: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        meta = json.loads(arrays["meta"].tobytes()) | changes
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)

    return change


def _array(name: str, function: Callable[[Any], Any]) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = function(arrays[name])

    return change


FAULTS: dict[str, Callable[[Arrays], None]] = {
    "another format": _meta(format=FORMAT + 1),
    "an unknown entry": _meta(more=1),
    "settings that are no mapping": _meta(settings=[]),
    "an architecture that is no mapping": _meta(architectures=[1, 2, 3]),
    "an array that is missing": lambda arrays: arrays.pop("flops"),
    "an array that would be unpickled": _array("params", lambda values: values.astype(object)),
    "numbers of another kind": _array("cpu_seconds", lambda values: values.astype(str)),
    "too few rows": _array("flops", lambda values: values[1:]),
    "a network twice": _array("replica", lambda values: 0 * values),
    "a network without an architecture": _array("architecture", lambda values: values + 3),
    "a network without a cost": _array("cpu_seconds", lambda values: 0 * values),
    "too few labels": _array("test_labels", lambda values: values[1:]),
    "a label without a class": _array("test_labels", lambda values: values + 9),
    "predictions that are cut off": _array("test_codes", lambda values: values[:-40]),
    "predictions that are noise": _array("test_codes", lambda values: values[::-1]),
    "more predictions than fit into memory": _array("test_shape", lambda values: values * 10**9),
    "a negative number of networks": _array("test_shape", lambda values: -values),
    "a mean row that makes no bytes": _array("test_centre", lambda values: values + 300),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_named(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "pool.npz"
    made_up((2, 1, 1)).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    FAULTS[fault](arrays)
    np.savez(path, **arrays)
    with pytest.raises(InputError) as raised:
        Pool.load(path)
    assert raised.value.field == str(path) and "a pool of trained networks" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    text, other, cut = (tmp_path / name for name in ("text.npz", "other.npz", "cut.npz"))
    text.write_text("no archive")
    np.savez(other, images=np.zeros(3))
    made_up().save(cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    for path in (text, other, cut, tmp_path, tmp_path / "none.npz"):
        with pytest.raises(InputError) as raised:
            Pool.load(path)
        assert raised.value.field == str(path)
