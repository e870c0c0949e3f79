"""What different architectures and different seeds were worth in a run, measured on its own validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import temper_members
from nni_hypens.proposals.outlook import expected_gains, pair_gains, spreads
from nni_hypens.run.baselines import Predictions
from nni_hypens.run.candidate import Candidate

MOST_PAIRED = 300
"""Most networks whose pairs are measured, as their number grows with the square; these are 44,850 pairs."""


def variety(
    pool: Predictions, labels: np.ndarray, candidates: Sequence[Candidate], own: Mapping[str, float]
) -> Mapping[str, Any]:
    """The part `variety` of ``results.json``; the model of adaptive training, without features and with plain NLLs.

    Args:
        pool: The trained candidates.
        labels: Of validation images.
        candidates: The content of ``candidates.json``.
        own: id -> the temperature of the candidate alone.

    Returns:
        Networks that go on with the training of another are left out. Empty for fewer than two. Otherwise `networks`
        and `architectures`, their numbers; `between_architectures` and `between_seeds`, standard deviations of the
        validation NLL of networks, each with its own temperature; and `different` and `same`, what two networks of
        different architectures, or two seeds of one, gain by being averaged. Without an architecture of several seeds,
        what concerns seeds is that of the prior. Of more than `MOST_PAIRED` networks, the gains are those of so many,
        evenly spaced.
    """
    trained = [candidate for candidate in candidates if candidate.id in pool and candidate.parent is None]
    if len(trained) < 2:
        return {}
    texts = [candidate.key for candidate in trained]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    probs = np.stack([pool[candidate.id][0] for candidate in trained]).astype(np.float64)
    alone = temper_members(probs, [own[candidate.id] for candidate in trained])
    owner = np.array([numbers[text] for text in texts])
    between_architectures, between_seeds = spreads(owner, metrics.nll_of_each(alone, labels))
    paired = np.linspace(0, len(trained) - 1, min(len(trained), MOST_PAIRED)).round().astype(int)
    same, different = expected_gains(pair_gains(alone[paired]), owner[paired])
    return {
        "networks": len(trained),
        "architectures": len(numbers),
        "between_architectures": between_architectures,
        "between_seeds": between_seeds,
        "different": different,
        "same": same,
    }
