"""The plan of a run: settings resolved once against data and space, and checked before any long work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.data.attributes import check_attributes
from nni_hypens.data.checks import check_data
from nni_hypens.data.module import ImageData
from nni_hypens.data.ood import check_ood
from nni_hypens.data.protocols import LabelledData
from nni_hypens.ensemble.folder import check_input_spec
from nni_hypens.errors import InputError
from nni_hypens.run.dry_run import try_space
from nni_hypens.run.enough import check_enough
from nni_hypens.run.settings import FILES, Settings
from nni_hypens.run.updates import Updates, count_updates
from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.search.names import DIVERSITY_NAMES
from nni_hypens.search.regularizers import Diversity
from nni_hypens.search.shared_edges import SharedEdges
from nni_hypens.search.strategy import EdgeNES
from nni_hypens.search.trainer import check_search_evaluator
from nni_hypens.selection.dispatch import check_options, try_options
from nni_hypens.selection.names import ALL
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import build_named_space, fresh
from nni_hypens.space.choices import load_sample
from nni_hypens.space.cost import Budget, budget_for
from nni_hypens.space.known_results import KnownResults
from nni_hypens.trials.evaluators import image_evaluator
from nni_hypens.utils.checks import check_class_names
from nni_hypens.utils.inputs import input_shape, is_image
from nni_hypens.utils.seeds import SEED_SCHEME

DIVERSITIES: dict[str, Callable[[], Diversity]] = dict(zip(DIVERSITY_NAMES, (SharedEdges, JensenShannon), strict=True))
"""Regularisers by the names that settings use."""


@dataclass(frozen=True)
class RunObjects:
    """What a run works on: built from settings by `build_objects`, or given by the user of `search_ensemble`.

    Args:
        space: The model space; never changed.
        evaluator: Trains one candidate, in a trial.
        search_evaluator: Trains the supernet; its epochs are the epochs of the search.
        data: Data module of both, traced by NNI; see `nni_hypens.data.ImageData` for what it must have.
        base: The base architecture, or None for that of the settings.
        diversity: The regulariser, or None for that of the settings.
        selection_options: Options of `nni_hypens.selection.select`, or None for those of the settings.
        strategy: More arguments of `nni_hypens.search.EdgeNES`.
        train_space: The space whose networks are trained, with the same choices; None for `space`.
    """

    space: ModelSpace
    evaluator: Evaluator
    search_evaluator: Lightning
    data: LabelledData
    base: Sample | None = None
    diversity: Diversity | None = None
    selection_options: Mapping[str, Any] | None = None
    strategy: Mapping[str, Any] = field(default_factory=dict)
    train_space: ModelSpace | None = None


@dataclass(frozen=True)
class Plan:
    """What a run does. `make_plan` makes it: every value is resolved and checked, and none changes afterwards.

    Args:
        settings: The settings; what is resolved below is read from the plan instead.
        space: The model space that is searched; never changed.
        train_space: The space whose networks are trained: the same, or one with the same choices and other sizes.
        evaluator: Trains one candidate, in a trial.
        search_evaluator: Trains the supernet; its epochs are the epochs of the search.
        data: Data module of both, traced by NNI.
        identity: The settings as plain data; kept in `config.yaml`. Two runs with the same settings and the same
            fingerprint have the same result.
        fingerprint: What else determines the result: the checksum of the data and the version of the seeds.
        lam_range: Lowest and highest lam requested from candidates, in shared edges.
        ranking: How candidates are chosen before any is trained, a name of `nni_hypens.proposals.names.RANKINGS`.
        adaptive: How many of the candidates are chosen during training; the others are drawn before it.
        selection_options: Options of `nni_hypens.selection.select`; `size` if it is not the number of members.
        limits: Limits on the ensemble that are set, by the names of `nni_hypens.selection.names.LIMITS`.
        base: The base architecture; None to search it, or if the search is done.
        diversity: The regulariser.
        strategy: More arguments of `nni_hypens.search.EdgeNES`.
        known: The table of known results, or None if there is none or nothing more is to be looked up.
        updates: How many updates a candidate gets, or None if that is not known.
        command: How to repeat the run.
    """

    settings: Settings
    space: ModelSpace
    train_space: ModelSpace
    evaluator: Evaluator
    search_evaluator: Lightning
    data: LabelledData
    identity: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    lam_range: tuple[float, float]
    ranking: str
    adaptive: int
    selection_options: Mapping[str, Any]
    limits: Mapping[str, float]
    base: Sample | None
    diversity: Diversity
    strategy: Mapping[str, Any]
    known: KnownResults | None = None
    updates: Updates | None = None
    command: str = ""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: channels, height and width of an image, or another."""
        return input_shape(self.data.input_spec)

    def budget(self) -> Budget | None:
        """The limits that sampled architectures keep, or None."""
        limits = {name: self.strategy.get(name) for name in ("max_params", "max_flops", "input_shape")}
        return budget_for(fresh(self.space), **limits)


