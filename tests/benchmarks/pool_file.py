"""What the script of the pool needs to pack networks into a `nni_hypens.compare.Pool`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nni_hypens.compare.pool import EARLY_SCALE, PER_NETWORK, Pool, encode


def merged(pool: Pool | None, frame: Pool, found: Sequence[tuple[tuple[int, int], Mapping[str, np.ndarray]]]) -> Pool:
    """A pool and newly trained networks together, sorted by replica, then architecture.

    Args:
        pool: What was packed before.
        frame: A pool without networks: settings, architectures, chosen ones and labels.
        found: (architecture, replica) and the arrays of `pool_training.train_network`, of networks not in `pool`.
    """
    pool = replace(frame if pool is None else pool, chosen=frame.chosen, architectures=frame.architectures)
    if not found:
        return pool
    names = {"architecture": [a for (a, _), _ in found], "replica": [r for (_, r), _ in found]}
    columns = {key: np.asarray(values, dtype=np.int16) for key, values in names.items()}
    for key in PER_NETWORK[2:]:
        columns[key] = np.stack([arrays[key] for _, arrays in found])
    ends = {part: np.stack([encode(arrays[part][-1]) for _, arrays in found]) for part in pool.codes}
    first = [arrays["validation"] for (_, replica), arrays in found if replica == 0]
    early = {mark: [encode(logs[place], EARLY_SCALE) for logs in first] for place, mark in enumerate(pool.early)}
    columns = {key: _joined(pool.columns[key], values) for key, values in columns.items()}
    order = np.lexsort((columns["architecture"], columns["replica"]))
    is_first = columns["replica"] == 0
    early_order = np.argsort(columns["architecture"][is_first], kind="stable")
    return replace(
        pool,
        columns={key: values[order] for key, values in columns.items()},
        codes={part: _joined(pool.codes[part], values)[order] for part, values in ends.items()},
        early={mark: _joined(pool.early[mark], values)[early_order] for mark, values in early.items()},
        early_rows=np.flatnonzero(columns["replica"][order] == 0),
    )


def _joined(old: np.ndarray, new: Any) -> np.ndarray:
    return np.concatenate([old, np.asarray(new, dtype=old.dtype).reshape(-1, *old.shape[1:])])


def empty_pool(
    settings: dict[str, Any],
    architectures: list[dict[str, Any]],
    labels: dict[str, np.ndarray],
    epochs: int,
    marks: Sequence[int],
    chosen: Sequence[int] = (),
) -> Pool:
    """A pool without networks.

    Args:
        settings, architectures, labels, chosen: As in `Pool`.
        epochs: Of the schedule.
        marks: The early ones, in percent of the schedule, ascending.
    """
    shapes: dict[str, tuple[int, ...]] = {key: () for key in ("architecture", "replica", "params", "flops")}
    shapes |= dict.fromkeys(("train_loss", "validation_nll", "cpu_seconds"), (epochs,))
    shapes |= {"temperature": (len(marks) + 1,), "calibrated_nll": (2, len(marks) + 1), "accuracy": (2, len(marks) + 1)}
    kinds = {"architecture": np.int16, "replica": np.int16, "params": np.int64, "flops": np.int64}
    rows = {part: np.empty((0, len(true), 10), dtype=np.uint8) for part, true in labels.items()}
    return Pool(
        settings=settings,
        architectures=architectures,
        chosen=list(chosen),
        labels={part: np.asarray(true, dtype=np.uint8) for part, true in labels.items()},
        codes=rows,
        early={mark: rows["validation"].copy() for mark in marks},
        early_rows=np.empty(0, dtype=np.int64),
        columns={key: np.empty((0, *shapes[key]), dtype=kinds.get(key, np.float32)) for key in PER_NETWORK},
    )
