"""Curves of the search for any Lightning logger: the probability of every option, once per epoch."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nni_hypens.schedule import BASE, WARMUP
from nni_hypens.search_module import EdgeNESModule
from nni_hypens.space.draws import ChoiceLayout

SHARES = (0.0, 0.5, 1.0)
"""Where on the dial the hypernetwork is looked at: nothing shared, half of the edges, the base."""


def option_probabilities(layout: ChoiceLayout, logits: torch.Tensor) -> dict[str, dict[str, float]]:
    """Softmax of logits ``L x M``, label by label; where several options are chosen at once, their shares.

    Args:
        layout: The choices that the logits are for.
        logits: One row per label.

    Returns:
        label -> option -> probability. Labels of which everything is always chosen are left out.
    """
    cpu = ChoiceLayout(layout.table)
    rows = cpu.masked(logits.detach().float().cpu()).softmax(-1).tolist()
    return {
        label: {str(value): share for value, share in zip(values, row, strict=False)}
        for (label, values), row, full in zip(layout.table.options.items(), rows, cpu.full.tolist(), strict=True)
        if not full
    }


@torch.no_grad()
def search_probabilities(module: EdgeNESModule) -> dict[str, dict[str, float]]:
    """What the search believes at the end of an epoch, under names that loggers can group.

    Args:
        module: The search, inside or after an epoch.

    Returns:
        Nothing in the warm-up, which draws uniformly; ``label`` while the base is searched; and
        ``lam=0/label``, ``lam=2/label``, ``lam=4/label`` (with four edges) once the hypernetwork is trained.
    """
    assert module.schedule is not None
    phase = module.schedule.phase(module.current_epoch)
    if phase == WARMUP:
        return {}
    if phase == BASE:
        return option_probabilities(module.layout, module.base_logits)
    lams = sorted({share * module.structure.n_edges for share in SHARES})
    logits = module.hypernetwork(torch.tensor(lams, device=module.base_logits.device))
    return {
        f"lam={lam:g}/{label}": options
        for lam, row in zip(lams, logits, strict=True)
        for label, options in option_probabilities(module.layout, row).items()
    }


class ProbabilityCurves:
    """Writes ``prob/...`` to the loggers of the trainer after each epoch, as NNI's own strategies do.

    Args:
        wanted: Whether to write; None to do so when there is a logger.
    """

    def __init__(self, wanted: bool | None = None) -> None:
        self.wanted = wanted

    def __call__(self, module: EdgeNESModule) -> None:
        """One epoch has ended."""
        wanted = bool(module.trainer.loggers) if self.wanted is None else self.wanted
        if wanted:
            probabilities: Mapping[str, Mapping[str, float]] = search_probabilities(module)
            if probabilities:
                module.log_probs(probabilities)