def make_plan(
    settings: Settings,
    objects: RunObjects | None = None,
    *,
    identity: Mapping[str, Any] | None = None,
    command: str = "",
    split_seed: int = 0,
    needed: Collection[str] = FILES,
) -> Plan:
    """Resolve settings against data and space, and find what is wrong before any long work.

    `run`, `compare` and `search_ensemble` all get their plans here.

    Args:
        settings: The settings.
        objects: What the run works on; None to build it from the settings.
        identity: What `config.yaml` keeps; None for the settings.
        command: How to repeat the run.
        split_seed: Seed of the split into training and validation images, if the data are built from the settings.
        needed: Settings whose files are still to be read, see `nni_hypens.run.files_needed`; the others may be gone.

    Raises:
        InputError: Naming the setting.
    """
    if objects is None:
        settings.check(needed=needed)
        objects = build_objects(settings, split_seed)
    else:
        settings.check(None if objects.base is None else True, "max_epochs", needed)
        if objects.train_space is not None:
            settings.check_train_space("train_space")
    options = _selection_options(settings, objects.selection_options)
    if "ood" in needed:
        check_ood(settings.ood, getattr(objects.data, "source", None))
    structure = EdgeStructure.from_space(objects.space)
    _check_described(settings, objects.data)
    plan = Plan(
        settings=settings,
        space=objects.space,
        train_space=objects.train_space or objects.space,
        evaluator=objects.evaluator,
        search_evaluator=objects.search_evaluator,
        data=objects.data,
        identity=settings.to_mapping() if identity is None else identity,
        fingerprint={"seed_scheme": SEED_SCHEME, "data_checksum": check_data(objects.data)},
        lam_range=resolve_lam_range(settings, structure.n_edges),
        ranking=settings.resolved_ranking,
        adaptive=settings.adaptive_count,
        selection_options=options,
        limits=settings.total_limits,
        base=_resolve_base(settings, objects.base, structure, needed),
        diversity=objects.diversity or DIVERSITIES[settings.diversity](),
        strategy={**_strategy_arguments(settings, input_shape(objects.data.input_spec)), **objects.strategy},
        known=read_known_results(settings, objects.space) if "known_results" in needed else None,
        updates=count_updates(objects.data, objects.evaluator),
        command=command,
    )
    check_enough(settings, structure, plan.lam_range[0], plan.ranking, plan.adaptive, plan.diversity.counts_edges)
    about = (plan.input_shape, plan.data.num_classes, plan.updates)
    try_space("space", plan.space, structure, *about)
    if plan.train_space is not plan.space:
        try_space("train_space", plan.train_space, structure, *about)
    if "supernet" in needed:
        strategy = EdgeNES(base=plan.base, diversity=plan.diversity, seed=settings.seed, **plan.strategy)
        with torch.random.fork_rng(devices=[]):
            strategy.mutate_model(fresh(plan.space))  # what no supernet can hold, and weights that do not fit
    check_search_evaluator(plan.search_evaluator)
    for name in ("evaluator", "search_evaluator"):
        _check_same_split(name, getattr(getattr(plan, name), "datamodule", None), plan.data)
    return plan


