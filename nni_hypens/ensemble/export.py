"""Export an ensemble as one file, ONNX or PT2, that runs without NNI and this package.

The file computes what `Ensemble.forward` computes: every member, average, temperature. BatchNorm is folded into the
convolutions before it. The input is `images`, float32, the output `probabilities`, `N x C`; N is free. A model of
tables or other tensors has the input `inputs`, `N x shape`, raw or normalised.

- With preprocessing, the default: raw images `N x H x W x C_in` with the values of the data's source, as
  `Ensemble.predict` takes them (uint8 converted to float32). The file scales and normalises.
- With `uint8`: the same, but pixels 0..255 of type uint8, whatever values the data's source has. The file also brings
  them to the range of the training images.
- Without: `N x C_in x H x W`, scaled and normalised by the caller, as `Ensemble.forward` takes them.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nni_hypens.ensemble.folder import encode, installed_versions
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.ensemble.names import FORMATS
from nni_hypens.ensemble.rewrites import optimise
from nni_hypens.errors import InputError, InputWarning, raised
from nni_hypens.utils.files import json_text, open_file, replacing
from nni_hypens.utils.images import normalise
from nni_hypens.utils.inputs import input_name, input_shape, is_image, raw_shape
from nni_hypens.utils.ranges import from_picture, known_range, picture_range

EXPORT_VERSION = 1
METADATA_FILE = "nni_hypens.json"
"""Name of the metadata in a PT2 file (`torch.export.load(..., extra_files={METADATA_FILE: ""})`)."""
TOLERANCE = 1e-5
ROUNDED = 0.01
"""Share of a standard deviation by which float32 may round an input of a table without a warning."""
MAX_ONNX_BYTES = 2**31 - 2**20  # protobuf's limit, minus room for the graph
OPSET = 20
_CHECKED = 3
"""Random examples that a file is compared on."""


@dataclass
class Exported:
    """Result of an export.

    Attributes:
        path: The file.
        folded: Number of BatchNorms folded into convolutions.
        difference: Largest difference from `Ensemble.predict` in a probability, on random input; None if onnxruntime,
            which runs the file, is not installed.
        metadata: What the file says about itself, see `describe`.
    """

    path: Path
    folded: int
    difference: float | None
    metadata: dict[str, Any]


class _Deployed(nn.Module):
    """Preprocessing and ensemble. The buffers have the shape `1 x C x 1 x 1`, to broadcast over `N x C x H x W`.

    Features of a table may be large and differ little, so that they are normalised in double precision, as
    `nni_hypens.utils.images.normalise` does it.
    """

    factor: torch.Tensor
    shift: torch.Tensor

    def __init__(self, ensemble: Ensemble, values: str) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.values = values
        spec = ensemble.info.input_spec
        low, width = 0.0, 1.0
        if values == "uint8":
            low, high = picture_range(spec, "uint8")
            width = (high - low) / 255
        mean, std = np.asarray(spec["mean"], dtype=np.float64), np.asarray(spec["std"], dtype=np.float64)
        self.pictures, shape = is_image(spec), (1, -1, *[1] * (len(input_shape(spec)) - 1))
        for name, numbers in (
            ("factor", width / (spec["scale"] * std)),
            ("shift", (low / spec["scale"] - mean) / std),
        ):
            kind = torch.float32 if self.pictures else torch.float64
            self.register_buffer(name, torch.tensor(numbers, dtype=kind).view(shape))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.values != "normalised" and self.pictures:
            images = images.to(torch.float32).permute(0, 3, 1, 2) * self.factor + self.shift
        elif self.values != "normalised":
            images = (images.to(torch.float64) * self.factor + self.shift).to(torch.float32)
        probabilities: torch.Tensor = self.ensemble(images)
        return probabilities


def export_ensemble(
    ensemble: Ensemble,
    path: str | os.PathLike[str],
    format: str = "onnx",
    preprocess: bool = True,
    uint8: bool = False,
) -> Exported:
    """Write an ensemble as one file and compare its output with the ensemble's. An error leaves no partial file.

    Args:
        ensemble: The ensemble; it is not changed.
        path: The file.
        format: "onnx", or "pt2" for `torch.export.load` of plain torch.
        preprocess: Whether the file scales and normalises; see above for the layouts.
        uint8: Whether the file takes pixels 0..255 of type uint8; needs `preprocess`.

    Returns:
        Path, BatchNorms folded, and the largest difference on random input.

    Raises:
        InputError: The format is unknown, packages for it are missing, or the weights are too large for ONNX.
        RuntimeError: torch cannot export a member, or the file's output differs from the ensemble's.

    Warns:
        InputWarning: Raw numbers of a table are so large, and differ so little, that float32 rounds them noticeably.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from nni_hypens.ensemble import Ensemble, EnsembleInfo
        >>> networks = [nn.Sequential(nn.Flatten(), nn.Linear(16, 2)) for _ in range(2)]
        >>> info = EnsembleInfo(
        ...     ids=["a", "b"], architectures=[{}, {}], lams=[None, None], shared_edges=[None, None],
        ...     labels=["cat", "dog"],
        ...     input_spec={"channels": 1, "height": 4, "width": 4, "scale": 255, "mean": [0.5], "std": [0.2]},
        ...     space={"class": "my_package:MySpace", "args": {}},
        ... )
        >>> ensemble = Ensemble(networks, info=info).eval()
        >>> with TemporaryDirectory() as folder:
        ...     exported = export_ensemble(ensemble, f"{folder}/model.pt2", format="pt2")
        >>> exported.folded, exported.difference < 1e-5
        (0, True)
    """
    if format not in FORMATS:
        raise InputError("format", repr(format), f"one of {', '.join(FORMATS)}")
    if uint8 and not preprocess:
        raise InputError("uint8", "True without preprocessing", "preprocess=True, as normalised values are no uint8")
    if uint8 and not is_image(ensemble.info.input_spec):
        raise InputError("uint8", "True for a model whose input is no image", "False: only images have pixels")
    path, values = Path(path), "uint8" if uint8 else "raw" if preprocess else "normalised"
    if values == "raw":
        _warn_of_rounding(ensemble.info.input_spec)
    if format == "onnx":
        check_onnx(ensemble)
    program, folded = export_program(ensemble, values)
    metadata = describe(ensemble, values)
    with replacing(path) as temporary:
        if format == "onnx":
            _write_onnx(program, temporary, metadata)
        else:
            _write_pt2(program, temporary, metadata)
        difference = _difference(ensemble, values, temporary, format)
        if difference is not None and not difference <= TOLERANCE:
            raise RuntimeError(f"the exported file differs from the ensemble by {difference:.1e}; nothing was written")
    return Exported(path, folded, difference, metadata)


def check_onnx(ensemble: Ensemble | None = None) -> None:
    """Check that ONNX can be written here, and for this ensemble.

    Raises:
        InputError: Packages are missing, or the weights are too large. It names the pip command or the limit.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        got = f"'onnx' without the package{'s' * (len(missing) > 1)} {' and '.join(missing)}"
        raise InputError("format", got, "pip install 'nni-hypens[export]', or --format pt2")
    if ensemble is not None:
        size = sum(value.numel() * value.element_size() for value in ensemble.state_dict().values())
        if size > MAX_ONNX_BYTES:
            got = f"'onnx' for {size / 2**30:.1f} GB of weights"
            raise InputError("format", got, "at most 2 GB, what one ONNX file can hold; or --format pt2")


