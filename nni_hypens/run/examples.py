"""Test images for the report: the most uncertain, the most confident errors, and what each member alone knows."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy.special import entr

from nni_hypens.data.protocols import LabelledData
from nni_hypens.metrics.inputs import FloatArray, check_labels, check_probabilities
from nni_hypens.utils.inputs import is_image
from nni_hypens.utils.ranges import known_range, training_range

UNCERTAIN, WRONG, PER_MEMBER = 8, 12, 4
"""Maximum number of images of each kind."""
MAX_SIDE = 64
"""Maximum length of the longer side of an image in the report, in pixels."""


def choose_examples(
    members: ArrayLike,
    calibrated: ArrayLike,
    labels: ArrayLike,
    ids: Sequence[str],
    shown: Collection[str] | None = None,
) -> dict[str, Any]:
    """Choose the images from predictions and labels.

    Args:
        members: `M x N x C` probabilities of the members.
        calibrated: `N x C` probabilities of the ensemble.
        labels: `N` integers in 0..C-1.
        ids: Name of each member.
        shown: Members whose own images are wanted; None for all.

    Returns:
        Positions of images: `uncertain`, the highest entropy of the ensemble first; `wrong`, its errors, the most
        confident first; and `members`, id -> images that this member gets right and most others get wrong (first those
        that no other gets right, then by its probability of the label).

    Raises:
        InputError: An argument does not have this form.
    """
    p, whole = check_probabilities(members, ndim=3), check_probabilities(calibrated, "calibrated")
    y, shown = check_labels(labels, *whole.shape), set(ids if shown is None else shown)
    entropy = entr(whole).sum(axis=1)
    wrong = np.flatnonzero(whole.argmax(axis=1) != y)
    right = p.argmax(axis=2) == y
    together = right.sum(axis=0)
    known: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        if name not in shown:
            continue
        others = together - right[index]
        rows = np.flatnonzero(right[index] & (2 * others < len(p) - 1))
        own = p[index, rows, y[rows]]
        known[name] = rows[np.lexsort((-own, others[rows]))][:PER_MEMBER].tolist()
    return {
        "uncertain": np.argsort(-entropy, kind="stable")[:UNCERTAIN].tolist(),
        "wrong": wrong[np.argsort(-whole.max(axis=1)[wrong], kind="stable")][:WRONG].tolist(),
        "members": known,
    }


def collect_examples(
    members: ArrayLike,
    calibrated: ArrayLike,
    data: LabelledData,
    ids: Sequence[str],
    shown: Collection[str] | None = None,
) -> dict[str, Any]:
    """The content of ``examples.json``.

    Args:
        members: `M x N x C` probabilities of the members on test data.
        calibrated: `N x C` probabilities of the ensemble.
        data: The data module. Images are shown if it has a method `raw`, as `ImageData` has.
        ids: Name of each member.
        shown: Members with images of their own and with predictions in the entries; None for all. With many members,
            most of the file would be their predictions of each other's images.

    Returns:
        `uncertain`, `wrong` and `members`: positions in the test split, from `choose_examples`; `wrong_total`;
        `images`, an entry for each position: `index`, `label`, `ensemble` and `members` (class and confidence of
        each), `entropy` in nats, and `png`, the picture in base64 or None; `skipped`, why there are no pictures. For
        data that are no images, there are no positions and no entries.
    """
    labels = data.labels("test")
    wanted = [(name, index) for index, name in enumerate(ids) if shown is None or name in shown]
    p, whole = np.asarray(members, dtype=np.float64), np.asarray(calibrated, dtype=np.float64)
    if not is_image(data.input_spec):
        nothing = {"uncertain": [], "wrong": [], "members": {name: [] for name, _ in wanted}, "images": []}
        return {**nothing, "wrong_total": _count_wrong(whole, labels), "skipped": "the data are no images"}
    chosen = choose_examples(p, whole, labels, ids, shown)
    listed = [*chosen["uncertain"], *chosen["wrong"], *(i for rows in chosen["members"].values() for i in rows)]
    rows = sorted(set(listed))
    pictures: list[str | None] = [None] * len(rows)
    skipped = None
    if hasattr(data, "raw"):
        raw = cast(Any, data).raw("test", np.array(rows, dtype=np.int64))
        pictures = list(as_pngs(raw, *(known_range(data.input_spec) or training_range(raw))))
    else:
        skipped = f"{type(data).__name__} has no raw(split, indices) to take images from"
    return {
        **chosen,
        "wrong_total": _count_wrong(whole, labels),
        "skipped": skipped,
        "images": [
            {
                "index": row,
                "label": int(labels[row]),
                "ensemble": _prediction(whole[row]),
                "members": {name: _prediction(p[index, row]) for name, index in wanted},
                "entropy": float(entr(whole[row]).sum()),
                "png": picture,
            }
            for row, picture in zip(rows, pictures, strict=True)
        ],
    }


def _count_wrong(probabilities: FloatArray, labels: np.ndarray) -> int:
    return int((probabilities.argmax(axis=1) != labels).sum())


def _prediction(probabilities: FloatArray) -> list[float]:
    """Class and confidence."""
    top = int(probabilities.argmax())
    return [top, float(probabilities[top])]


def as_pngs(images: np.ndarray, low: float, high: float) -> list[str]:
    """Small pictures in base64.

    Args:
        images: `N x H x W x C` as in the source; three or four channels are taken as red, green and blue, any other
            number is averaged to grey.
        low: Value of black. Values below it or above `high` stretch the range of all images.
        high: Value of white.

    Returns:
        A PNG for each, at most `MAX_SIDE` pixels wide and high.
    """
    if not len(images):
        return []
    low, high = min(low, float(images.min())), max(high, float(images.max()))
    unit = (images.astype(np.float32) - low) / (high - low)
    unit = unit[..., :3] if unit.shape[3] in (3, 4) else unit.mean(axis=3)
    found = []
    for pixels in (255 * unit).round().astype(np.uint8):
        picture, buffer = Image.fromarray(pixels), io.BytesIO()
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        picture.save(buffer, "PNG", optimize=True)
        found.append(base64.b64encode(buffer.getvalue()).decode("ascii"))
    return found
