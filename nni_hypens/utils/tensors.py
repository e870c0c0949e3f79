"""Weights in safetensors files: written whole, and read only where names, shapes and types fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save as save_tensors
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.utils.files import AS_WRITTEN, write_bytes

MAX_HEADER_BYTES = 8 * 2**20
"""Of JSON, in front of the tensors of a member: about a hundred bytes for each tensor."""
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a safetensors file whose names, shapes and types are exactly those of the network.

    Raises:
        InputError: Not such a file, or numbers in it that are not finite.
    """
    network.load_state_dict(_read_weights(network, path))


def _read_weights(network: nn.Module, path: Path, compare_only: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a file, once its header fits the network; none of them if only that is asked."""
    wanted = network.state_dict()
    try:
        _check_start(path)
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}
            _compare({name: (part.get_shape(), part.get_dtype()) for name, part in found.items()}, wanted, path)
            tensors = {} if compare_only else {name: file.get_tensor(name) for name in found}
    except FileNotFoundError as error:
        raise InputError(str(path), "no file", "the member's weights") from error
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, OverflowError) as error:
        got = f"not a safetensors file ({error!s:.200})"
        raise InputError(str(path), got, "weights that Ensemble.save wrote") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(str(path), f"NaN or infinity in {name}", "finite weights")
    return tensors


def _check_start(path: Path) -> None:
    """What is no safetensors file is told apart here, by its first bytes: pickles are not opened to find out."""
    with path.open("rb") as file:
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
        raise InputError(str(path), "; ".join(sorted(differences)[:5]) + more, "the weights of this architecture")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file."""
    write_bytes(path, save_tensors(dict(tensors), metadata))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: It is not there or cut off.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(str(path), "no file", AS_WRITTEN) from None
    except SafetensorError as error:
        raise InputError(str(path), f"no readable weights ({error!s:.200})", AS_WRITTEN) from None


def load_supernet_weights(model: nn.Module, path: Path, field: str) -> None:
    """Give a supernet the weights of a safetensors file, all of them.

    Raises:
        InputError: The file is missing or broken, or its weights are not those of this model; the first that differs is
            named.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(field, str(path), f"a safetensors file of a supernet ({error})") from None
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in own | found:
        if own.get(name) != found.get(name):
            got = f"{path}: {name} of shape {found[name]}" if name in found else f"{path} without {name}"
            wanted = f"shape {own[name]}" if name in own else "no such weight"
            raise InputError(field, got, f"{wanted} (the same space and arguments)")
    model.load_state_dict(weights)
