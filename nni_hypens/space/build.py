"""Build a model space from its name, and a stand-alone network from an architecture."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.space import model_context

from nni_hypens.errors import InputError, raised
from nni_hypens.space.architecture import Sample
from nni_hypens.utils.checks import nearest
from nni_hypens.utils.declared import makes

SPACES = {
    "one_cell": "search_spaces:OneCell",
    "paper_cell": "search_spaces:PaperCell",
    "darts": "search_spaces:darts",
    "mlp": "search_spaces:MLP",
}
OF_IMAGES = ("one_cell", "paper_cell", "darts")
"""Names of spaces whose networks take images only."""


def hub_spaces() -> dict[str, str]:
    """Name -> path of every model space of NNI's hub (about two seconds to import).

    Examples:
        >>> hub_spaces()["NasBench201"]
        'nni.nas.hub.pytorch:NasBench201'
    """
    hub = importlib.import_module("nni.nas.hub.pytorch")
    classes = {name: value for name, value in vars(hub).items() if inspect.isclass(value)}
    return {name: f"{hub.__name__}:{name}" for name, value in classes.items() if issubclass(value, ModelSpace)}


def find_object(field_name: str, name: str, known: Mapping[str, str]) -> Any:
    """The object named by a short name or ``module:name``; modules of the working folder can be named as well.

    Raises:
        InputError: No such name, module or attribute.
    """
    path = known.get(name, name)
    if ":" not in path:
        raise InputError(field_name, repr(name), f"one of {', '.join(known)}, or module:Class{nearest(name, known)}")
    module_name, attribute = path.split(":", 1)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs the module's code
        raise InputError(field_name, repr(name), f"an importable module ({raised(error)})") from None
    if not hasattr(module, attribute):
        raise InputError(field_name, repr(name), f"a name in {_named(module)}{nearest(attribute, dir(module))}")
    return getattr(module, attribute)


def _named(module: ModuleType) -> str:
    """A module's name and file: another module of the same name may have been found first."""
    file = getattr(module, "__file__", None)
    return f"{module.__name__} ({file})" if file else module.__name__


def parameter_names(factory: Any) -> list[str]:
    """Names of a factory's keyword arguments; ``darts(preset, **arguments)`` passes the rest to its class."""
    target = getattr(factory, "_init_wrapped", factory) if inspect.isclass(factory) else factory
    names = []
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            owner = inspect.signature(factory).return_annotation if not inspect.isclass(factory) else None
            module = inspect.getmodule(factory)
            owner = getattr(module, owner, None) if isinstance(owner, str) else owner
            names += parameter_names(owner) if inspect.isclass(owner) else []
        elif parameter.name != "self":
            names.append(parameter.name)
    return names


def build_named_space(
    name: str, arguments: Mapping[str, Any], input_shape: Sequence[int], num_classes: int, setting: str = "space_args"
) -> ModelSpace:
    """A model space by its name, with the data's channels, features and classes if it takes them.

    Args:
        name: `one_cell`, `paper_cell`, `darts`, `mlp`, a space of `nni.nas.hub.pytorch`, or `module:Class`.
        arguments: Its arguments.
        input_shape: Shape of one example. The first size is the space's `in_channels`, and their product, the numbers
            in an example, its `in_features`.
        num_classes: Classes of the labels.
        setting: The setting that the arguments come from, for errors.

    Raises:
        InputError: Unknown space, one of images for other data, no space (it is not called then), or arguments that it
            does not take.

    Examples:
        >>> build_named_space("one_cell", {"channels": 2}, (1, 8, 8), num_classes=5).head.out_features
        5
        >>> build_named_space("mlp", {"width": 4}, (13,), num_classes=3).in_features
        13
    """
    if name in OF_IMAGES and len(input_shape) != 3:
        got = f"{name}, a space of images, for examples of shape {tuple(input_shape)}"
        raise InputError("space", got, "mlp, or your own space for them")
    hub = {} if ":" in name or name in SPACES else hub_spaces()
    factory = find_object("space", name, {**SPACES, **hub})
    if not makes(factory, ModelSpace):  # it is not called to find out: the name may come from another person's file
        got = f"{name}, a {type(factory).__name__}"
        raise InputError("space", got, "an nni.nas.nn.pytorch.ModelSpace, or a function whose annotation returns one")
    accepted = parameter_names(factory)
    sizes = {
        "in_channels": input_shape[0],
        "in_features": math.prod(input_shape),
        "num_classes": num_classes,
        "num_labels": num_classes,
    }
    for argument, value in arguments.items():
        if argument not in accepted:
            hint = nearest(argument, accepted)
            raise InputError(
                f"{setting}.{argument}", repr(value), f"an argument of {name}: {', '.join(accepted)}{hint}"
            )
    try:
        space = factory(**{**{size: value for size, value in sizes.items() if size in accepted}, **arguments})
    except InputError as error:
        raise InputError(f"{setting}.{error.field}", error.got, error.expected) from None
    except (Exception, SystemExit) as error:  # a user's space may raise anything
        field, got = (setting, str(dict(arguments))) if arguments else ("space", name)
        raise InputError(field, got, f"a space, and arguments that it takes ({raised(error)})") from None
    if not isinstance(space, ModelSpace):
        raise InputError("space", f"{name}, a {type(space).__name__}", "an nni.nas.nn.pytorch.ModelSpace")
    return space


def fresh(space: ModelSpace) -> ModelSpace:
    """A new instance of a space, with new weights; a search changes the instance it is given.

    Examples:
        >>> from search_spaces import OneCell
        >>> fresh(OneCell(channels=2, in_channels=1)).stem[0].out_channels
        2
    """
    return type(space)(*space.trace_args, **space.trace_kwargs)


def fixed_network(space: ModelSpace, architecture: Sample) -> torch.nn.Module:
    """The network of one architecture, with new weights, as a trial builds it.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=1, in_channels=1)
        >>> network = fixed_network(space, {"node_0/input": [0], "node_0/op_0": "skip_connect"})
        >>> network(torch.zeros(4, 1, 8, 8)).shape
        torch.Size([4, 10])
    """
    with model_context(architecture):
        network: torch.nn.Module = fresh(space)
        return network


def describe_space(space: ModelSpace) -> dict[str, Any]:
    """Class and arguments from which `find_object` can rebuild a space, as `EnsembleInfo.space` has them.

    Raises:
        InputError: Arguments without names, as of `def __init__(self, *widths)`.

    Examples:
        >>> from search_spaces import OneCell
        >>> describe_space(OneCell(channels=2, in_channels=1))
        {'class': 'search_spaces.one_cell:OneCell', 'args': {'channels': 2, 'in_channels': 1}}
    """
    kind = type(space)
    if space.trace_args:
        raise InputError(
            "space", f"{kind.__name__} with arguments without names", "names for all: no *args in __init__"
        )
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "args": dict(space.trace_kwargs)}
