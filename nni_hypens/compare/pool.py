"""A pool of trained networks in one small file: `Pool`, and how its probabilities are packed.

Probabilities are kept as one byte each. With z the logit of a class below that of the likeliest one, the byte is
`round(SCALE * log(1 + z / WIDTH))`: fine steps where a probability counts, coarse ones where it is next to nothing, and
coarser ones at the early marks (`EARLY_SCALE`). The softmax of what is read gives the probabilities. Bytes are kept as
differences from what is expected: a row from the mean over the networks; an early mark of a network from the mean at
that mark and a share of the same network's difference at the end. The differences compress well, and they are whole
numbers, so packing what was read loses nothing more.

What is lost, by the networks of the six pools of this repository: the calibrated test NLL of one network is up to 0.005
too high where networks are trained to the end (0.0009 and 0.0022 on average in two pools, 0.0004 and 0.0007 for means
of three; networks differ by 0.03 to 0.06), and up to 0.013 after short trainings, whose probabilities are flat. There
two or more classes often share the largest byte (25 and 42% of the images, else 3 to 17%), and the first of them counts
as the prediction: accuracy is 1 point too low on average and up to 7 for one network, else 0.1 and up to 2. Means of
networks have hardly any ties. Every method reads the same bytes. The columns `accuracy`, `calibrated_nll` and
`validation_nll` were computed before anything was lost.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import one_of
from nni_hypens.utils.files import parse_json, why
from nni_hypens.utils.npz import ARRAY_ERRORS, MAX_ARRAY_BYTES, read_archive, write_arrays

SCALE, EARLY_SCALE, WIDTH = 24.0, 16.0, 8.0
SHARES = {25: 0.25, 50: 0.5, 70: 0.75}
"""Of a network's difference at the end, the share that is expected at an early mark: measured, smallest files."""
FORMAT = 2
PARTS = ("validation", "test")
PER_NETWORK = (
    "architecture", "replica", "train_loss", "validation_nll", "cpu_seconds", "params", "flops", "temperature",
    "calibrated_nll", "accuracy",
)  # fmt: skip
"""Names of the arrays with a row per network."""
FLOW = "flow"
"""Name of an array with a row per network that a file may lack."""
_DIMENSIONS = dict(zip((*PER_NETWORK, FLOW), (1, 1, 2, 2, 2, 1, 1, 2, 3, 3, 1), strict=True))
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 4, "lp": 0, "pb": 0}]


