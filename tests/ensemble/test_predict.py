"""`nni-hypens export` and `nni-hypens predict`: the same answers from folder, ONNX and PT2, and bad input refused."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.nn import BatchNorm2d

from nni_hypens.cli import main as cli
from nni_hypens.ensemble import export as export_module, predict as predict_module
from nni_hypens.ensemble.conformal import Conformal
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputError, InputWarning, is_printable
from tests.support.deployed import random_ensemble

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an ensemble, its exports, and images of 8 x 8."""
    folder = tmp_path_factory.mktemp("run")
    ensemble = random_ensemble("one_cell")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    middle = float(np.median(ensemble.predict(pixels)))  # so that sets of 90 % have about half of the classes
    ensemble.info.conformal = Conformal(19, (*[1.0] * 17, middle, 0.0))
    ensemble.save(folder / "ensemble")
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
    images = (folder / "a.png", folder / "images.npz", "--trust-pt2")
    rows = [answers(capsys, model, *images) for model in models]
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


def test_every_model_has_the_prediction_sets(folder: Path, tmp_path: Path, capsys) -> None:
    models = [folder, folder / "ensemble/model.onnx", folder / "ensemble/model.pt2", folder / "plain.onnx"]
    images = (folder / "images.npz", "--trust-pt2", "--coverage", 0.9)
    rows = [answers(capsys, model, *images) for model in models]
    sets = [[one["set"] for one in found] for found in rows]
    assert sets[0] == sets[1] == sets[2] == sets[3] and sum(map(len, sets[0])) == 15
    middle = Ensemble.load(folder / "ensemble").info.conformal.threshold(0.9)
    for one in rows[0]:
        ordered = sorted(one["probabilities"], key=one["probabilities"].get, reverse=True)
        assert one["set"] == [name for name in ordered if one["probabilities"][name] >= middle or name == ordered[0]]
    assert "coverage: got 0.99; expected at most 0.95" in refused(
        capsys, "predict", models[1], images[0], "--coverage", 0.99
    )
    random_ensemble("one_cell").save(tmp_path)
    assert "without prediction sets" in refused(capsys, "predict", tmp_path, images[0], "--coverage", 0.9)


def test_a_card_is_written_beside_an_export(folder: Path, tmp_path: Path, capsys) -> None:
    """With the results of the run, if they are of this ensemble; a card of somebody else is kept."""
    ensemble, run = Ensemble.load(folder / "ensemble"), tmp_path / "run"
    ensemble.save(run / "ensemble")
    members = [{"id": one, "weight": w} for one, w in zip(ensemble.info.ids, ensemble.weights.tolist(), strict=True)]
    results = {"members": members, "ensemble": {"accuracy": 0.9375}, "data": {"source": "my|data"}}
    (run / "results.json").write_text(json.dumps(results))
    words = ["export", str(run), "--format", "pt2"]
    assert cli.main(words) == 0
    card = run / "ensemble" / "MODEL_CARD.md"
    text = card.read_text()
    assert f"{card}: with results" in capsys.readouterr().out and "93.75%" in text and "my&#124;data" in text
    (run / "results.json").write_text(json.dumps({**results, "members": members[:1]}))
    assert cli.main([*words, "--json"]) == 0 and json.loads(capsys.readouterr().out)["model_card"] == str(card)
    assert "93.75%" not in card.read_text()
    card.write_text("mine")
    assert cli.main(words) == 0 and "kept" in capsys.readouterr().out and card.read_text() == "mine"
    ensemble.save(run / "ensemble")  # removes an old export and its card, and no card of somebody else
    assert card.exists() and not (run / "ensemble" / "model.pt2").exists()


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
        assert f"model: got {tmp_path / name}" in refused(capsys, "predict", tmp_path / name, png, "--trust-pt2")
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
    assert "bad.pt2" in refused(capsys, "predict", tmp_path / "bad.pt2", folder / "a.png", "--trust-pt2")
    (tmp_path / "pickle.pt2").write_bytes(pickle.dumps(Canary(tmp_path / "sang")))
    assert "pickle.pt2" in refused(capsys, "predict", tmp_path / "pickle.pt2", folder / "a.png", "--trust-pt2")
    assert not (tmp_path / "sang").exists()


def test_a_pt2_that_runs_an_expression_needs_the_users_trust(folder: Path, tmp_path: Path, capsys) -> None:
    bad, sang = tmp_path / "bad.pt2", tmp_path / "sang"
    hostile = f"__import__('pathlib').Path('{sang}').touch()".encode()
    with zipfile.ZipFile(folder / "ensemble/model.pt2") as source, zipfile.ZipFile(bad, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, re.sub(rb'(?<="expr_str": ")[^"]*', hostile, source.read(name)))
    for model in (bad, folder / "ensemble/model.pt2"):  # nothing shows whose file it is
        line = refused(capsys, "predict", model, folder / "a.png")
        assert f"model: got {model}" in line and "--trust-pt2" in line
    assert not sang.exists()
    assert cli.main(["predict", str(bad), str(folder / "a.png"), "--trust-pt2"]) == 2
    assert sang.exists()  # so the flag is needed: nothing else would have stopped this


