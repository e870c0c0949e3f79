"""Exported files compute what the ensemble computes, alone, and say what they are."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from nni_hypens import InputError
from nni_hypens.ensemble import export as module
from nni_hypens.ensemble.export import METADATA_FILE, export_ensemble
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.ensemble.predict import open_model
from nni_hypens.ensemble.reading import read_inputs
from tests.support.deployed import SPACES, random_ensemble
from tests.support.loaded import PATIENCE

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nni", "nni_hypens", "search_spaces"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
import numpy as np
for path, images, out in zip(*[iter(sys.argv[1:])] * 3):
    x = np.load(images)
    if path.endswith(".onnx"):
        import onnxruntime
        session = onnxruntime.InferenceSession(path)
        run = lambda x: session.run(None, {"images": x})[0]
    else:
        import torch
        module = torch.export.load(path).module()
        run = lambda x: module(torch.from_numpy(x)).detach().numpy()
    np.save(out, np.concatenate([run(x[:1]), run(x[1:])]))
assert not any(name.split(".")[0] in ("nni", "nni_hypens", "search_spaces") for name in sys.modules)
"""


def raw_images(ensemble: Ensemble, count: int) -> np.ndarray:
    """uint8 images of different brightness."""
    spec, generator = ensemble.info.input_spec, np.random.default_rng(1)
    shape = (count, spec["height"], spec["width"], spec["channels"])
    level = generator.integers(0, 200, (count, 1, 1, spec["channels"]))
    return (level + generator.integers(0, 56, shape)).astype(np.uint8)


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_runs_without_nni(format: str, tmp_path: Path) -> None:
    """One process for all spaces: it takes seconds to load what runs the files."""
    files, expected = [], {}
    for name in SPACES:
        ensemble, folder = random_ensemble(name), tmp_path / name
        folder.mkdir()
        made = export_ensemble(ensemble, folder / f"model.{format}", format)
        assert [path.name for path in folder.iterdir()] == [f"model.{format}"], name  # one file, no external data
        assert made.folded > 0 and made.difference < 1e-5, name
        images = raw_images(ensemble, 6)
        np.save(folder / "images.npy", images.astype(np.float32))
        files += [str(made.path), str(folder / "images.npy"), str(folder / "out.npy")]
        expected[name] = ensemble.predict(images)
        assert expected[name].std(axis=0).max() > 1e-3, name  # or the comparison would say little
        if format == "onnx":
            graph = onnx.load(made.path).graph
            makers = {output: node.op_type for node in graph.node for output in node.output}
            norms = [node for node in graph.node if node.op_type == "BatchNormalization"]
            assert all(makers[node.input[0]] != "Conv" for node in norms), name
    subprocess.run([sys.executable, "-c", ALONE, *files], check=True, cwd=tmp_path, timeout=PATIENCE)
    for name in SPACES:
        assert np.abs(np.load(tmp_path / name / "out.npy") - expected[name]).max() < 1e-5, name


@pytest.mark.parametrize(("format", "pooling"), [("onnx", "log"), ("pt2", "log")])
def test_without_preprocessing(format: str, pooling: str, tmp_path: Path) -> None:
    ensemble = random_ensemble("one_cell", pooling=pooling)
    path = export_ensemble(ensemble, tmp_path / f"model.{format}", format, preprocess=False).path
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        expected = ensemble(x).numpy()
    if format == "onnx":
        found = ort.InferenceSession(str(path)).run(None, {"images": x.numpy()})[0]
    else:
        found = torch.export.load(path).module()(x).detach().numpy()
    assert found == pytest.approx(expected, abs=1e-5)
    ensemble.pooling = "linear"
    with torch.no_grad():
        assert np.abs(ensemble(x).numpy() - expected).max() > 1e-3  # or the comparison would say little


@pytest.mark.parametrize("format", ["onnx", "pt2"])
@pytest.mark.parametrize("low, high", [(0.0, 255.0), (-1.0, 1.0), (0.0, 16.0)])
def test_uint8_input_whatever_the_range_of_the_training_images(
    format: str, low: float, high: float, tmp_path: Path
) -> None:
    ensemble = random_ensemble("one_cell")
    ensemble.info.input_spec |= {"range": [low, high], "scale": high, "mean": [0.1], "std": [0.6]}
    made = export_ensemble(ensemble, tmp_path / f"model.{format}", format, uint8=True)
    assert made.difference < 1e-5
    pixels = raw_images(ensemble, 4)
    expected = ensemble.predict(low + pixels.astype(np.float64) * (high - low) / 255)
    if format == "onnx":
        session = ort.InferenceSession(str(made.path))
        assert json.loads(session.get_modelmeta().custom_metadata_map["input_range"]) == [0, 255]
        found = session.run(None, {"images": pixels})[0]
    else:
        found = torch.export.load(made.path).module()(torch.from_numpy(pixels)).detach().numpy()
    assert found == pytest.approx(expected, abs=1e-5)
    model = open_model(made.path, trust=True)
    np.save(tmp_path / "a.npy", pixels)
    names, images = read_inputs([tmp_path / "a.npy"], model.input_spec)
    assert [row["probability"] for row in model.rows(names, images)] == pytest.approx(expected.max(axis=1), abs=1e-5)
    with pytest.raises(InputError, match="images: got values from 1 to 256; expected values in 0..255, as the model"):
        model.rows(["a"], np.linspace(1, 256, 64, dtype=np.float32).reshape(1, 8, 8, 1))


