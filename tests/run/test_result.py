"""A result: its tables, its predictions, and how it shows itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_hypens import EnsembleResult, InputError
from nni_hypens.run.leaderboard import COLUMNS
from tests.support.report_fixture import make_run_folder
from tests.support.report_page import Page


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EnsembleResult:
    folder = make_run_folder(tmp_path_factory.mktemp("run"))
    return EnsembleResult.load(folder)


def test_tables(result: EnsembleResult) -> None:
    ids = [row["id"] for row in result.results["members"]]
    assert list(result.metrics.columns) == ["accuracy", "nll", "ece", "brier", "aurc"]
    assert result.metrics.loc["ensemble", "nll"] == result.results["ensemble"]["nll"]
    assert list(result.members["id"]) == ids and {"validation_gain", "swap_for"} <= set(result.members)
    assert list(result.disagreement.index) == list(result.disagreement.columns) == ids
    assert (result.disagreement.values.diagonal() == 0).all()
    methods = ["ensemble", "members", "none"]
    assert list(result.calibration.index) == [(pooling, name) for pooling in ("log", "linear") for name in methods]
    older = {**result.results, "calibration": {"rows": [{"method": name} for name in methods]}}
    assert list(EnsembleResult(result.out, older).calibration.index) == methods
    assert list(result.uncertainty.index) == ["all", "right", "wrong"]
    top = result.top_k.set_index("model")
    assert list(top.columns) == [f"top_k_{k}" for k in range(2, 6)] and top.loc["ensemble"].is_monotonic_increasing
    assert list(result.prediction_sets["coverage"]) == [0.8, 0.9, 0.95, 0.99]
    assert result.ood.loc[0, "auroc.entropy"] == 0.875
    mean = result.corruptions.query("model == 'ensemble'").groupby("severity")["accuracy"].mean()
    assert mean[0] == pytest.approx(0.95) and mean[5] == pytest.approx(0.45)


def test_the_front_is_a_table() -> None:
    rows = [{"by": "flops", "members": ["a"], "flops": 8, "chosen": False}]
    table = EnsembleResult(Path(), {"cost_front": {"rows": rows}}).cost_front
    assert table.loc[0, "members"] == ["a"] and list(table["by"]) == ["flops"]


def test_what_was_not_measured_is_empty(result: EnsembleResult) -> None:
    nothing = {**result.results, "corruptions": {"skipped": "no"}, "ood": {"skipped": []}}
    bare = EnsembleResult(result.out, nothing)
    assert bare.corruptions.empty and bare.ood.empty
    older = {key: value for key, value in nothing.items() if key not in ("top_k", "prediction_sets")}
    assert EnsembleResult(result.out, older).top_k.empty and EnsembleResult(result.out, older).prediction_sets.empty


def test_pairs_of_too_many_members_are_refused(result: EnsembleResult) -> None:
    many = {**result.results, "diversity": {"disagreement": 0.1}}
    with pytest.raises(InputError, match="^disagreement: got 3 members; expected"):
        EnsembleResult(result.out, many).disagreement  # noqa: B018


def test_a_result_is_read_from_its_folder(result: EnsembleResult, tmp_path: Path) -> None:
    assert EnsembleResult.load(str(result.out)) == result
    with pytest.raises(InputError, match="^folder: .*run folder"):
        EnsembleResult.load(tmp_path)
    (tmp_path / "config.yaml").write_text("data: digits\n")
    with pytest.raises(InputError, match="evaluate"):
        EnsembleResult.load(tmp_path)


def test_a_result_shows_its_verdict(result: EnsembleResult) -> None:
    accuracy, nll = result.results["ensemble"]["accuracy"], result.results["ensemble"]["nll"]
    for text in ("3 members", f"{accuracy:.2%}", f"{nll:.4f}"):
        assert text in repr(result) and len(repr(result)) < 250 and "\n" not in repr(result)
    best = result.results["best_member"]
    card = Page(result._repr_html_())
    assert card.row("ensemble of 3 members") == [f"{accuracy:.2%}", f"{nll:.4f}"]
    assert card.row(f"best member ({best['id']})")[0] == f"{best['accuracy']:.2%}"
    assert not card.named("a")  # no report yet


def test_the_card_escapes_what_it_shows(result: EnsembleResult, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    best = {**result.results["best_member"], "id": hostile}
    out = tmp_path / "<img src=x>"
    out.mkdir()
    (out / "report.html").write_text("")
    card = Page(EnsembleResult(out, {**result.results, "best_member": best})._repr_html_())
    assert not {"script", "img"} & {tag for tag, _ in card.elements} and hostile in card.text
    assert card.named("a")[0]["href"].startswith("file:///") and "<img src=x>" in card.text


def test_classes_and_confusion_agree(result: EnsembleResult) -> None:
    classes, confusion = result.classes, result.confusion
    assert list(classes.index) == list(confusion.index) == list(confusion.columns) == [str(i) for i in range(10)]
    assert (confusion.sum(axis=1) == classes["images"]).all()
    assert np.allclose(confusion.values.diagonal() / classes["images"], classes["accuracy"])
    right = (classes["best_member_accuracy"] * classes["images"]).sum()
    assert right / classes["images"].sum() == pytest.approx(result.results["best_member"]["accuracy"])


def test_the_leaderboard_is_that_of_the_command_line(result: EnsembleResult) -> None:
    table = result.leaderboard()
    assert list(table.columns) == list(COLUMNS) and list(table["status"]).count("waiting") == 16 - 8
    trained = table[table["status"] == "trained"]
    assert trained["nll"].is_monotonic_increasing and len(trained) == 7
    first = result.results["candidates"][0]
    assert trained.set_index("id").loc[first["id"], "test_nll"] == first["test"]["nll"]


def test_predictions_are_probabilities_and_names(result: EnsembleResult, tmp_path: Path) -> None:
    asked: list[Any] = []

    def predict(images: Any) -> np.ndarray:
        asked.append(images)
        return np.array([[0.25, 0.75], [0.5, 0.5]])

    played = EnsembleResult(result.out, result.results)
    spec = {"channels": 1, "height": 8, "width": 8, "scale": 255, "mean": [0.5], "std": [0.2]}
    played.__dict__["ensemble"] = SimpleNamespace(
        predict=predict, info=SimpleNamespace(labels=["cat", "dog"], input_spec=spec)
    )
    images = np.zeros((2, 8, 8))
    assert played.predict(images) == ["dog", "cat"] and asked[0] is images
    assert played.predict_proba(images).tolist() == [[0.25, 0.75], [0.5, 0.5]]
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        Image.fromarray(np.full((8, 8), 51, dtype=np.uint8)).save(file)
    assert played.predict(files) == ["dog", "cat"] and asked[-1].shape == (2, 8, 8, 1)
    played.predict(str(files[0]))
    assert asked[-1].shape == (1, 8, 8, 1)
