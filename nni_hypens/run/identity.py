"""The arguments of a Python run as plain data, by which a later call, also in another process, finds the run again.

What Python shows of an object may hold its address, and a search changes the objects that it is given. So functions are
described by name, and objects by their class and by what they had before the search bound them.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import inspect
import json
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import yaml
from nni.common.serializer import is_traceable
from nni.mutable import MutableExpression
from nni.nas.profiler import ExpressionProfiler
from pytorch_lightning import LightningDataModule, LightningModule

from nni_hypens.trials.parts import describe_part
from nni_hypens.utils.files import parse_yaml

MAX_TEXT = 20_000
"""Characters of a description; of a longer one, ``config.yaml`` keeps a hash."""
MAX_DEPTH = 20
"""Objects within objects; of deeper ones only the class counts."""
USED_BY = ("bind", "__call__", "prepare_data", "setup", "__iter__", "__next__", "__getitem__")
"""Methods that a run calls; what they set is no part of what an object was given."""
PICKLED = ("__nni_obj__", '"bytes:')
"""What NNI's text of an object has where it holds a pickle, which may differ in each process."""
ADDRESS = re.compile(r"(?: at)? ?0x[0-9a-fA-F]+")
_SCALARS = (bool, int, float, str, type(None))
_MODULE_STATE = frozenset(vars(nn.Module()))
_LIGHTNING_STATE = frozenset({*vars(LightningModule()), *vars(LightningDataModule())})


def described_object(value: Any) -> Any:
    """An argument as plain data without addresses: equal for equal arguments, whether they were used before or not.

    Args:
        value: Anything: a number, a function, a regulariser, a profiler, or a collection of them.

    Examples:
        >>> described_object((np.float64(0.3), len))
        [0.3, 'builtins:len']
    """
    content = _plain(value, ())
    return (
        content
        if len(json.dumps(content, default=str)) <= MAX_TEXT
        else {"class": _name(type(value)), **_hash(content)}
    )


def described_part(part: Any) -> str:
    """The text by which a run recognises its evaluator or data: NNI's if that is whole and the same in each process."""
    text = describe_part(part)
    if text is None or any(mark in text for mark in PICKLED):
        return json.dumps(described_object(part))
    return text


def as_written(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as it is read from the ``config.yaml`` that holds it: YAML has no tuples, and rounds nothing."""
    read: dict[str, Any] = parse_yaml(yaml.safe_dump(_plain(identity, ()), sort_keys=False, allow_unicode=True))
    return read


# ---- plain data -----------------------------------------------------------------------------------------------------


def _plain(value: Any, outer: tuple[int, ...]) -> Any:
    """A value as plain data.

    Args:
        value: Anything.
        outer: Ids of the objects that hold it, since an object may hold itself.
    """
    if isinstance(value, enum.Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _SCALARS):
        return _scalar(value)
    if id(value) in outer or len(outer) > MAX_DEPTH:
        return {"class": _name(type(value))}
    inner = (*outer, id(value))
    if isinstance(value, Mapping):
        return {_key(key, inner): _plain(item, inner) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, inner) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, inner) for item in value), key=lambda item: json.dumps(item, default=str))
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray | torch.Tensor):
        return _array(value)
    if isinstance(value, bytes | bytearray):
        return {"class": _name(type(value)), "hash": hashlib.sha256(value).hexdigest()[:16]}
    if isinstance(value, type | types.ModuleType):
        return _name(value)
    return _callable(value, inner) or _object(value, inner)


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return "nan"  # which is not equal to itself as a number
    for kind in (bool, int, float, str):  # of a subclass, YAML would write the class
        if isinstance(value, kind):
            return kind(value)
    return value


def _key(key: Any, inner: tuple[int, ...]) -> Any:
    found = _plain(key, inner)
    return found if isinstance(found, _SCALARS) else json.dumps(found, sort_keys=True, default=str)


def _name(value: Any) -> str:
    """Module and qualified name of a class, a function or a module."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__qualname__)
    module = getattr(value, "__module__", None)
    return f"{module}:{name}" if isinstance(module, str) else str(name)


def _hash(content: Any) -> dict[str, str]:
    text = json.dumps(content, sort_keys=True, default=str)
    return {"hash": hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]}


def _array(value: np.ndarray | torch.Tensor) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        array = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    else:
        array = value
    content = array.tolist() if array.dtype.hasobject else array.tobytes().hex()
    content = _plain(content, ())
    return {"array": str(array.dtype), "shape": list(array.shape), **_hash(content)}