def export_program(ensemble: Ensemble, values: str = "raw") -> tuple[torch.export.ExportedProgram, int]:
    """The graph of an ensemble on the CPU, in evaluation mode, with BatchNorm folded.

    Args:
        ensemble: The ensemble; it is not changed.
        values: What the graph takes: "raw" or "uint8" for NHWC images, "normalised" for NCHW; "raw" or "normalised" for
            other tensors.

    Returns:
        The program, and the number of BatchNorms that were folded.

    Raises:
        RuntimeError: torch cannot trace a member.
    """
    module = _Deployed(copy.deepcopy(ensemble).cpu(), values).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    example = (torch.zeros(2, *_shape(ensemble, values), dtype=torch.uint8 if values == "uint8" else torch.float32),)
    sizes: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    with quiet():
        try:
            graph = torch.export.export(module, example, **sizes).module()
            folded = optimise(graph)
            program = torch.export.export(graph, example, **sizes)
        except Exception as error:  # torch may raise anything for a network that it cannot trace
            raise RuntimeError(f"torch.export cannot trace the ensemble: {raised(error)}") from error
    for node in program.graph.nodes:  # remove paths of this machine and names of NNI's classes
        for key in ("stack_trace", "nn_module_stack", "from_node", "source_fn_stack"):
            node.meta.pop(key, None)
    return program, folded


