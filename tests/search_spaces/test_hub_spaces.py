"""Every space of NNI's hub, from search to an instance with inherited weights, or refused at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nni.nas.hub import pytorch as hub

from nni_hypens import EdgeNES, InputError
from tests.support.space_checks import HUB, check_space, difference, stir

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "hub_spaces.json"
REFUSED = {"NasBench101": "a NasBench101Cell .* expected .*NasBench201"}


def test_every_space_of_the_hub_is_here() -> None:
    spaces = {name for name in dir(hub) if isinstance(getattr(hub, name), type)}
    spaces = {getattr(hub, name).__name__ for name in spaces if issubclass(getattr(hub, name), hub.DARTS.__mro__[2])}
    assert spaces - {"ModelSpace", "NDS"} <= set(HUB)


@pytest.mark.parametrize("name", [name for name in HUB if name not in REFUSED])
def test_space(name: str, tmp_path: Path) -> None:
    found = check_space(HUB[name], str(tmp_path))
    assert found["edges"] == json.loads(RESULTS.read_text())["spaces"][name]["edgenes"]["edges"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_once(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        EdgeNES().mutate_model(HUB[name]())


def inherit(strategy: EdgeNES, depth: int, size: int = 32) -> float:
    table = strategy.structure.table
    sample = {label: values[0] for label, values in table.options.items()}
    for index, (label, values) in enumerate(table.options.items()):
        sample[label] = [values[index % len(values)]] if label in table.multiple else values[index % len(values)]
    sample["depth"] = depth
    return difference(strategy, sample, strategy.inherited(sample), torch.randn(2, 3, size, size))


def test_stages_of_mutable_depth() -> None:
    """Widths and depths of the NASNet family may be searched as well; NNI aligns a stage of one cell by a layer that
    the stand-alone network has not."""
    strategy = EdgeNES()
    stir(strategy.mutate_model(hub.DARTS(width=(2, 4), num_cells=(3, 6), dataset="cifar")))
    assert inherit(strategy, 6) < 1e-5
    with pytest.raises(InputError, match="stage 0 with one cell.*depths of at least 6.*formatter='dict'"):
        inherit(strategy, 3)


def test_loose_ends_of_mutable_width_and_depth() -> None:
    strategy = EdgeNES()
    stir(strategy.mutate_model(hub.ENAS(width=(2, 4), num_cells=(6, 7), dataset="imagenet")))
    assert inherit(strategy, 6, 64) < 1e-5 and inherit(strategy, 7, 64) < 1e-5
