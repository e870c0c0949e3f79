"""Weights in safetensors files: written whole, and read only where names, shapes and types fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save as save_tensors
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.utils.files import AS_WRITTEN, check_file, open_file, parse_json, why, write_bytes

MAX_HEADER_BYTES = 8 * 2**20
"""Bound on the JSON in front of the tensors, which takes about a hundred bytes per tensor."""
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def load_weights(network: nn.Module, path: Path, field: str | None = None) -> None:
    """Load a safetensors file whose names, shapes and types are exactly those of the network.

    The network is changed only if everything fits.

    Args:
        network: The network.
        path: The file.
        field: Setting that named the file, for the error; None to name the file itself.

    Raises:
        InputError: The file is missing, is not such a file, or holds NaN, infinity or a negative variance.
    """
    try:
        network.load_state_dict(_read_weights(network, path))
    except InputError as error:
        if field is None:
            raise
        raise InputError(field, f"{path}: {error.got}", error.expected) from None


def check_weights(network: nn.Module, path: Path) -> None:
    """Check that a safetensors file has the names, shapes and types of a network; reads only the file's header.

    Raises:
        InputError: It does not.
    """
    _read_weights(network, path, header_only=True)


def _read_weights(network: nn.Module, path: Path, header_only: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a file, once its header fits the network; no tensors if only the header is wanted."""
    wanted = network.state_dict()
    try:
        _check_start(path)
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            _compare({name: (part.get_shape(), part.get_dtype()) for name, part in slices.items()}, wanted, path)
            tensors = {} if header_only else {name: file.get_tensor(name) for name in slices}
    except FileNotFoundError as error:
        raise InputError(str(path), "no file", "a safetensors file with weights") from error
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, OverflowError) as error:
        got = f"not a safetensors file ({why(error)})"
        raise InputError(str(path), got, "a safetensors file with weights") from error
    _check_values(tensors, path, "finite weights, and variances of at least 0")
    return tensors


def _check_values(tensors: Mapping[str, torch.Tensor], path: Path, expected: str) -> None:
    """Refuse what makes a network answer NaN: NaN and infinity, and negative variances of a BatchNorm."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(str(path), f"NaN or infinity in {name}", expected)
        if name.rpartition(".")[2] == "running_var" and (tensor < 0).any():
            raise InputError(str(path), f"a negative variance in {name}", expected)


def _check_start(path: Path) -> None:
    """Recognise other files by their first bytes, so that a pickle is never opened."""
    with open_file(path, links=True) as file:  # a path of the user's, or one whose place has been checked
        start = file.read(9)
    if start[:4] == b"PK\x03\x04":
        raise ValueError("a zip archive, such as torch.save makes; it is not opened")
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{":
        kind = "a pickle; it is not opened" if start[:1] == b"\x80" else "no header"
        raise ValueError(kind)
    if length > min(MAX_HEADER_BYTES, path.stat().st_size - 8):
        raise ValueError(f"a header of {length} bytes")


def _compare(found: dict[str, tuple[Sequence[int], str]], wanted: dict[str, torch.Tensor], path: Path) -> None:
    differences = [f"{key} is missing" for key in wanted if key not in found]
    differences += [f"{key:.80} is not in the network" for key in found if key not in wanted]
    for key in wanted.keys() & found.keys():
        shape, kind = tuple(found[key][0]), _DTYPES.get(found[key][1], found[key][1])
        if shape != tuple(wanted[key].shape):
            differences.append(f"{key} has shape {shape}, not {tuple(wanted[key].shape)}")
        elif kind != wanted[key].dtype:
            differences.append(f"{key} has type {kind}, not {wanted[key].dtype}")
    if differences:
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise InputError(
            str(path),
            "; ".join(sorted(differences)[:5]) + more,
            "weights of the same space, arguments and architecture",
        )


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file.

    Tensors that share memory, as those of two layers with the same weights, are each written whole.
    """
    seen: set[int] = set()
    whole = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        whole[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    write_bytes(path, save_tensors(whole, metadata))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: It is not there or cut off, or it holds NaN, infinity or a negative variance.
    """
    try:
        check_file(path)
        tensors = load_file(path)
    except FileNotFoundError:
        raise InputError(str(path), "no file", AS_WRITTEN) from None
    except (OSError, SafetensorError, ValueError, OverflowError) as error:
        raise InputError(str(path), f"no readable weights ({why(error)})", AS_WRITTEN) from None
    _check_values(tensors, path, AS_WRITTEN)
    return tensors


def read_metadata(path: Path, name: str) -> Any:
    """The JSON that `write_tensors` was given under a name, as `metadata`.

    Raises:
        OSError, SafetensorError, LookupError, ValueError: It is not there, or is not JSON.
    """
    check_file(path)
    with safe_open(path, framework="pt") as file:
        return parse_json((file.metadata() or {})[name])
