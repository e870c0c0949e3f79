"""What different architectures and different seeds were worth in a run, measured on its own validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import own_temperatures, temper_members
from nni_hypens.proposals.outlook import outlook
from nni_hypens.run.baselines import Predictions
from nni_hypens.run.candidate import Candidate


def variety(pool: Predictions, labels: np.ndarray, candidates: Sequence[Candidate]) -> Mapping[str, Any]:
    """The part `variety` of ``results.json``; the same model as that of adaptive training, without its features.

    Args:
        pool: The trained candidates.
        labels: Of validation images.
        candidates: The content of ``candidates.json``.

    Returns:
        Empty for fewer than two networks. Otherwise `networks` and `architectures`, their numbers;
        `between_architectures` and `between_seeds`, standard deviations of the validation NLL of networks, each with
        its own temperature; and `different` and `same`, what two networks of different architectures, or two seeds of
        one, gain by being averaged. Without an architecture of several seeds, what concerns seeds is that of the prior.
    """
    trained = [candidate for candidate in candidates if candidate.id in pool]
    if len(trained) < 2:
        return {}
    texts = [str(sorted(candidate.edges, key=str)) for candidate in trained]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    probs = np.stack([pool[candidate.id][0] for candidate in trained]).astype(np.float64)
    own = own_temperatures(probs, labels)
    alone = temper_members(probs, own)
    nothing_in_common = np.zeros((len(numbers), 1))
    owner = [numbers[text] for text in texts]
    found = outlook(nothing_in_common, None, owner, alone, metrics.nll_of_each(alone, labels), own)
    return {
        "networks": len(trained),
        "architectures": len(numbers),
        "between_architectures": found.between_architectures,
        "between_seeds": found.between_seeds,
        "different": found.different,
        "same": found.same,
    }
