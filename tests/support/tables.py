"""A small table of three classes, and an ensemble of perceptrons for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from nni.nas.space import model_context

from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.ensemble.module import Ensemble
from search_spaces import MLP

FEATURES = 4
SPEC = {"shape": [FEATURES], "scale": 1.0, "mean": [1.7e9, 0.0, -3.0, 5.0], "std": [1e3, 1.0, 0.1, 20.0]}
"""The first feature is like a time in seconds: large, with small differences."""


def load() -> dict[str, np.ndarray]:
    """Rows whose class moves them, in features of other sizes; the last feature is constant in the training rows."""
    generator, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 60), ("test", 30)):
        labels = np.arange(count) % 3
        rows = np.array([1.7e9, 0.0, -3.0, 5.0]) + np.array([1e3, 1.0, 0.1, 0.0]) * generator.normal(
            labels[:, None], 0.3, (count, FEATURES)
        )
        arrays |= {f"x_{part}": rows, f"y_{part}": np.array(["ash", "oak", "yew"])[labels]}
    return arrays


def split_without_a_seed() -> dict[str, np.ndarray]:
    """Another split at each call."""
    arrays = load()
    order = np.random.default_rng().permutation(60)
    return arrays | {f"{name}_train": arrays[f"{name}_train"][order] for name in "xy"}


def other_test_part_without_a_seed() -> dict[str, np.ndarray]:
    """Other test rows at each call."""
    arrays = load()
    return arrays | {"x_test": arrays["x_test"] + np.random.default_rng().normal(size=(30, 1))}


def other_validation_part_without_a_seed() -> dict[str, np.ndarray]:
    """Other validation rows at each call."""
    arrays = load()
    noise = np.random.default_rng().normal(size=(30, 1))
    return arrays | {"x_val": arrays["x_test"] + noise, "y_val": arrays["y_test"]}


def with_validation() -> dict[str, np.ndarray]:
    """A validation part of its own, the same at each call."""
    arrays = load()
    return arrays | {"x_val": arrays["x_test"], "y_val": arrays["y_test"]}


def with_categories() -> dict[str, np.ndarray]:
    """A table with strings."""
    return load() | {"x_train": np.array([["a", 1.0]] * 60, dtype=object)}


def with_numbers_for_labels() -> dict[str, np.ndarray]:
    """A regression."""
    return load() | {"y_train": np.linspace(0, 1, 60)}


def with_range() -> dict[str, np.ndarray]:
    """A table that says what black is."""
    return load() | {"range": np.array([0, 255])}


def with_fewer_columns() -> dict[str, np.ndarray]:
    """A test part of another table."""
    return load() | {"x_test": np.zeros((30, 3))}


def objects_of_pandas() -> dict[str, np.ndarray]:
    """Labels as a column of a data frame."""
    arrays = load()
    return arrays | {f"y_{part}": arrays[f"y_{part}"].astype(object) for part in ("train", "test")}


def frames_of_pandas() -> dict[str, np.ndarray]:
    """Examples as data frames, with a column of bools."""
    arrays: dict[str, Any] = load()
    for name in ("x_train", "x_test"):
        arrays[name] = pd.DataFrame(arrays[name]).assign(large=arrays[name][:, 1] > 0.5)
    return arrays


def ensemble() -> Ensemble:
    """Two perceptrons with random weights."""
    torch.manual_seed(0)
    arguments = {"in_features": FEATURES, "num_classes": 3, "width": 6, "layers": 2}
    samples = [
        {"node_0/input": [0], "node_0/op_0": op, "node_1/input": [1], "node_1/op_0": "skip_connect", "node_1/op_1": op}
        for op in ("relu", "wide_relu")
    ]
    members = []
    for sample in samples:
        with model_context(sample):
            members.append(MLP(**arguments))
        members[-1](torch.randn(32, FEATURES))  # moves the statistics away from their start
    info = EnsembleInfo(
        ["a", "b"], samples, [None, None], [None, None], ["ash", "oak", "yew"], dict(SPEC),
        {"class": "search_spaces:MLP", "args": arguments},
    )  # fmt: skip
    return Ensemble(members, [0.7, 0.3], 1.2, info=info).eval()