def describe(ensemble: Ensemble, values: str) -> dict[str, Any]:
    """Metadata of the file: one JSON text for each key in ONNX, one JSON file in PT2.

    Args:
        ensemble: The ensemble.
        values: As for `export_program`.

    Returns:
        `format_version`, `class_names`, `input` (the input spec), `input_layout` ("NHWC" or "NCHW" of images, "shape"
        of other tensors: N, then the sizes of `input.shape`), `input_values` ("raw", "uint8" or "normalised"),
        `input_range` (the values of black and white in `images`; None if they are normalised, or if the ensemble does
        not state it), `members` (ids), `weights`, `pooling` (how they are averaged), `temperature`, `versions`, and
        `conformal`, what prediction sets need, if the ensemble has it.
    """
    spec = ensemble.info.input_spec
    known = {"raw": known_range(spec), "uint8": (0.0, 255.0)}.get(values)
    layout = "NCHW" if values == "normalised" else "NHWC"
    return {
        "format_version": EXPORT_VERSION,
        "class_names": list(ensemble.info.labels),
        "input": encode(spec),
        "input_layout": layout if is_image(spec) else "shape",
        "input_values": values,
        "input_range": None if known is None else list(known),
        "members": list(ensemble.info.ids),
        "weights": ensemble.weights.tolist(),
        "pooling": ensemble.pooling,
        "temperature": ensemble.temperature.tolist(),
        "versions": installed_versions(),
        **({} if ensemble.info.conformal is None else {"conformal": ensemble.info.conformal.to_json()}),
    }


def _shape(ensemble: Ensemble, values: str) -> tuple[int, ...]:
    spec = ensemble.info.input_spec
    return input_shape(spec) if values == "normalised" else raw_shape(spec)


def _write_onnx(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any]) -> None:
    import onnx

    with quiet():
        exported = torch.onnx.export(
            program, (), None, dynamo=True, verbose=False, opset_version=OPSET,
            input_names=[input_name(metadata["input"])], output_names=["probabilities"],
        )  # fmt: skip
    assert exported is not None
    model = exported.model_proto
    graph = model.graph
    for message in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        message.doc_string = ""  # the exporter's stack traces, which name files of this machine
        del message.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # sizes with the old name of the batch; onnxruntime infers them again
    model.producer_name, model.producer_version = "nni_hypens", metadata["versions"].get("nni_hypens") or ""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: json_text(value) for key, value in metadata.items()})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    _sync(path)


def _write_pt2(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any]) -> None:
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={METADATA_FILE: json_text(metadata)})
    _sync(path)


def _sync(path: Path) -> None:
    with open_file(path) as file:
        os.fsync(file.fileno())


def _difference(ensemble: Ensemble, values: str, path: Path, format: str) -> float | None:
    """Largest difference between the file and the ensemble on random input; None if onnxruntime is missing."""
    spec = ensemble.info.input_spec
    raw = _random_input(spec)
    known = picture_range(spec) if values == "uint8" else known_range(spec)
    if known is not None:
        low, high = known
        pixels = np.rint(np.clip((raw - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        raw = from_picture(pixels, spec)
    images: Any = raw
    if values != "raw":
        images = pixels if values == "uint8" else normalise(raw, spec)
    if format == "pt2":
        with open_file(path) as file:
            result = torch.export.load(file).module()(torch.from_numpy(images)).detach().numpy()
    elif importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        result = session.run(None, {input_name(spec): images})[0]
    else:
        return None
    difference = float(np.abs(result - ensemble.predict(raw)).max())
    return math.inf if math.isnan(difference) else difference


def _warn_of_rounding(spec: dict[str, Any]) -> None:
    """Warn of numbers of a table that float32, which the file takes, cannot hold as precisely as they differ."""
    if is_image(spec):
        return
    mean, std = (np.asarray(spec[key], dtype=np.float64) for key in ("mean", "std"))
    lost = np.abs(mean) / std * np.finfo(np.float32).eps / 2
    worst = int(lost.argmax())
    if lost[worst] > ROUNDED:
        text = f"inputs: the file takes float32, which rounds input {worst} (from 0) by up to {lost[worst]:.2g} of its "
        text += "standard deviation; take a constant off before training, or export with preprocess=False "
        warnings.warn(text + "(--no-preprocess)", InputWarning, stacklevel=3)


def _random_input(spec: dict[str, Any]) -> np.ndarray:
    """Some random examples as they may come from the data's source, float32."""
    generator, shape = np.random.default_rng(0), raw_shape(spec)
    mean, std = np.asarray(spec["mean"]), np.asarray(spec["std"])
    level: Any = 0.0
    if is_image(spec):
        level = generator.normal(size=(_CHECKED, 1, 1, shape[2]))  # otherwise all images look alike to a network
    else:
        mean, std = (numbers.reshape(-1, *[1] * (len(shape) - 1)) for numbers in (mean, std))
    noise = level + generator.normal(size=(_CHECKED, *shape))
    raw: np.ndarray = ((noise * std + mean) * spec["scale"]).astype(np.float32)
    return raw


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logs and warnings of torch's exporters, which are meant for torch's developers."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
