"""Tables of numbers from files, and ensembles of tables in every form that they have."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nni_hypens.cli.predictions import FilePredictions
from nni_hypens.ensemble.export import export_ensemble
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.ensemble.predict import Predictor, open_model
from nni_hypens.ensemble.reading import read_inputs, read_table
from nni_hypens.errors import InputError, InputWarning
from tests.support import tables

ROWS = tables.load()["x_test"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,4.5\n", "1,2\n3,4.5", "\ufeffa,b\r\n\r\n1,2\r\n3,4.5\r\n\r\n"])
def test_numbers_after_a_header_or_none(table: Path, text: str) -> None:
    table.write_text(text, encoding="utf-8", newline="")
    np.testing.assert_array_equal(read_table(table, 2), [[1, 2], [3, 4.5]])


def test_bools_are_read_as_pandas_writes_them(table: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, 2.0], "kind_a": [True, False]})
    for header in (True, False):
        frame.to_csv(table, index=False, header=header)
        np.testing.assert_array_equal(read_table(table, 2), [[1.5, 1], [2, 0]])


def test_other_columns_or_units_are_warned_of(tmp_path: Path) -> None:
    """A network answers whatever it is given, and is sure of it."""
    ensemble, path = tables.ensemble(), tmp_path / "rows.csv"
    swapped, other_unit = ROWS[:, [1, 0, 2, 3]], ROWS * [1e3, 1, 1, 1]
    for rows, words in ((swapped, "rows.csv with values around .* in column [12], "), (other_unit, "in column 1, ")):
        pd.DataFrame(rows).to_csv(path, index=False, header=list("abcd"))
        with pytest.warns(InputWarning, match=f"^examples: got .*{words}.* standard deviations from the training data"):
            read_inputs([path], tables.SPEC)
        with pytest.warns(InputWarning, match="^examples: got values around .*are the columns in their order"):
            ensemble.predict(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.DataFrame(ROWS).to_csv(path, index=False, header=list("abcd"))
        read_inputs([path], tables.SPEC)
        ensemble.predict(ROWS)
        one = ROWS[:5].copy()
        one[0, 1] = 1e3  # a single value may be far away
        ensemble.predict(one)


@pytest.mark.parametrize(
    "text, words",
    [
        ("a,b,c\n1,2,3\n", "3 columns in line 1; expected 2 columns"),
        ("a,b\n1,2\n\n3\n", "1 columns in line 4; expected 2 columns"),
        ("1;2\n", "1 columns in line 1; expected 2 columns of numbers separated by commas"),
        ("a,b\n1,x\n", "'x' in line 2, column 2; expected a finite number"),
        ("1,\n2,3\n", "'' in line 1, column 2; expected a finite number"),
        ("1,nan\n", "'nan' in line 1, column 2"),
        ("1,-1e39\n", "'-1e39' in line 1, column 2"),
        ("0,1\n5,6\n", "'0,1' in line 1, which may be pandas' numbers of the columns; expected names"),
        ("a,b\n", "without rows"),
        ("", "without rows"),
    ],
)
def test_what_is_no_table_is_named_by_its_line(table: Path, text: str, words: str) -> None:
    table.write_text(text)
    with pytest.raises(InputError, match=f"^examples: got .*table.csv.*{words}"):
        read_table(table, 2)


def test_a_file_that_is_no_text(table: Path) -> None:
    table.write_bytes(b"\xff\xfe1,2")
    with pytest.raises(InputError, match="table.csv .*expected a readable CSV file"):
        read_table(table, 2)


def test_files_of_a_table_and_no_others(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    np.save(tmp_path / "row.npy", ROWS[0])
    np.savez(tmp_path / "rows.npz", x_test=ROWS, y_test=[0])
    pd.DataFrame(ROWS).to_csv(tmp_path / "rows.csv", index=False, header=list("abcd"))
    for name, count in (("rows.npy", 30), ("row.npy", 1), ("rows.npz", 30), ("rows.csv", 30)):
        names, found = read_inputs([tmp_path / name], tables.SPEC)
        assert names[0] == f"{tmp_path / name}{'[0]' * (count > 1)}"
        np.testing.assert_array_equal(found, ROWS[:count])  # in double precision
    np.save(tmp_path / "bools.npy", ROWS > 0)
    with pytest.warns(InputWarning, match="in column 1, 1.7e"):
        np.testing.assert_array_equal(read_inputs([tmp_path / "bools.npy"], tables.SPEC)[1], ROWS > 0)
    np.save(tmp_path / "other.npy", np.zeros((5, 3)))
    for name, words in (("other.npy", "of shape \\(5, 3\\); expected rows of 4 numbers"), ("a.png", "not there")):
        with pytest.raises(InputError, match=f"^examples: got .*{words}"):
            read_inputs([tmp_path / name], tables.SPEC)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="a.png, for a model of rows of 4 numbers; expected .npy, .npz or .csv"):
        read_inputs([tmp_path / "a.png"], tables.SPEC)
    with pytest.raises(InputError, match="expected .npy or .npz"):
        read_inputs([tmp_path / "rows.csv"], {"shape": [2, 2], "scale": 1, "mean": [0, 0], "std": [1, 1]})


def test_every_form_of_an_ensemble_of_tables_says_the_same(tmp_path: Path) -> None:
    """Also of a feature like a time, which float32 cannot standardise by a product and a sum."""
    ensemble = tables.ensemble()
    assert "rows of 4 numbers" in repr(ensemble)
    rows = ROWS.astype(np.float32)
    expected = ensemble.predict(rows)
    np.testing.assert_array_equal(ensemble.predict(pd.DataFrame(rows)), expected)
    np.testing.assert_array_equal(ensemble.predict(rows.astype(object)), expected)
    with pytest.warns(InputWarning, match="in column 1, "):
        np.testing.assert_array_equal(ensemble.predict(rows > 0), ensemble.predict((rows > 0).astype(int)))
    assert np.ptp(expected, axis=0).max() > 0.01
    ensemble.save(tmp_path / "folder")
    np.testing.assert_array_equal(Ensemble.load(tmp_path / "folder").predict(rows), expected)
    models = [open_model(tmp_path / "folder")]
    for format, preprocess in (("pt2", True), ("onnx", True), ("onnx", False)):
        if format == "onnx":
            pytest.importorskip("onnx"), pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
        path = tmp_path / f"{preprocess}.{format}"
        rounds = r"^inputs: .*float32, which rounds input 0 \(from 0\) by up to 0.1 of its standard deviation"
        with pytest.warns(InputWarning, match=rounds) if preprocess else nullcontext():
            made = export_ensemble(ensemble, path, format, preprocess)
        assert made.metadata["input_layout"] == "shape" and made.metadata["input_range"] is None
        models.append(open_model(path, trust=True))
    for model in models:
        found = model.rows([""] * len(rows), rows)
        assert np.array([list(row["probabilities"].values()) for row in found]) == pytest.approx(expected, abs=1e-5)
    exact = ensemble.predict(ROWS)
    assert np.abs(exact - expected).max() > 1e-3, "float32 rounds the first feature"
    for model in (models[0], models[-1]):  # the folder, and a file of standardised rows
        found = model.rows([""] * len(rows), ROWS)
        assert np.array([list(row["probabilities"].values()) for row in found]) == pytest.approx(exact, abs=1e-5)
    with pytest.raises(InputError, match="^uint8: got True for a model whose input is no image"):
        export_ensemble(ensemble, tmp_path / "no.onnx", uint8=True)


def test_tensors_of_two_sizes(tmp_path: Path) -> None:
    """Normalised by their first size, in the ensemble as in its file."""
    ensemble = tables.ensemble()
    ensemble.info.input_spec = {"shape": [2, 2], "scale": 2.0, "mean": [0.0, 1e6], "std": [1.0, 10.0]}
    steps = np.random.default_rng(0).normal([[0.0, 0.0], [2e6, 2e6]], 10, (5, 2, 2)).astype(np.float32)
    rows = (steps.astype(np.float64) / 2 - [[0], [1e6]]) / [[1], [10]]
    with torch.no_grad():
        expected = ensemble(torch.from_numpy(rows.astype(np.float32))).numpy()
    assert ensemble.predict(steps) == pytest.approx(expected, abs=1e-6) and np.ptp(expected, axis=0).max() > 0.01
    export_ensemble(ensemble, tmp_path / "model.pt2", "pt2")
    found = open_model(tmp_path / "model.pt2", trust=True).rows([""] * 5, steps)
    assert np.array([list(row["probabilities"].values()) for row in found]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "rows, words",
    [(np.zeros((2, 5)), "shape \\(2, 5\\); expected shape N x 4"), (np.zeros(4), "shape \\(4,\\)"),
     (np.full((1, 4), np.nan), "NaN"), (np.array([["a"] * 4]), "dtype <U1")],
)  # fmt: skip
def test_rows_of_another_form_are_refused(rows: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=f"^examples: got .*{words}"):
        tables.ensemble().predict(rows)


def test_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Predictor(["a", "b"], dict(tables.SPEC), lambda rows: (rows[:, :2], None))
    assert FilePredictions(model, [tmp_path], False, None).write(None, False) == 2
    assert "a folder, for a model of rows of 4 numbers; expected .npy, .npz or .csv" in capsys.readouterr().err
