"""The ensemble: one module that averages its members' probabilities, calibrates them, and lives in a folder.

A saved ensemble is `ensemble.json` and one safetensors file per member. Nothing is ever unpickled, and loading treats
the folder as untrusted: every key, shape and type is checked, file names must stay inside the folder, and only model
spaces of `search_spaces` and `nni.nas.hub.pytorch` are imported by name.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.metrics import PROBABILITY_FLOOR, check_labels, check_probabilities

FORMAT_VERSION = 1
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
INDEX_FILE = "ensemble.json"
TRUSTED_PACKAGES = ("search_spaces", "nni.nas.hub.pytorch")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_NUMBER, _NONE = (int, float), type(None)
_SPACE_TYPES = {"class": str, "args": dict}
_INPUT_TYPES = {"channels": int, "height": int, "width": int, "scale": _NUMBER, "mean": list, "std": list}
_INDEX_TYPES = {
    "members": list,
    "temperature": _NUMBER,
    "labels": list,
    "input": dict,
    "space": dict,
    "versions": dict,
}
_MEMBER_TYPES = {
    "id": str,
    "file": str,
    "weight": _NUMBER,
    "lam": (*_NUMBER, _NONE),
    "shared_edges": (int, _NONE),
    "architecture": dict,
}


def apply_temperature(probs: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Flatten (T > 1) or sharpen (T < 1) probabilities: `softmax(ln max(p, 1e-12) / T)`.

    Args:
        probs: `N x C` probabilities.
        temperature: T > 0; 1 changes nothing.

    Returns:
        `N x C` probabilities.

    Raises:
        InputError: If an argument is not of that form.
    """
    _check_temperature(temperature)
    return softmax(_log(check_probabilities(probs)) / temperature, axis=1)


