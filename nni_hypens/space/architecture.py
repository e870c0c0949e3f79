"""Architectures, their edges, and how many edges two of them share.

An *architecture* is an NNI sample (label -> choice). An *edge* is a structural decision that counts as a unit when two
architectures are compared. Edges follow from the structure of the model space, never from the text of a label. Every
primitive has a default:

* NNI ``Cell``: a triple (node, input, operation). Each node has ``num_ops_per_node`` of them, unordered: swapping two
  slots makes no difference, and an edge held twice counts twice.
* ``LayerChoice``, ``Repeat``, ``nni.choice`` and any other mutable: one edge, (label, value).
* ``InputChoice`` by itself: ``n_chosen`` edges, (label, input).

A space, or any module in it, can override this with a method ``edge_groups(self) -> list[EdgeGroup]``. Labels in a
group lose their default; other labels keep it. The nodes of `OneCell` do this: if an ``InputChoice`` selects among
``LayerChoice`` modules, an edge is (node, input, operation on that input), and operations on inputs that are not chosen
do not count. A module that occurs again under the same labels adds no edges. `expected_shared_edges` is the mean count
over draws from logits, with the same definition.

An architecture also has a value for choices that it does not run: inside an option that is not chosen, or in a block
beyond the chosen depth. As edges these values count like any others. The identity of an architecture, its `key`, does
not depend on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nni.nas.nn.pytorch import Cell, ModelSpace

from nni_hypens.errors import InputError
from nni_hypens.space.choices import ChoiceTable, Sample as Sample
from nni_hypens.space.conditions import Place, as_run, conditions_of

Edge = tuple[str, int | None, Any]
EdgeKey = tuple[tuple[Edge, int], ...]


@dataclass(frozen=True)
class EdgeGroup:
    """Labels whose choices together define some edges of an architecture.

    A *slot* holds one edge (or n_chosen edges, if its choice takes several options). Slots of a group are unordered:
    only which edges the group holds, and how often, counts.

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

    Examples:
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
    """The edges of a model space, by which its architectures are compared.

    Args:
        table: The choices of the space.
        groups: Groups that cover each label at most once; each other label becomes a group by itself.
        conditions: When each label is run that some architectures do not run.

    Raises:
        InputError: A group names a label that is unknown or counted twice, or a slot does not fit its choices.

    Examples:
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

    def __init__(
        self,
        table: ChoiceTable,
        groups: Iterable[EdgeGroup] = (),
        conditions: Mapping[str, tuple[Place, ...]] | None = None,
    ) -> None:
        self.table = table
        self.conditions = dict(conditions or {})
        self.groups: list[EdgeGroup] = []
        covered: dict[str, EdgeGroup] = {}
        for group in groups:
            if group in self.groups:  # modules with the same labels describe the same edges
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
        repeated = [name for name, times in Counter(group.name for group in self.groups).items() if times > 1]
        if repeated:  # their edges could not be told apart
            raise InputError(f"edge group {repeated[0]!r}", "two groups of that name", "different names of groups")

    def _check_slots(self, group: EdgeGroup) -> None:
        """Refuse slots whose edges cannot be counted."""
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
            labels = {label for label in (inputs, *ops) if label is not None}
            if counted & labels:  # the slots would not be independent
                raise InputError(field, f"label {min(counted & labels)!r} in two slots", "each label in one slot")
            counted |= labels

    @classmethod
    def from_space(cls, space: ModelSpace) -> EdgeStructure:
        """Read the structure of a model space, before the space becomes a supernet."""
        groups: list[EdgeGroup] = []
        for module in space.modules():
            edge_groups = getattr(module, "edge_groups", None)
            if callable(edge_groups):
                groups += list(edge_groups())
            elif isinstance(module, Cell):
                groups += _cell_groups(module)
        return cls(ChoiceTable.from_space(space), groups, conditions_of(space))

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
        """The edges of one group, sorted."""
        edges: list[Edge] = []
        for inputs, ops in group.slots:
            if inputs is None:
                edges += [(group.name, None, value) for value in self.table.chosen(ops[0], sample[ops[0]])]
                continue
            values = self.table.options[inputs]
            for value in self.table.chosen(inputs, sample[inputs]):
                index = values.index(value)
                label = ops[index] if len(ops) > 1 or len(values) == 1 else ops[0]
                edges.append((group.name, index, sample[label]))
        return sorted(edges, key=str)

    def key(self, sample: Sample) -> EdgeKey:
        """Hashable identity of an architecture: samples with the same key are the same network.

        Samples that differ only in choices that they do not run have the same key.
        """
        read = as_run(sample, self.conditions, self.table)
        return tuple(sorted(Counter(self.edges(read)).items(), key=str))

    def shared_edges(self, first: Sample, second: Sample) -> int:
        """How many edges two architectures have in common, 0..``n_edges`` (multiset intersection)."""
        return (Counter(self.edges(first)) & Counter(self.edges(second))).total()

    def describe(self, sample: Sample) -> str:
        """A short line for tables and web pages: ``node_0: 0>sep_conv_3x3; node_1: 1>skip_connect``."""
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
