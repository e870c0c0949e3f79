"""Saved ensembles that are wrong or hostile are refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputError
from tests.support.tiny_ensemble import TinySpace, make


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
        (lambda i: i.update(format_version=4), r"ensemble\.json\.format_version: got 4; expected 1 to 3"),
        (lambda i: i.update(format_version=3), r"ensemble\.json\.pooling: got nothing"),
        (lambda i: i.update(format_version=3, pooling=1), r"ensemble\.json\.pooling: got 1; expected .*str"),
        (lambda i: i.update(format_version=3, pooling="mean"), r"ensemble\.json\.pooling: got 'mean'; expected one of"),
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
    with pytest.raises(InputError, match=r"space\.class: got .*; expected a class of .*or give the class: --space"):
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


# --- attacks -------------------------------------------------------------------------------------------------------


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def raw_file(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of any bytes."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape: list[int], offsets: list[int], kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": offsets}


def packed(folder: Path, change: Any) -> bytes:
    """The first member's file after a change of its header, a mapping."""
    content = (folder / "member-c0.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    return raw_file(json.dumps(header).encode(), content[8 + length :])


def torch_zip(canary: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state": Canary(canary)}, buffer)
    return buffer.getvalue()


WEIGHTS = {
    "pickle renamed": (lambda f, c: pickle.dumps(Canary(c)), "a pickle; it is not opened"),
    "old pickle renamed": (lambda f, c: pickle.dumps(Canary(c), protocol=0), "no header|a header of"),
    "torch zip renamed": (lambda f, c: torch_zip(c), "a zip archive.*not opened"),
    "empty": (lambda f, c: b"", "no header"),
    "huge header": (lambda f, c: raw_file(b"{}", length=2**63), "a header of 9223372036854775808 bytes"),
    "header past the end": (lambda f, c: raw_file(b"{}", length=500), "a header of 500 bytes"),
    "header not JSON": (lambda f, c: raw_file(b"{not json}"), "not a safetensors file"),
    "header a list": (lambda f, c: raw_file(b"[]"), "no header"),
    "header a deep bomb": (lambda f, c: raw_file(b'{"a":' * 20_000 + b"1" + b"}" * 20_000), "not a safetensors file"),
    "header not UTF-8": (lambda f, c: raw_file(b'{"\xff\xfe":1}'), "not a safetensors file"),
    "truncated": (lambda f, c: (f / "member-c0.safetensors").read_bytes()[:-4], "not a safetensors file"),
    "trailing bytes": (lambda f, c: (f / "member-c0.safetensors").read_bytes() + b"x", "not a safetensors file"),
    "overlapping": (
        lambda f, c: packed(f, lambda h: h["norm.bias"].update(data_offsets=h["norm.weight"]["data_offsets"])),
        "not a safetensors file",
    ),
    "offsets backwards": (
        lambda f, c: packed(f, lambda h: h["norm.bias"]["data_offsets"].reverse()),
        "not a safetensors file",
    ),
    "offsets past the end": (
        lambda f, c: packed(f, lambda h: h["norm.bias"].update(entry([2], [2**40, 2**40 + 8]))),
        "not a safetensors file",
    ),
    "shape overflows": (
        lambda f, c: packed(f, lambda h: h["norm.bias"].update(shape=[2**62, 2**62])),
        "not a safetensors file",
    ),
    "unknown dtype": (lambda f, c: packed(f, lambda h: h["norm.bias"].update(dtype="OBJ")), "not a safetensors file"),
    "tensor without memory": (
        lambda f, c: raw_file(json.dumps({"norm.bias": entry([0, 10**9], [0, 0])}).encode()),
        "norm.bias has shape",
    ),
    "a tensor called twice": (
        lambda f, c: raw_file(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],'
                              b'"data_offsets":[0,0]}}'),
        "a is not in the network|not a safetensors file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights(saved: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    make_bytes, message = WEIGHTS[name]
    canary = tmp_path_factory.mktemp("canary") / "sang"
    content = make_bytes(saved, canary)
    (saved / "member-c0.safetensors").unlink()
    (saved / "member-c0.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        Ensemble.load(saved, space=TinySpace)
    assert "member-c0.safetensors" in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 800 and not canary.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(saved: Path, value: float) -> None:
    path = saved / "member-c1.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
    tensors["linear.bias"][1] = value
    path.unlink()
    save_file(tensors, path)
    with pytest.raises(InputError, match="NaN or infinity in linear.bias; expected finite weights"):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize("name", ["member-c0.safetensors", "ensemble.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "device", "folder", "loop"])
def test_files_that_are_no_files(saved: Path, tmp_path_factory: pytest.TempPathFactory, name: str, kind: str) -> None:
    path = saved / name
    outside = tmp_path_factory.mktemp("outside") / name
    shutil.move(path, outside)
    if kind == "pipe":
        os.mkfifo(path)  # reading would wait for ever
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": outside, "device": Path("/dev/zero"), "loop": path}[kind])
    with pytest.raises(InputError, match=name):
        Ensemble.load(saved, space=TinySpace)


def test_a_link_inside_the_folder_is_a_file(saved: Path) -> None:
    path = saved / "member-c0.safetensors"
    path.rename(saved / "weights")
    path.symlink_to(saved / "weights")
    assert len(Ensemble.load(saved, space=TinySpace).members) == 3


NESTED: Any = "x"
for _ in range(200):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(format_version=True), "format_version: got True"),
        (lambda i: i.update(format_version=1.0), "format_version: got 1.0"),
        (lambda i: i.update(format_version="1" * 10_000), "format_version: got '1111"),
        (lambda i: i.update(temperature=-1.5), "temperature: got -1.5"),
        (lambda i: i.update(temperature=float("nan")), "got NaN, which is not JSON"),
        (lambda i: i.update(temperature="1e3"), "temperature: got '1e3'"),
        (lambda i: i["members"][0].update(weight=0.6), "weights: got .* expected positive numbers that sum to 1"),
        (lambda i: i["members"][0].update(weight=0), "weights: got .* expected positive numbers that sum to 1"),
        (lambda i: i["members"][1].update(file="member-c0.safetensors"), "member-c0.safetensors for two members"),
        (lambda i: i["members"][0].update(file="a" * 300), r"members\[0\]\.file"),
        (lambda i: i["members"][0].update(id="a" * 10**6 + "/"), "info.ids: got 'aaa"),
        (lambda i: i["members"][0].update(shared_edges=-1), r"members\[0\]\.shared_edges: got -1"),
        (lambda i: i["members"][0].update(architecture=NESTED), "more than 40 deep"),
        (lambda i: i["members"][0].update(architecture={"op": NESTED}), "more than 40 deep"),
        (lambda i: i["members"][0].update(architecture={"op": {"__class__": "os:system"}}), r"members\[0\]"),
        (lambda i: i["space"].update(args={"channels": 10**9}), "is missing|has shape|architecture: got"),
        (lambda i: i["space"].update(args={"self": 1}), "architecture: got TypeError"),
        (lambda i: i["space"].update({"class": 3}), "space.class: got 3"),
        (lambda i: i["labels"].append("emu"), r"labels: got 4 names; expected one for each class of the network \(3\)"),
        (lambda i: i.update(labels=[f"cat {n}" for n in range(10**5)]), "labels: got 100000 names"),
        (lambda i: i.update(labels=[["cat"]] * 3), "info.labels"),
        (lambda i: i["input"].update(channels=1, mean=[0], std=[1]), "input: got 1 x 5 x 5"),
        (lambda i: i["input"].update(height=10**17), "input: got images of 1000000000000000000 values"),
        (lambda i: i["input"].update(std=["1", "1"]), "input.std"),
        (lambda i: i["input"].update(scale=-255), "input.scale"),
        (lambda i: i["versions"].update(torch=["2"]), "versions: got"),
    ],
)
def test_hostile_index(saved: Path, change: Any, message: str) -> None:
    edit(saved, change)
    with pytest.raises(InputError, match=message) as error:
        Ensemble.load(saved, space=TinySpace)
    assert "\n" not in str(error.value) and len(str(error.value)) < 800


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"temperature": 1.5', '"temperature": 1e999', "the number 1e999, which is too large"),
        ('"temperature": 1.5', '"temperature": 1.5, "temperature": 2', "the key 'temperature' twice"),
        ('"temperature": 1.5', '"temperature": -Infinity', "got -Infinity, which is not JSON"),
        ('"temperature": 1.5', '"temperature": 1.5, "x": ' + "[" * 900 + "]" * 900, "more than 40 deep"),
        ('"temperature": 1.5', '"temperature": 1.5, "x": "' + "a" * 9 * 2**20 + '"', "more than 8 MB"),
        ('"temperature": 1.5', '"temperature": ' + "9" * 100_000, "is too long"),
    ],
)
def test_hostile_json(saved: Path, old: str, new: str, message: str) -> None:
    path = saved / "ensemble.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        Ensemble.load(saved, space=TinySpace)
    assert len(str(error.value)) < 800


def test_a_module_that_a_folder_names_is_not_imported(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = saved / "sang"
    (saved / "attacker.py").write_text(f"open({str(canary)!r}, 'w')\nclass Space: pass\n")
    monkeypatch.syspath_prepend(saved)
    for name in ("attacker:Space", "search_spaces.attacker:Space", "search_spaces/../attacker:Space", "attacker"):
        edit(saved, lambda index, name=name: index["space"].update({"class": name}))
        with pytest.raises(InputError, match=r"space\.class: got"):
            Ensemble.load(saved)
    assert not canary.exists() and "attacker" not in sys.modules


@pytest.mark.parametrize("name", ["darts", "nn", "PRESETS", "model_context"])
def test_only_model_spaces_are_called(saved: Path, name: str) -> None:
    edit(saved, lambda index: index["space"].update({"class": f"search_spaces.hub_darts:{name}"}))
    with pytest.raises(InputError, match=r"space\.class: got"):
        Ensemble.load(saved)
