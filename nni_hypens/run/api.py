"""A whole run in one call from Python."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni.experiment.config.training_service import TrainingServiceConfig
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.nn.pytorch import ModelSpace
from pytorch_lightning import LightningDataModule

from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.data.described import described
from nni_hypens.data.protocols import LabelledData
from nni_hypens.errors import InputError
from nni_hypens.run.files_needed import files_needed
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.identity import as_written, described_object, described_part
from nni_hypens.run.pipeline import Run
from nni_hypens.run.plan import RunObjects, make_plan
from nni_hypens.run.result import EnsembleResult
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings
from nni_hypens.search.regularizers import Diversity
from nni_hypens.search.settings import SearchKeywords
from nni_hypens.search.strategy import EdgeNES
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import describe_space
from nni_hypens.space.choices import load_sample
from nni_hypens.utils.checks import nearest

SETTING_FIELDS = {entry.name: entry for entry in dataclasses.fields(Settings) if entry.metadata["carried_by"] is None}
"""Settings that `search_ensemble` takes; the others are decided by its data, space and evaluators."""
RUNTIME_FIELDS = {
    entry.name: entry for entry in dataclasses.fields(Runtime) if entry.name not in ("service", "live", "logger")
}
"""Options without effect on results that `search_ensemble` takes; its `training_service` is an object."""
STRATEGY_NAMES = tuple(
    name
    for name in (*inspect.signature(EdgeNES.__init__).parameters, *SearchKeywords.__annotations__)
    if name not in ("self", "settings", "base", "diversity", "seed", *SETTING_FIELDS)
)
"""Arguments of `EdgeNES` that are not settings of a run."""
API_DEFAULTS = {"concurrency": 1}
"""Defaults in Python that differ from those of the command line."""


def search_ensemble(
    space: ModelSpace,
    evaluator: Evaluator,
    data: LabelledData | LightningDataModule | Mapping[str, Any],
    out: str | Path,
    *,
    search_evaluator: Lightning | None = None,
    base: Sample | str | Path | None = None,
    diversity: Diversity | str | None = None,
    lam_range: tuple[float, float] | None = None,
    selection_options: Mapping[str, Any] | None = None,
    training_service: TrainingServiceConfig | None = None,
    train_space: ModelSpace | None = None,
    settings: Settings | None = None,
    **keywords: Any,
) -> EnsembleResult:
    """Search, train candidates as NNI trials, choose members, calibrate, evaluate and report, in one call.

    The same call again, with the same folder, continues an interrupted run where it stopped, also in another process.
    For a finished run, it returns the results at once.

    Args:
        space: A model space.
        evaluator: Trains one candidate in an NNI trial.
        data: Labelled validation and test data, and the training data of the evaluators: `nni_hypens.ImageData`, any
            Lightning data module, or a mapping with loaders under `train`, `validation` and `test`. Labels, number of
            classes and shape are read from the loaders if the data do not say them
            (`nni_hypens.data.DescribedData`). NNI trials need data and evaluators traced by `nni.trace`;
            `runner="local"` takes all that can be pickled.
        out: The run folder.
        search_evaluator: Trains the supernet; its epochs are those of the search. None for `evaluator`.
        base: The base architecture: an NNI sample, a JSON file, or None to search it first.
        diversity: The regulariser or its name; None for `SharedEdges()`. The run uses a copy of a regulariser.
        lam_range: Lowest and highest lam of candidates, in shared edges: `lam_low` and `lam_high` together.
        selection_options: Options of the selection method as `nni_hypens.selection.select` takes them, such as
            `{"objective": my_function}`, instead of the settings `objective`, `selection_steps`, `beam_width` and
            `diversity_weight`.
        training_service: Where trials run: one of NNI's config objects such as `RemoteConfig`; None for this machine.
            A run may continue with another one. On machines reached by ssh, adaptive training goes on with no network,
            so it may choose other candidates there.
        train_space: The space whose networks are trained, if it is not `space`: the same choices in other sizes, so
            that the search is small and the networks are large.
        settings: How to search, train and choose; what is not set keeps its default. `help(nni_hypens.Settings)` lists
            the settings. Those that `data`, `space` and the evaluators decide cannot be set.
        **keywords: Single settings by name, such as `members=5`, which override `settings`; the options
            `runner`, `port`, `concurrency` (1 by default), `per_trial`, `devices` and `quiet`, which are those of the
            command line and do not change results; and further arguments of `nni_hypens.EdgeNES` such as `pivots`.

    Returns:
        The result: metrics as data frames, and the ensemble.

    Raises:
        InputError: Bad input, before any long work. For an unknown keyword it suggests the nearest name.
    """
    quiet_training()
    quiet_logging()
    known: LabelledData = described(data)
    searching = search_evaluator or evaluator
    if not isinstance(searching, Lightning):
        raise InputError(
            "search_evaluator", type(searching).__name__, "an nni.nas.evaluator.pytorch.Lightning evaluator"
        )
    given = sort_keywords(keywords)
    settings_given = _set_in(settings) | given.settings
    settings_given |= _lam_settings(lam_range, settings_given)
    if selection_options is not None:
        for name in ("objective", "selection_steps", "beam_width", "diversity_weight"):
            if name in settings_given:
                raise InputError(name, repr(settings_given[name]), "either this or selection_options")
    base = settings_given.pop("base", None) if base is None else base
    if isinstance(diversity, str):
        settings_given["diversity"] = diversity
    resolved = Settings.from_mapping({**settings_given, **_carried(searching, known)}, source="search_ensemble")
    structure = EdgeStructure.from_space(space)
    folder = RunFolder(out)
    if isinstance(base, str | Path):
        kept = folder.done("search") and not Path(base).exists()  # the search has written the same architecture
        base_sample: Sample | None = load_sample(folder.search.base if kept else base, structure.table)
    else:
        base_sample = base
    objects = RunObjects(
        space,
        evaluator,
        searching,
        known,
        base_sample,
        None if isinstance(diversity, str) else _own_copy(diversity),
        selection_options,
        given.strategy,
        train_space,
    )
    identity = _identity(objects, resolved, base)
    folder.check(identity)
    folder.take_up_choice()
    if folder.finished:
        return EnsembleResult(folder.out, folder.read_results(), type(train_space or space))
    command, needed = f"search_ensemble(..., out={str(out)!r})", files_needed(resolved, folder)
    plan = make_plan(resolved, objects, identity=identity, command=command, needed=needed)
    run = Run(plan, out, Runtime.from_mapping({**API_DEFAULTS, **given.runtime}), training_service)
    run.prepare()
    return EnsembleResult(Path(out), run.run(), type(train_space or space))


@dataclass(frozen=True)
class Keywords:
    """Keyword arguments of `search_ensemble`: settings, options of the run, and arguments of `EdgeNES`."""

    settings: dict[str, Any]
    runtime: dict[str, Any]
    strategy: dict[str, Any]


def sort_keywords(keywords: Mapping[str, Any]) -> Keywords:
    """Sort keyword arguments into settings, options of the run and arguments of `EdgeNES`.

    Raises:
        InputError: A keyword is unknown, or the data, space or evaluators decide its value.
    """
    sorted_keywords = Keywords({}, {}, {})
    carried = {entry.name: entry.metadata["carried_by"] for entry in dataclasses.fields(Settings)}
    for name, value in keywords.items():
        if name in SETTING_FIELDS:
            sorted_keywords.settings[name] = value
        elif name in RUNTIME_FIELDS:
            sorted_keywords.runtime[name] = value
        elif name in STRATEGY_NAMES:
            sorted_keywords.strategy[name] = value
        elif name in carried:
            raise InputError(name, repr(value), f"no such keyword: the argument `{carried[name]}` decides it")
        else:
            hint = nearest(name, [*SETTING_FIELDS, *RUNTIME_FIELDS, *STRATEGY_NAMES])
            raise InputError(name, repr(value), f"a keyword that search_ensemble or EdgeNES takes{hint}")
    return sorted_keywords


def _set_in(settings: Settings | None) -> dict[str, Any]:
    """What a settings object sets: the values that are not defaults.

    Raises:
        InputError: It is something else, or sets what data, space or evaluators decide.
    """
    if settings is None:
        return {}
    if not isinstance(settings, Settings):
        raise InputError("settings", type(settings).__name__, "nni_hypens.Settings(...), or its settings as keywords")
    default, given = Settings(), {}
    for entry in dataclasses.fields(Settings):
        value, carried = getattr(settings, entry.name), entry.metadata["carried_by"]
        if value != getattr(default, entry.name):
            if carried is not None:
                raise InputError(entry.name, repr(value), f"no such setting here: the argument `{carried}` decides it")
            given[entry.name] = value
    return given


def _lam_settings(lam_range: tuple[float, float] | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    if lam_range is None:
        return {}
    for name in ("lam_low", "lam_high"):
        if name in settings:
            raise InputError(name, repr(settings[name]), "lam_range or lam_low and lam_high, not both")
    low, high = lam_range
    return {"lam_low": low, "lam_high": high}


def _carried(search_evaluator: Lightning, data: LabelledData) -> dict[str, Any]:
    """Settings that the objects decide and that the checks of other settings need.

    Raises:
        InputError: The search is too short.
    """
    epochs = search_evaluator.trainer.max_epochs
    if epochs is None or epochs < 1:
        raise InputError("max_epochs", epochs, "at least 1 epoch in the trainer of the search evaluator")
    source = getattr(data, "source", None)
    return {"search_epochs": epochs, **({"data": source} if isinstance(source, str) else {})}


def _own_copy(diversity: Diversity | None) -> Diversity | None:
    """A copy for the search to bind, so that the caller's regulariser stays as it is and can serve another run."""
    try:
        return copy.deepcopy(diversity)
    except Exception:  # the user's class may raise anything; binding it again is then up to it
        return diversity


def _identity(objects: RunObjects, settings: Settings, base: Sample | str | Path | None) -> dict[str, Any]:
    """What `config.yaml` keeps to recognise a run: calls have the same result exactly if these values are equal."""
    options, values = objects.selection_options, settings.to_mapping()
    return as_written(
        {
            "space": describe_space(objects.space),
            "train_space": None if objects.train_space is None else describe_space(objects.train_space),
            **{name: described_part(getattr(objects, name)) for name in ("data", "evaluator", "search_evaluator")},
            **{name: values[name] for name in SETTING_FIELDS},
            "base": None if base is None else str(described_object(base)),
            "diversity": settings.diversity if objects.diversity is None else described_object(objects.diversity),
            "selection_options": described_object(options),
            "strategy": described_object(objects.strategy),
        }
    )
