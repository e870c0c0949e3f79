"""What is known of a network before it is trained, and how well the forecast of a run ranks others (table D)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from nni_hypens.compare.pool import FLOW
from nni_hypens.ensemble.calibration import calibrated_alone
from nni_hypens.proposals.features import architecture_features, log_sizes, standardised
from nni_hypens.proposals.outlook import outlook
from nni_hypens.proposals.start import expected_by_traits
from nni_hypens.space.architecture import EdgeStructure, Sample
from search_spaces import OneCell
from tests.benchmarks.pool_cells import RESAMPLES, Networks, mean_and_error

KNOWN, DRAWS, FEWEST_OTHERS = (3, 6, 12, 24), 20, 6
FORECASTS = ("outlook", "without flow", "without sizes", "ridge", "parameters")


@lru_cache(maxsize=1)
def structure() -> EdgeStructure:
    """The edges of the pool's space."""
    return EdgeStructure.from_space(OneCell())


def correlation(score: np.ndarray, nll: np.ndarray, generator: np.random.Generator) -> dict[str, float]:
    """Spearman's correlation of a score with minus the NLL, so that 1 is best; bootstrap error over architectures."""
    drawn = generator.integers(len(nll), size=(RESAMPLES, len(nll)))
    resampled = [spearman(score[rows], -nll[rows]) for rows in drawn]
    return {"spearman": spearman(score, -nll), "se": float(np.nanstd(resampled, ddof=1))}


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation; 0 where one of them is constant: it then ranks nothing."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def known_scores(networks: Networks, proxies: Mapping[str, Sequence[float | None]] | None) -> dict[str, np.ndarray]:
    """Name -> `K` scores; those at a mark are of the validation images, and higher is better."""
    numbers = networks.column("architecture")
    found = {name: networks.column(name).astype(float) for name in ("params", "flops")}
    for name, values in (proxies or {}).items():
        found[name] = np.asarray(values, dtype=float)[numbers]  # NaN for None
    for place, mark in enumerate(networks.pool.settings["marks"][:-1]):
        found[f"NLL at {100 * mark:.0f}%"] = -networks.column("calibrated_nll")[:, 0, place].astype(float)
        found[f"accuracy at {100 * mark:.0f}%"] = networks.column("accuracy")[:, 0, place].astype(float)
    found["training loss"] = -networks.column("train_loss")[:, -1].astype(float)
    if FLOW in networks.pool.columns:
        sizes = np.column_stack([found["params"], found["flops"]])
        found["size and flow"] = -expected_by_traits(sizes, networks.column(FLOW).astype(float))
    return found


def known_rows(networks: Networks, proxies: Mapping[str, Sequence[float | None]] | None) -> list[dict[str, Any]]:
    """One row for each score."""
    generator, nll = networks.generator("known"), networks.final("test")
    rows = []
    for name, score in known_scores(networks, proxies).items():
        usable = np.isfinite(score)
        rows.append(
            {"score": name, "networks": int(usable.sum()), **correlation(score[usable], nll[usable], generator)}
        )
    return rows


def operation_counts(samples: Sequence[Sample]) -> np.ndarray:
    """How often each operation stands in each architecture."""
    counts = [Counter(edge[2] for edge in structure().edges(sample)) for sample in samples]
    names = sorted({name for count in counts for name in count})
    return np.array([[count[name] for name in names] for count in counts], dtype=float)


def forecast_rows(networks: Networks, draws: int = DRAWS) -> list[dict[str, Any]]:
    """One row for each number of trained networks and forecast: mean Spearman's correlation on the others."""
    samples = [networks.pool.architectures[number] for number in networks.column("architecture")]
    features, _ = architecture_features(structure(), samples)
    params, flops = networks.column("params").astype(float), networks.column("flops").astype(float)
    size = log_sizes(features, dict(enumerate(zip(params, flops, strict=True))))
    flow = standardised(features, dict(enumerate(networks.column(FLOW)))) if FLOW in networks.pool.columns else None
    counts = operation_counts(samples)
    # what pairs gain is not asked here, and the ranks do not depend on it
    one_image = calibrated_alone(networks.validation[:, :1], networks.labels("validation")[:1])
    nll, true = networks.final("validation"), networks.final("test")
    temperatures = networks.column("temperature")[:, -1].astype(float)
    rows = []
    for known in KNOWN:
        if len(networks) < known + FEWEST_OTHERS:
            continue
        generator = networks.generator(f"forecast {known}")
        found: dict[str, list[float]] = {name: [] for name in FORECASTS}
        for _ in range(draws):
            order = generator.permutation(len(networks))
            owner, others = order[:known], order[known:]
            told = owner.tolist(), one_image[owner], nll[owner], temperatures[owner].tolist()
            expected = {
                "outlook": outlook(features, size, *told, flow=flow).mean,
                "without flow": outlook(features, size, *told).mean,
                "without sizes": outlook(features, None, *told).mean,
                "ridge": Ridge(alpha=1.0).fit(counts[owner], nll[owner]).predict(counts),
                "parameters": -params,
            }
            for name, values in expected.items():
                found[name].append(spearman(values[others], true[others]))
        for name, correlations in found.items():
            rows.append({"known": known, "forecast": name, **mean_and_error(correlations)})
    return rows
