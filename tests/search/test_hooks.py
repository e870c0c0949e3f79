"""Loose ends as the stand-alone network has them, and refusals that name the label, before a search begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nni
import pytest
import torch
from nni.nas.nn.pytorch import (
    Cell,
    InputChoice,
    LayerChoice,
    ModelSpace,
    MutableConv2d,
    MutableDropout,
    MutableModule,
    ParametrizedModule,
)
from torch import nn

from nni_hypens import EdgeNES, InputError
from nni_hypens.search.hooks import LooseEnds, hub_class
from nni_hypens.search.strategy import trained_strategy


class Space(ModelSpace):
    """One module made inside the space (NNI tracks choices only there)."""

    def __init__(self, make: Callable[[], nn.Module], size: int = 4) -> None:
        super().__init__()
        self.layer = make()
        self.act = LayerChoice([nn.ReLU(), nn.Tanh()], label="act")
        self.head = nn.Linear(size, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.layer(x)))


class Dangling(MutableModule):
    """Reads a choice that no primitive knows."""

    def __init__(self) -> None:
        super().__init__()
        self.power = self.add_mutable(nni.choice("power", [1, 2]))


class Custom(ParametrizedModule):
    """A parametrised module that has no mixed operation."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale


class OwnCell(Cell):
    """A subclass has no supernet in NNI."""


def loose(cell: type[Cell]) -> Cell:
    return cell([lambda *_: nn.Linear(4, 4), lambda *_: nn.Identity()], 2, merge_op="loose_end", label="cell")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputChoice(3, n_chosen=None, label="any"), "label 'any': got n_chosen=None; expected"),
        (lambda: InputChoice(3, 2, reduction="none", label="list"), "label 'list': got reduction='none'; expected"),
        (lambda: Custom(nni.uniform("rate", 0, 1)), "label 'rate': got Numerical; expected a categorical choice"),
        (Dangling, r"label 'power': got a choice inside Dangling \(layer\); expected a LayerChoice.*mutation_hooks="),
        (lambda: Custom(nni.choice("scale", [1.0, 2.0])), "label 'scale': got a choice inside Custom"),
        (lambda: MutableDropout(nni.choice("p", [0.1, 0.2])), "label 'p': got a choice inside .*Dropout"),
        (
            lambda: MutableConv2d(1, 4, 3, bias=nni.choice("bias", [True, False])),
            r"space: got .*Conv2d \(layer\); expected .*Unsupported mutable argument.*bias",
        ),
        (lambda: loose(OwnCell), "cell 'cell': got merge_op='loose_end' in OwnCell; expected .*merge_op='all'"),
    ],
)
def test_refused(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EdgeNES().mutate_model(Space(make))


def test_nested_mutation_hooks_of_the_user_come_first() -> None:
    class Known(nn.Module):
        pass

    def hook(module: nn.Module, name: str, memo: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        return (Known(), True) if isinstance(module, Dangling) else None

    assert isinstance(EdgeNES(mutation_hooks=[hook]).mutate_model(Space(Dangling)).layer, Known)


def test_a_finished_search_has_the_hooks_of_its_strategy(tmp_path: Path) -> None:
    """Candidates are ranked on the supernet that was searched."""

    def hook(module: nn.Module, name: str, memo: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        return (nn.Identity(), True) if isinstance(module, Dangling) else None

    strategy = EdgeNES(mutation_hooks=[hook])
    strategy.mutate_model(Space(Dangling))
    strategy.save_supernet(tmp_path / "supernet.safetensors")
    again = trained_strategy(Space(Dangling), tmp_path, {"mutation_hooks": [hook], "path_temperature": (1.0, 0.3)})
    assert isinstance(again.trained_supernet.model.layer, nn.Identity)
    with pytest.raises(InputError, match="mutation_hooks="):
        trained_strategy(Space(Dangling), tmp_path, {})


def test_loose_ends() -> None:
    """The nodes that others read are zero, the others untouched, and so is what the postprocessor does."""
    ends = LooseEnds(lambda cell, previous: (cell, previous), 3, dim=1)
    cell = torch.randn(2, 6)
    assert torch.equal(ends(cell, [])[0], cell)
    ends.keep = [True, False, True]
    out, previous = ends(cell, [cell])
    assert torch.equal(out[:, :2], cell[:, :2]) and torch.equal(out[:, 4:], cell[:, 4:]) and not out[:, 2:4].any()
    assert previous[0] is cell


def test_loose_ends_of_the_sampled_path() -> None:
    strategy = EdgeNES()
    supernet = strategy.mutate_model(Space(lambda: loose(Cell), size=8))
    sample = {"cell/input_1_0": [0], "cell/input_2_0": [1], "cell/op_1_0": "0", "cell/op_2_0": "1", "act": 0}
    x = torch.randn(2, 4)
    for chosen, used in (([0], False), ([1], True)):
        strategy.trained_supernet.set_path({**sample, "cell/input_2_0": chosen})
        assert (supernet.layer(x)[:, :4] == 0).all().item() is used
    with pytest.raises(InputError, match="cell 'cell' with merge_op='loose_end'; expected merge_op='all'"):
        strategy.inherited(sample)


def test_hub_is_not_imported_for_its_classes() -> None:
    assert hub_class("nni.nas.hub.pytorch.not_there", "Any") is None