def fit_temperature(probs: ArrayLike, labels: ArrayLike, prior_scale: float | None = 0.5) -> float:
    """The temperature of an ensemble, fitted to its averaged probabilities ("pool then calibrate").

    Minimises the NLL of `softmax(ln p / T)` (Rahaman & Thiery 2021, section 4), summed over the examples, plus
    `(ln T)^2 / (2 prior_scale^2)`. The source has no such term. It is worth about one example, so a thousand examples
    outweigh it; but where an ensemble is right on every one of a few hundred, the NLL alone has no minimum and sends T
    to its bound, which costs dearly on the first error in test data (digits, 404 examples: test NLL 0.15 instead of 0.04).

    Args:
        probs: `N x C` averaged validation probabilities.
        labels: `N` integers in 0..C-1.
        prior_scale: Standard deviation of ln T before any data is seen; None for none of it (maximum likelihood).

    Returns:
        T in [0.05, 20], never worse on these data than T = 1.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs)
    y = check_labels(labels, *p.shape)
    if prior_scale is not None and not prior_scale > 0:
        raise InputError("prior_scale", prior_scale, "a number above 0, or None")
    log_p, rows = _log(p), np.arange(len(y))
    precision = 0.0 if prior_scale is None else 1 / (prior_scale**2 * len(y))

    def loss(log_temperature: float) -> float:
        nll = -log_softmax(log_p / math.exp(log_temperature), axis=1)[rows, y].mean()
        return float(nll + precision * log_temperature**2 / 2)

    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    grid = np.linspace(low, high, 25)
    near = int(np.argmin([loss(value) for value in grid]))
    around = (grid[max(near - 1, 0)], grid[min(near + 1, len(grid) - 1)])
    inner = float(minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6}).x)
    # min() keeps the first of equals, so T = 1 stays where nothing improves on it; the search never tries its ends.
    best = min((0.0, inner, low, high), key=loss)
    return min(max(math.exp(best), MIN_TEMPERATURE), MAX_TEMPERATURE)


@dataclass
class EnsembleInfo:
    """What an ensemble is made of and what it expects; lists run over members unless said otherwise.

    Attributes:
        ids: Unique names of letters, digits, ".", "_" and "-", used in file names.
        architectures: NNI samples, label -> choice.
        lams: Requested shared edges, or None.
        shared_edges: Shared edges with the base, or None.
        labels: Class names, one per class.
        input_spec: `channels`, `height`, `width`, `scale` (raw values are divided by it), `mean` and `std` (lists, one
            number per channel, of scaled values).
        space: `class` ("module:Class") and `args` (its keyword arguments).
    """

    ids: list[str]
    architectures: list[dict[Any, Any]]
    lams: list[float | None]
    shared_edges: list[int | None]
    labels: list[str]
    input_spec: dict[str, Any]
    space: dict[str, Any]

    def check(self, members: int) -> None:
        """Check every field.

        Args:
            members: Number of members wanted.

        Raises:
            InputError: If a field is of the wrong length or form.
        """
        for name in ("ids", "architectures", "lams", "shared_edges"):
            if len(getattr(self, name)) != members:
                raise InputError(f"info.{name}", f"{len(getattr(self, name))} entries", f"{members}, one per member")
        for member in self.ids:
            if not (isinstance(member, str) and _PLAIN_NAME.fullmatch(member)):
                raise InputError("info.ids", repr(member), "a name of letters, digits, '.', '_' and '-'")
        if len({member.lower() for member in self.ids}) != members:
            raise InputError("info.ids", self.ids, "unique names, also where upper and lower case are one")
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise InputError("info.labels", self.labels, "a list of class names")
        _check_input_spec(self.input_spec)
        _require(self.space, _SPACE_TYPES, "space")


class Ensemble(nn.Module):
    """Weighted average of the members' probabilities, calibrated by one temperature.

    Args:
        members: Networks that map `B x C_in x H x W` to logits `B x C`.
        weights: One positive weight per member, divided by their sum; None for equal weights.
        temperature: T > 0, applied to the averaged probabilities.
        info: Description of members, classes, input and space.

    Raises:
        InputError: If an argument is of the wrong form.
    """

    weights: torch.Tensor
    temperature: torch.Tensor

    def __init__(
        self,
        members: Sequence[nn.Module],
        weights: Sequence[float] | NDArray[np.float64] | None = None,
        temperature: float = 1.0,
        *,
        info: EnsembleInfo,
    ) -> None:
        super().__init__()
        if not members:
            raise InputError("members", "none", "at least one network")
        info.check(len(members))
        _check_temperature(temperature)
        share = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
        if share.shape != (len(members),) or not (np.isfinite(share).all() and (share > 0).all()):
            raise InputError("weights", weights, f"{len(members)} positive numbers, one per member")
        self.members = nn.ModuleList(members)
        self.info = info
        self.register_buffer("weights", torch.tensor(share / share.sum(), dtype=torch.float32))
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities of images that are already scaled and normalised.

        The mean is taken in log space, with the floor of `apply_temperature`, and is the same function of it.

        Args:
            x: `B x C_in x H x W` float images, normalised as the members were trained.

        Returns:
            `B x C` probabilities.
        """
        log_p = torch.stack([torch.log_softmax(member(x), dim=1) for member in self.members])  # M x B x C
        log_mean = torch.logsumexp(log_p + self.weights.log().view(-1, 1, 1), dim=0)  # B x C
        return torch.softmax(log_mean.clamp(min=math.log(PROBABILITY_FLOOR)) / self.temperature, dim=1)

    def predict(self, images: ArrayLike, batch_size: int = 256) -> NDArray[np.float32]:
        """Probabilities of raw images, in evaluation mode and without gradients.

        Divides by the input spec's scale, normalises per channel, and leaves training modes as they were.

        Args:
            images: `N x H x W x C_in`, or `N x H x W` for one channel; integers or floats as in the data's source.
            batch_size: Images per forward pass.

        Returns:
            `N x C` probabilities.

        Raises:
            InputError: If `images` is not what the input spec describes.
        """
        x = torch.from_numpy(_normalised(np.asarray(images), self.info.input_spec))
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.no_grad():
                parts = [self(batch.to(self.weights.device)).cpu() for batch in x.split(batch_size)]
        finally:
            for module, mode in modes:
                module.training = mode
        probs = torch.cat(parts).numpy()
        if probs.shape[1] != len(self.info.labels):
            raise InputError("info.labels", f"{len(self.info.labels)} names", f"{probs.shape[1]}, one per class")
        return probs

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `member-ID.safetensors` files and `ensemble.json` into a folder, which is made if it is missing.

        All files are written beside their places first. The index goes last, and an older index is removed before any
        weights are replaced, so that whatever interrupts this, no index describes weights that are not its own.

        Args:
            directory: The folder.

        Raises:
            InputError: If the info holds something that JSON cannot.
        """
        folder = Path(directory)
        index = self._index()
        try:
            text = json.dumps(index, indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise InputError("info", error, "finite numbers, strings, lists and dictionaries") from error
        folder.mkdir(parents=True, exist_ok=True)
        names = [member["file"] for member in index["members"]] + [INDEX_FILE]
        staged = [folder / f".{name}.{os.getpid()}.tmp" for name in names]
        try:
            for member, path in zip(self.members, staged, strict=False):
                # Copies, because safetensors refuses tensors that share memory.
                state = {key: value.detach().cpu().contiguous().clone() for key, value in member.state_dict().items()}
                save_file(state, path)
            staged[-1].write_text(text, encoding="utf-8")
            (folder / INDEX_FILE).unlink(missing_ok=True)
            for path, name in zip(staged, names, strict=True):
                os.replace(path, folder / name)
        finally:
            for path in staged:
                path.unlink(missing_ok=True)

    def _index(self) -> dict[str, Any]:
        info = self.info
        members = [
            {
                "id": info.ids[i],
                "file": f"member-{info.ids[i]}.safetensors",
                "weight": float(self.weights[i]),
                "lam": _encode(info.lams[i]),
                "shared_edges": _encode(info.shared_edges[i]),
                "architecture": _encode(info.architectures[i]),
            }
            for i in range(len(self.members))
        ]
        return {
            "format_version": FORMAT_VERSION,
            "members": members,
            "temperature": float(self.temperature),
            "labels": list(info.labels),
            "input": _encode(info.input_spec),
            "space": {"class": info.space["class"], "args": _encode(info.space["args"])},
            "versions": {"torch": str(torch.__version__), "nni": _version("nni"), "nni_hypens": _version("nni_hypens")},
        }

    @classmethod
    def load(cls, directory: str | os.PathLike[str], space: Callable[..., nn.Module] | None = None) -> Ensemble:
        """Read an ensemble that `save` wrote.

        Args:
            directory: The folder.
            space: The model space's class. Needed when it is outside `search_spaces` and `nni.nas.hub.pytorch`,
                because importing a name that a file gives would run code of the file's choice.

        Returns:
            The ensemble on the CPU, in evaluation mode.

        Raises:
            InputError: If a file is missing, malformed, or does not fit the network it is for.
        """
        folder = Path(directory)
        index = _read_index(folder)
        entries = index["members"]
        info = EnsembleInfo(
            ids=[entry["id"] for entry in entries],
            architectures=[entry["architecture"] for entry in entries],
            lams=[entry["lam"] for entry in entries],
            shared_edges=[entry["shared_edges"] for entry in entries],
            labels=index["labels"],
            input_spec=index["input"],
            space=index["space"],
        )
        info.check(len(entries))
        build = space if space is not None else _trusted_class(info.space["class"])
        members = []
        for i, entry in enumerate(entries):
            network = _build(build, info.space["args"], entry["architecture"], f"members[{i}].architecture")
            _load_weights(network, folder / entry["file"])
            members.append(network)
        weights = [entry["weight"] for entry in entries]
        return cls(members, weights, float(index["temperature"]), info=info).eval()


def _log(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(probs, PROBABILITY_FLOOR))


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError("temperature", temperature, "a finite number above 0")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _require(mapping: dict[str, Any], types: dict[str, Any], where: str) -> None:
    """Check that every key is there and of its type; bool does not pass for a number."""
    for key, kind in types.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
        if key not in mapping:
            raise InputError(f"{where}.{key}", "nothing", f"a value of type {names}")
        value = mapping[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise InputError(f"{where}.{key}", f"{value!r:.80}", f"a value of type {names}")


def _check_input_spec(spec: dict[str, Any]) -> None:
    _require(spec, _INPUT_TYPES, "input")
    for key in ("channels", "height", "width", "scale"):
        if not (spec[key] > 0 and math.isfinite(spec[key])):
            raise InputError(f"input.{key}", spec[key], "a positive number")
    for key in ("mean", "std"):
        values = spec[key]
        numbers = all(isinstance(v, _NUMBER) and not isinstance(v, bool) and math.isfinite(v) for v in values)
        if len(values) != spec["channels"] or not numbers or (key == "std" and min(values) <= 0):
            kind = "positive numbers" if key == "std" else "finite numbers"
            raise InputError(f"input.{key}", values, f"{spec['channels']} {kind}, one per channel")


def _normalised(images: NDArray, spec: dict[str, Any]) -> NDArray[np.float32]:
    """Raw `N x H x W x C_in` or `N x H x W` images as normalised float32 `N x C_in x H x W`."""
    wanted = (spec["height"], spec["width"], spec["channels"])
    shape = images.shape
    batch = images[..., None] if images.ndim == 3 and wanted[2] == 1 else images
    if batch.ndim != 4 or batch.shape[1:] != wanted or len(batch) == 0:
        raise InputError("images", f"shape {shape}", f"shape N x {' x '.join(map(str, wanted))}, N at least 1")
    if not (np.issubdtype(batch.dtype, np.integer) or np.issubdtype(batch.dtype, np.floating)):
        raise InputError("images", f"dtype {batch.dtype}", "integer or floating-point images")
    if not np.isfinite(batch).all():
        raise InputError("images", "NaN or infinite values", "finite values")
    mean, std = np.asarray(spec["mean"]), np.asarray(spec["std"])
    scaled = (batch.astype(np.float32) / spec["scale"] - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


def _encode(value: Any) -> Any:
    """A JSON form that gives back the same value: JSON alone makes keys strings and tuples lists."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: _encode(item) for key, item in value.items()}
        return {"__items__": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"__tuple__": [_encode(item) for item in value]}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _decode(mapping: dict[str, Any]) -> Any:
    """The inverse of `_encode` for one JSON object, whose values are decoded already."""
    if list(mapping) == ["__items__"]:
        return dict(mapping["__items__"])
    return tuple(mapping["__tuple__"]) if list(mapping) == ["__tuple__"] else mapping


