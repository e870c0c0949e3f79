"""Read the folder of a saved ensemble without trusting it: check every key, shape and type, and unpickle nothing.

A folder from another person can choose a model space of `search_spaces` or `nni.nas.hub.pytorch` and its arguments,
and can be large. It cannot import, call or unpickle anything else, and it cannot read a file outside the folder, by
name or by link. If the space can be built on torch's meta device, shapes are checked there before memory is allocated.
"""

from __future__ import annotations

import importlib
import math
import stat
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nni_hypens.ensemble.names import POOLINGS
from nni_hypens.errors import InputError, reason
from nni_hypens.utils.checks import NONE, NUMBER, brief, check_plain_name, is_number, is_whole, one_of, require
from nni_hypens.utils.files import parse_json, read_text, why
from nni_hypens.utils.images import check_normalisation
from nni_hypens.utils.inputs import input_shape, is_image, noun
from nni_hypens.utils.ranges import check_range
from nni_hypens.utils.tensors import check_weights, load_weights

FORMAT_VERSION = 3
"""The newest version of the format. Version 2 adds a temperature for each member, version 3 how they are averaged."""
INDEX_FILE = "ensemble.json"
_GIVE_CLASS = "or give the class: --space MODULE:CLASS, in Python space="
TRUSTED_PACKAGES = ("search_spaces", "nni.nas.hub.pytorch")
MAX_INDEX_BYTES = 8 * 2**20
MAX_DEPTH = 40
MAX_INPUT_VALUES = 2**24
"""Limit for the values of an example: 64 MB as float32."""
MAX_SIZES = 8
"""Limit for the number of sizes of an example."""
SPACE_TYPES = {"class": str, "args": dict}
_IMAGE_SIZES = {"channels": int, "height": int, "width": int}
_NORMALISATION = {"scale": NUMBER, "mean": list, "std": list}
_INDEX_TYPES = {
    "members": list,
    "temperature": NUMBER,
    "labels": list,
    "input": dict,
    "space": dict,
    "versions": dict,
}
_MEMBER_TYPES = {
    "id": str,
    "file": str,
    "weight": NUMBER,
    "lam": (*NUMBER, NONE),
    "shared_edges": (int, NONE),
    "architecture": dict,
}


def check_input_spec(spec: dict[str, Any]) -> None:
    """Check the description of the input, of images or of other tensors: keys, types and ranges.

    Raises:
        InputError: It is not of that form.
    """
    require(spec, {**(_IMAGE_SIZES if is_image(spec) else {"shape": list}), **_NORMALISATION}, "input")
    if is_image(spec):
        if "range" in spec:
            check_range(spec["range"], "input.range")
        for key in _IMAGE_SIZES:
            if spec[key] <= 0:
                raise InputError(f"input.{key}", spec[key], "a positive number")
        unit = "channel"
    else:
        _check_shape(spec)
        unit = "entry of the first size"
    if not (spec["scale"] > 0 and is_number(spec["scale"])):
        raise InputError("input.scale", spec["scale"], "a positive number")
    shape = input_shape(spec)
    if math.prod(shape) > MAX_INPUT_VALUES:
        raise InputError("input", f"{noun(spec)}s of {math.prod(shape)} values", f"at most {MAX_INPUT_VALUES}")
    for key in ("mean", "std"):
        values = spec[key]
        numbers = all(map(is_number, values))
        if len(values) != shape[0] or not numbers or (key == "std" and min(values) <= 0):
            kind = "positive numbers" if key == "std" else "finite numbers"
            raise InputError(f"input.{key}", brief(values), f"{shape[0]} {kind}, one per {unit}")
    check_normalisation(spec)


def _check_shape(spec: dict[str, Any]) -> None:
    """Check `shape`, and that nothing describes images beside it."""
    others = [key for key in (*_IMAGE_SIZES, "range") if key in spec]
    if others:
        raise InputError(
            f"input.{others[0]}",
            f"{brief(spec[others[0]])} beside input.shape",
            "one of the two: a range and channels, height and width are of images",
        )
    shape = spec["shape"]
    if not (1 <= len(shape) <= MAX_SIZES and all(is_whole(size, 1) for size in shape)):
        raise InputError("input.shape", brief(shape), f"1 to {MAX_SIZES} whole numbers above 0, such as [13]")


