"""Colours of the edges are those of the comparison with the base."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

from nni_hypens import EdgeStructure, InputError
from nni_hypens.report.cells import DIFFERS, SHARED, plot_cells
from search_spaces import DartsSpace, OneCell


def samples() -> tuple[EdgeStructure, dict, dict]:
    structure = EdgeStructure.from_space(OneCell(channels=2, in_channels=1))
    base = {label: 0 if "input" in label else "skip_connect" for label in structure.table.options}
    base = structure.table.validate(base)
    return structure, base, structure.table.validate({**base, "node_1/op_0": "sep_conv_3x3", "node_3/input": [2]})


def test_differing_edges_are_orange() -> None:
    structure, base, other = samples()
    left, right = plot_cells(structure, base, [base, other]).axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["4 shared edges", "2 shared edges"]
    colours = [
        [to_hex(patch.get_edgecolor()) for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
        for axes in (left, right)
    ]
    assert colours == [[SHARED] * 4, [SHARED, DIFFERS, SHARED, DIFFERS]]
    heights = {patch._posA_posB[1][1] for patch in right.patches if isinstance(patch, FancyArrowPatch)}
    said = {text.get_position()[1]: text.get_text() for text in right.texts if "node" not in text.get_text()}
    on_arrows = [said[height] for height in sorted(heights)]
    assert on_arrows == ["skip", "separable conv 3×3", "skip", "skip"], "each operation is written on its arrow"


def test_cells_of_the_hub() -> None:
    """Two cells a column, sixteen edges."""
    structure = EdgeStructure.from_space(DartsSpace(width=2, num_cells=3))
    base = {label: [values[0]] if label in structure.table.multiple else values[0]
            for label, values in structure.table.options.items()}  # fmt: skip
    axes = plot_cells(structure, base, [base], titles=["base"]).axes[0]
    assert sum(isinstance(patch, FancyArrowPatch) for patch in axes.patches) == 16
    assert {"normal cell", "reduce cell"} <= {text.get_text() for text in axes.texts}


def test_bad_arguments() -> None:
    structure, base, _ = samples()
    with pytest.raises(InputError, match="^samples"):
        plot_cells(structure, base, [])
    with pytest.raises(InputError, match="^titles"):
        plot_cells(structure, base, [base], titles=[])