def _selection_options(settings: Settings, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of the selection: those given in Python, which are tried, or those of the settings."""
    options = dict(settings.selection_options() if given is None else given)
    check_options(settings.selection, options)
    if given is not None and settings.members != ALL:
        try_options(settings.selection, options, int(settings.members), settings.candidates, "selection_options")
    return options


def _check_described(settings: Settings, data: Any) -> None:
    """Check what the data say about themselves."""
    if hasattr(data, "check"):
        data.check()
    check_attributes(data)
    check_class_names(data.class_names, "data.class_names", data.num_classes)
    check_input_spec(data.input_spec)
    if settings.ood not in ("auto", "none") and not is_image(data.input_spec):
        expected = "auto or none: images are compared with other images only"
        raise InputError("ood", f"{settings.ood!r} for data that are no images", expected)


def _check_same_split(name: str, trains_on: Any, data: LabelledData) -> None:
    """Check that an evaluator does not train on validation images of the run, if it has the same images in its data."""
    if not (isinstance(trains_on, ImageData) and isinstance(data, ImageData)) or trains_on is data:
        return
    same = trains_on.checksum() == data.checksum()
    if same and not np.array_equal(trains_on.labels("validation"), data.labels("validation")):
        expected = "the validation_size and split_seed of `data`, or it trains on images that choose the members"
        raise InputError(f"{name}.datamodule", "the same images in another split", expected)


def build_objects(settings: Settings, split_seed: int = 0) -> RunObjects:
    """Data, space and evaluators of settings.

    Args:
        settings: The settings.
        split_seed: Seed of the split into training and validation images.

    Raises:
        InputError: Naming the setting.
    """
    data = ImageData(
        settings.data,
        root=settings.root,
        image_size=settings.image_size,
        train_size=settings.train_size,
        validation_size=settings.validation_size,
        test_size=settings.test_size,
        batch_size=settings.batch_size,
        augment=settings.augment,
        split_seed=split_seed,
    )
    name, sizes = settings.space, (input_shape(data.input_spec), data.num_classes)
    space = build_named_space(name, settings.space_args, *sizes)
    train_space = None
    if settings.train_space_args:
        arguments = {**settings.space_args, **settings.train_space_args}
        train_space = build_named_space(name, arguments, *sizes, setting="train_space_args")
    evaluators = candidate_evaluator(settings, data, settings.epochs_each), search_evaluator(settings, data)
    return RunObjects(space, *evaluators, data, train_space=train_space)


def candidate_evaluator(settings: Settings, data: LabelledData, epochs: int) -> Lightning:
    """The evaluator that trains a candidate for so many epochs, as the settings say."""
    return _evaluator(
        settings,
        data,
        epochs,
        schedule=settings.schedule,
        label_smoothing=settings.label_smoothing,
        mixup=settings.mixup,
        auxiliary_weight=settings.auxiliary_weight,
        early_stopping=settings.early_stopping,
        **({"compiler": "inductor"} if settings.compile else {}),
    )


def search_evaluator(settings: Settings, data: LabelledData, epochs: int | None = None) -> Lightning:
    """The evaluator that trains a supernet, without the regularisation that is meant for candidates.

    Args:
        settings: Learning rate, weight decay, accelerator and precision.
        data: Data module.
        epochs: Epochs; None for those of the settings.
    """
    return _evaluator(settings, data, settings.search_epochs if epochs is None else epochs)


def _evaluator(settings: Settings, data: LabelledData, epochs: int, **options: Any) -> Lightning:
    module: Any = data
    evaluator: Lightning = image_evaluator(
        module,
        data.num_classes,
        epochs,
        settings.learning_rate,
        settings.weight_decay,
        accelerator=settings.accelerator,
        precision=settings.precision,
        **options,
    )
    return evaluator


def resolve_lam_range(settings: Settings, n_edges: int) -> tuple[float, float]:
    """Lowest and highest lam of candidates, in shared edges; by default the upper three quarters of the dial.

    Raises:
        InputError: Outside 0..n_edges, or reversed.
    """
    low = n_edges / 4 if settings.lam_low is None else settings.lam_low
    high = float(n_edges) if settings.lam_high is None else settings.lam_high
    for name, value in (("lam_low", low), ("lam_high", high)):
        if not 0 <= value <= n_edges:
            raise InputError(name, value, f"a number in 0..{n_edges}, the edges of this space")
    if low > high:  # one of them is a default
        raise InputError("lam_low", f"{low:g}, above lam_high={high:g}", "at most lam_high")
    return low, high


def read_known_results(settings: Settings, space: ModelSpace) -> KnownResults | None:
    """The table of known results that settings name, or None.

    Raises:
        InputError: It cannot be read, or is not of this space.
    """
    return None if settings.known_results is None else KnownResults.read(settings.known_results, space)


def _resolve_base(
    settings: Settings, given: Sample | None, structure: EdgeStructure, needed: Collection[str]
) -> Sample | None:
    if given is not None:
        return structure.table.validate(given)
    return None if settings.base is None or "base" not in needed else load_sample(Path(settings.base), structure.table)


def _strategy_arguments(settings: Settings, shape: tuple[int, ...]) -> dict[str, Any]:
    """The settings of the search, as arguments of `EdgeNES`."""
    return {
        "warmup_epochs": settings.warmup_epochs,
        "base_epochs": settings.base_epochs,
        "supernet": settings.supernet,
        "paths": settings.paths if settings.paths == "all" else int(settings.paths),
        "max_params": settings.max_params,
        "max_flops": settings.max_flops,
        "input_shape": shape if settings.max_flops is not None else None,
    }
