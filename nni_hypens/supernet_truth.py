"""How true a supernet's ranking is: against every architecture that a cell of a comparison has trained.

A method trains few architectures, adaptive training often three, and a rank correlation of so few says nothing. So the
supernet is asked about all that any method of the cell has trained for as long; nobody is charged for that, and nothing
is decided by it.
"""

from __future__ import annotations

import math

from nni_hypens import metrics
from nni_hypens.metrics.statistics import rank_correlation
from nni_hypens.one_shot import HypernetworkSearch
from nni_hypens.space.architecture import Sample
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.workbench import Workbench

FEWEST_RANKED = 4
"""Architectures below which a rank correlation says nothing."""


def supernet_truth(bench: Workbench, search: HypernetworkSearch) -> tuple[float | None, int]:
    """Spearman's correlation of the supernet's NLL with the mean validation NLL of each architecture's networks.

    Args:
        bench: Whose networks are ranked: all that it has trained, by whatever method, but those that diverged.
        search: Has the supernet; what it says is kept in its folder.

    Returns:
        The correlation, None below :data:`FEWEST_RANKED` architectures or where all are alike; and their number.
    """
    samples: dict[str, Sample] = {}
    networks: list[tuple[str, float]] = []
    for sample, nll in bench.trained():
        if math.isfinite(nll):
            key = str(bench.structure.key(sample))
            samples[key] = sample
            networks.append((key, nll))
    path = search.folder / "truth.json"
    known: dict[str, float] = read_json(path) if path.exists() else {}
    new = [key for key in samples if key not in known]
    if new:
        probs = search.predict([samples[key] for key in new], charged=False)
        known |= dict(zip(new, metrics.nll_of_each(probs, bench.validation_labels).tolist(), strict=True))
        write_json(path, known)
    return rank_correlation(((key, known[key], nll) for key, nll in networks), FEWEST_RANKED)