def _decode_int(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError(f"the whole number {digits:.18}... is too long")
    return int(digits)


def _read_index(folder: Path) -> dict[str, Any]:
    """Read `ensemble.json` and check its keys, types and file names."""
    path = folder / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"), object_hook=_decode, parse_int=_decode_int)
    except FileNotFoundError as error:
        raise InputError(str(path), "no file", "a folder that holds a saved ensemble") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(str(path), error, "a readable JSON file") from error
    if not isinstance(index, dict):
        raise InputError(str(path), f"a {type(index).__name__}", "a JSON object")
    if index.get("format_version") != FORMAT_VERSION:
        expected = f"{FORMAT_VERSION}; use the nni_hypens that wrote it, or a newer one"
        raise InputError(f"{INDEX_FILE}.format_version", repr(index.get("format_version")), expected)
    _require(index, _INDEX_TYPES, INDEX_FILE)
    _require(index["space"], _SPACE_TYPES, "space")
    if not index["members"]:
        raise InputError("members", "none", "at least one member")
    for i, entry in enumerate(index["members"]):
        if not isinstance(entry, dict):
            raise InputError(f"members[{i}]", f"{entry!r:.80}", "an object")
        _require(entry, _MEMBER_TYPES, f"members[{i}]")
        if not _PLAIN_NAME.fullmatch(entry["file"]):
            raise InputError(f"members[{i}].file", repr(entry["file"]), "the plain name of a file in the same folder")
    return index


def _trusted_class(name: str) -> Callable[..., nn.Module]:
    """Import "module:Class", only if it is a network defined in a trusted package."""
    module_name, _, class_name = name.partition(":")
    if not (_is_trusted(module_name) and class_name.isidentifier()):
        raise InputError(
            "space.class", repr(name), f"a class of {' or '.join(TRUSTED_PACKAGES)}; pass space= the class"
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise InputError("space.class", f"{name!r} ({error})", "an installed model space; or pass space= it") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module) and _is_trusted(found.__module__)):
        raise InputError("space.class", repr(name), "a model space defined in that module; or pass space= the class")
    return found


