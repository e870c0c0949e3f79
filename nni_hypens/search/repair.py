"""Bring a drawn architecture to a wanted number of edges shared with the base."""

from __future__ import annotations

from collections import Counter

import torch

from nni_hypens.space.architecture import EdgeGroup, EdgeStructure, Sample


def repair(
    structure: EdgeStructure,
    base: Sample,
    architecture: Sample,
    other: Sample,
    shared: int,
    generator: torch.Generator,
) -> Sample:
    """Change slots of an architecture until it shares a wanted number of edges with the base, as far as possible.

    Slots are visited once, in random order. A slot takes its choices from the base if edges are missing, else from
    ``other``, and keeps them if that brings the number of shared edges nearer to ``shared``.

    Args:
        structure: Edges of the space.
        base: The base architecture.
        architecture: The architecture to change; it is not modified.
        other: Source of choices that differ from the base's, usually a uniform draw.
        shared: Wanted number of edges in common with the base.
        generator: Source of the order of the slots.
    """
    groups = structure.groups
    slots = [(index, slot) for index, group in enumerate(groups) for slot in group.slots]
    counts = [_shared_in(structure, group, base, architecture) for group in groups]
    for position in torch.randperm(len(slots), generator=generator).tolist():
        missing = shared - sum(counts)
        if not missing:
            break
        index, (inputs, ops) = slots[position]
        source = base if missing > 0 else other
        changed = {**architecture, **{label: source[label] for label in (inputs, *ops) if label is not None}}
        count = _shared_in(structure, groups[index], base, changed)  # each label belongs to one group
        if abs(missing - (count - counts[index])) < abs(missing):
            architecture, counts[index] = changed, count
    return architecture


def _shared_in(structure: EdgeStructure, group: EdgeGroup, base: Sample, architecture: Sample) -> int:
    """Edges of one group that two architectures share."""
    return (Counter(structure.group_edges(group, base)) & Counter(structure.group_edges(group, architecture))).total()