def _callable(value: Any, inner: tuple[int, ...]) -> Any:
    """A function by its name; None for what is no function."""
    if isinstance(value, functools.partial):
        parts = {"function": value.func, "arguments": value.args, "keywords": value.keywords}
        return {name: _plain(part, inner) for name, part in parts.items()}
    if isinstance(value, types.MethodType):
        return {"function": _name(value), "of": _plain(value.__self__, inner)}
    if isinstance(value, types.BuiltinFunctionType) and not isinstance(value.__self__, types.ModuleType | type(None)):
        return {"function": _name(value), "of": _plain(value.__self__, inner)}
    if not isinstance(value, types.FunctionType):
        named = callable(value) and isinstance(getattr(value, "__qualname__", None), str)
        return _name(value) if named else None
    if "<" not in value.__qualname__:
        return _name(value)
    # a lambda, or a function within a function: others have the same name, or the same code with other values
    found = {"function": _name(value), **_hash(_code(value.__code__))}
    values = [_held(cell) for cell in value.__closure__ or ()]
    defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).items()]
    return found | {name: _plain(held, inner) for name, held in (("values", values), ("defaults", defaults)) if held}


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable of the outer function that has no value yet
        return None


def _code(code: types.CodeType) -> list[Any]:
    """What a function does, wherever it stands: no line numbers, and no addresses of functions within it."""
    constants = [_code(part) if isinstance(part, types.CodeType) else _constant(part) for part in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, constants]


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _object(value: Any, inner: tuple[int, ...]) -> Any:
    """An object by its class, and by its constructor's arguments if NNI traced them, or else by its state."""
    if is_traceable(value):
        symbol, arguments = value.trace_symbol, {"args": value.trace_args, "kwargs": value.trace_kwargs}
        return {"class": _name(symbol), **{name: _plain(part, inner) for name, part in arguments.items() if part}}
    if isinstance(value, ExpressionProfiler):  # a search uses the expression only; the rest is the whole space
        return {"class": _name(type(value)), **_hash(_expression(getattr(value, "expression", None), {}))}
    if isinstance(value, MutableExpression):
        return {"class": _name(type(value)), **_hash(_expression(value, {}))}
    found, state = {"class": _name(type(value))}, _state(value)
    if state is None:
        return found | {"shown": ADDRESS.sub("", repr(value))}
    return {**found, "state": {str(name): _plain(item, inner) for name, item in state.items()}} if state else found


def _expression(value: Any, known: dict[int, Any]) -> Any:
    """An expression of NNI as a hash of its parts; each part is looked at once, however often it occurs."""
    if not isinstance(value, MutableExpression) or not getattr(value, "arguments", ()):
        return ADDRESS.sub("", repr(value))
    if id(value) not in known:
        parts = [_expression(part, known) for part in value.arguments]
        known[id(value)] = _hash([_name(value.function), parts])["hash"]
    return known[id(value)]


def _state(value: Any) -> dict[str, Any] | None:
    """What an object was given: its attributes without those that its use sets; None if Python cannot list them."""
    kind = type(value)
    slots = [name for base in kind.__mro__ for name in _slots(base) if hasattr(value, name)]
    if not hasattr(value, "__dict__") and not slots:
        own = kind.__repr__ is not object.__repr__  # type: ignore[comparison-overlap]
        return None if own else {}
    state = {name: getattr(value, name) for name in slots} | getattr(value, "__dict__", {})
    if isinstance(value, nn.Module):
        # parameters mostly have random values before a search, so only their shapes are those of every process
        shapes = {name: list(part.shape) for name, part in value.named_parameters(recurse=False)}
        inside = {**dict(value.named_buffers(recurse=False)), **dict(value.named_children()), **shapes}
        state = {name: part for name, part in state.items() if name not in _MODULE_STATE} | inside
    bound = _bound_names(kind)
    if isinstance(value, LightningModule | LightningDataModule):
        bound |= _LIGHTNING_STATE  # such as the trainer that uses it
    return {name: state[name] for name in sorted(state) if name not in bound}


def _slots(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _bound_names(kind: type) -> frozenset[str]:
    """Attributes that the methods that a search calls set, and the methods that these call; no arguments of the
    constructor."""
    seen: set[types.CodeType] = set()
    found: set[str] = set()
    waiting = list(USED_BY)
    for name in waiting:
        for base in kind.__mro__:
            if base is nn.Module:  # its __call__ is that of every module
                continue
            method = (
                inspect.unwrap(function)
                if isinstance(function := base.__dict__.get(name), types.FunctionType)
                else None
            )
            if method is None or method.__code__ in seen:
                continue
            seen.add(method.__code__)
            found |= {step.argval for step in dis.get_instructions(method) if step.opname == "STORE_ATTR"}
            waiting += [called for called in method.__code__.co_names if called != "__init__"]
    try:
        given = set(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
    except (TypeError, ValueError):
        given = set()
    return frozenset(found - given - {f"_{name}" for name in given})
