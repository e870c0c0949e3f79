"""The folder of a saved ensemble, read as untrusted: every key, shape and type is checked, and nothing is unpickled.

File names must stay inside the folder, and only model spaces of `search_spaces` and `nni.nas.hub.pytorch` are imported
by name.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from nni_hypens.errors import InputError

FORMAT_VERSION = 2
"""The newest; in the second, members have a temperature each."""
INDEX_FILE = "ensemble.json"
TRUSTED_PACKAGES = ("search_spaces", "nni.nas.hub.pytorch")
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_NUMBER, _NONE = (int, float), type(None)
SPACE_TYPES = {"class": str, "args": dict}
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


def require(mapping: dict[str, Any], types: dict[str, Any], where: str) -> None:
    """Check that every key is there and of its type; bool does not pass for a number."""
    for key, kind in types.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
        if key not in mapping:
            raise InputError(f"{where}.{key}", "nothing", f"a value of type {names}")
        value = mapping[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise InputError(f"{where}.{key}", f"{value!r:.80}", f"a value of type {names}")


def check_input_spec(spec: dict[str, Any]) -> None:
    require(spec, _INPUT_TYPES, "input")
    for key in ("channels", "height", "width", "scale"):
        if not (spec[key] > 0 and math.isfinite(spec[key])):
            raise InputError(f"input.{key}", spec[key], "a positive number")
    for key in ("mean", "std"):
        values = spec[key]
        numbers = all(isinstance(v, _NUMBER) and not isinstance(v, bool) and math.isfinite(v) for v in values)
        if len(values) != spec["channels"] or not numbers or (key == "std" and min(values) <= 0):
            kind = "positive numbers" if key == "std" else "finite numbers"
            raise InputError(f"input.{key}", values, f"{spec['channels']} {kind}, one per channel")


def encode(value: Any) -> Any:
    """A JSON form that gives back the same value: JSON alone makes keys strings and tuples lists."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: encode(item) for key, item in value.items()}
        return {"__items__": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"__tuple__": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _decode(mapping: dict[str, Any]) -> Any:
    """The inverse of `encode` for one JSON object, whose values are decoded already."""
    if list(mapping) == ["__items__"]:
        return dict(mapping["__items__"])
    return tuple(mapping["__tuple__"]) if list(mapping) == ["__tuple__"] else mapping


def _decode_int(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError(f"the whole number {digits:.18}... is too long")
    return int(digits)


def read_index(folder: Path) -> dict[str, Any]:
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
    if index.get("format_version") not in range(1, FORMAT_VERSION + 1):
        expected = f"1 to {FORMAT_VERSION}; use the nni_hypens that wrote it, or a newer one"
        raise InputError(f"{INDEX_FILE}.format_version", repr(index.get("format_version")), expected)
    require(index, _INDEX_TYPES, INDEX_FILE)
    require(index["space"], SPACE_TYPES, "space")
    if not index["members"]:
        raise InputError("members", "none", "at least one member")
    for i, entry in enumerate(index["members"]):
        if not isinstance(entry, dict):
            raise InputError(f"members[{i}]", f"{entry!r:.80}", "an object")
        own = {"temperature": _NUMBER} if index["format_version"] > 1 else {}
        require(entry, {**_MEMBER_TYPES, **own}, f"members[{i}]")
        if not PLAIN_NAME.fullmatch(entry["file"]):
            raise InputError(f"members[{i}].file", repr(entry["file"]), "the plain name of a file in the same folder")
    return index


def trusted_class(name: str) -> Callable[..., nn.Module]:
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


def build_network(
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


def load_weights(network: nn.Module, path: Path) -> None:
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