def encode(log_probs: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """One byte for each of `... x C` log-probabilities; 0 for the likeliest class."""
    below = log_probs.max(axis=-1, keepdims=True) - np.asarray(log_probs, dtype=np.float32)
    codes: np.ndarray = np.clip(np.rint(scale * np.log1p(below / WIDTH)), 0, 255).astype(np.uint8)
    return codes


def decode(codes: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """Log-probabilities `... x C`, float32, of bytes from `encode` at the same scale."""
    table = (-WIDTH * np.expm1(np.arange(256) / scale)).astype(np.float32)
    logits: np.ndarray = table[codes]
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


@dataclass(frozen=True)
class Pool:
    """Trained networks of one data set and one way of training, with all that a comparison asks of them.

    There are K networks, trained for E epochs, and their predictions of N validation and M test images of C classes.
    Weights and images are not in it. Ways to choose what to train, to choose members and to calibrate can be tried on
    it in seconds: read the probabilities, or run `nni-hypens compare --pool FILE`.

    Attributes:
        settings: How the networks were trained, and under `marks` the shares of the schedule that were looked at.
        architectures: Every architecture by its number, trained or not: label -> choice. After them the peers, such as
            `{"peer": "residual", ...}`: other networks that were trained in the same way, to compare with.
        chosen: Numbers of the architectures that are trained with further seeds; empty until they are chosen.
        labels: "validation" -> `N`, "test" -> `M`, the true classes.
        codes: "validation" -> `K x N x C` and "test" -> `K x M x C`, bytes of the log-probabilities at the end.
        early: Mark (25, 50, 70) -> bytes `S x N x C` of the validation images at that mark, of networks `early_rows`.
        early_rows: `S` rows, those of replica 0.
        columns: The arrays of `nni_hypens.compare.pool.PER_NETWORK`: `architecture`, `replica`, `params`, `flops` `K`
            whole numbers; `train_loss`, `validation_nll`, `cpu_seconds` (of all steps so far) `K x E`; `temperature`
            `K x 4`, fitted on the validation images at the four marks; `calibrated_nll` and `accuracy` `K x 2 x 4`:
            validation and test images, marks. A network whose training diverged has a `validation_nll` that is not
            finite. There may be a `flow`, `K`: the synaptic flow of each untrained network, not a number for peers.

    Examples:
        >>> from nni_hypens.compare import Pool
        >>> pool = Pool.load("fashion_data.npz")  # doctest: +SKIP
        >>> first = pool.rows(replica=0)  # doctest: +SKIP
        >>> test = pool.probabilities("test", first)  # networks x M x C  # doctest: +SKIP
        >>> (test.argmax(-1) == pool.labels["test"]).mean(axis=1)  # accuracy of each  # doctest: +SKIP
        array([0.81, 0.79, ...])
        >>> pool.columns["cpu_seconds"][first, -1]  # what each cost  # doctest: +SKIP
        array([31.2, 17.5, ...])
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
        """Rows of one replica, by architecture; without the peers, which are no random architectures of the space."""
        peers = [number for number, entry in enumerate(self.architectures) if "peer" in entry]
        ours = ~np.isin(self.columns["architecture"], peers)
        rows = np.flatnonzero(ours & (self.columns["replica"] == replica))
        return rows[np.argsort(self.columns["architecture"][rows])]

    def probabilities(self, part: str, rows: Any = slice(None)) -> np.ndarray:
        """Probabilities `len(rows) x images x C` (float32) at the end, for "validation" or "test".

        Raises:
            InputError: Another part.
        """
        one_of("part", part, tuple(self.codes))
        probs: np.ndarray = np.exp(decode(self.codes[part][rows]))
        return probs

    def early_probabilities(self, mark: int) -> np.ndarray:
        """Probabilities `S x N x C` (float32) of the validation images at 25, 50 or 70% of the schedule.

        Raises:
            InputError: Another mark.
        """
        if mark not in self.early:
            raise InputError("mark", mark, f"one of {', '.join(map(str, self.early))}")
        probs: np.ndarray = np.exp(decode(self.early[mark], EARLY_SCALE))
        return probs

    @classmethod
    def load(cls, path: str | Path) -> Pool:
        """Read a file that `save` wrote; nothing is unpickled.

        Raises:
            InputError: There is no such file, or it is damaged or another file; the field is the file.
        """
        expected = f"a pool of trained networks (.npz, format {FORMAT})"
        try:
            pool = _unpacked(_read(Path(path)))
            _check(pool)
        except FileNotFoundError:
            raise InputError(str(path), "no file", expected) from None
        except (*ARRAY_ERRORS, lzma.LZMAError, RecursionError) as error:
            text = f"no array {error}" if isinstance(error, KeyError) else why(error)
            raise InputError(str(path), text, expected) from None
        return pool

    def save(self, path: str | Path) -> None:
        """Write the pool; the file appears whole or not at all."""
        names = ("settings", "architectures", "chosen")
        meta = json.dumps({"format": FORMAT, **{name: getattr(self, name) for name in names}})
        arrays: dict[str, np.ndarray] = {"meta": np.frombuffer(meta.encode("utf-8"), dtype=np.uint8), **self.columns}
        for part, codes in self.codes.items():
            arrays[f"{part}_labels"] = self.labels[part].astype(np.uint8)
            arrays |= _packed(part, codes, np.int16(0))
        ends, centre = self.codes["validation"][self.early_rows], arrays["validation_centre"]
        for mark, codes in self.early.items():
            arrays |= _packed(f"early_{mark}", codes, _expected(ends, centre, mark))
        write_arrays(Path(path), arrays)


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file; errors as for `read_archive`."""
    names: list[str] = []

    def known(found: list[str]) -> list[str]:
        names.extend(
            name for name in found if name in ("meta", *PER_NETWORK, FLOW) or name.startswith((*PARTS, "early_"))
        )
        return names

    arrays = read_archive(path, known, links=True, at_most=MAX_ARRAY_BYTES)
    return dict(zip(names, arrays, strict=True))


def _unpacked(arrays: Mapping[str, np.ndarray]) -> Pool:
    """The pool in the arrays of a file; a KeyError, TypeError or ValueError if they are those of another."""
    meta = parse_json(arrays["meta"].tobytes())
    if not isinstance(meta, dict) or meta.pop("format", None) != FORMAT:
        raise ValueError("another format")
    codes = {part: _unpack(arrays, part, np.int16(0)) for part in PARTS}
    early_rows = np.flatnonzero(arrays["replica"] == 0)
    ends, centre = codes["validation"][early_rows], arrays["validation_centre"]
    marks = sorted(int(key.split("_")[1]) for key in arrays if key.startswith("early_") and key.endswith("_shape"))
    return Pool(
        **meta,
        labels={part: arrays[f"{part}_labels"] for part in codes},
        codes=codes,
        early={mark: _unpack(arrays, f"early_{mark}", _expected(ends, centre, mark)) for mark in marks},
        early_rows=early_rows,
        columns={key: arrays[key] for key in (*PER_NETWORK, *({FLOW} & arrays.keys()))},
    )


def _check(pool: Pool) -> None:
    """Raise a ValueError, which says what is wrong, if parts of a pool do not fit together."""
    lists = pool.architectures, pool.chosen
    if not isinstance(pool.settings, dict) or not all(isinstance(entry, list) for entry in lists):
        raise ValueError("settings, architectures or chosen of another kind")
    if not all(isinstance(entry, dict) for entry in pool.architectures):
        raise ValueError("an architecture that is no mapping")
    columns = pool.columns
    for name, values in columns.items():
        whole = name in ("architecture", "replica", "params", "flops")
        if values.dtype.kind not in ("iu" if whole else "f") or values.ndim != _DIMENSIONS[name]:
            raise ValueError(f"{name} of another kind")
        if len(values) != len(columns["architecture"]) or 0 in values.shape[1:]:
            raise ValueError(f"{name} of {len(values)} networks in place of {len(columns['architecture'])}")
    numbers = columns["architecture"]
    if len(set(pool.networks)) < len(pool) or not np.isin(numbers, np.arange(len(pool.architectures))).all():
        raise ValueError("a network that is there twice, or that has no architecture")
    if (columns["replica"] < 0).any() or not (columns["cpu_seconds"][:, -1] > 0).all():
        raise ValueError("a replica below 0, or a network without a cost")
    n_classes = pool.codes["validation"].shape[2]
    for part, codes in pool.codes.items():
        labels = pool.labels[part]
        if labels.dtype != np.uint8 or codes.shape != (len(pool), *labels.shape, n_classes) or not labels.size:
            raise ValueError(f"{part} predictions that do not fit the labels or the networks")
        if labels.max() >= n_classes:
            raise ValueError(f"a {part} label of class {labels.max()} with {n_classes} classes")


def _expected(ends: np.ndarray, centre: np.ndarray, mark: int) -> np.ndarray:
    """What networks are expected to differ by from their mean at a mark, `S x N x C`, given how they end."""
    share = SHARES.get(mark, 0.5) * EARLY_SCALE / SCALE
    expected: np.ndarray = np.rint(share * (ends.astype(np.int16) - centre)).astype(np.int16)
    return expected


def _packed(name: str, codes: np.ndarray, expected: np.ndarray | np.int16) -> dict[str, np.ndarray]:
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


def _unpack(arrays: Mapping[str, np.ndarray], name: str, expected: np.ndarray | np.int16) -> np.ndarray:
    """Undo `_packed`."""
    shape, centre = arrays[f"{name}_shape"], arrays[f"{name}_centre"]
    if shape.shape != (3,) or shape.dtype.kind != "i" or centre.dtype.kind != "i" or centre.shape != tuple(shape[1:]):
        raise ValueError(f"{name} predictions of another kind")
    k, n, classes = (int(size) for size in shape)
    size = 2 * k * n * classes
    if k < 0 or not 0 <= size <= MAX_ARRAY_BYTES // 2:  # as float32 probabilities they are twice as large
        raise ValueError(f"{name} predictions of {shape.tolist()} networks, images and classes")
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    content = reader.decompress(arrays[f"{name}_codes"].tobytes(), max_length=size + 1)
    if len(content) != size:
        raise ValueError(f"{name} predictions that are cut off or too long")
    low, high = np.frombuffer(content, dtype=np.uint8).reshape(2, n, classes, k).astype(np.int16)
    folded = low + 256 * high
    difference = np.where(folded % 2, -(folded + 1) // 2, folded // 2).transpose(2, 0, 1)
    codes: np.ndarray = difference + centre + expected
    if codes.size and not 0 <= codes.min() <= codes.max() <= 255:
        raise ValueError(f"{name} predictions that are no bytes")
    return codes.astype(np.uint8)
