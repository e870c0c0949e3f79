"""Predictions of many files, by a model that is a function: what is shown, written, left out and returned."""

from __future__ import annotations

import csv
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_hypens.cli import main as cli, predictions
from nni_hypens.cli.predictions import FilePredictions, table
from nni_hypens.ensemble.conformal import Conformal
from nni_hypens.ensemble.predict import Predictor
from nni_hypens.errors import InputError

SPEC = {"channels": 1, "height": 2, "width": 2, "scale": 255, "mean": [0.5], "std": [0.2]}


def answer(images: np.ndarray) -> tuple[Any, Any]:
    """The brightness as the probability of `light`; no answer for a picture that is all 13."""
    level = images.mean((1, 2, 3)) / 255
    probs = np.stack([1 - level, level], axis=1)
    return np.where(images.max((1, 2, 3), keepdims=True)[:, 0, 0] == 13, np.nan, probs), None


@pytest.fixture
def model() -> Predictor:
    return Predictor(["dark", "light"], SPEC, answer, Conformal(9, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)))


def picture(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((2, 2), value, np.uint8)).save(path)
    return path


def predict(
    model: Predictor, capsys: pytest.CaptureFixture[str], *paths: Path, coverage: float | None = None
) -> tuple[int, list[dict[str, Any]], list[str]]:
    """Exit code, rows and lines of standard error."""
    code = FilePredictions(model, paths, False, coverage).write(None, as_json=True)
    captured = capsys.readouterr()
    return code, json.loads(captured.out or "[]"), captured.err.splitlines()


def row(image: str, label: str, epistemic: float | None, **more: Any) -> dict[str, Any]:
    return {"image": image, "label": label, "probability": 0.75, "entropy": 0.123456, "epistemic": epistemic, **more}


