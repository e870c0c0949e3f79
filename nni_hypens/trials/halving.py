"""Successive halving (Jamieson and Talwalkar 2016) of candidates by their validation NLL, in synchronous rungs.

All candidates train for the first epochs of the full schedule, the better half continues, and so on. A candidate
continues from a checkpoint of everything its training depends on, so it ends with the same weights as without a stop.
In its folder, ``rung.json`` records how far it is and ``epoch-N.ckpt`` is its checkpoint; both are removed when it is
trained or stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Lightning

from nni_hypens.errors import InputError
from nni_hypens.trials.pausing import check_loaders

ETA = 2
"""One in ``ETA`` candidates continues at each rung."""
SPACING = 3
"""Fewest epochs between two rungs, and before the first."""
STOPS = 2
"""Largest number of rungs at which candidates are stopped: at a quarter and at half of the epochs."""
MARGIN = 1
"""Candidates that continue in addition to the wanted members, to have a choice and in case one fails later."""


def rungs(epochs: int) -> list[int]:
    """Epochs at which candidates are compared, increasing; the last is ``epochs``, the end.

    Args:
        epochs: Epochs of a candidate that is never stopped, at least 1.
    """
    stops = [epochs]
    while len(stops) <= STOPS and min(stops[0] // ETA, stops[0] - stops[0] // ETA) >= SPACING:
        stops.insert(0, stops[0] // ETA)
    return stops


def survivors(scores: Mapping[str, float], least: int) -> list[str]:
    """The candidates that continue: the better half (rounded up; ties by name), but at least ``least``.

    Args:
        scores: id -> validation NLL at the rung.
        least: Smallest number that continues; all continue if there are no more.

    Returns:
        Their ids, best first.
    """
    return sorted(scores, key=lambda name: (scores[name], name))[: max(-(-len(scores) // ETA), least)]


def epochs_of(evaluator: Evaluator, members: int, candidates: int) -> int:
    """The evaluator's epochs, after checking that its training can be paused and that there are candidates to stop.

    Raises:
        InputError: Not an NNI Lightning evaluator; no number of epochs, or too few; a data loader that cannot be
            continued; too few candidates for the members.
    """
    if not isinstance(evaluator, Lightning):
        wanted = "false, or an nni.nas.evaluator.pytorch.Lightning evaluator, whose training can be continued"
        raise InputError("halving", f"{type(evaluator).__name__} as evaluator", wanted)
    epochs: int | None = evaluator.trainer.max_epochs
    least = ETA * SPACING
    if epochs is None or epochs < least:
        raise InputError("halving", f"{epochs} epochs per candidate", f"false, or at least {least} epochs")
    if candidates < members + MARGIN + 1:
        raise InputError(
            "halving",
            f"{candidates} candidates for {members} members",
            f"false, or at least {members + MARGIN + 1}: {MARGIN} more than the members are never stopped",
        )
    check_loaders(evaluator.train_dataloaders)
    return epochs


def scores_at(records: Sequence[Mapping[str, Any]], epoch: int) -> dict[str, float]:
    """id -> validation NLL at a rung, of those that reached it.

    Args:
        records: Contents of ``rung.json`` or ``metrics.json``.
        epoch: The rung's.
    """
    return {
        record["id"]: rung["nll"] for record in records for rung in record.get("rungs", ()) if rung["epoch"] == epoch
    }