def installed_versions() -> dict[str, str | None]:
    """Versions of the packages that write a file; None for a package that is not installed."""
    versions: dict[str, str | None] = {"torch": str(torch.__version__)}
    for name in ("nni", "nni_hypens"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def encode(value: Any) -> Any:
    """Encode a value for JSON, which alone would turn keys into strings and tuples into lists."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: encode(item) for key, item in value.items()}
        return {"__items__": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"__tuple__": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs twice, or None."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def _decode(pairs: list[tuple[str, Any]]) -> Any:
    """Invert `encode` for one JSON object; its values are already decoded."""
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError(f"the key {brief(_repeated([key for key, _ in pairs]))} twice in one object")
    if list(mapping) == ["__items__"]:
        return dict(mapping["__items__"])
    return tuple(mapping["__tuple__"]) if list(mapping) == ["__tuple__"] else mapping


def _check_depth(content: Any) -> None:
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list | tuple):
                inner += value
        level = inner
    if level:
        raise ValueError(f"objects or lists more than {MAX_DEPTH} deep")


def file_in(folder: Path, name: str) -> Path:
    """The path of a regular file in a folder. A link must point to a file in the same folder.

    Raises:
        InputError: It is a folder, a pipe, a device or a link to another folder.
    """
    path = folder / name
    try:
        mode, target = path.stat().st_mode, path.resolve(strict=True)
    except FileNotFoundError:
        return path  # the reader reports that the file is missing
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(str(path), reason(error), "a file") from error
    if target.parent != folder.resolve():
        raise InputError(str(path), f"a link to {target}", "a file in the same folder")
    if not stat.S_ISREG(mode):
        raise InputError(str(path), "something other than a regular file", "a file")
    return path


def _read_json(path: Path) -> Any:
    try:
        index = parse_json(read_text(path, MAX_INDEX_BYTES, links=True), _decode)  # `file_in` has checked the link
        _check_depth(index)
    except FileNotFoundError as error:
        raise InputError(str(path), "no file", "a folder that holds a saved ensemble") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(str(path), why(error), "a readable JSON file") from error
    return index


def read_index(folder: Path) -> dict[str, Any]:
    """Read `ensemble.json` and check its keys, types, file names and weights; unknown keys are ignored."""
    path = file_in(folder, INDEX_FILE)
    index = _read_json(path)
    if not isinstance(index, dict):
        raise InputError(str(path), f"a {type(index).__name__}", "a JSON object")
    written = index.get("format_version")
    if type(written) is not int or written not in range(1, FORMAT_VERSION + 1):
        expected = f"1 to {FORMAT_VERSION}; use the version of nni_hypens that wrote it, or a newer one"
        raise InputError(f"{INDEX_FILE}.format_version", brief(written), expected)
    require(index, _INDEX_TYPES, INDEX_FILE)
    if written > 2:
        require(index, {"pooling": str}, INDEX_FILE)
        one_of(f"{INDEX_FILE}.pooling", index["pooling"], POOLINGS)
    require(index["space"], SPACE_TYPES, "space")
    if not all(isinstance(value, str | NONE) for value in index["versions"].values()):
        raise InputError(f"{INDEX_FILE}.versions", brief(index["versions"]), "strings or null")
    if not index["members"]:
        raise InputError("members", "none", "at least one member")
    for i, entry in enumerate(index["members"]):
        if not isinstance(entry, dict):
            raise InputError(f"members[{i}]", brief(entry), "an object")
        added = {"temperature": NUMBER} if written > 1 else {}
        require(entry, {**_MEMBER_TYPES, **added}, f"members[{i}]")
        check_plain_name(f"members[{i}].file", entry["file"], "the plain name of a file in the same folder")
        if entry["shared_edges"] is not None and entry["shared_edges"] < 0:
            raise InputError(f"members[{i}].shared_edges", entry["shared_edges"], "a number of edges")
    shared_file = _repeated([entry["file"] for entry in index["members"]])
    if shared_file is not None:
        raise InputError("members", f"{shared_file} for two members", "another file for each member")
    weights = [entry["weight"] for entry in index["members"]]
    if min(weights) <= 0 or not abs(math.fsum(weights) - 1) <= 1e-4:
        raise InputError("weights", f"{weights!s:.80}, sum {math.fsum(weights):g}", "positive numbers that sum to 1")
    return index


def trusted_class(name: str) -> Callable[..., nn.Module]:
    """Import "module:Class" if it is a model space defined in a trusted package. The class is not called.

    Raises:
        InputError: The package is not trusted, or it does not define a model space of this name.
    """
    module_name, _, class_name = name.partition(":")
    if not (_is_trusted(module_name) and class_name.isidentifier()):
        raise InputError("space.class", brief(name), f"a class of {' or '.join(TRUSTED_PACKAGES)}; {_GIVE_CLASS}")
    from nni.nas.nn.pytorch import ModelSpace  # imported here, so that an ensemble in memory works without NNI

    try:
        space = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        expected = f"an installed model space; {_GIVE_CLASS}"
        raise InputError("space.class", f"{name!r} ({reason(error)})", expected) from error
    if not (isinstance(space, type) and issubclass(space, ModelSpace) and _is_trusted(space.__module__)):
        raise InputError("space.class", repr(name), f"a model space defined in that module; {_GIVE_CLASS}")
    return space


def _is_trusted(module: str) -> bool:
    parts_are_names = all(part.isidentifier() for part in module.split("."))
    return parts_are_names and any(module == root or module.startswith(f"{root}.") for root in TRUSTED_PACKAGES)


def build_network(
    build: Callable[..., nn.Module], args: dict[str, Any], architecture: dict[Any, Any], field: str
) -> nn.Module:
    """Build one network of the space, without changing the caller's random state."""
    from nni.nas.space import model_context  # imported here, so that an ensemble in memory works without NNI

    try:
        with torch.random.fork_rng(devices=[]), model_context(architecture):
            return build(**args)
    except Exception as error:  # a space may raise anything for arguments or choices that it does not know
        got = f"{type(error).__name__} from the model space ({reason(error, 300)})"
        raise InputError(field, got, "an architecture and space.args that the space accepts") from error


def load_member(
    build: Callable[..., nn.Module],
    index: dict[str, Any],
    position: int,
    path: Path,
) -> nn.Module:
    """Build one member and load its weights.

    Args:
        build: The model space's class.
        index: Result of `read_index`.
        position: Position of the member in the index.
        path: File of the member's weights.

    Raises:
        InputError: The space refuses the arguments or the architecture; the weights do not fit the network or are not
            finite; the network does not map examples of the `input` spec to one logit for each of `labels`.
    """
    field = f"members[{position}].architecture"
    arguments = (index["space"]["args"], index["members"][position]["architecture"], field)
    try:
        with torch.device("meta"):
            skeleton = build_network(build, *arguments)
    except InputError as error:
        if "meta" not in str(error):
            raise
        skeleton = None  # the space needs the values of tensors while it is built
    if skeleton is not None:
        check_weights(skeleton, path)
        _check_output(skeleton, index["input"], index["labels"])
    network = build_network(build, *arguments)
    load_weights(network, path)
    return network


def _check_output(skeleton: nn.Module, spec: dict[str, Any], labels: Sequence[str]) -> None:
    """Check on the meta device, which computes only shapes, that the network fits the input spec and the labels."""
    shape = (2, *input_shape(spec))
    try:
        with torch.no_grad():
            output = skeleton.eval()(torch.zeros(shape, device="meta"))
    except (RuntimeError, ValueError, TypeError) as error:
        if "meta" in str(error) or isinstance(error, NotImplementedError):
            return  # the network needs values; the first prediction will show whether it fits
        got = f"{' x '.join(map(str, shape[1:]))} ({reason(error)})"
        expected = "channels, height and width" if is_image(spec) else "a shape"
        raise InputError("input", got, f"{expected} that the network takes") from error
    if tuple(output.shape) != (2, len(labels)):
        classes = output.shape[-1] if output.ndim == 2 else f"outputs of shape {tuple(output.shape)}"
        raise InputError("labels", f"{len(labels)} names", f"one for each class of the network ({classes})")
