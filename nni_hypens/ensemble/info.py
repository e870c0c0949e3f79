"""Description of an ensemble: its members, its classes, its input and its space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nni_hypens.ensemble.conformal import Conformal
from nni_hypens.ensemble.folder import SPACE_TYPES, check_input_spec
from nni_hypens.errors import InputError
from nni_hypens.utils.checks import PLAIN_NAME, brief, check_class_names, require


@dataclass
class EnsembleInfo:
    """What an ensemble is made of and what input it expects. Lists have one entry per member unless noted otherwise.

    Attributes:
        ids: Unique names of letters, digits, ".", "_" and "-", used in file names.
        architectures: NNI samples, label -> choice.
        lams: Requested shared edges, or None.
        shared_edges: Shared edges with the base, or None.
        labels: Class names, one per class, all different and printable.
        input_spec: Of images: `channels`, `height`, `width`, `scale` (raw values are divided by it), `mean` and `std`
            (lists, one number per channel, of scaled values), and `range` (`[low, high]`, the raw values of black and
            white in training images). Without `range`, it is `0..scale`, or unknown if `scale` is 1. Of other tensors:
            `shape`, the sizes of one example such as `[13]`, `scale`, and `mean` and `std` with one number per entry of
            the first size.
        space: `class` ("module:Class") and `args` (its keyword arguments).
        conformal: What prediction sets need, from `fit_conformal`; None for an ensemble without them.

    Examples:
        >>> info = EnsembleInfo(
        ...     ids=["a", "b"], architectures=[{}, {}], lams=[None, None], shared_edges=[None, None],
        ...     labels=["cat", "dog"],
        ...     input_spec={"channels": 1, "height": 4, "width": 4, "scale": 255, "mean": [0.5], "std": [0.2]},
        ...     space={"class": "my_package:MySpace", "args": {}},
        ... )
        >>> info.check(members=2)
    """

    ids: list[str]
    architectures: list[dict[Any, Any]]
    lams: list[float | None]
    shared_edges: list[int | None]
    labels: list[str]
    input_spec: dict[str, Any]
    space: dict[str, Any]
    conformal: Conformal | None = None

    def check(self, members: int) -> None:
        """Check every field.

        Args:
            members: Number of members of the ensemble.

        Raises:
            InputError: If a field is of the wrong length or form.
        """
        for name in ("ids", "architectures", "lams", "shared_edges"):
            if len(getattr(self, name)) != members:
                raise InputError(f"info.{name}", f"{len(getattr(self, name))} entries", f"{members}, one per member")
        for member in self.ids:
            if not (isinstance(member, str) and PLAIN_NAME.fullmatch(member)):
                raise InputError("info.ids", brief(member), "a name of letters, digits, '.', '_' and '-'")
        if len({member.lower() for member in self.ids}) != members:
            raise InputError("info.ids", brief(self.ids), "unique names; upper and lower case count as equal")
        check_class_names(self.labels, "info.labels")
        check_input_spec(self.input_spec)
        require(self.space, SPACE_TYPES, "space")