def crafted(place: Path, change: str) -> Path:
    """An ensemble of which one number is one that no run writes."""
    ensemble = random_ensemble("one_cell")
    if change == "std":
        ensemble.info.input_spec["std"] = [1e-320]
    elif change == "scale":
        ensemble.info.input_spec["scale"] = 1e300
    elif change == "temperature":
        ensemble.temperature.fill_(1e-45)  # in float32, the square of it is 0
    elif change == "running variance":
        next(module for module in ensemble.members[1].modules() if isinstance(module, BatchNorm2d)).running_var[0] = -1
    elif change == "weights":
        ensemble.members[0].head.weight.data.fill_(3e38)  # finite, but what it computes is not
    ensemble.save(place)
    return place


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("std", "input: got .*std"),
        ("scale", "input: got scale"),
        ("temperature", r"temperature: got 1.*e-45; expected a number in 0.001..1000"),
        ("running variance", "member-c01.safetensors: got a negative variance in .*running_var"),
        ("weights", "predictions of the ensemble|predictions of the members"),
    ],
)
def test_a_crafted_ensemble_gives_an_error_and_no_label(
    folder: Path, tmp_path: Path, capsys, change: str, says: str
) -> None:
    assert re.search(says, refused(capsys, "predict", crafted(tmp_path, change), folder / "a.png", "--json"))


@pytest.mark.parametrize("answer", [[math.nan, 0.5, 0.5], [7.0, 7.0, 7.0], [-1.0, 1.0, 1.0], [math.inf, 0.0, 0.0]])
def test_a_graph_that_answers_no_probabilities(folder: Path, tmp_path: Path, capsys, answer: list[float]) -> None:
    import onnx
    from onnx import helper, numpy_helper

    constants = {"axes": np.array([1, 2, 3]), "zero": np.float32(0), "answer": np.array([answer], dtype=np.float32)}
    nodes = [
        helper.make_node("ReduceSum", ["images", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "last"], ["column"]),
        helper.make_node("Add", ["column", "answer"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("images", 1, ["n", 8, 8, 1])],
        [helper.make_tensor_value_info("probabilities", 1, ["n", 3])],
        [numpy_helper.from_array(np.array(v), k) for k, v in {**constants, "last": np.array([1])}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    metadata = export_module.describe(random_ensemble("one_cell"), "raw") | {"class_names": ["a", "b", "c"]}
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.save(model, tmp_path / "bad.onnx")
    assert "predictions of the model: got" in refused(capsys, "predict", tmp_path / "bad.onnx", folder / "a.png")


@pytest.mark.parametrize(
    "names",
    [["cat", "cat"], ["cat", "\x1b[2Jdog"], ["cat", "a\nb"], ["cat", "\ud800"], ["cat", " "], ["cat", "\u202eb"]],
)
def test_names_of_classes_are_different_and_can_be_shown(tmp_path: Path, capsys, names: list[str]) -> None:
    ensemble = random_ensemble("one_cell", num_classes=2)
    ensemble.save(tmp_path)
    index = json.loads((tmp_path / "ensemble.json").read_text())
    (tmp_path / "ensemble.json").write_text(json.dumps(index | {"labels": names}))
    assert "labels: got" in refused(capsys, "predict", tmp_path, tmp_path / "a.png")
    ensemble.info.labels = names
    metadata = {key: json.dumps(value) for key, value in export_module.describe(ensemble, "raw").items()}
    with pytest.raises(InputError, match="x.onnx.class_names: got"):
        predict_module._check_metadata(metadata, Path("x.onnx"))


def test_names_of_files_cannot_command_a_terminal_nor_break_json(folder: Path, tmp_path: Path, capsys) -> None:
    names = [os.fsencode(tmp_path) + b"/" + name for name in (b"\x1b[2J\n.png", b"\xff.png")]
    for name in names:
        Path(os.fsdecode(name)).write_bytes((folder / "a.png").read_bytes())
    paths = [os.fsdecode(name) for name in names]
    assert cli.main(["predict", str(folder), *paths]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(map(is_printable, lines)) and r"\x1b[2J" in lines[0] and r"\udcff" in lines[1]
    assert [row["image"] for row in answers(capsys, folder, *paths)] == [paths[0], f"{tmp_path}/\\udcff.png"]


def test_images_beyond_float32_are_named(folder: Path, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "large.npy", np.full((8, 8), 1e300))
    assert "images: got" in refused(capsys, "predict", folder, tmp_path / "large.npy")
    np.save(tmp_path / "large.npy", np.full((8, 8), 3e38))
    ensemble = random_ensemble("one_cell")
    ensemble.info.input_spec.update(scale=1.0, std=[1e-3])
    ensemble.save(tmp_path)
    assert "images: got values up to 3e+38" in refused(capsys, "predict", tmp_path, tmp_path / "large.npy")


def test_saving_again_removes_old_exports(tmp_path: Path) -> None:
    ensemble = random_ensemble("one_cell")
    ensemble.save(tmp_path)
    export_module.export_ensemble(ensemble, tmp_path / "model.pt2", "pt2")
    ensemble.save(tmp_path)
    assert not (tmp_path / "model.pt2").exists()


def test_files_of_others_stay_in_a_folder_without_an_ensemble(tmp_path: Path) -> None:
    for name in ("model.onnx", "member-list.safetensors"):
        (tmp_path / name).write_text("of somebody else")
    random_ensemble("one_cell").save(tmp_path)
    for name in ("model.onnx", "member-list.safetensors"):
        assert (tmp_path / name).read_text() == "of somebody else"
