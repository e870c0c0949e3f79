"""Predictions of a saved ensemble: a folder, an ONNX file or a PT2 file.

A folder or an ONNX file from a stranger is safe to open: `Ensemble.load` checks the folder, and an ONNX file contains
no code. A PT2 file can run code when it is opened, because torch evaluates the expressions for sizes in it as Python.
So a PT2 file is opened only if the caller says that it is trusted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nni_hypens.ensemble.conformal import Conformal, read_conformal
from nni_hypens.ensemble.export import EXPORT_VERSION, METADATA_FILE, quiet
from nni_hypens.ensemble.folder import INDEX_FILE, check_input_spec
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.ensemble.reading import Examples
from nni_hypens.errors import InputError, InputWarning, raised, reason
from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, check_probabilities
from nni_hypens.utils.checks import brief, check_class_names, require
from nni_hypens.utils.files import check_file, open_file
from nni_hypens.utils.images import normalise
from nni_hypens.utils.inputs import input_name, is_image
from nni_hypens.utils.ranges import check_values

BATCH = 256
_METADATA_TYPES = {
    "format_version": int,
    "class_names": list,
    "input": dict,
    "input_layout": str,
    "input_values": str,
}
_LAYOUTS = {("NHWC", "raw"), ("NHWC", "uint8"), ("NCHW", "normalised")}
_SHAPE_LAYOUTS = {("shape", "raw"), ("shape", "normalised")}


@dataclass
class Predictor:
    """Predicts class probabilities of raw examples.

    Attributes:
        labels: Class names.
        input_spec: As in `EnsembleInfo`.
        run: Maps raw images `N x H x W x C_in`, or other tensors `N x shape`, to probabilities `N x C`, and to
            the members' disagreement on each example: `N` mutual informations in nats, or None if the file does not
            have separate members.
        conformal: What prediction sets need; None for a model without them.
    """

    labels: list[str]
    input_spec: dict[str, Any]
    run: Callable[[Examples], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
    conformal: Conformal | None = None

    def check_coverage(self, coverage: float) -> Conformal:
        """Check that the model has prediction sets of a coverage, and return what they need.

        Raises:
            InputError: It has none, or the coverage is not one of theirs.
        """
        if self.conformal is None:
            expected = "a model with prediction sets: an ensemble that `select` of this version chose, or its export"
            raise InputError("coverage", f"{coverage} for a model without prediction sets", expected)
        self.conformal.threshold(coverage)
        return self.conformal

    def rows(self, names: Sequence[str], images: Examples, coverage: float | None = None) -> list[dict[str, Any]]:
        """One row for each example.

        Args:
            names: Names of the examples.
            images: `N x H x W x C_in` or `N x shape`, raw, as `nni_hypens.ensemble.reading.read_inputs` returns them.
            coverage: Share of prediction sets that should hold the true class; None for no sets.

        Returns:
            Mappings with `image` (the name), `label`, `probability`, `probabilities` (label -> number), their `entropy`
            in nats, and `epistemic`, the part of the entropy that comes from the members' disagreement: the mutual
            information of class and member in nats, before the temperature; None if the members are not known.
            With a coverage also `set`, the labels in the prediction set, the most probable first.

        Raises:
            InputError: Values are far outside the range of the training images, or the model answers something other
                than probabilities, such as NaN; or the model has no prediction sets of this coverage.
        """
        conformal = None if coverage is None else self.check_coverage(coverage)
        check_values(images, self.input_spec, "images", warn=False)
        parts = [self.run(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        probabilities = check_probabilities(np.concatenate([part[0] for part in parts]), "predictions of the model")
        epistemic: list[float | None] = [None] * len(images)
        if parts[0][1] is not None:
            epistemic = [float(x) for part in parts for x in part[1]]  # type: ignore[union-attr]
        rows: list[dict[str, Any]] = [
            {
                "image": name,
                "label": self.labels[int(row.argmax())],
                "probability": float(row.max()),
                "entropy": float(_entropy(row)),
                "epistemic": disagreement,
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }
            for name, row, disagreement in zip(names, probabilities, epistemic, strict=True)
        ]
        if conformal is not None and coverage is not None:
            held = conformal.sets(probabilities, coverage)
            for row, p, kept in zip(rows, probabilities, held, strict=True):
                order = np.argsort(-p, kind="stable")
                row["set"] = [self.labels[index] for index in order if kept[index]]
        return rows


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    entropy: NDArray[np.float64] = -(probabilities * np.log(np.maximum(probabilities, PROBABILITY_FLOOR))).sum(axis=-1)
    return entropy


def open_model(
    path: str | os.PathLike[str], space: Callable[..., nn.Module] | None = None, trust: bool = False
) -> Predictor:
    """Open an ensemble's folder, a run folder, an `.onnx` or a `.pt2`.

    Args:
        path: The model.
        space: The model space's class, for a folder; see `Ensemble.load`.
        trust: Whether to open a PT2 file, which can run code.

    Raises:
        InputError: There is no model, it is malformed, a package for it is missing, or a PT2 file is not trusted.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from nni_hypens.ensemble import Ensemble, EnsembleInfo, export_ensemble
        >>> networks = [nn.Sequential(nn.Flatten(), nn.Linear(16, 2)) for _ in range(2)]
        >>> info = EnsembleInfo(
        ...     ids=["a", "b"], architectures=[{}, {}], lams=[None, None], shared_edges=[None, None],
        ...     labels=["cat", "dog"],
        ...     input_spec={"channels": 1, "height": 4, "width": 4, "scale": 255, "mean": [0.5], "std": [0.2]},
        ...     space={"class": "my_package:MySpace", "args": {}},
        ... )
        >>> ensemble = Ensemble(networks, info=info).eval()
        >>> with TemporaryDirectory() as folder:
        ...     _ = export_ensemble(ensemble, f"{folder}/model.pt2", format="pt2")
        ...     model = open_model(f"{folder}/model.pt2", trust=True)
        >>> row = model.rows(["black"], np.zeros((1, 4, 4, 1), dtype=np.float32))[0]
        >>> row["image"], sorted(row["probabilities"])
        ('black', ['cat', 'dog'])
    """
    path = Path(path)
    if path.is_dir():
        return _of_ensemble(Ensemble.load(ensemble_folder(path, "model"), space=space))
    readers = {".onnx": _open_onnx, ".pt2": _open_pt2}
    if path.suffix not in readers:
        raise InputError("model", str(path), "an ensemble's folder, a run folder, an .onnx or a .pt2")
    try:
        check_file(path, links=True)  # onnxruntime opens it by its path
    except FileNotFoundError:
        raise InputError("model", f"{path}, which is not there", "a file that `nni-hypens export` wrote") from None
    except OSError as error:
        raise InputError("model", f"{path} ({error.strerror})", "a file that `nni-hypens export` wrote") from None
    if path.suffix == ".pt2" and not trust:
        expected = "the ONNX file or the folder; or --trust-pt2 (trust=True) if you trust who wrote this file"
        raise InputError("model", f"{path}, and a PT2 file can run any code when it is opened", expected)
    return readers[path.suffix](path)


def ensemble_folder(path: Path, field: str) -> Path:
    """The folder with `ensemble.json`: this one, or `ensemble` in a run folder.

    Raises:
        InputError: Neither holds the file.
    """
    inner = path / "ensemble"
    if inner.is_symlink():
        raise InputError(field, f"{inner}, which is a link", "a run folder of plain files and folders")
    for folder in (path, inner):
        if (folder / INDEX_FILE).exists():
            return folder
    raise InputError(field, f"{path} without {INDEX_FILE}", "an ensemble's folder, or a run folder after select")


def _of_ensemble(ensemble: Ensemble) -> Predictor:
    weights = ensemble.weights.numpy().astype(np.float64)

    def run(images: Examples) -> tuple[NDArray[np.float32], NDArray[Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # about single batches; whoever read the images has warned
            return both(images)

    def both(images: Examples) -> tuple[NDArray[np.float32], NDArray[Any]]:
        probabilities, single = ensemble.predict_both(images)
        members = single.astype(np.float64)
        average = np.tensordot(weights, members, axes=1)
        mean_entropy = np.tensordot(weights, _entropy(members), axes=1)
        return probabilities, np.maximum(_entropy(average) - mean_entropy, 0)

    return Predictor(ensemble.info.labels, ensemble.info.input_spec, run, ensemble.info.conformal)


def _open_onnx(path: Path) -> Predictor:
    if importlib.util.find_spec("onnxruntime") is None:
        raise InputError("model", f"{path} without the package onnxruntime", "pip install 'nni-hypens[export]'")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a different exception for each kind of damage
        raise InputError("model", f"{path} ({reason(error)})", "a readable ONNX file") from error
    texts = session.get_modelmeta().custom_metadata_map
    metadata = _check_metadata({key: texts[key] for key in (*_METADATA_TYPES, "conformal") if key in texts}, path)
    name = input_name(metadata["input"])
    return _of_file(metadata, lambda images: session.run(["probabilities"], {name: images})[0])


def _open_pt2(path: Path) -> Predictor:
    extra = {METADATA_FILE: ""}
    try:
        with open_file(path, links=True) as file, _no_pickles(), quiet():
            program = torch.export.load(file, extra_files=extra)
    except Exception as error:
        raise InputError("model", f"{path} ({raised(error)})", "a PT2 file that `nni-hypens export` wrote") from error
    try:
        texts = {key: json.dumps(value) for key, value in json.loads(extra[METADATA_FILE]).items()}
    except (ValueError, AttributeError):
        texts = {}
    module = program.module()

    def run(images: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            probabilities: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
            return probabilities

    return _of_file(_check_metadata(texts, path), run)


@contextmanager
def _no_pickles() -> Iterator[None]:
    """`torch.export.load` may fall back to unpickling any object; this allows only tensors."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _check_metadata(texts: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        metadata = {key: json.loads(text) for key, text in texts.items()}
    except (ValueError, RecursionError) as error:
        raise InputError("model", f"{path} ({reason(error)})", "metadata that `nni-hypens export` wrote") from error
    if "format_version" not in metadata:
        raise InputError("model", f"{path} without metadata", "a file that `nni-hypens export` wrote")
    require(metadata, _METADATA_TYPES, path.name)
    if metadata["format_version"] != EXPORT_VERSION:
        raise InputError(f"{path.name}.format_version", metadata["format_version"], f"{EXPORT_VERSION}")
    check_class_names(metadata["class_names"], f"{path.name}.class_names")
    layouts = _LAYOUTS if is_image(metadata["input"]) else _SHAPE_LAYOUTS
    if (metadata["input_layout"], metadata["input_values"]) not in layouts:
        got, allowed = brief((metadata["input_layout"], metadata["input_values"])), sorted(map(" ".join, layouts))
        raise InputError(f"{path.name}.input_layout", got, f"one of {', '.join(allowed)}")
    check_input_spec(metadata["input"])
    return {**metadata, "conformal": read_conformal(metadata.get("conformal"), path.name)}


def _of_file(metadata: dict[str, Any], function: Callable[[NDArray[Any]], NDArray[np.float32]]) -> Predictor:
    spec, labels, values = metadata["input"], metadata["class_names"], metadata["input_values"]
    if values == "uint8":
        spec = {**spec, "range": [0, 255]}

    def run(images: Examples) -> tuple[NDArray[np.float32], None]:
        given: NDArray[Any] = normalise(images, spec) if values == "normalised" else images.astype(np.float32)
        if values == "uint8":
            if images.min() < 0 or images.max() > 255:
                got = f"values from {images.min():g} to {images.max():g}"
                raise InputError("images", got, "values in 0..255, as the model takes uint8")
            given = np.rint(images).astype(np.uint8)
        try:
            probabilities = np.asarray(function(given))
        except Exception as error:  # of onnxruntime or torch: the graph does not fit its metadata
            raise InputError("model", raised(error), "a graph that fits its metadata") from error
        if probabilities.shape != (len(images), len(labels)):
            got = f"outputs of shape {probabilities.shape}"
            raise InputError("model", got, f"a probability for each of {len(labels)} classes")
        return probabilities, None

    return Predictor(labels, spec, run, metadata["conformal"])
