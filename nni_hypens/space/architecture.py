"""Architectures, their edges, and how many edges two of them share.

An *architecture* is one NNI sample (label -> choice). An *edge* is one structural decision that counts as a unit when
two architectures are compared. What counts is read from the structure of the model space, never from the text of a
label. Every primitive has a default:

* NNI ``Cell``: a triple (node, input, operation); each node has ``num_ops_per_node`` of them, unordered, so two slots
  that change places are no difference, and an edge held twice counts twice.
* ``LayerChoice``, ``Repeat``, ``nni.choice`` and any other mutable: one edge, (label, value).
* ``InputChoice`` by itself: ``n_chosen`` edges, (label, input).

A space, or any module in it, overrides this by a method ``edge_groups(self) -> list[EdgeGroup]``; each group takes the
labels it names out of the defaults, and labels in no group keep theirs. The nodes of our one-cell space do so: where an
``InputChoice`` selects among ``LayerChoice`` s, an edge is (node, input, operation on it), and operations on inputs
that are not chosen do not count. A module that occurs again under the same labels adds no edges.
`expected_shared_edges` is the mean count of draws from logits, under the same protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nni.nas.nn.pytorch import Cell, ModelSpace

from nni_hypens.errors import InputError
from nni_hypens.space.choices import ChoiceTable, Sample as Sample

Edge = tuple[str, int | None, Any]
EdgeKey = tuple[tuple[Edge, int], ...]


@dataclass(frozen=True)
class EdgeGroup:
    """Labels whose choices together make some edges of an architecture.

    A *slot* is a place that holds one edge (n_chosen edges where its choice takes several). Slots of one group are
    unordered: what counts is which edges the group holds, and how often.

    ======================================  ===================================================================
    slot                                    edges of an architecture
    ======================================  ===================================================================
    ``(None, ("width",))``                  (name, None, value of width)
    ``("input", ("op",))``                  (name, index of the chosen input, value of op)
    ``("input", ("op_0", "op_1"))``         (name, index i of the chosen input, value of op_i)
    ======================================  ===================================================================

    Args:
        name: Name of the group, the first part of each of its edges.
        slots: Pairs (label of the input choice or None, labels of the operation choices). With one operation label,
            that operation acts on whichever input is chosen; with several, label ``i`` is the operation on input
            ``i`` and counts only when input ``i`` is chosen.

    Example:
        >>> group = EdgeGroup("node", (("node/input", ("node/op_0", "node/op_1")),))
        >>> sorted(group.labels)
        ['node/input', 'node/op_0', 'node/op_1']
    """

    name: str
    slots: tuple[tuple[str | None, tuple[str, ...]], ...]

    @property
    def labels(self) -> set[str]:
        """Every label the group reads."""
        return {label for inputs, ops in self.slots for label in (inputs, *ops) if label is not None}


class EdgeStructure:
    """The edges of a model space: what two of its architectures are compared by.

    Args:
        table: The choices of the space.
        groups: Groups that cover each label at most once; labels in no group become groups of their own.

    Raises:
        InputError: A group names a label that is unknown or counted twice, or a slot does not fit its choices.

    Example:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> structure.n_edges
        2
        >>> base = {"node_0/input": [0], "node_0/op_0": "skip_connect",
        ...         "node_1/input": [0], "node_1/op_0": "skip_connect", "node_1/op_1": "sep_conv_3x3"}
        >>> structure.describe(base)
        'node_0: 0>skip_connect; node_1: 0>skip_connect'
        >>> structure.shared_edges(base, {**base, "node_1/input": [1]})
        1
    """

    def __init__(self, table: ChoiceTable, groups: Iterable[EdgeGroup] = ()) -> None:
        self.table = table
        self.groups: list[EdgeGroup] = []
        covered: dict[str, EdgeGroup] = {}
        for group in groups:
            if group in self.groups:  # modules that share labels describe the same edges
                continue
            for label in group.labels:
                if label not in table.options:
                    raise InputError(f"edge group {group.name!r}", f"label {label!r}", "labels of this space")
                if label in covered:
                    raise InputError(
                        f"label {label!r}", f"a second edge group {group.name!r}", "each label in one group"
                    )
                covered[label] = group
            self._check_slots(group)
            self.groups.append(group)
        self.groups += [EdgeGroup(label, ((None, (label,)),)) for label in table.options if label not in covered]
        twice = [name for name, times in Counter(group.name for group in self.groups).items() if times > 1]
        if twice:  # their edges could not be told apart
            raise InputError(f"edge group {twice[0]!r}", "two groups of that name", "a name of its own for each group")

    def _check_slots(self, group: EdgeGroup) -> None:
        """Refuse what could not be counted; the field of the message is the group."""
        field, counted = f"edge group {group.name!r}", set[str]()
        if not group.slots:
            raise InputError(field, "no slots", "at least one slot")
        for inputs, ops in group.slots:
            allowed = {1} if inputs is None else {1, len(self.table.options[inputs])}
            if len(ops) not in allowed:
                raise InputError(
                    field, f"{len(ops)} operation labels in a slot", " or ".join(map(str, sorted(allowed)))
                )
            several = [label for label in ops if self.table.n_chosen[label] > 1 or label in self.table.multiple]
            if inputs is not None and several:
                raise InputError(field, f"several values of {several[0]!r} on an input", "a choice of one operation")
            own = {label for label in (inputs, *ops) if label is not None}
            if counted & own:  # their slots would not be independent
                raise InputError(field, f"label {min(counted & own)!r} in two slots", "each label in one slot")
            counted |= own

    @classmethod
    def from_space(cls, space: ModelSpace) -> EdgeStructure:
        """Read the structure of a model space. Call it before the space is turned into a supernet."""
        groups: list[EdgeGroup] = []
        for module in space.modules():
            own = getattr(module, "edge_groups", None)
            if callable(own):
                groups += list(own())
            elif isinstance(module, Cell):
                groups += _cell_groups(module)
        return cls(ChoiceTable.from_space(space), groups)

    @property
    def n_edges(self) -> int:
        """Number of edges of an architecture, Lambda of the papers."""
        return sum(self._slot_edges(slot) for group in self.groups for slot in group.slots)

    def _slot_edges(self, slot: tuple[str | None, tuple[str, ...]]) -> int:
        inputs, ops = slot
        return self.table.n_chosen[inputs if inputs is not None else ops[0]]

    def edges(self, sample: Sample) -> list[Edge]:
        """The edges of an architecture: triples (group, input or None, operation or value), in a fixed order."""
        return [edge for group in self.groups for edge in self.group_edges(group, sample)]

    def group_edges(self, group: EdgeGroup, sample: Sample) -> list[Edge]:
        """The edges that one group makes, sorted."""
        found: list[Edge] = []
        for inputs, ops in group.slots:
            if inputs is None:
                found += [(group.name, None, value) for value in self.table.chosen(ops[0], sample[ops[0]])]
                continue
            values = self.table.options[inputs]
            for value in self.table.chosen(inputs, sample[inputs]):
                index = values.index(value)
                label = ops[index] if len(ops) > 1 or len(values) == 1 else ops[0]
                found.append((group.name, index, sample[label]))
        return sorted(found, key=str)

    def key(self, sample: Sample) -> EdgeKey:
        """Hashable identity of an architecture: two samples with the same key are the same network."""
        return tuple(sorted(Counter(self.edges(sample)).items(), key=str))

    def shared_edges(self, first: Sample, second: Sample) -> int:
        """How many edges two architectures have in common, 0..``n_edges`` (multiset intersection)."""
        return (Counter(self.edges(first)) & Counter(self.edges(second))).total()

    def describe(self, sample: Sample) -> str:
        """One short line for tables and web pages, such as ``node_0: 0>sep_conv_3x3; node_1: 1>skip_connect``."""
        parts: dict[str, list[str]] = {}
        for name, source, value in self.edges(sample):
            parts.setdefault(name, []).append(str(value) if source is None else f"{source}>{value}")
        return "; ".join(f"{name}: {', '.join(values)}" for name, values in parts.items())


def _cell_groups(cell: Any) -> list[EdgeGroup]:
    """One group per node of an NNI ``Cell``; its slots are the (input, operation) pairs of that node."""
    groups = []
    for node, (ops, inputs) in enumerate(zip(cell.ops, cell.inputs, strict=True), start=cell.num_predecessors):
        slots = tuple((chooser.label, (op.label,)) for chooser, op in zip(inputs, ops, strict=True))
        groups.append(EdgeGroup(f"{cell.label}/{node}", slots))
    return groups
