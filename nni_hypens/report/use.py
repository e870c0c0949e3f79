"""Section: how to use the model: commands and Python lines to copy."""

from __future__ import annotations

import shlex

from nni_hypens.errors import InputError
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Code, Paragraph, Section, make_section
from nni_hypens.report.text import fixed, number
from nni_hypens.utils.ranges import known_range

_OWN = ("search_spaces", "nni.nas.hub.pytorch")
"""Packages whose model spaces are found without being named (`TRUSTED_PACKAGES` of `nni_hypens.ensemble.folder`)."""


def section(run: RunContent) -> Section | None:
    """Commands, then Python; None for a folder whose ensemble is gone."""
    if "ensemble/ensemble.json" not in run.files:
        return None
    return make_section(
        "How to use the ensemble",
        Paragraph(f"In the folder that contains {run.name}:"),
        Code("\n".join(_commands(run))),
        Paragraph("In Python:"),
        Code("\n".join(_python(run))),
    )


def _commands(run: RunContent) -> list[str]:
    folder, space = shlex.quote(run.name), _space(run)
    own = f" --space {space[0]}:{space[1]}" if space else ""
    lines = {
        f"nni-hypens predict {folder} {_file(run)}{own}": "label, probability and uncertainty",
        f"nni-hypens export {folder}{own}": "one ONNX file that needs neither NNI nor nni_hypens",
    }
    width = max(map(len, lines))
    return [f"{command:{width}}  # {what}" for command, what in lines.items()]


def _python(run: RunContent) -> list[str]:
    space, name = _space(run), "images" if run.of_images else "examples"
    call = f'result.predict(["{_file(run)}"])'
    return [
        "from nni_hypens import EnsembleResult",
        *([f"from {space[0]} import {space[1]}"] if space else []),
        "",
        f"result = EnsembleResult.load({run.name!r}{f', space={space[1]}' if space else ''})",
        f"{call:36} # names of classes",
        f"{f'result.predict_proba({name})':36} # {_input(run)}",
    ]


def _file(run: RunContent) -> str:
    """A file that `predict` takes, by a made-up name."""
    shape = run.input_spec.get("shape")
    if run.of_images:
        return "images.npy" if _lacks_range(run) else "picture.png"
    return "table.csv" if isinstance(shape, list) and len(shape) == 1 else "examples.npy"


def _lacks_range(run: RunContent) -> bool:
    """Whether nothing says which values are black and white, as with loaders that normalise: pictures are refused."""
    try:
        return known_range(run.input_spec) is None
    except (InputError, LookupError, TypeError, ValueError):  # a spec that somebody wrote; `predict` says what is wrong
        return False


def _input(run: RunContent) -> str:
    """What the arrays must be, in words."""
    spec, shape = run.input_spec, run.input_spec.get("shape")
    if not run.of_images:
        sizes = " x ".join(fixed(size, 0) for size in shape) if isinstance(shape, list) else "shape"
        return f"raw numbers N x {sizes}, as in the data: not standardised"
    sides = [fixed(spec.get(key), 0) for key in ("height", "width", "channels")] if spec else []
    if not sides or number(spec.get("scale")) is None:
        return "raw images, N x height x width x channels"
    if _lacks_range(run):
        return f"raw images N x {' x '.join(sides)}, as in the data"
    stated = spec.get("range")
    pair = list(map(number, stated)) if isinstance(stated, list) else []
    if len(pair) != 2 or None in pair:
        return f"raw images N x {' x '.join(sides)}, as in the data: white is {spec['scale']:g}"
    return f"raw images N x {' x '.join(sides)}, as in the data: black is {pair[0]:g}, white is {pair[1]:g}"


def _space(run: RunContent) -> tuple[str, str] | None:
    """Module and class of the user's own model space; None for a space that is found without being named."""
    space = run.config.get("space")
    text = space.get("class") if isinstance(space, dict) else space
    module, _, name = str(text).partition(":")
    named = name.isidentifier() and all(part.isidentifier() for part in module.split("."))
    return (module, name) if named and not f"{module}.".startswith(tuple(f"{root}." for root in _OWN)) else None
