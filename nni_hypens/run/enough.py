"""Whether a space has as many different architectures as a run is to draw from it."""

from __future__ import annotations

import math
from itertools import combinations, product

from nni_hypens.errors import InputError
from nni_hypens.proposals.names import WITH_LARGE
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeKey, EdgeStructure

_MOST_LOOKED_AT = 20_000
"""A space of more samples holds enough different architectures."""


def check_enough(
    settings: Settings, structure: EdgeStructure, lam_low: float, ranking: str, adaptive: int, counts_edges: bool
) -> None:
    """Refuse more candidates than there are different architectures. A budget may leave fewer: only draws can tell.

    Candidates that are chosen during training may repeat an architecture.

    Args:
        settings: What the user asked for.
        structure: The edges of the space.
        lam_low: Lowest lam of the draws, in shared edges.
        ranking: A name of `nni_hypens.proposals.names.RANKINGS`, but not `auto`.
        adaptive: Candidates that are chosen during training.
        counts_edges: Whether lam is a number of shared edges.

    Raises:
        InputError: Naming `candidates`.
    """
    drawn = settings.candidates - adaptive
    # A draw shares lam edges with the base within a half; what the rankings with large architectures add may differ.
    alone = counts_edges and lam_low > structure.n_edges - 0.5 and ranking not in WITH_LARGE
    found = 1 if alone else different_architectures(structure, drawn)
    if found < drawn:
        where = f" that share {lam_low:g} of {structure.n_edges} edges with the base" if alone else " in this space"
        raise too_few(settings, drawn, found, where)


def too_few(settings: Settings, drawn: int, found: int, where: str) -> InputError:
    """The error for too many candidates, with the number that the user typed.

    Args:
        settings: What the user asked for.
        drawn: How many different architectures are needed.
        found: How many there are.
        where: Words that say where.
    """
    asked = settings.candidates
    got = f"{asked}" if asked == drawn else f"{asked}, of which {drawn} are drawn before training and must differ"
    most = found + (asked - drawn if settings.adaptive is not None else 0)
    return InputError("candidates", got, f"at most {most}: there are no more different architectures{where}")


def different_architectures(structure: EdgeStructure, enough: int) -> int:
    """How many different architectures a space has, counted up to `enough`.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=1, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> different_architectures(EdgeStructure.from_space(space), 10)
        2
    """
    table, keys = structure.table, set[EdgeKey]()
    chosen = {label: (len(values), table.n_chosen[label]) for label, values in table.options.items()}
    if math.prod(math.comb(*numbers) for numbers in chosen.values()) > _MOST_LOOKED_AT:
        return enough
    for row in product(*(combinations(range(options), wanted) for options, wanted in chosen.values())):
        keys.add(structure.key(table.to_sample(row)))
        if len(keys) >= enough:
            break
    return len(keys)
