"""One candidate of a run, from proposal to report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nni_hypens.errors import InputError
from nni_hypens.run.plan import Plan, read_known_results
from nni_hypens.search.sampler import Candidate as Draw
from nni_hypens.selection.names import COUNTED, LIMITS
from nni_hypens.space.architecture import Edge, EdgeStructure, Sample
from nni_hypens.space.cost import Budget
from nni_hypens.trials.training import TrialSpec
from nni_hypens.utils.checks import NONE, NUMBER, brief, check_plain_name, require

_TYPES = {
    "id": str,
    "lam": (*NUMBER, NONE),
    "shared_edges": int,
    "source": str,
    "supernet_nll": NUMBER,
    "architecture": dict,
    "edges": list,
    "text": str,
}
_OPTIONAL = {
    "expected_gain": (*NUMBER, NONE),
    "parameters": (*NUMBER, NONE),
    "flops": (*NUMBER, NONE),
    "known": (dict, NONE),
    "parent": str,
}


def _is_edge(edge: Any) -> bool:
    return (
        isinstance(edge, list)
        and len(edge) == 3
        and isinstance(edge[0], str)
        and (edge[1] is None or isinstance(edge[1], int))
    )


@dataclass(frozen=True)
class Candidate:
    """An architecture that is trained, and what is known of it before.

    Args:
        id: Name of its folder.
        lam: Requested shared edges; None where no dial was asked.
        shared_edges: Edges in common with the base.
        source: How it was found: ``base``, ``mode``, ``draw``, ``repaired``, ``large``, or how adaptive training
            proposed it (``pool``, ``random``, ``neighbour``, ``replica``, ``further``).
        supernet_nll: Validation NLL with the supernet's weights.
        architecture: The NNI sample.
        edges: Its edges: (group, input, operation).
        text: The architecture in one line.
        adaptive: Whether adaptive training proposed it, while others were trained.
        expected_gain: How much adaptive training expected the validation NLL of the ensemble to fall; None where it
            knew too little, or did not propose it.
        parameters: Number of its parameters; None where no limit asked for it.
        flops: FLOPs of one image; None where no limit asked for it.
        known: Its results in the table of known results, empty where it has none; None where the run has no table.
        parent: The candidate before it whose training it goes on with; None for new weights.
    """

    id: str
    lam: float | None
    shared_edges: int
    source: str
    supernet_nll: float
    architecture: Sample
    edges: tuple[Edge, ...]
    text: str
    adaptive: bool = False
    expected_gain: float | None = None
    parameters: int | None = None
    flops: int | None = None
    known: Mapping[str, float | None] | None = None
    parent: str | None = None

    @classmethod
    def from_draw(cls, structure: EdgeStructure, place: int, draw: Draw, supernet_nll: float, **more: Any) -> Candidate:
        """The candidate at a place of ``candidates.json``; `more` are other fields."""
        edges, text = tuple(structure.edges(draw.architecture)), structure.describe(draw.architecture)
        about = (draw.lam, draw.shared_edges, draw.source, supernet_nll, draw.architecture)
        return cls(f"c{place:02d}", *about, edges, text, **more)

    def to_json(self) -> dict[str, Any]:
        """The record in ``candidates.json``."""
        record: dict[str, Any] = {
            "id": self.id,
            "lam": self.lam,
            "shared_edges": self.shared_edges,
            "source": self.source,
            "supernet_nll": self.supernet_nll,
            "architecture": self.architecture,
            "edges": [list(edge) for edge in self.edges],
            "text": self.text,
        }
        if self.adaptive:
            record["expected_gain"] = self.expected_gain
        if self.parameters is not None:
            record |= {"parameters": self.parameters, "flops": self.flops}
        if self.known is not None:
            record["known"] = dict(self.known) or None
        if self.parent is not None:
            record["parent"] = self.parent
        return record

    @classmethod
    def from_json(cls, record: Any, where: str = "candidate") -> Candidate:
        """The candidate of a record in ``candidates.json``.

        Args:
            record: The record, which may be anything.
            where: Its place, for errors.

        Raises:
            InputError: It is not as `to_json` makes it.
        """
        if not isinstance(record, Mapping):
            raise InputError(where, brief(record), "a mapping")
        fields = dict(record)
        require(fields, {**_TYPES, **{name: kind for name, kind in _OPTIONAL.items() if name in fields}}, where)
        check_plain_name(f"{where}.id", fields["id"], "a plain name such as c03")
        for name in fields:
            if name not in _TYPES and name not in _OPTIONAL:
                raise InputError(f"{where}: {name}", brief(fields[name]), "a known field")
        for edge in fields["edges"]:
            if not _is_edge(edge):
                raise InputError(f"{where}.edges", brief(edge), "a list of [group, input, operation]")
        fields["edges"] = tuple((group, source, value) for group, source, value in fields["edges"])
        if "known" in fields:
            fields["known"] = fields["known"] or {}
        if "parent" in fields:
            check_plain_name(f"{where}.parent", fields["parent"], "the id of a candidate, such as c03")
        return cls(**fields, adaptive="expected_gain" in fields)

    def trial(self, seed: int, warm_start: bool = False) -> TrialSpec:
        """What a trial needs to train it.

        Args:
            seed: Seed of its training.
            warm_start: Whether its initial weights are those of its path in the supernet.
        """
        about = (self.id, self.architecture, self.lam, self.shared_edges, seed, self.text)
        return TrialSpec(*about, warm_start, self.parent)

    @property
    def key(self) -> str:
        """Text of its edges, the same for two candidates of one architecture."""
        return json.dumps(sorted(self.edges, key=str))

    @property
    def costs(self) -> dict[str, Any]:
        """Its id and the costs that are known before training, for limits on the ensemble."""
        return {"id": self.id, "parameters": self.parameters, "flops": self.flops}


def adaptive_left(adaptive: int, candidates: Sequence[Candidate]) -> int:
    """How many candidates adaptive training is still to decide on.

    Args:
        adaptive: How many it decides on in all.
        candidates: Those that there are.
    """
    return max(adaptive - sum(candidate.adaptive for candidate in candidates), 0)


class KnownBefore:
    """What a run knows of an architecture before it is trained: costs that are limited, and known results.

    Args:
        plan: The run; costs are counted only where the ensemble has a limit on one of them.
    """

    def __init__(self, plan: Plan) -> None:
        limited = any(LIMITS[name] in COUNTED for name in plan.limits)
        self._counter = Budget(plan.train_space, input_shape=plan.input_shape) if limited else None
        self._table = plan.known or read_known_results(plan.settings, plan.space)

    def __call__(self, architecture: Sample) -> dict[str, Any]:
        """Fields of a `Candidate`."""
        fields: dict[str, Any] = {}
        if self._counter is not None:
            cost = self._counter.cost(architecture)
            fields |= {"parameters": cost.params, "flops": cost.flops}
        if self._table is not None:
            fields["known"] = self._table.lookup(architecture) or {}
        return fields
