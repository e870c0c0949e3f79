"""A few architectures that together run every option of every choice, and which option is at fault when one fails.

Each of the few takes another option of all choices at once, so their number is that of the options of the largest
choice, not the sum over all choices. A choice inside an option of another, or inside a block that only a deep network
has, is run in architectures that contain it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nni.mutable import Mutable
from nni.nas.nn.pytorch import LayerChoice, ModelSpace, MutableModule
from torch import nn

from nni_hypens.errors import InputError, raised
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import random_architectures

TRIES = 20
"""Random architectures among which one that works is looked for, to compare a failing one with."""

Needs = dict[str, Any]
"""Options (label -> option) without which a choice is not run at all."""


def covering_architectures(space: ModelSpace, table: ChoiceTable) -> list[Sample]:
    """Architectures in which each option of each choice is run at least once.

    Args:
        space: The model space, not mutated.
        table: Its choices.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> for sample in covering_architectures(space, ChoiceTable.from_space(space)):
        ...     print([sample[f"node_{node}/op_0"] for node in (0, 1)])
        ['skip_connect', 'skip_connect']
        ['sep_conv_3x3', 'sep_conv_3x3']
    """
    needs = _needs(space, table)
    groups: list[tuple[Needs, list[str]]] = []
    for label in table.labels:
        for context, labels in groups:
            fits = all(context.get(outer, option) == option for outer, option in needs[label].items())
            # a choice cannot vary where others need one of its options, and those others not where it varies
            free = label not in context and not needs[label].keys() & set(labels)
            if fits and free:
                context.update(needs[label])
                labels.append(label)
                break
        else:
            groups.append((dict(needs[label]), [label]))
    found: list[Sample] = []
    for context, labels in groups:
        for first in range(max(len(table.options[label]) for label in labels)):
            sample = _rotated(table, first) | {
                label: [option] if label in table.multiple else option for label, option in context.items()
            }
            if sample not in found:
                found.append(sample)
    return found


def check_every_option(
    structure: EdgeStructure,
    samples: Sequence[Sample],
    attempt: Callable[[Sample], None],
    field: str = "space",
    what: str = "a space",
) -> None:
    """Run architectures; if one fails, name the label and the option that does not fit.

    Args:
        structure: The space.
        samples: Architectures, by `covering_architectures`.
        attempt: Builds and runs one. An `InputError` of it is passed on as it is.
        field: What the user calls the space.
        what: What is run, for the error.

    Raises:
        InputError: An architecture failed.
    """
    for sample in samples:
        error = _failure(attempt, sample)
        if error is not None:
            others = [*samples, *random_architectures(structure, TRIES, 0)]
            raise _blame(structure, sample, error, others, attempt, field, what) from error


def _blame(
    structure: EdgeStructure,
    failing: Sample,
    error: Exception,
    others: Sequence[Sample],
    attempt: Callable[[Sample], None],
    field: str,
    what: str,
) -> InputError:
    """The error that names the option: the first one with which an architecture that works fails, too."""
    works = next((sample for sample in others if _failure(attempt, sample) is None), None)
    if works is None:
        got = f"{what}, of which no architecture runs ({raised(error)})"
        return InputError(field, got, "a space whose layers take the images and each other's outputs")
    for label in structure.table.labels:
        if failing[label] == works[label]:
            continue
        alone = _failure(attempt, {**works, label: failing[label]})
        if alone is not None:
            got = f"option {failing[label]!r}, which fails where {works[label]!r} works ({raised(alone)})"
            return InputError(f"label {label!r}", got, "options that take and give tensors of the same shape")
    got = f"{what}, of which {structure.describe(failing)} fails ({raised(error)})"
    return InputError(field, got, "a space in which every architecture runs")


def _failure(attempt: Callable[[Sample], None], sample: Sample) -> Exception | None:
    try:
        attempt(sample)
    except InputError:
        raise
    except Exception as error:  # the user's layers may raise anything
        return error
    return None


def _rotated(table: ChoiceTable, first: int) -> Sample:
    """The architecture whose choices begin with option ``first`` of each, counted round."""
    rows = []
    for label, options in table.options.items():
        rows.append([(first + more) % len(options) for more in range(table.n_chosen[label])])
    return table.to_sample(rows)


def _needs(space: ModelSpace, table: ChoiceTable) -> dict[str, Needs]:
    """For each label, the options of other labels without which none of its layers is run."""
    needs: dict[str, Needs] = {}
    for label, found in _walk(space, {}):
        if label not in needs or len(found) < len(needs[label]):  # where it is easiest to reach
            needs[label] = found
    return {label: {k: v for k, v in needs.get(label, {}).items() if k in table.options} for label in table.labels}


def _walk(module: nn.Module, above: Needs) -> list[tuple[str, Needs]]:
    found: list[tuple[str, Needs]] = []
    if isinstance(module, MutableModule):
        found += [(str(label), above) for mutable in module.mutables for label in mutable.simplify()]
    if isinstance(module, LayerChoice):
        for name in module.names:
            found += _walk(module[name], {**above, str(module.label): name})
        return found
    depth = getattr(module, "depth_choice", None)
    inside = {**above, **_deepest(depth)} if isinstance(depth, Mutable) else above
    for child in module.children():
        found += _walk(child, inside)
    return found


def _deepest(depth: Mutable) -> Needs:
    """The option of each label of a depth with which the network is deepest."""
    mutables = {str(label): list(mutable.values) for label, mutable in depth.simplify().items()}
    if len(mutables) > 1:
        return {label: max(values) for label, values in mutables.items()}
    return {label: max(values, key=lambda value: depth.freeze({label: value})) for label, values in mutables.items()}