def _is_trusted(module: str) -> bool:
    parts_are_names = all(part.isidentifier() for part in module.split("."))
    return parts_are_names and any(module == root or module.startswith(f"{root}.") for root in TRUSTED_PACKAGES)


def _build(
    build: Callable[..., nn.Module], args: dict[str, Any], architecture: dict[Any, Any], field: str
) -> nn.Module:
    """Build one network of the space, without disturbing the random numbers of the caller."""
    from nni.nas.space import model_context  # here, so that an ensemble in memory works without NNI

    try:
        with torch.random.fork_rng(devices=[]), model_context(architecture):
            return build(**args)
    except Exception as error:  # whatever a space raises for arguments or choices that it does not know
        got = f"{type(error).__name__} from the model space ({error})"
        raise InputError(field, got, "an architecture and space.args that the space accepts") from error


def _load_weights(network: nn.Module, path: Path) -> None:
    """Load a safetensors file whose names, shapes and types are exactly those of the network."""
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise InputError(str(path), "no file", "the member's weights") from error
    except (OSError, SafetensorError) as error:
        raise InputError(str(path), f"not a safetensors file ({error})", "weights that Ensemble.save wrote") from error
    wanted = network.state_dict()
    differences = [f"{key} is missing" for key in wanted if key not in tensors]
    differences += [f"{key} is not in the network" for key in tensors if key not in wanted]
    for key in wanted.keys() & tensors.keys():
        in_file, in_network = tensors[key], wanted[key]
        if in_file.shape != in_network.shape:
            differences.append(f"{key} has shape {tuple(in_file.shape)}, not {tuple(in_network.shape)}")
        elif in_file.dtype != in_network.dtype:
            differences.append(f"{key} has type {in_file.dtype}, not {in_network.dtype}")
    if differences:
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise InputError(str(path), "; ".join(sorted(differences)[:5]) + more, "the weights of this architecture")
    network.load_state_dict(tensors)
