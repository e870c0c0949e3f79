"""Architectures of NNI's NasBench201 space, written as NAS-Bench-201 writes them."""

from __future__ import annotations

from collections.abc import Iterable

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import Sample
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.utils.checks import nearest

NODES = 3
"""Nodes of a NAS-Bench-201 cell that have inputs; node t has the inputs 0..t-1."""
PUBLISHED = {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}
"""NNI's name of an operation -> NAS-Bench-201's, if they differ."""
FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


# ---- NAS-Bench-201's strings --------------------------------------------------------------------------------------


def nasbench201_labels(labels: Iterable[str]) -> dict[str, str] | None:
    """The labels of NNI's NasBench201 space by edge: ``0_1`` (input 0 of node 1), ... ``2_3``; None for other spaces.

    Args:
        labels: Labels of a space, such as ``cell/0_1``.
    """
    by_edge = {label.rpartition("/")[2]: label for label in labels}
    edges = [f"{source}_{node}" for node in range(1, NODES + 1) for source in range(node)]
    of_one_cell = len({label.rpartition("/")[0] for label in by_edge.values()}) == 1
    return {edge: by_edge[edge] for edge in edges} if of_one_cell and sorted(by_edge) == sorted(edges) else None


def nasbench201_string(sample: Sample) -> str:
    """An architecture of NNI's NasBench201 space in NAS-Bench-201's notation.

    Args:
        sample: The NNI sample.

    Raises:
        InputError: An architecture of another space.

    Examples:
        >>> labels = ["cell/0_1", "cell/0_2", "cell/1_2", "cell/0_3", "cell/1_3", "cell/2_3"]
        >>> nasbench201_string(dict.fromkeys(labels, "conv_3x3"))
        '|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|'
    """
    labels = nasbench201_labels(sample)
    if labels is None:
        raise InputError("sample", f"labels {', '.join(sample)}", "an architecture of NNI's NasBench201 space")
    nodes = []
    for node in range(1, NODES + 1):
        operations = [sample[labels[f"{source}_{node}"]] for source in range(node)]
        inputs = (f"{PUBLISHED.get(name, name)}~{source}" for source, name in enumerate(operations))
        nodes.append(f"|{'|'.join(inputs)}|")
    return "+".join(nodes)


def nasbench201_sample(text: str, table: ChoiceTable, field: str = "architecture") -> Sample:
    """The NNI sample of an architecture in NAS-Bench-201's notation.

    Args:
        text: For example ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|``.
        table: Choices of the space.
        field: Name of the architecture in error messages.

    Raises:
        InputError: Another notation, an unknown operation, or a space that is not NNI's NasBench201.

    Examples:
        >>> labels = ["cell/0_1", "cell/0_2", "cell/1_2", "cell/0_3", "cell/1_3", "cell/2_3"]
        >>> operations = ("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3")
        >>> table = ChoiceTable(dict.fromkeys(labels, operations), dict.fromkeys(labels, 1), frozenset())
        >>> sample = nasbench201_sample("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|avg_pool_3x3~2|", table)
        >>> sample["cell/0_1"], sample["cell/2_3"]
        ('conv_3x3', 'avg_pool_3x3')
    """
    labels = nasbench201_labels(table.labels)
    if labels is None:
        raise InputError(field, repr(text), "an NNI sample as JSON; such strings are for NNI's NasBench201 space")
    nodes = text.strip().split("+")
    if len(nodes) != NODES:
        raise InputError(field, repr(text), f"{NODES} nodes, as in {FORM}")
    sample: Sample = {}
    for node, text_of_node in enumerate(nodes, 1):
        inputs = text_of_node[1:-1].split("|")
        if text_of_node[:1] != "|" or text_of_node[-1:] != "|" or len(inputs) != node:
            raise InputError(field, f"{text_of_node!r} for node {node}", f"{node} inputs between bars, as in {FORM}")
        for source, part in enumerate(inputs):
            name, _, number = part.partition("~")
            if number != str(source):
                raise InputError(field, f"{part!r} in {text_of_node!r}", f"an operation with ~{source}, as in {FORM}")
            label = labels[f"{source}_{node}"]
            options = {PUBLISHED.get(option, option): option for option in table.options[label]}
            if name not in options:
                expected = f"one of {', '.join(options)}{nearest(name, options)}"
                raise InputError(field, f"operation {name!r}", expected)
            sample[label] = options[name]
    return table.validate(sample, field)
