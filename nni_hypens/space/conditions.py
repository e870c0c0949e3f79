"""When a choice is run at all: inside an option that is chosen, in a block within the chosen depth.

Only NNI's own `LayerChoice` and `Repeat` are known to leave out the rest. A choice inside any other module, or inside a
subclass of these, is taken to be run whenever that module is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from nni.mutable import Categorical, Mutable
from nni.nas.nn.pytorch import LayerChoice, ModelSpace, MutableModule, Repeat

from nni_hypens.space.choices import ChoiceTable, Sample


@dataclass(frozen=True)
class Condition:
    """What some labels must be for a part of the network to be run.

    Args:
        labels: The labels: one of a layer choice, or those of a depth.
        values: Their values together.

    Examples:
        >>> table = ChoiceTable({"depth": (1, 2, 3)}, {"depth": 1}, frozenset())
        >>> Condition(("depth",), frozenset({(2,), (3,)})).holds({"depth": 1}, table)
        False
    """

    labels: tuple[str, ...]
    values: frozenset[tuple[Any, ...]]

    def holds(self, sample: Sample, table: ChoiceTable) -> bool:
        """Whether an architecture has such values."""
        return tuple(table.chosen(label, sample[label])[0] for label in self.labels) in self.values


Place = tuple[Condition, ...]
"""Where a choice stands in a space: it is run there if all conditions hold."""

Conditions = dict[str, tuple[Place, ...]]
"""Places of each label that some architectures do not run anywhere."""


def conditions_of(space: ModelSpace) -> Conditions:
    """The places of each label that some architectures may not run; other labels are left out.

    Args:
        space: A model space of categorical choices, not mutated.

    Examples:
        >>> from search_spaces import OneCell
        >>> conditions_of(OneCell(channels=2, in_channels=1))
        {}
    """
    places: dict[str, dict[Place, None]] = {}
    for label, place in _walk(space, ()):
        places.setdefault(label, {})[place] = None
    return {label: tuple(found) for label, found in places.items() if () not in found}


def as_run(sample: Sample, conditions: Mapping[str, tuple[Place, ...]], table: ChoiceTable) -> Sample:
    """The architecture with the first options of every choice that it does not run.

    What is run does not depend on these: each condition of a place is a choice that is run if the ones before it hold.
    """
    unread = {
        label: list(table.options[label][: table.n_chosen[label]])
        for label, places in conditions.items()
        if not any(all(condition.holds(sample, table) for condition in place) for place in places)
    }
    first = {label: values if label in table.multiple else values[0] for label, values in unread.items()}
    return {**sample, **first} if first else sample


def _walk(module: Any, above: Place) -> Iterator[tuple[str, Place]]:
    if isinstance(module, MutableModule):
        for mutable in module.mutables:
            yield from ((str(label), above) for label in mutable.simplify())
    if type(module) is LayerChoice:
        for name in module.names:
            yield from _walk(module[name], (*above, Condition((str(module.label),), frozenset({(name,)}))))
    elif type(module) is Repeat and isinstance(module.depth_choice, Mutable):
        for index, block in enumerate(module.blocks):
            yield from _walk(block, (*above, *_deeper(module.depth_choice, index)))
    else:
        for child in module.children():
            yield from _walk(child, above)


def _deeper(depth: Mutable, index: int) -> Place:
    """The condition that a depth reaches block ``index``; none if it always does."""
    mutables = {str(label): mutable for label, mutable in depth.simplify().items()}
    if not all(isinstance(mutable, Categorical) for mutable in mutables.values()):
        return ()
    every = list(product(*(mutable.values for mutable in mutables.values())))
    deep = frozenset(values for values in every if depth.freeze(dict(zip(mutables, values, strict=True))) > index)
    return () if len(deep) == len(every) else (Condition(tuple(mutables), deep),)
