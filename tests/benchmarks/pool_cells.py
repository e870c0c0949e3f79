"""The networks of a packed pool as the figures of the pool need them, and means over draws as text.

K networks, N validation and M test images, C classes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nni_hypens.compare.pool import Pool
from nni_hypens.ensemble.calibration import Combination, calibrate, combine, own_temperatures, temper_members
from nni_hypens.metrics.scores import example_nll

SEED, DRAWS, RESAMPLES = 20_261_129, 24, 400
SIZES, IMAGES = (3, 5), (100, 300, 1_000)
FEWEST = 13
"""Architectures that a cell needs for the figures: selection chooses among twelve."""


@dataclass(frozen=True)
class Networks:
    """Networks of one cell whose training did not diverge, without the peers.

    Attributes:
        name: Of the cell.
        pool: Where they come from.
        rows: `K` rows of the pool.
    """

    name: str
    pool: Pool
    rows: np.ndarray

    @classmethod
    def of(cls, name: str, pool: Pool, replica: int | None = 0) -> Networks:
        """The networks with one replica, or with any (None), by architecture."""
        replicas = np.unique(pool.columns["replica"]) if replica is None else [replica]
        rows = np.concatenate([pool.rows(int(one)) for one in replicas])
        finite = np.isfinite(pool.columns["validation_nll"][rows]).all(axis=1)
        kept = rows[finite]
        return cls(name, pool, kept[np.argsort(pool.columns["architecture"][kept], kind="stable")])

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> np.ndarray:
        """A column of the pool at these networks."""
        values: np.ndarray = self.pool.columns[name][self.rows]
        return values

    def final(self, part: str) -> np.ndarray:
        """`K` values: NLL on "validation" or "test" images at the end, calibrated on the validation images."""
        values: np.ndarray = self.column("calibrated_nll")[:, ["validation", "test"].index(part), -1].astype(float)
        return values

    @cached_property
    def validation(self) -> np.ndarray:
        """Probabilities `K x N x C`, float32."""
        return self.pool.probabilities("validation", self.rows)

    @cached_property
    def test(self) -> np.ndarray:
        """Probabilities `K x M x C`, float32."""
        return self.pool.probabilities("test", self.rows)

    @cached_property
    def tempered_test(self) -> np.ndarray:
        """The same, each network's with its own temperature, fitted on all validation images; float32."""
        own = own_temperatures(self.validation, self.labels("validation"))
        return temper_members(self.test, own).astype(np.float32)

    def labels(self, part: str) -> np.ndarray:
        """True classes of the validation or test images."""
        return self.pool.labels[part].astype(np.int64)

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers of one purpose in this cell; they depend on nothing else."""
        return np.random.default_rng([SEED, zlib.crc32(f"{self.name} {purpose}".encode())])

    def draw(self, generator: np.random.Generator, networks: int, images: int) -> tuple[np.ndarray, np.ndarray]:
        """Networks and validation images drawn at random, both without replacement."""
        drawn = generator.choice(len(self), networks, replace=False)
        return drawn, generator.choice(len(self.pool.labels["validation"]), images, replace=False)


def ensemble_losses(networks: Networks, members: Sequence[int], images: np.ndarray) -> np.ndarray:
    """NLL of each test image for the product's ensemble of these members: log average, one temperature.

    Args:
        networks: Of the cell.
        members: Which of them are averaged, with equal weights.
        images: Validation images on which the temperature is fitted.
    """
    equal = np.full(len(members), 1 / len(members))
    labels = networks.labels("validation")[images]
    fitted = calibrate("ensemble", networks.validation[np.ix_(members, images)], equal, labels)
    return losses_of(networks, members, equal, fitted)


def losses_of(networks: Networks, members: Sequence[int], weights: np.ndarray, combination: Combination) -> np.ndarray:
    """NLL of each test image for the members' combination."""
    return example_nll(combine(networks.test[list(members)], weights, combination), networks.labels("test"))


def mean_and_error(values: Sequence[float]) -> dict[str, float]:
    """Mean over draws and its standard error."""
    return {"mean": float(np.mean(values)), "se": float(np.std(values, ddof=1) / np.sqrt(len(values)))}


def relative(losses: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Mean NLL relative to that of a reference, less 1, with standard errors of the paired difference.

    Args:
        losses: `draws x M`, NLL of each test image in each draw.
        reference: The same for the reference, with the same draws.

    Returns:
        `nll`; `difference`, relative; `se_draws`, from draws of networks and validation images; `se_images`, from the
        test images, which all draws share; `se`, the root of the sum of their squares.
    """
    base, away = reference.mean(), losses - reference
    draws = away.mean(axis=1).std(ddof=1) / np.sqrt(len(away)) / base
    images = away.mean(axis=0).std(ddof=1) / np.sqrt(away.shape[1]) / base
    return {
        "nll": float(losses.mean()), "difference": float(away.mean() / base),
        "se_draws": float(draws), "se_images": float(images), "se": float(np.hypot(draws, images)),
    }  # fmt: skip


def rounded(value: Any, digits: int = 6) -> Any:
    """A value for JSON with floats of so many significant digits."""
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one, digits) for one in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
