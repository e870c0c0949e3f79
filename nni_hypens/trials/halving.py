"""Successive halving (Jamieson and Talwalkar 2016) of candidates by their validation NLL, in synchronous rungs.

All candidates train for the first epochs of the full schedule, the better half goes on, and again. Who goes on
continues from a checkpoint of everything its training depends on, so that it ends with the weights that it would have
had without a stop. In the folder of a candidate, ``rung.json`` tells how far it is and ``epoch-N.ckpt`` is where it
goes on; both are gone when it is trained or stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Lightning

from nni_hypens.errors import InputError
from nni_hypens.trials.pausing import check_loaders

ETA = 2
"""One in so many goes on."""
SPACING = 3
"""Fewest epochs between two rungs, and before the first."""
STOPS = 2
"""Most rungs at which candidates are stopped: at a quarter and at half of the epochs."""
MARGIN = 1
"""Candidates that go on beyond the wanted members: if one fails later enough are left, and there is a choice."""


def rungs(epochs: int) -> list[int]:
    """Epochs at which candidates are compared, increasing; the last is ``epochs``, the end.

    Args:
        epochs: Epochs of a candidate that is never stopped, at least 1.
    """
    found = [epochs]
    while len(found) <= STOPS and min(found[0] // ETA, found[0] - found[0] // ETA) >= SPACING:
        found.insert(0, found[0] // ETA)
    return found


def survivors(scores: Mapping[str, float], least: int) -> list[str]:
    """Who goes on: the better half (rounded up), of equals the first by name, but never fewer than ``least``.

    Args:
        scores: id -> validation NLL at the rung.
        least: How many go on at least; all do where there are no more.

    Returns:
        Their ids, best first.
    """
    return sorted(scores, key=lambda name: (scores[name], name))[: max(-(-len(scores) // ETA), least)]


def epochs_of(evaluator: Evaluator, members: int, candidates: int) -> int:
    """Epochs of the evaluator, checked: it can be stopped and go on, and there is something to stop.

    Raises:
        InputError: No NNI Lightning evaluator; without a number of epochs, or with too few; a data loader that cannot
            be taken up where it was left; hardly more candidates than members.
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