def test_uint8_without_preprocessing_or_without_a_range(tmp_path: Path) -> None:
    ensemble = random_ensemble("one_cell")
    with pytest.raises(InputError, match="uint8: got True without preprocessing"):
        export_ensemble(ensemble, tmp_path / "model.pt2", "pt2", preprocess=False, uint8=True)
    ensemble.info.input_spec |= {"scale": 1.0, "mean": [120.0], "std": [60.0]}  # of an older version: floats 0..255
    with pytest.raises(InputError, match="uint8: got pixels 0..255, for a model that does not state the range"):
        export_ensemble(ensemble, tmp_path / "model.pt2", "pt2", uint8=True)
    assert not list(tmp_path.iterdir())


def test_metadata_is_in_both_and_no_path_of_this_machine(tmp_path: Path) -> None:
    ensemble = random_ensemble("one_cell")
    found = []
    for format in ("onnx", "pt2"):
        path = export_ensemble(ensemble, tmp_path / f"model.{format}", format).path
        if format == "onnx":
            model = onnx.load(path)
            found.append({prop.key: json.loads(prop.value) for prop in model.metadata_props})
            shapes = [v.type.tensor_type.shape.dim[0].dim_param for v in (*model.graph.input, *model.graph.output)]
            assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["images", "probabilities"]
            assert shapes == ["batch", "batch"]
            content = path.read_bytes()
        else:
            extra = {METADATA_FILE: ""}
            torch.export.load(path, extra_files=extra)
            found.append(json.loads(extra[METADATA_FILE]))
            with zipfile.ZipFile(path) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
        assert str(Path(module.__file__).parent).encode() not in content and b"site-packages" not in content
    assert found[0] == found[1]
    assert found[0]["class_names"] == ensemble.info.labels and found[0]["input"] == ensemble.info.input_spec
    assert (found[0]["input_layout"], found[0]["format_version"]) == ("NHWC", 1)
    assert (found[0]["input_values"], found[0]["input_range"]) == ("raw", [0.0, 255.0])
    assert (found[0]["pooling"], found[0]["weights"]) == ("linear", pytest.approx([1 / 3, 2 / 3]))
    assert found[0]["versions"]["torch"] == torch.__version__


def test_the_ensemble_is_left_as_it_was(tmp_path: Path) -> None:
    ensemble = random_ensemble("one_cell").train()
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    export_ensemble(ensemble, tmp_path / "model.pt2", "pt2")
    assert all(part.training for part in ensemble.modules())
    assert all(parameter.requires_grad for parameter in ensemble.parameters())
    assert all(torch.equal(value, before[name]) for name, value in ensemble.state_dict().items())


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(InputError, match=r"format: got 'onnx' without the package onnxscript; .*pip install"):
        export_ensemble(random_ensemble("one_cell"), tmp_path / "model.onnx")


def test_too_large_for_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ONNX_BYTES", 1000)
    with pytest.raises(InputError, match=r"format: got 'onnx' for .* GB of weights; expected at most 2 GB.*pt2"):
        export_ensemble(random_ensemble("one_cell"), tmp_path / "model.onnx")
    with pytest.raises(InputError, match="format: got 'tflite'; expected one of onnx, pt2"):
        export_ensemble(random_ensemble("one_cell"), tmp_path / "model.tflite", "tflite")


class Branching(torch.nn.Module):
    """Control flow that depends on values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :10] if x.sum() > 0 else -x.flatten(1)[:, :10]


def test_what_cannot_be_traced_or_differs_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = random_ensemble("one_cell", 1).info
    with pytest.raises(RuntimeError, match="torch.export cannot trace the ensemble"):
        export_ensemble(Ensemble([Branching()], info=info), tmp_path / "model.pt2", "pt2")
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="differs from the ensemble"):
        export_ensemble(random_ensemble("one_cell"), tmp_path / "model.pt2", "pt2")
    assert not list(tmp_path.iterdir())
