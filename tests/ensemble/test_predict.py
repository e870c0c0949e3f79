"""`nni-hypens export` and `nni-hypens predict`: the same answers from folder, ONNX and PT2, and bad input refused."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nni_hypens.cli import main as cli
from nni_hypens.ensemble import export as export_module
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputWarning
from tests.support.deployed import random_ensemble

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an ensemble, its exports, and images of 8 x 8."""
    folder = tmp_path_factory.mktemp("run")
    random_ensemble("one_cell").save(folder / "ensemble")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.savez(folder / "images.npz", images=pixels)
    np.save(folder / "one.npy", pixels[0])
    Image.fromarray(pixels[0]).save(folder / "a.png")
    Image.fromarray(pixels[0]).resize((20, 10)).save(folder / "large.png")
    for arguments in ([], ["--format", "pt2"], ["--no-preprocess", "--out", str(folder / "plain.onnx")]):
        assert cli.main(["export", str(folder), *arguments]) == 0
    return folder


def answers(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict]:
    assert cli.main(["predict", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1 and captured.out == ""
    return captured.err


def test_all_models_say_the_same(folder: Path, capsys) -> None:
    models = [folder, folder / "ensemble", folder / "ensemble/model.onnx", folder / "ensemble/model.pt2"]
    capsys.readouterr()
    models.append(folder / "plain.onnx")
    rows = [answers(capsys, model, folder / "a.png", folder / "images.npz") for model in models]
    ensemble = Ensemble.load(folder / "ensemble")
    expected = ensemble.predict(np.load(folder / "images.npz")["images"])
    for found in rows:
        assert [row["image"].rsplit("/")[-1] for row in found] == ["a.png", *(f"images.npz[{i}]" for i in range(3))]
        probabilities = np.array([[row["probabilities"][name] for name in ensemble.info.labels] for row in found])
        assert probabilities == pytest.approx(np.concatenate([expected[:1], expected]), abs=1e-5)
        for row, p in zip(found, probabilities, strict=True):
            assert row["label"] == ensemble.info.labels[p.argmax()] and row["probability"] == p.max()
            assert row["entropy"] == pytest.approx(-(p * np.log(p)).sum())
    members = ensemble.predict_members(np.load(folder / "images.npz")["images"])[:, 0].astype(float)
    mean = ensemble.weights.numpy() @ members
    alone = -(members * np.log(members)).sum(1)
    information = -(mean * np.log(mean)).sum() - ensemble.weights.numpy() @ alone
    assert rows[0][0]["epistemic"] == pytest.approx(information, abs=1e-5)
    assert rows[2][0]["epistemic"] is None


def test_table_and_resize(folder: Path, capsys) -> None:
    assert cli.main(["predict", str(folder), str(folder / "a.png"), str(folder / "one.npy")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "label", "probability", "entropy", "epistemic"] and len(lines) == 3
    assert lines[1].split()[1:] == lines[2].split()[1:]
    error = refused(capsys, "predict", folder, folder / "large.png")
    assert "large.png of 10 x 20; expected 8 x 8 (height x width), or --resize" in error
    assert len(answers(capsys, folder, folder / "large.png", "--resize")) == 1


def test_values_far_from_the_training_images_are_refused(folder: Path, tmp_path: Path, capsys) -> None:
    """By every model, for arrays; 16-bit pictures are rescaled, not cut off."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    np.save(tmp_path / "deep.npy", pixels.astype(np.uint16) * 257)
    np.save(tmp_path / "unit.npy", pixels / 255)
    np.save(tmp_path / "eight.npy", pixels)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for model in (folder, folder / "ensemble/model.onnx", folder / "plain.onnx"):
        error = refused(capsys, "predict", model, tmp_path / "deep.npy")
        assert "deep.npy with values from" in error and "expected values in 0..255, the range of the training" in error
    rows = answers(capsys, folder, tmp_path / "eight.npy", tmp_path / "deep.png")
    assert rows[0]["probabilities"] == pytest.approx(rows[1]["probabilities"], abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("default", InputWarning)
        assert cli.main(["predict", str(folder), str(tmp_path / "unit.npy")]) == 0
    assert "unit.npy with values from" in (error := capsys.readouterr().err) and len(error.splitlines()) == 1


def test_bad_input(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "bad.onnx").write_bytes(b"\0" * 100)
    (tmp_path / "bad.pt2").write_bytes(b"\0" * 100)
    np.save(tmp_path / "size.npy", np.zeros((2, 9, 9)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=np.zeros((8, 8)), b=np.zeros((8, 8)))
    png = folder / "a.png"
    assert "gone.png, which is not there" in refused(capsys, "predict", folder, tmp_path / "gone.png")
    for name in ("text.png", "size.npy", "objects.npy", "two.npz"):
        assert f"images: got {tmp_path / name}" in refused(capsys, "predict", folder, tmp_path / name)
    for name in ("bad.onnx", "bad.pt2", "gone.onnx"):
        assert f"model: got {tmp_path / name}" in refused(capsys, "predict", tmp_path / name, png)
    assert "without ensemble.json" in refused(capsys, "predict", tmp_path, png)
    assert "DIR: got" in refused(capsys, "export", tmp_path)
    assert "format: got 'tflite'; expected one of onnx, pt2" in refused(capsys, "export", folder, "--format", "tflite")
    assert "ends in .pt2" in refused(capsys, "export", folder, "--format", "pt2", "--out", tmp_path / "a.onnx")
    assert "space: got 'os:system'; expected a subclass" in refused(capsys, "export", folder, "--space", "os:system")


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_inside_a_pt2_is_not_run(folder: Path, tmp_path: Path, capsys) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save((((Canary(tmp_path / "sang"),), {}),), buffer)
    with zipfile.ZipFile(folder / "ensemble/model.pt2") as source, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as copy:
        for name in source.namelist():
            hostile = name.endswith("data/sample_inputs/model.pt")
            copy.writestr(name, buffer.getvalue() if hostile else source.read(name))
    assert "bad.pt2" in refused(capsys, "predict", tmp_path / "bad.pt2", folder / "a.png")
    (tmp_path / "pickle.pt2").write_bytes(pickle.dumps(Canary(tmp_path / "sang")))
    assert "pickle.pt2" in refused(capsys, "predict", tmp_path / "pickle.pt2", folder / "a.png")
    assert not (tmp_path / "sang").exists()


def test_saving_again_removes_old_exports(tmp_path: Path) -> None:
    ensemble = random_ensemble("one_cell")
    ensemble.save(tmp_path)
    export_module.export_ensemble(ensemble, tmp_path / "model.pt2", "pt2")
    ensemble.save(tmp_path)
    assert not (tmp_path / "model.pt2").exists()
