"""The packed pool: one small file per data set and regime, and `Pool`, which reads it.

Probabilities are kept as one byte each. With z the logit of a class below that of the likeliest one, the byte is
`round(SCALE * log(1 + z / WIDTH))`: fine steps where a probability counts, coarse ones where it is next to nothing.
The softmax of what is read gives the probabilities. Bytes are kept as differences from what is expected: a row from the
mean over the networks; an early mark of a network from the mean at that mark and a share of the same network's
difference at the end. The differences compress well, and they are whole numbers, so packing what was read loses nothing
more.

Measured on the first 24 networks, calibrated test NLL of what is read less that of what was trained: 0.0006 on average
and at most 0.0023 for one network, 0.0012 for the mean of three, where networks differ by 0.03 to 0.06. Every method
reads the same bytes, so none gains by it. `calibrated_nll` and `validation_nll` were computed before anything was lost.
"""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens.errors import InputError
from nni_hypens.utils.files import write_bytes

SCALE, WIDTH = 32.0, 8.0
# Of a network's difference at the end, the share that is expected at an early mark: measured, smallest files.
SHARES = {25: 0.25, 50: 0.5, 70: 0.75}
FORMAT = 1
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 4, "lp": 0, "pb": 0}]
PER_NETWORK = (
    "architecture", "replica", "train_loss", "validation_nll", "cpu_seconds", "params", "flops", "temperature",
    "calibrated_nll", "accuracy",
)  # fmt: skip
"""Names of the arrays with a row per network."""


def encode(log_probs: np.ndarray) -> np.ndarray:
    """One byte for each of `... x C` log-probabilities; 0 for the likeliest class."""
    below = log_probs.max(axis=-1, keepdims=True) - np.asarray(log_probs, dtype=np.float32)
    return np.clip(np.rint(SCALE * np.log1p(below / WIDTH)), 0, 255).astype(np.uint8)


