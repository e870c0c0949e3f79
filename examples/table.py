"""An ensemble for a table: a CSV file of numbers and a column of labels, and a space of multilayer perceptrons.

    python -m examples.table                                # scikit-learn's wine data, written to a CSV file first
    python -m examples.table flowers.csv --target species   # your own file

`load` gives the arrays, as `module:callable` does it for `nni-hypens run --space mlp --data examples.table:load`.
nni_hypens standardises each feature by its mean and standard deviation on the training rows.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

from nni_hypens import ImageData, InputError, image_evaluator, search_ensemble
from search_spaces import MLP

FILE, TARGET = "TABLE_CSV", "TABLE_TARGET"
"""Environment variables with the path of the CSV file and the name of the column with the labels: trials read them."""


def write_wine(path: Path) -> None:
    """Write scikit-learn's wine data: 178 rows, 13 features, and the names of three growers."""
    wine = load_wine(as_frame=True)
    table = wine.data.assign(grower=[f"grower {chr(65 + number)}" for number in wine.target])
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def load() -> dict[str, np.ndarray]:
    """Read the CSV file as a data frame, and divide its rows into training and test data."""
    table = pd.read_csv(os.environ[FILE])
    labels = table.pop(os.environ[TARGET])
    features = table.to_numpy(dtype=np.float64)  # encode columns of categories before, with pandas.get_dummies
    x_train, x_test, y_train, y_test = train_test_split(
        features, labels.to_numpy(dtype=str), test_size=0.3, random_state=0, stratify=labels
    )
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def main() -> None:
    parser = argparse.ArgumentParser(description="An ensemble for a table.")
    parser.add_argument("file", type=Path, nargs="?", help="the CSV file (default: scikit-learn's wine data)")
    parser.add_argument("--target", default="grower", help="name of the column with the labels")
    parser.add_argument("--quick", action="store_true", help="two members, a few epochs")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/table)")
    arguments = parser.parse_args()
    quick = arguments.quick
    out = arguments.out or Path(f"runs/table{'-quick' * quick}")
    file = arguments.file
    if file is None:
        file = out.with_name(f"{out.name}.csv")
        write_wine(file)
    os.environ |= {FILE: str(file.resolve()), TARGET: arguments.target}
    try:
        data = ImageData("examples.table:load", batch_size=16)
        features, classes = data.input_spec["shape"][0], data.num_classes
        result = search_ensemble(
            MLP(features, classes, width=16 if quick else 32, layers=3 if quick else 4),
            image_evaluator(data, classes, epochs=4 if quick else 40),
            data,
            out,
            search_evaluator=image_evaluator(data, classes, epochs=4 if quick else 40),
            members=2 if quick else 3,
            candidates=2 if quick else 8,
            runner="local",
            quiet=quick,
        )
    except InputError as error:
        parser.error(str(error))
    print(f"{features} features; classes: {', '.join(data.class_names)}")
    print(result.metrics.round(4).to_string())
    print(f"the first test rows: {', '.join(result.predict(data.raw('test', range(3))))}")
    print(f"report: {result.out / 'report.html'}")


if __name__ == "__main__":
    # worker processes import this module by its name, which must not be __main__
    from examples.table import main as run

    run()
