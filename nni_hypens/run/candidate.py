"""One candidate of a run, from proposal to report."""

from __future__ import annotations

from typing import Any

from nni_hypens.run.plan import Plan
from nni_hypens.search.sampler import Candidate
from nni_hypens.selection.names import COUNTED, LIMITS
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import Budget


def candidate_record(structure: EdgeStructure, place: int, candidate: Candidate, supernet_nll: float) -> dict[str, Any]:
    """What ``candidates.json`` says of the candidate at a place."""
    return {
        "id": f"c{place:02d}",
        "lam": candidate.lam,
        "shared_edges": candidate.shared_edges,
        "source": candidate.source,
        "supernet_nll": supernet_nll,
        "architecture": candidate.architecture,
        "edges": [list(edge) for edge in structure.edges(candidate.architecture)],
        "text": structure.describe(candidate.architecture),
    }


def cost_counter(plan: Plan) -> Budget | None:
    """What counts the costs of candidates before they are trained, where the ensemble has a limit on one of them."""
    if not any(LIMITS[name] in COUNTED for name in plan.limits):
        return None
    return Budget(plan.space, input_shape=plan.image_shape)


def counted(counter: Budget, architecture: Sample) -> dict[str, int | None]:
    """Parameters and FLOPs of an architecture's network."""
    cost = counter.cost(architecture)
    return {"parameters": cost.params, "flops": cost.flops}
