"""How well scores that were known before training put the candidates in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nni_hypens.metrics.statistics import rank_correlation
from nni_hypens.run.candidate import Candidate
from nni_hypens.space.known_results import FEWEST


def supernet_ranking(candidates: Sequence[Candidate], validation_nll: Mapping[str, float]) -> dict[str, Any]:
    """Spearman's correlation of the supernet's NLL with the NLL after training, both on validation data.

    Args:
        candidates: The content of ``candidates.json``.
        validation_nll: id -> NLL of those that are trained.

    Returns:
        `spearman`, None for fewer than three architectures or where all are alike; `candidates`, how many are trained;
        and `architectures`, how many different ones. Networks of one architecture count once, by their mean. Those that
        go on with the training of another are left out: they were trained for longer.
    """
    rows = [
        (candidate.key, candidate.supernet_nll, validation_nll[candidate.id])
        for candidate in _with_new_weights(candidates)
        if candidate.id in validation_nll
    ]
    spearman, architectures = rank_correlation(rows, FEWEST)
    return {"spearman": spearman, "candidates": len(rows), "architectures": architectures}


def known_ranking(candidates: Sequence[Candidate], validation_nll: Mapping[str, float]) -> dict[str, Any] | None:
    """Spearman's correlation of the supernet's NLL, and of the NLL after training, with each known result.

    Args:
        candidates: The content of ``candidates.json``.
        validation_nll: id -> NLL of those that are trained. Networks of one architecture count once, by their mean;
            those that go on with the training of another are left out.

    Returns:
        None where the run has no table of known results. Else `candidates`, how many there are; `found`, how many the
        table has; and `metrics`, the correlations by metric and score.
    """
    candidates = _with_new_weights(candidates)
    if all(candidate.known is None for candidate in candidates):
        return None
    known = [candidate for candidate in candidates if candidate.known]
    metrics = list(dict.fromkeys(name for candidate in known for name in candidate.known or ()))
    scores = {"supernet_nll": {candidate.id: candidate.supernet_nll for candidate in known}}
    scores["validation_nll"] = dict(validation_nll)
    return {
        "candidates": len(candidates),
        "found": len(known),
        "metrics": {
            metric: {name: _correlation(known, metric, score) for name, score in scores.items()} for metric in metrics
        },
    }


def _correlation(candidates: Sequence[Candidate], metric: str, score: Mapping[str, float]) -> dict[str, Any]:
    rows = [
        (candidate.key, value, score[candidate.id])
        for candidate in candidates
        if candidate.id in score and (value := (candidate.known or {}).get(metric)) is not None
    ]
    spearman, architectures = rank_correlation(rows, FEWEST)
    return {"spearman": spearman, "architectures": architectures}


def _with_new_weights(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.parent is None]
