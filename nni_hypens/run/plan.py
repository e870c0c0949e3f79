"""What a run does: space, evaluators, data and settings, checked before any long work."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.data.module import ImageData, LabelledData
from nni_hypens.data.ood import check_ood
from nni_hypens.ensemble.calibration import CALIBRATIONS
from nni_hypens.errors import InputError
from nni_hypens.proposals.ranking import RANKINGS
from nni_hypens.run.settings import RunConfig
from nni_hypens.search.regularizers import Diversity
from nni_hypens.search.strategy import EdgeNES
from nni_hypens.selection.costs import check_total_limits
from nni_hypens.selection.methods import check_options
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network, fresh
from nni_hypens.space.choices import load_sample
from nni_hypens.space.cost import Budget, budget_for
from nni_hypens.space.draws import ChoiceLayout, draw_paths
from nni_hypens.space.known_results import KnownResults
from nni_hypens.trials.evaluators import image_evaluator
from nni_hypens.trials.halving import epochs_of

MAX_SEED = 2**32 - 1
"""The largest that numpy takes."""


MIN_DRAWN = 2
"""Candidates that adaptive training needs to learn from."""
START = 3
"""Candidates that it begins with unless told otherwise."""


@dataclass
class Plan:
    """What a run does.

    Args:
        space: The model space; never changed.
        evaluator: Trains one candidate, in a trial.
        search_evaluator: Trains the supernet; its epochs are the epochs of the search.
        data: Data module of both, wrapped by ``nni.trace``: see :class:`nni_hypens.data.ImageData` for what is asked
            of it.
        identity: Plain data that two runs share exactly when they have the same result; kept in ``config.yaml``.
        members: Members of the ensemble.
        candidates: Architectures to train.
        lam_range: Range of lam for candidates; None for the upper three quarters of the dial.
        selection: A method of :func:`nni_hypens.selection.select`.
        base: The base, a JSON path, or None to search it.
        diversity: The regulariser.
        strategy: More arguments of :class:`nni_hypens.search.EdgeNES`.
        seed: Seed of everything.
        command: How to repeat the run.
        warm_start: Whether candidates begin with the weights of their path in the supernet.
        selection_options: Other arguments of ``select``; ``size`` where it is not ``members``.
        calibration: ``ensemble``, ``members`` or ``none``.
        ood: Images from elsewhere, as for :func:`nni_hypens.data.ood.ood_names`.
        stress_images: Most test images to corrupt and to hold against images from elsewhere; 0 for none.
        threads: Threads of torch in the search and in each trial; the last digits of results depend on it.
        ranking: How what is trained is chosen on the supernet, one of :data:`nni_hypens.proposals.ranking.RANKINGS`.
        halving: Whether the worse half of the candidates is stopped at each rung: see :mod:`nni_hypens.trials.halving`.
        adaptive: How many of the candidates are decided on while others are trained: see
            :mod:`nni_hypens.proposals.adaptive`; the others are drawn beforehand. None for all but :data:`START`, and
            for none of them where something else says which are trained, or must know all beforehand: halving, a
            warm start, limits on the ensemble, a range of lam, or a ranking but ``promising``.
        limits: Limits on the ensemble, by the names of :data:`nni_hypens.selection.costs.LIMITS`; None for no limit.
        known_results: A table of known results, as for :class:`nni_hypens.space.known_results.KnownResults`, or None.
    """

    space: ModelSpace
    evaluator: Evaluator
    search_evaluator: Lightning
    data: LabelledData
    identity: dict[str, Any]
    members: int = 3
    candidates: int = 8
    lam_range: tuple[float, float] | None = None
    selection: str = "exhaustive"
    base: Sample | str | Path | None = None
    diversity: Diversity | None = None
    strategy: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    command: str = ""
    warm_start: bool = False
    selection_options: dict[str, Any] = field(default_factory=dict)
    calibration: str = "ensemble"
    ood: str = "auto"
    stress_images: int = 256
    threads: int = 1
    ranking: str = "auto"
    halving: bool = False
    adaptive: int | None = None
    limits: dict[str, float] = field(default_factory=dict)
    known_results: str | Path | None = None

    def __post_init__(self) -> None:
        if self.adaptive is None:
            told = self.ranking not in ("auto", "promising") or self.lam_range is not None
            drawn = told or self.halving or self.warm_start or any(self.limits.values())
            self.adaptive = 0 if drawn else max(self.candidates - START, 0)

    @property
    def ranked_by(self) -> str:
        """The ranking, ``auto`` resolved: adaptive training should begin with good ones, wherever on the dial."""
        if self.ranking != "auto":
            return self.ranking
        # under a limit on the ensemble small ones are needed as well, and the base is among those of the other ranking
        return "promising" if self.decided_later and not any(self.limits.values()) else "spread"

    @property
    def decided_later(self) -> int:
        """How many candidates adaptive training decides on."""
        return 0 if self.adaptive is None else self.adaptive

    @cached_property
    def known(self) -> KnownResults | None:
        """The table of known results, where there is one.

        Raises:
            InputError: Its file or a row is wrong.
        """
        return None if self.known_results is None else KnownResults.read(self.known_results, self.space)

    def check(self) -> None:
        """Find what is wrong before any long work.

        Raises:
            InputError: Naming the field.
        """
        if self.members > self.candidates:
            raise InputError(
                "members", f"{self.members} of {self.candidates} candidates", "at most as many members as candidates"
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError("seed", self.seed, f"a whole number in 0..{MAX_SEED}")
        check_options(self.selection, self.selection_options)
        if self.calibration not in CALIBRATIONS:
            raise InputError("calibration", repr(self.calibration), f"one of {', '.join(CALIBRATIONS)}")
        if self.ranking not in RANKINGS:
            raise InputError("ranking", repr(self.ranking), f"one of {', '.join(RANKINGS)}")
        self.limits = check_total_limits(self.limits)
        check_adaptive(self.decided_later, self.candidates, self.halving, self.warm_start)
        if self.halving:
            epochs_of(self.evaluator, self.members, self.candidates)
        if self.stress_images < 0:
            raise InputError("stress_images", self.stress_images, "a whole number of at least 0")
        check_ood(self.ood, getattr(self.data, "source", None))
        structure = EdgeStructure.from_space(self.space)
        if isinstance(self.base, str | Path):
            self.base = load_sample(self.base, structure.table)
        elif self.base is not None:
            self.base = structure.table.validate(self.base)
        low, high = self.lam_range or (structure.n_edges / 4, float(structure.n_edges))
        for name, value in (("lam_low", low), ("lam_high", high)):
            if not 0 <= value <= structure.n_edges:
                raise InputError(name, value, f"a number in 0..{structure.n_edges}, the edges of this space")
        if low > high:
            raise InputError("lam_low", f"{low:g}, above lam_high={high:g}", "the low end of the range first")
        self.lam_range = (low, high)
        _ = self.known
        if hasattr(self.data, "check"):
            self.data.check()
        self._try_space(structure)
        if self.strategy.get("supernet") is not None:  # whether the weights are of this space
            EdgeNES(supernet=self.strategy["supernet"]).mutate_model(fresh(self.space))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        spec = self.data.input_spec
        return spec["channels"], spec["height"], spec["width"]

    def budget(self) -> Budget | None:
        """The limits that sampled architectures keep, or None."""
        limits = {name: self.strategy.get(name) for name in ("max_params", "max_flops", "input_shape")}
        return budget_for(fresh(self.space), **limits)

    def _try_space(self, structure: EdgeStructure) -> None:
        """Run one architecture on two blank images: data and space must fit."""
        classes = self.data.num_classes
        layout = ChoiceLayout(structure.table)
        draw = draw_paths(torch.zeros(layout.n_labels, layout.n_options), layout, 1.0, noise=False)
        network = fixed_network(self.space, structure.table.to_sample(draw.chosen.tolist())).eval()
        shape = (2, *self.image_shape)
        try:
            with torch.no_grad():
                output = network(torch.zeros(shape))
        except (RuntimeError, ValueError) as error:
            raise InputError(
                "space",
                f"{type(self.space).__name__} on images of shape {shape[1:]}",
                f"a space that takes them ({str(error).splitlines()[0]})",
            ) from None
        if tuple(output.shape) != (2, classes):
            raise InputError(
                "space",
                f"outputs of shape {tuple(output.shape[1:])}",
                f"({classes},), a logit for each class of the data",
            )


def check_adaptive(adaptive: int, candidates: int, halving: bool, warm_start: bool) -> None:
    """Whether so many candidates can be decided on while others are trained.

    Raises:
        InputError: Too many; or settings that need to know all candidates beforehand.
    """
    if not 0 <= adaptive <= max(candidates - MIN_DRAWN, 0):
        raise InputError("adaptive", adaptive, f"0 to {max(candidates - MIN_DRAWN, 0)} of {candidates} candidates")
    for name, value in (("halving", halving), ("warm_start", warm_start)):
        if adaptive and value:
            raise InputError("adaptive", adaptive, f"0 with {name}, which needs to know all candidates beforehand")


def plan_of(config: RunConfig, command: str = "", split_seed: int = 0) -> Plan:
    """The plan of settings: data, space and evaluators are built, nothing long is done.

    Args:
        config: The settings.
        command: How to repeat the run.
        split_seed: Seed of the split into training and validation images.

    Raises:
        InputError: Naming the setting.
    """
    data = ImageData(
        config.data,
        root=config.root,
        train_size=config.train_size,
        validation_size=config.validation_size,
        test_size=config.test_size,
        batch_size=config.batch_size,
        augment=config.augment,
        split_seed=split_seed,
    )
    space = config.build_space(data.input_spec["channels"], data.num_classes)

    def evaluator(epochs: int) -> Any:
        return image_evaluator(data, data.num_classes, epochs, config.learning_rate, config.weight_decay)

    limits = None
    if config.lam_low is not None or config.lam_high is not None:
        limits = config.lam_range(EdgeStructure.from_space(space).n_edges)
    return Plan(
        space,
        evaluator(config.epochs_each),
        evaluator(config.search_epochs),
        data,
        config.to_mapping(),
        members=config.members,
        candidates=config.candidates,
        lam_range=limits,
        selection=config.selection,
        selection_options=config.selection_options(),
        base=config.base,
        diversity=config.build_diversity(),
        seed=config.seed,
        warm_start=config.warm_start,
        threads=config.threads,
        strategy=config.strategy_arguments(tuple(data.input_spec[name] for name in ("channels", "height", "width"))),
        command=command,
        calibration=config.calibration,
        ood=config.ood,
        stress_images=config.stress_images,
        ranking=config.ranking,
        halving=config.halving,
        adaptive=config.adaptive,
        limits=config.total_limits(),
        known_results=config.known_results,
    )
