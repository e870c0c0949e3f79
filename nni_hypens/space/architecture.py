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
:func:`nni_hypens.expected_shared_edges` is the mean count of draws from logits, under the same protocol.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni.mutable import Categorical, CategoricalMultiple
from nni.nas.nn.pytorch import Cell, ModelSpace

from nni_hypens.errors import InputError

Sample = dict[str, Any]
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
    """

    name: str
    slots: tuple[tuple[str | None, tuple[str, ...]], ...]

    @property
    def labels(self) -> set[str]:
        """Every label the group reads."""
        return {label for inputs, ops in self.slots for label in (inputs, *ops) if label is not None}


@dataclass(frozen=True)
class ChoiceTable:
    """The categorical choices of a model space, in a fixed order.

    Args:
        options: label -> its options, in NNI's order.
        n_chosen: label -> how many options are chosen at once.
        multiple: Labels whose choice NNI writes as a list (``CategoricalMultiple``).
    """

    options: dict[str, tuple[Any, ...]]
    n_chosen: dict[str, int]
    multiple: frozenset[str]

    @property
    def labels(self) -> list[str]:
        """Labels, in the order of the rows of every logits tensor."""
        return list(self.options)

    @classmethod
    def from_space(cls, space: ModelSpace) -> ChoiceTable:
        """Read the table from ``space.simplify()``.

        Raises:
            InputError: A mutable is not categorical, or leaves the number of choices open; the label is named.
        """
        options: dict[str, tuple[Any, ...]] = {}
        n_chosen: dict[str, int] = {}
        multiple: set[str] = set()
        for key, mutable in space.simplify().items():
            label = str(key)  # NNI's labels are a subclass of str, which no checkpoint should depend on
            if isinstance(mutable, CategoricalMultiple):
                if mutable.n_chosen is None:
                    raise InputError(f"label {label!r}", "n_chosen=None", "an InputChoice with a fixed n_chosen")
                n_chosen[label] = mutable.n_chosen
                multiple.add(label)
            elif isinstance(mutable, Categorical):
                n_chosen[label] = 1
            else:
                raise InputError(f"label {label!r}", type(mutable).__name__, "a categorical choice")
            options[label] = tuple(mutable.values)
        if not options:
            raise InputError("space", f"{type(space).__name__} without any choice", "a model space with mutables")
        return cls(options, n_chosen, frozenset(multiple))

    def to_sample(self, rows: Sequence[Sequence[int]]) -> Sample:
        """NNI sample from option indices.

        Args:
            rows: For each label in order, the indices of its chosen options (extra ones at the end are ignored).
        """
        sample: Sample = {}
        for (label, values), row in zip(self.options.items(), rows, strict=True):
            chosen = [values[index] for index in sorted(row[: self.n_chosen[label]])]
            sample[label] = chosen if label in self.multiple else chosen[0]
        return sample

    def to_indices(self, sample: Sample) -> dict[str, list[int]]:
        """Indices of the chosen options, label by label."""
        return {
            label: [options.index(value) for value in self.chosen(label, sample[label])]
            for label, options in self.options.items()
        }

    def chosen(self, label: str, choice: Any) -> list[Any]:
        """What a sample says of a label, as the list of what is chosen.

        An option may be a tuple, such as a kernel of (1, 3), which JSON turns into a list; and where one of several is
        chosen, NNI writes a list of one.
        """
        if label in self.multiple:
            return list(choice) if isinstance(choice, list | tuple) else [choice]
        if not isinstance(choice, list | tuple):
            return [choice]
        whole = tuple(choice)
        return [whole] if whole in self.options[label] else list(choice)

    def validate(self, sample: Any, field: str = "base") -> Sample:
        """Check that ``sample`` is an architecture of this space, and return it in NNI's own form.

        Args:
            sample: label -> choice, as NNI exports it; a single input may be given without its list.
            field: What to call the sample in messages.

        Raises:
            InputError: Names the label that is unknown or missing, or whose value is not an option.
        """
        if not isinstance(sample, Mapping):
            raise InputError(field, type(sample).__name__, "an NNI sample: a mapping from label to choice")
        unknown = sorted(set(sample) - set(self.options), key=str)
        missing = [label for label in self.options if label not in sample]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0]), self.labels, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(
                f"{field}: label", repr(unknown[0]), f"a label of this space{hint}; is it from another space?"
            )
        if missing:
            raise InputError(
                f"{field}: label {missing[0]!r}", "nothing", "a choice for each label; is it from another space?"
            )
        checked: Sample = {}
        for label, values in self.options.items():
            chosen = self.chosen(label, sample[label])
            wrong = [value for value in chosen if not _is_option(value, values)]
            if wrong:
                near = difflib.get_close_matches(str(wrong[0]), [str(value) for value in values], n=1)
                hint = f" (nearest: {near[0]})" if near else ""
                raise InputError(f"{field}: label {label!r}", repr(wrong[0]), f"one of {list(values)}{hint}")
            if len(chosen) != self.n_chosen[label] or len(set(map(str, chosen))) != len(chosen):
                raise InputError(
                    f"{field}: label {label!r}", repr(chosen), f"{self.n_chosen[label]} different option(s)"
                )
            ordered = sorted(chosen, key=values.index)
            checked[label] = ordered if label in self.multiple else ordered[0]
        return checked


class EdgeStructure:
    """The edges of a model space: what two of its architectures are compared by.

    Args:
        table: The choices of the space.
        groups: Groups that cover each label at most once; labels in no group become groups of their own.

    Raises:
        InputError: A group names a label that is unknown or counted twice, or a slot does not fit its choices.
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


def load_sample(path: str | Path, table: ChoiceTable, field: str = "base") -> Sample:
    """Read an architecture from a JSON file: a sample, or a list whose first item is one (as NNI exports).

    Raises:
        InputError: The file is missing, is not JSON, or is not an architecture of this space.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(field, str(path), f"a readable JSON file ({error.strerror})") from None
    except ValueError as error:
        raise InputError(field, str(path), f"valid JSON ({error})") from None
    if isinstance(content, list):
        if not content:
            raise InputError(field, "an empty list", "an NNI sample: a mapping from label to choice")
        content = content[0]
    return table.validate(content, field)


def _is_option(value: Any, options: Sequence[Any]) -> bool:
    """Membership that does not take True for 1 or 1.0 for 1."""
    return any(type(value) is type(option) and value == option for option in options)


def _cell_groups(cell: Any) -> list[EdgeGroup]:
    """One group per node of an NNI ``Cell``; its slots are the (input, operation) pairs of that node."""
    groups = []
    for node, (ops, inputs) in enumerate(zip(cell.ops, cell.inputs, strict=True), start=cell.num_predecessors):
        slots = tuple((chooser.label, (op.label,)) for chooser, op in zip(inputs, ops, strict=True))
        groups.append(EdgeGroup(f"{cell.label}/{node}", slots))
    return groups