def decode(codes: np.ndarray) -> np.ndarray:
    """Log-probabilities `... x C`, float32, of bytes from :func:`encode`."""
    table = (-WIDTH * np.expm1(np.arange(256) / SCALE)).astype(np.float32)
    logits = table[codes]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Pool:
    """Trained networks of one data set and regime: K networks, E epochs, N validation and M test images, 10 classes.

    Attributes:
        settings: How the networks were trained, and under `marks` the shares of the schedule that were looked at.
        architectures: Every architecture by its number, trained or not: label -> choice.
        chosen: Numbers of the architectures that are trained with further seeds; empty until they are chosen.
        labels: "validation" -> `N`, "test" -> `M`, the true classes.
        codes: "validation" -> `K x N x 10` and "test" -> `K x M x 10`, bytes of the log-probabilities at the end.
        early: Mark (25, 50, 70) -> bytes `S x N x 10` of the validation images at that mark, of networks `early_rows`.
        early_rows: `S` rows, those of replica 0.
        columns: The arrays of :data:`PER_NETWORK`: `architecture`, `replica`, `params`, `flops` `K` integers;
            `train_loss`, `validation_nll`, `cpu_seconds` (of training, summed up) `K x E`; `temperature` `K x 4` fitted
            on the validation images at the four marks; `calibrated_nll` and `accuracy` `K x 2 x 4`: validation and test
            images, marks.
    """

    settings: dict[str, Any]
    architectures: list[dict[str, Any]]
    chosen: list[int]
    labels: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    early: dict[int, np.ndarray]
    early_rows: np.ndarray
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["architecture"])

    @property
    def networks(self) -> list[tuple[int, int]]:
        """(architecture, replica) of each row."""
        return list(zip(self.columns["architecture"].tolist(), self.columns["replica"].tolist(), strict=True))

    def rows(self, replica: int = 0) -> np.ndarray:
        """Rows of one replica, by architecture."""
        rows = np.flatnonzero(self.columns["replica"] == replica)
        return rows[np.argsort(self.columns["architecture"][rows])]

    def probabilities(self, part: str, rows: Any = slice(None)) -> np.ndarray:
        """Probabilities `len(rows) x images x 10` (float32) at the end, for "validation" or "test"."""
        return np.exp(decode(self.codes[part][rows]))

    def early_probabilities(self, mark: int) -> np.ndarray:
        """Probabilities `S x N x 10` (float32) of the validation images at 25, 50 or 70% of the schedule."""
        return np.exp(decode(self.early[mark]))

    @classmethod
    def load(cls, path: str | Path) -> Pool:
        """Read a packed file; opens no pickle."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        meta = json.loads(arrays["meta"].tobytes().decode("utf-8"))
        if meta.pop("format") != FORMAT:
            raise InputError("pool", str(path), f"a pool of format {FORMAT}")
        codes = {part: _unpack(arrays, part, np.int16(0)) for part in ("validation", "test")}
        early_rows = np.flatnonzero(arrays["replica"] == 0)
        ends, centre = codes["validation"][early_rows], arrays["validation_centre"]
        marks = sorted(int(key.split("_")[1]) for key in arrays if key.startswith("early_") and key.endswith("_shape"))
        return cls(
            **meta,
            labels={part: arrays[f"{part}_labels"] for part in codes},
            codes=codes,
            early={mark: _unpack(arrays, f"early_{mark}", _expected(ends, centre, mark)) for mark in marks},
            early_rows=early_rows,
            columns={key: arrays[key] for key in PER_NETWORK},
        )

    def save(self, path: str | Path) -> None:
        """Write the packed file; it appears whole or not at all."""
        names = ("settings", "architectures", "chosen")
        meta = json.dumps({"format": FORMAT, **{name: getattr(self, name) for name in names}})
        arrays: dict[str, np.ndarray] = {"meta": np.frombuffer(meta.encode("utf-8"), dtype=np.uint8), **self.columns}
        for part, codes in self.codes.items():
            arrays[f"{part}_labels"] = self.labels[part].astype(np.uint8)
            arrays |= _packed(part, codes, np.int16(0))
        ends, centre = self.codes["validation"][self.early_rows], arrays["validation_centre"]
        for mark, codes in self.early.items():
            arrays |= _packed(f"early_{mark}", codes, _expected(ends, centre, mark))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes(Path(path), buffer.getvalue())


def _expected(ends: np.ndarray, centre: np.ndarray, mark: int) -> np.ndarray:
    """What networks are expected to differ by from their mean at a mark, `S x N x 10`, given how they end."""
    return np.rint(SHARES.get(mark, 0.5) * (ends.astype(np.int16) - centre)).astype(np.int16)


def _packed(name: str, codes: np.ndarray, expected: np.ndarray) -> dict[str, np.ndarray]:
    """Bytes `K x N x C` as a mean row and compressed differences, networks side by side."""
    rest = codes.astype(np.int16) - expected
    centre = np.rint(rest.mean(axis=0)).astype(np.int16)
    difference = (rest - centre).transpose(1, 2, 0)
    folded = np.where(difference < 0, -2 * difference - 1, 2 * difference).astype(np.uint16)
    # The upper byte is zero nearly everywhere and costs next to nothing.
    content = (folded & 255).astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes()
    blob = lzma.compress(content, format=lzma.FORMAT_RAW, filters=_FILTERS)
    shape = np.asarray(codes.shape, dtype=np.int64)
    return {f"{name}_codes": np.frombuffer(blob, np.uint8), f"{name}_centre": centre, f"{name}_shape": shape}


def _unpack(arrays: Mapping[str, np.ndarray], name: str, expected: np.ndarray) -> np.ndarray:
    """Undo :func:`_packed`."""
    k, n, classes = arrays[f"{name}_shape"].tolist()
    content = lzma.decompress(arrays[f"{name}_codes"].tobytes(), format=lzma.FORMAT_RAW, filters=_FILTERS)
    low, high = np.frombuffer(content, dtype=np.uint8).reshape(2, n, classes, k).astype(np.int16)
    folded = low + 256 * high
    difference = np.where(folded % 2, -(folded + 1) // 2, folded // 2).transpose(2, 0, 1)
    return (difference + arrays[f"{name}_centre"] + expected).astype(np.uint8)


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
    early = {mark: [encode(logs[place]) for logs in first] for place, mark in enumerate(pool.early)}
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