def test_columns_stand_below_each_other() -> None:
    lines = table([row("a.png", "cat", 0.5), row("longer.png", "elephant", 0.25)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["a.png", "cat", "0.7500", "0.1235", "0.5000"],
        ["longer.png", "elephant", "0.7500", "0.1235", "0.2500"],
    ]
    assert len({len(line) for line in lines}) == 1 and lines[1].index("cat") == lines[2].index("elephant")


def test_a_model_that_knows_no_members_has_no_column_for_them() -> None:
    header, line = table([row("a.png", "cat", None)]).splitlines()
    assert header.split() == ["image", "label", "probability", "entropy"] and len(line.split()) == 4


def test_sets_are_the_last_column() -> None:
    header, line = table([row("a.png", "cat", 0.5, set=["cat", "big dog"])]).splitlines()
    assert header.endswith("  set") and line.endswith("0.5000  cat, big dog")


def test_folders_are_searched_and_sorted(model: Predictor, tmp_path: Path, capsys) -> None:
    for name in ("b.png", "a.PNG", "deep/er/c.jpg", "deep/0.bmp", ".hidden.png", ".trash/d.png"):
        picture(tmp_path / "in" / name, 200).rename(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "deep" / "again").symlink_to(tmp_path / "in", target_is_directory=True)
    code, rows, errors = predict(model, capsys, tmp_path / "in", picture(tmp_path / "alone.png", 0))
    found = [Path(one["image"]).relative_to(tmp_path).as_posix() for one in rows]
    assert code == 0 and found == ["in/a.PNG", "in/b.png", "in/deep/0.bmp", "in/deep/er/c.jpg", "alone.png"]
    assert len(errors) == 1 and f"{tmp_path}/in: 1 file left out" in errors[0]


def test_one_bad_file_does_not_end_the_rest(model: Predictor, tmp_path: Path, capsys) -> None:
    good = [picture(tmp_path / f"good{i}.png", 100 + i) for i in range(3)]
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(large)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.npz").write_bytes(b"PK\3\4" + b"\0" * 40)
    (tmp_path / "empty").mkdir()
    bad = [large, tmp_path / "gone.png", tmp_path / "text.png", tmp_path / "cut.npz", tmp_path / "empty"]
    bad += [tmp_path / ("x" * 300 + ".png"), picture(tmp_path / "unanswered.png", 13)]
    code, rows, errors = predict(model, capsys, good[0], *bad, *good[1:])
    assert code == 1 and [one["image"] for one in rows] == [str(path) for path in good]
    assert len(errors) == len(bad) + 1 and errors[-1] == "nni-hypens: 7 could not be predicted, 3 images could"
    for path in bad:
        assert sum(str(path) in line for line in errors) == 1, path
    assert predict(model, capsys, *bad)[:2] == (2, [])
    code, rows, errors = predict(model, capsys, bad[0])
    assert code == 2 and not rows and len(errors) == 1  # one file: no sum of one


def test_a_folder_that_cannot_be_read_is_named(model: Predictor, tmp_path: Path, capsys, monkeypatch) -> None:
    picture(tmp_path / "a.png", 200), picture(tmp_path / "closed" / "b.png", 200)
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, rows, errors = predict(model, capsys, tmp_path)
    assert code == 1 and len(rows) == 1 and f"{tmp_path}/closed: Permission denied" in errors[0]


def test_a_model_at_fault_ends_it(model: Predictor, tmp_path: Path) -> None:
    def broken(images: np.ndarray) -> Any:
        raise InputError("model", "outputs of shape (3,)", "a probability for each class")

    model.run = broken
    with pytest.raises(InputError, match="^model: got outputs"):
        FilePredictions(model, [picture(tmp_path / "a.png", 1)], False, None).write(None, False)


def test_many_images_are_predicted_a_few_at_a_time(model: Predictor, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(predictions, "BATCH", 3)
    sizes: list[int] = []
    model.run = lambda images: (sizes.append(len(images)), answer(images))[1]
    np.save(tmp_path / "five.npy", np.full((5, 2, 2), 50))
    paths = [picture(tmp_path / f"{i}.png", 10 * i) for i in range(4)]
    code, rows, _ = predict(model, capsys, *paths, tmp_path / "five.npy")
    assert code == 0 and len(rows) == 9 and sizes == [3, 6]
    assert [one["probabilities"]["light"] for one in rows[:4]] == pytest.approx([i * 10 / 255 for i in range(4)])


def test_sets(model: Predictor, tmp_path: Path, capsys) -> None:
    paths = [picture(tmp_path / f"{value}.png", value) for value in (20, 160)]
    assert "set" not in predict(model, capsys, *paths)[1][0]
    assert [one["set"] for one in predict(model, capsys, *paths, coverage=0.7)[1]] == [["dark"], ["light", "dark"]]
    assert [one["set"] for one in predict(model, capsys, *paths, coverage=0.2)[1]] == [["dark"], ["light"]]
    model.conformal = None
    with pytest.raises(InputError, match="^coverage: got 0.9 for a model without prediction sets"):
        model.check_coverage(0.9)


def test_csv(model: Predictor, tmp_path: Path, capsys) -> None:
    odd = picture(tmp_path / 'a, "b"\n\x1b[2J.png', 51)
    model.labels = ["dark, very", "light"]
    out = tmp_path / "made" / "out.csv"
    assert FilePredictions(model, [odd, tmp_path / "gone.png"], False, 0.9).write(str(out), False) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "gone.png" in captured.err
    header, found = csv.reader(out.read_text().splitlines(keepends=True))
    assert header == ["image", "label", "probability", "entropy", "set", "p(dark, very)", "p(light)"]
    assert found[:2] == [str(odd), "dark, very"] and json.loads(found[4]) == ["dark, very", "light"]
    assert [float(cell) for cell in found[5:]] == pytest.approx([0.8, 0.2]) and float(found[2]) == float(found[5])
    assert FilePredictions(model, [odd], False, 0.9).write("-", False) == 0
    assert capsys.readouterr().out == out.read_text()
    before = out.read_text()
    assert FilePredictions(model, [tmp_path / "gone.png"], False, None).write(str(out), False) == 2
    assert out.read_text() == before and [path.name for path in out.parent.iterdir()] == ["out.csv"]


def test_csv_into_a_pipe_and_through_a_link(model: Predictor, tmp_path: Path, capsys) -> None:
    odd = picture(tmp_path / "odd.png", 51)
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "target.csv"
    os.mkfifo(pipe)
    link.symlink_to(target)
    assert FilePredictions(model, [odd], False, None).write(str(link), False) == 0
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert FilePredictions(model, [odd], False, None).write(str(pipe), False) == 0
    reader.join(10)
    assert read == [target.read_text()] and link.is_symlink() and pipe.is_fifo()


def test_bad_places_for_csv(tmp_path: Path, capsys) -> None:
    """Said before the model is opened."""
    for words, says in (
        (["--csv", "x.csv", "--json"], "csv: got x.csv together with --json"),
        (["--csv", str(tmp_path)], f"csv: got {tmp_path}, which is a folder"),
        (["--csv", f"{__file__}/x.csv"], "csv: got"),
    ):
        assert cli.main(["predict", str(tmp_path / "gone"), "a.png", *words]) == 2
        assert says in capsys.readouterr().err
