"""Saved ensembles that are wrong or hostile are refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.space import model_context
from safetensors.torch import load_file, save_file
from torch import nn

from nni_hypens.ensemble import Ensemble, EnsembleInfo
from nni_hypens.errors import InputError


class TinySpace(ModelSpace):
    """One choice, a BatchNorm and a linear layer."""

    def __init__(self, channels: int = 2, classes: int = 3) -> None:
        super().__init__()
        self.op = LayerChoice(
            {"conv": nn.Conv2d(channels, channels, 3, padding=1), "identity": nn.Identity()}, label="op"
        )
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.norm(self.op(x))).mean((2, 3)))


def make(
    ops: tuple[str, ...] = ("conv", "identity", "conv"), weights: Any = None, temperature: float = 1.5
) -> Ensemble:
    torch.manual_seed(0)
    members = []
    for op in ops:
        with model_context({"op": op}):
            network = TinySpace()
        network(torch.randn(16, 2, 5, 5))  # moves the BatchNorm statistics away from their start
        members.append(network)
    info = EnsembleInfo(
        ids=[f"c{i}" for i in range(len(ops))],
        architectures=[{"op": op} for op in ops],
        lams=[None, 1.5, 0.0][: len(ops)],
        shared_edges=[None, 1, 0][: len(ops)],
        labels=["cat", "dog", "owl"],
        input_spec={"channels": 2, "height": 5, "width": 5, "scale": 255, "mean": [0.4, 0.6], "std": [0.2, 0.3]},
        space={"class": "test_ensemble:TinySpace", "args": {"channels": 2, "classes": 3}},
    )
    return Ensemble(members, weights, temperature, info=info)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make(weights=[0.5, 0.25, 0.25]).save(tmp_path)
    return tmp_path


def edit(folder: Path, change: Any) -> None:
    path = folder / "ensemble.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


KEYS = ["members", "temperature", "labels", "input", "space", "versions"]


MEMBER_KEYS = ["id", "file", "weight", "lam", "shared_edges", "architecture"]


@pytest.mark.parametrize(
    "name", ["../member-c0.safetensors", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "C:x", ".hidden", "a\n", "a\0"]
)
def test_file_names_stay_inside_the_folder(saved: Path, name: str) -> None:
    inner = saved / "inner"
    inner.mkdir()
    shutil.copy(saved / "ensemble.json", inner)
    edit(inner, lambda index: index["members"][0].update(file=name))
    with pytest.raises(InputError, match=r"members\[0\]\.file: got .*; expected the plain name"):
        Ensemble.load(inner, space=TinySpace)


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_or_mistyped_key_is_named(saved: Path, key: str) -> None:
    edit(saved, lambda index: index.update({key: True}))
    with pytest.raises(InputError, match=rf"ensemble\.json\.{key}: got True; expected a value of type"):
        Ensemble.load(saved, space=TinySpace)
    edit(saved, lambda index: index.pop(key))
    with pytest.raises(InputError, match=rf"ensemble\.json\.{key}: got nothing"):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize("key", MEMBER_KEYS)
def test_a_missing_or_mistyped_member_key_is_named(saved: Path, key: str) -> None:
    edit(saved, lambda index: index["members"][2].update({key: ["x"]}))
    with pytest.raises(InputError, match=rf"members\[2\]\.{key}: got \['x'\]; expected a value of type"):
        Ensemble.load(saved, space=TinySpace)
    edit(saved, lambda index: index["members"][2].pop(key))
    with pytest.raises(InputError, match=rf"members\[2\]\.{key}: got nothing"):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(format_version=3), r"ensemble\.json\.format_version: got 3; expected 1 to 2"),
        (lambda i: i.pop("format_version"), r"ensemble\.json\.format_version: got None; expected 1"),
        (lambda i: i.update(members=[]), "members: got none"),
        (lambda i: i.update(members=[3]), r"members\[0\]: got 3; expected an object"),
        (lambda i: i.update(temperature=0), "temperature: got 0"),
        (lambda i: i.update(labels=[1, 2, 3]), "info.labels"),
        (lambda i: i["members"][0].update(weight=-1), "weights: got"),
        (lambda i: i["members"][0].update(id="c1"), "info.ids: got .* unique"),
        (lambda i: i["members"][0].update(architecture={}), r"members\[0\]\.architecture: got SampleMissingError"),
        (lambda i: i["members"][0].update(architecture={"op": "pool"}), r"members\[0\]\.architecture: got .*pool"),
        (lambda i: i["members"][0].update(file="gone.safetensors"), "gone.safetensors: got no file"),
        (lambda i: i["space"].update(args={"width": 3}), "architecture: got TypeError .*width"),
        (lambda i: i["space"].pop("args"), "space.args: got nothing"),
        (lambda i: i["input"].pop("mean"), "input.mean: got nothing"),
        (lambda i: i["input"].update(mean=[0.0]), "input.mean: got .* expected 2 finite numbers"),
        (lambda i: i["input"].update(std=[0, 1]), "input.std: got .* expected 2 positive numbers"),
        (lambda i: i["input"].update(height=-5), "input.height: got -5"),
        (lambda i: i["input"].update(channels=10**30), "ensemble.json: got the whole number 1000"),
        (lambda i: i.update(input={"__items__": 3}), "ensemble.json: got .*; expected a readable JSON file"),
        (lambda i: i.update(input={"__items__": [[[], 1]]}), "ensemble.json: got .*; expected a readable JSON file"),
    ],
)
def test_a_bad_index_is_named(saved: Path, change: Any, message: str) -> None:
    edit(saved, change)
    with pytest.raises(InputError, match=message) as error:
        Ensemble.load(saved, space=TinySpace)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '{"format_version": NaN}', "\ud800"])
def test_an_index_that_is_no_index(saved: Path, text: str) -> None:
    (saved / "ensemble.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"ensemble\.json"):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("norm.bias"), "norm.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is not in the network"),
        (lambda t: t.update({"linear.weight": torch.zeros(3, 4)}), r"linear.weight has shape \(3, 4\), not \(3, 2\)"),
        (
            lambda t: t.update({"linear.bias": torch.zeros(3).double()}),
            "linear.bias has type torch.float64, not torch.float32",
        ),
        (
            lambda t: t.update({"norm.num_batches_tracked": torch.tensor(1.0)}),
            "num_batches_tracked has type torch.float32",
        ),
    ],
)
def test_weights_of_another_network_are_named(saved: Path, change: Any, message: str) -> None:
    path = saved / "member-c0.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.unlink()  # the tensors may still be mapped from it
    save_file(tensors, path)
    with pytest.raises(InputError, match=message):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize(
    "name",
    [
        "test_ensemble:TinySpace",
        "os:system",
        "search_spaces_evil:Net",
        "search_spaces..os:system",
        "search_spaces:os.system",
        "nni.nas.hub.pytorchx:DARTS",
        "nni.nas.hub.pytorch",
        "",
    ],
)
def test_foreign_classes_are_not_imported(saved: Path, name: str) -> None:
    edit(saved, lambda index: index["space"].update({"class": name}))
    with pytest.raises(InputError, match=r"space\.class: got .*; expected a class of .*pass space= the class"):
        Ensemble.load(saved)


@pytest.mark.parametrize(
    "name",
    [
        "nni.nas.hub.pytorch.nasnet:nn",
        "nni.nas.hub.pytorch.nasnet:Repeat",
        "nni.nas.hub.pytorch:NoSuch",
        "search_spaces.no:X",
    ],
)
def test_only_spaces_of_the_trusted_packages_are_built(saved: Path, name: str) -> None:
    edit(saved, lambda index: index["space"].update({"class": name}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(InputError, match=r"space\.class: got"):
            Ensemble.load(saved)
