"""Settings of a run: one dataclass that the command line, the YAML file and the run folder share."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.data.ood import ood_names
from nni_hypens.ensemble.calibration import CALIBRATIONS
from nni_hypens.errors import InputError
from nni_hypens.proposals.ranking import RANKINGS
from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.search.regularizers import Diversity
from nni_hypens.search.shared_edges import SharedEdges
from nni_hypens.selection.costs import LIMITS, check_total_limits
from nni_hypens.selection.methods import BEAM_WIDTH, METHODS, OBJECTIVES
from nni_hypens.selection.task import check_combinations
from nni_hypens.space.build import SPACES, find_object, hub_spaces, parameter_names
from nni_hypens.space.cost import check_limits
from nni_hypens.utils.checks import one_of
from nni_hypens.utils.files import read_yaml

DIVERSITIES: dict[str, Callable[[], Diversity]] = {"shared_edges": SharedEdges, "jensen_shannon": JensenShannon}


def setting(default: Any, text: str, **more: Any) -> Any:
    """A field of :class:`RunConfig` with its help text."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"help": text, **more})
    return field(default=default, metadata={"help": text, **more})


@dataclass
class RunConfig:
    """What determines the result of a run. Two runs with the same settings and versions have the same result.

    Raises:
        InputError: From :meth:`check`, naming the field.
    """

    data: str = setting("digits", "digits, fashion_mnist, cifar10, cifar100, a path to an .npz, or module:callable")
    root: str | None = setting(None, "folder that already holds the files of fashion_mnist, cifar10 or cifar100")
    train_size: int | None = setting(None, "training images to use (all that validation leaves)")
    validation_size: float = setting(0.3, "validation images: a share below 1, or a number")
    test_size: int | None = setting(None, "test images to use (all)")
    augment: str = setting("none", "augmentation of training images: none, crop or crop_flip")
    batch_size: int = setting(64, "images per training batch")
    space: str = setting(
        "one_cell", "one_cell, darts, a space of nni.nas.hub.pytorch such as NasBench201, or module:Class"
    )
    space_args: dict[str, Any] = setting({}, "arguments of the space, such as channels=8")
    base: str | None = setting(None, "JSON file with the base architecture (searched first when not given)")
    supernet: str | None = setting(None, "safetensors file with weights that the supernet starts from")
    paths: str = setting("1", "paths per search step: a whole number, or all for the mixture of every option")
    max_params: float | None = setting(None, "most parameters of a sampled network")
    max_flops: float | None = setting(None, "most FLOPs of a sampled network for one image, a multiply-add as two")
    diversity: str = setting("shared_edges", "regulariser: shared_edges or jensen_shannon")
    members: int = setting(3, "members of the ensemble")
    candidates: int = setting(8, "architectures to train")
    adaptive: int | None = setting(
        None,
        "of the candidates, how many are decided on while others are trained: new networks of the best so far, and "
        "from the seventh on whatever is expected to help the ensemble most (all but 3; none with halving, "
        "warm-start, a limit on the ensemble, a range of lam, or the ranking spread or ensemble)",
    )
    ranking: str = setting(
        "auto",
        "how what is trained is chosen on the supernet: spread (the best of each part of the dial), ensemble (greedily "
        "by the NLL of the ensemble, wherever on the dial), promising (the best by supernet and size together, large "
        "random architectures among them, wherever on the dial) or auto (promising with adaptive, else spread)",
    )
    lam_low: float | None = setting(None, "fewest shared edges to request from candidates (a quarter of all edges)")
    lam_high: float | None = setting(None, "most shared edges to request from candidates (all edges)")
    search_epochs: int = setting(60, "epochs of the search: warm-up, base and hypernetwork together")
    warmup_epochs: int | None = setting(None, "of these, epochs of uniform sampling (a fifth)")
    base_epochs: int | None = setting(
        None, "of these, epochs of the base search (three tenths; 0: choose by the supernet)"
    )
    epochs: int = setting(20, "epochs of training per candidate")
    budget: int | None = setting(
        None, "training epochs of all candidates together; replaces epochs by budget // candidates"
    )
    learning_rate: float = setting(0.01, "initial learning rate of candidates (AdamW, cosine schedule)")
    weight_decay: float = setting(0.001, "weight decay of candidates")
    warm_start: bool = setting(False, "candidates begin with the weights of their path in the supernet")
    halving: bool = setting(
        False, "compare candidates at a quarter and at half of their epochs, and train only the better half further"
    )
    selection: str = setting("exhaustive", f"how members are chosen on validation data: {', '.join(METHODS)}")
    objective: str = setting("nll", f"what the choice makes small: {', '.join(OBJECTIVES)}")
    selection_steps: int | None = setting(
        None, "choices of greedy_with_replacement, of at most `members` different candidates (as many as members)"
    )
    beam_width: int = setting(BEAM_WIDTH, "ensembles of each size that beam keeps")
    diversity_weight: float | None = setting(
        None, "reward for disagreement of the members in the choice (0; 0.1 for diversity_weighted)"
    )
    max_total_params: float | None = setting(None, "most parameters of the members together")
    max_total_flops: float | None = setting(None, "most FLOPs of the members together for one image")
    max_latency_ms: float | None = setting(
        None, "most milliseconds of the members one after the other for one image, by one thread of this machine"
    )
    known_results: str | None = setting(
        None,
        "CSV or JSON file of known results by architecture, to hold the supernet's ranking and ours against",
        metavar="FILE",
    )
    calibration: str = setting(
        "ensemble", "temperatures, fitted on validation data: ensemble (one on the average), members (one each), none"
    )
    ood: str = setting(
        "auto",
        "images from elsewhere for the report: digits, fashion_mnist, noise, paths of .npz files with x_test, commas "
        "between them; auto: noise, and fashion_mnist for digits or digits for fashion_mnist if on disk; none",
    )
    stress_images: int = setting(256, "test images to corrupt and to hold against those from elsewhere; 0 for none")
    threads: int = setting(
        1, "threads of torch in the search and in each trial (more help large networks, and stall on busy cores)"
    )
    seed: int = setting(0, "seed of everything that is drawn")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "config") -> RunConfig:
        """Settings from a mapping.

        Raises:
            InputError: Unknown key (with the nearest name), or a value of the wrong type.
        """
        known = {entry.name: entry for entry in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                raise InputError(
                    f"{source}: {name}", repr(value), f"a known setting{f'; nearest: {near[0]}' if near else ''}"
                )
        return cls(**{name: coerce(known[name], value) for name, value in values.items()})

    @classmethod
    def read(cls, path: str | Path) -> dict[str, Any]:
        """Settings in a YAML file, as a mapping that is not checked yet.

        Raises:
            InputError: The file is missing, or no mapping.
        """
        content = read_yaml(path)
        # a run folder's own file also says with which versions and command it was made
        return {name: value for name, value in content.items() if name not in ("versions", "command")}

    def check(self) -> None:
        """Everything that can be said without opening data or building the space."""
        at_least = {"members": 1, "candidates": 1, "search_epochs": 2, "epochs": 1, "batch_size": 1, "seed": 0}
        at_least |= {"threads": 1, "beam_width": 1, "stress_images": 0, "adaptive": 0}
        for name, least in at_least.items():
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise InputError(name, getattr(self, name), f"a whole number of at least {least}")
        if self.members > self.candidates:
            raise InputError(
                "members", f"{self.members} of {self.candidates} candidates", "at most as many members as candidates"
            )
        if self.budget is not None and self.budget < self.candidates:
            raise InputError(
                "budget", f"{self.budget} epochs", f"at least one epoch for each of {self.candidates} candidates"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise InputError("learning_rate", self.learning_rate, "a number above 0")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError("weight_decay", self.weight_decay, "a number of at least 0")
        check_limits(self.max_params, self.max_flops, (1, 1, 1))
        if self.paths != "all" and not (self.paths.isdecimal() and int(self.paths) >= 1):
            raise InputError("paths", repr(self.paths), "a whole number of at least 1, or all")
        if self.supernet is not None and not Path(self.supernet).is_file():
            raise InputError("supernet", self.supernet, "a safetensors file written by a search")
        one_of("diversity", self.diversity, DIVERSITIES)
        one_of("ranking", self.ranking, RANKINGS)
        self._check_selection()
        self.total_limits()
        one_of("calibration", self.calibration, CALIBRATIONS)
        ood_names(self.ood, self.data)
        self.schedule_epochs()

    def _check_selection(self) -> None:
        one_of("selection", self.selection, METHODS)
        one_of("objective", self.objective, OBJECTIVES)
        if self.selection == "exhaustive":
            check_combinations(self.candidates, (self.members,), "members")
        if self.selection_steps is not None:
            if self.selection != "greedy_with_replacement":
                raise InputError(
                    "selection_steps", self.selection_steps, "no such setting, or selection greedy_with_replacement"
                )
            if self.selection_steps < 1:
                raise InputError("selection_steps", self.selection_steps, "a whole number of at least 1")
        if self.diversity_weight is not None:
            if self.selection == "top_k":
                raise InputError("diversity_weight", self.diversity_weight, "no such setting, or another selection")
            if not 0 <= self.diversity_weight < float("inf"):
                raise InputError("diversity_weight", self.diversity_weight, "a number of at least 0")

    def selection_options(self) -> dict[str, Any]:
        """More arguments of :func:`nni_hypens.selection.select`."""
        options: dict[str, Any] = {"objective": self.objective}
        if self.selection == "beam":
            options["width"] = self.beam_width
        if self.selection == "greedy_with_replacement":
            options |= {"size": self.selection_steps or self.members, "max_members": self.members}
        if self.diversity_weight is not None:
            options["diversity_weight"] = self.diversity_weight
        return options

    def total_limits(self) -> dict[str, float]:
        """The limits on the ensemble that are set, checked."""
        return check_total_limits({name: getattr(self, name) for name in LIMITS})

    def schedule_epochs(self) -> None:
        """Check the epochs of the search's phases, by the rule of the search itself."""
        from nni_hypens.search.schedule import Schedule

        Schedule.plan(self.search_epochs, self.warmup_epochs, self.base_epochs, self.base is not None)

    @property
    def epochs_each(self) -> int:
        """Training epochs of one candidate."""
        return self.epochs if self.budget is None else self.budget // self.candidates

    def lam_range(self, n_edges: int) -> tuple[float, float]:
        """Range of lam for candidates.

        Raises:
            InputError: Outside 0..n_edges, or reversed.
        """
        low = n_edges / 4 if self.lam_low is None else self.lam_low
        high = float(n_edges) if self.lam_high is None else self.lam_high
        for name, value in (("lam_low", low), ("lam_high", high)):
            if not 0 <= value <= n_edges:
                raise InputError(name, value, f"a number in 0..{n_edges}, the edges of this space")
        if low > high:
            raise InputError("lam_low", f"{low:g}, above lam_high={high:g}", "the low end of the range first")
        return low, high

    def build_space(self, in_channels: int, num_classes: int) -> ModelSpace:
        """The model space, with the data's channels and classes where it takes them.

        Raises:
            InputError: Unknown space, or arguments it does not take.
        """
        hub = {} if ":" in self.space or self.space in SPACES else hub_spaces()
        factory = find_object("space", self.space, {**SPACES, **hub})
        if not callable(factory):
            raise InputError("space", f"{self.space}, a {type(factory).__name__}", "an nni.nas.nn.pytorch.ModelSpace")
        accepted = parameter_names(factory)
        sizes = (("in_channels", in_channels), ("num_classes", num_classes), ("num_labels", num_classes))
        arguments = {name: value for name, value in sizes if name in accepted}
        unknown = [name for name in self.space_args if name not in accepted]
        if unknown:
            near = difflib.get_close_matches(unknown[0], accepted, n=1)
            raise InputError(
                f"space_args.{unknown[0]}",
                repr(self.space_args[unknown[0]]),
                f"an argument of {self.space}: {', '.join(accepted)}{f'; nearest: {near[0]}' if near else ''}",
            )
        try:
            space = factory(**{**arguments, **self.space_args})
        except InputError as error:
            raise InputError(f"space_args.{error.field}", error.got, error.expected) from None
        except Exception as error:  # a space of the user's may raise anything
            field, got = ("space_args", str(self.space_args)) if self.space_args else ("space", self.space)
            raised = f"{type(error).__name__}: {error!s:.200}"
            raise InputError(field, got, f"a space, and arguments that it takes ({raised})") from None
        if not isinstance(space, ModelSpace):
            raise InputError("space", f"{self.space}, a {type(space).__name__}", "an nni.nas.nn.pytorch.ModelSpace")
        return space

    def strategy_arguments(self, input_shape: tuple[int, int, int]) -> dict[str, Any]:
        """What the settings say of the search, as arguments of :class:`nni_hypens.search.EdgeNES`."""
        limited = self.max_flops is not None
        return {
            "warmup_epochs": self.warmup_epochs,
            "base_epochs": self.base_epochs,
            "supernet": self.supernet,
            "paths": self.paths if self.paths == "all" else int(self.paths),
            "max_params": self.max_params,
            "max_flops": self.max_flops,
            "input_shape": input_shape if limited else None,
        }

    def build_diversity(self) -> Diversity:
        """The regulariser."""
        return DIVERSITIES[self.diversity]()

    def to_mapping(self) -> dict[str, Any]:
        """All settings as plain data."""
        return dataclasses.asdict(self)


def coerce(entry: dataclasses.Field[Any], value: Any) -> Any:
    """A value of the type that a field of :class:`RunConfig` declares; text is parsed, nothing is rounded.

    Raises:
        InputError: It cannot be one.
    """
    kind = str(entry.type)
    if value is None or (isinstance(value, str) and value.lower() == "none" and "None" in kind):
        if "None" in kind:
            return None
        raise InputError(entry.name, "nothing", entry.metadata["help"])
    if kind.startswith("bool"):
        if not isinstance(value, bool):
            raise InputError(entry.name, repr(value), "true or false")
        return value
    if kind.startswith("dict"):
        if not isinstance(value, Mapping):
            raise InputError(entry.name, repr(value), "a mapping")
        return dict(value)
    if kind.startswith("str"):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    kinds = {"int": int, "float": float}
    want = kinds[kind.split(" ")[0]]
    name = "a whole number" if want is int else "a number"
    try:
        if isinstance(value, bool) or (want is int and isinstance(value, float) and value != int(value)):
            raise ValueError
        number = want(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(entry.name, repr(value), f"{name}: {entry.metadata['help']}") from None
    if want is float and number != number:
        raise InputError(entry.name, "NaN", f"{name}: {entry.metadata['help']}")
    # counts and shares are written alike: 300 images, or 0.2 of them
    whole = entry.name == "validation_size" and number >= 1 and number == int(number)
    return int(number) if whole else number
