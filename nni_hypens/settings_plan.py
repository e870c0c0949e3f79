"""From settings to a plan: what the command line and comparisons share."""

from __future__ import annotations

from typing import Any

from nni_hypens.config import RunConfig
from nni_hypens.data.module import ImageData
from nni_hypens.plan import Plan
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.trials.evaluators import image_evaluator


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
