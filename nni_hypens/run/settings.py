"""Settings of a run, declared once for the command line, the YAML file, `search_ensemble` and the run folder.

A new setting is one field here: its type, default, help text and range are in the declaration. `carried_by`
names the argument of `search_ensemble` that replaces the setting. `nni_hypens.run.runtime.Runtime` holds the
options that do not change results. This module imports no large package: help and errors about flags appear at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nni_hypens.data.names import AUGMENTATION_NAMES, augmentation_names, ood_names
from nni_hypens.ensemble.names import CALIBRATIONS, LOG, POOLINGS
from nni_hypens.errors import InputError
from nni_hypens.proposals.names import RANKINGS, WITH_LARGE
from nni_hypens.run.fields import check_fields, documented, from_mapping, setting
from nni_hypens.search.names import DIVERSITY_NAMES
from nni_hypens.search.schedule import Schedule
from nni_hypens.selection.names import ALL, BEAM_WIDTH, LIMITS, METHODS, OBJECTIVES, check_combinations
from nni_hypens.trials.names import SCHEDULES

MAX_SEED = 2**32 - 1
"""The largest seed that numpy takes."""
MIN_DRAWN = 2
"""Fewest candidates that are trained before adaptive training, which learns from them."""
DEFAULT_DRAWN = 3
"""Candidates drawn before adaptive training begins, unless `adaptive` says otherwise."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "auto")
FILES = ("supernet", "base", "known_results", "ood")
"""Settings that name files which a run reads once and then does not need any more."""
NOT_SETTINGS = ("seed_scheme", "data_checksum", "versions", "command")
"""What a run folder's `config.yaml` holds besides the settings."""


@documented
@dataclass(frozen=True)
class Settings:
    """What determines the result of a run. Two runs with the same settings and versions have the same result.

    Raises:
        InputError: `check` and `from_mapping` raise it if a setting is wrong; it names the setting.
    """

    data: str = setting(
        "digits",
        "digits, fashion_mnist, cifar10, cifar100, a folder of images, a path to an .npz (images or a table), or "
        "module:callable",
        group="data",
        carried_by="data",
        common=True,
    )
    root: str | None = setting(
        None, "folder that already holds the files of fashion_mnist, cifar10 or cifar100", carried_by="data"
    )
    image_size: int | None = setting(
        None, "height and width to which pictures of a folder are resized (as they are)", carried_by="data"
    )
    train_size: int | None = setting(None, "training images to use (all that validation leaves)", carried_by="data")
    validation_size: float = setting(
        0.3, "validation images: a share below 1, or a number; not for data with its own", carried_by="data"
    )
    test_size: int | None = setting(None, "test images to use (all)", carried_by="data")
    augment: str = setting(
        "none",
        f"augmentation of training images: none, or names separated by commas, such as crop_flip,cutout: "
        f"{', '.join(AUGMENTATION_NAMES)}",
        carried_by="data",
        metavar="NAMES",
    )
    batch_size: int | None = setting(
        None,
        "images per training batch (64; with fewer than 512 training images 32, 16 or 8)",
        carried_by="data",
        at_least=1,
    )
    space: str = setting(
        "one_cell",
        "one_cell, paper_cell, darts, mlp for tables, a space of nni.nas.hub.pytorch such as NasBench201, or "
        "module:Class",
        group="space and search",
        carried_by="space",
        common=True,
    )
    space_args: dict[str, Any] = setting({}, "arguments of the space, such as channels=8", carried_by="space")
    train_space_args: dict[str, Any] = setting(
        {},
        "arguments of the space in which candidates train, where they differ, such as channels=36 (search small, train "
        "large)",
        carried_by="train_space",
    )
    base: str | None = setting(None, "JSON file with the base architecture (searched first when not given)")
    supernet: str | None = setting(None, "safetensors file with weights that the supernet starts from")
    paths: str = setting("1", "paths per search step: a whole number, or all for the mixture of every option")
    max_params: float | None = setting(None, "largest number of parameters of a sampled network", above=0)
    max_flops: float | None = setting(
        None, "largest number of FLOPs of a sampled network for one image (a multiply-add counts as two)", above=0
    )
    diversity: str = setting("shared_edges", f"regulariser: {' or '.join(DIVERSITY_NAMES)}", choices=DIVERSITY_NAMES)
    members: int | Literal["all"] = setting(
        3,
        "members of the ensemble; all: every candidate, with weights fitted on validation data",
        group="ensemble and candidates",
        at_least=1,
        common=True,
    )
    candidates: int = setting(8, "networks to train", at_least=1, common=True)
    adaptive: int | None = setting(
        None,
        "candidates to choose during training instead of before it: each is a new architecture, a new seed of a good "
        "one, or a good network trained once more, whichever is expected to give the best ensemble at the end of the "
        f"run (all but {DEFAULT_DRAWN}; 0 with warm-start, a limit on the ensemble, a range of lam, or the ranking "
        "spread or ensemble)",
        at_least=0,
    )
    lookahead: int = setting(
        2, "most adaptive candidates in training at once, however many trials there are", at_least=1
    )
    ranking: str = setting(
        "auto",
        "how candidates are chosen before any is trained: none (the base, two by size and depth of untrained networks, "
        "and draws along the dial); on the supernet spread (the best of each part of the dial), ensemble (greedily by "
        "the NLL of the ensemble) or promising (the best by supernet and size together); auto (none with adaptive, "
        "otherwise spread)",
        choices=RANKINGS,
    )
    lam_low: float | None = setting(None, "fewest shared edges to request from candidates (a quarter of all edges)")
    lam_high: float | None = setting(None, "most shared edges to request from candidates (all edges)")
    search_epochs: int = setting(
        60,
        "epochs of the search: warm-up, base and hypernetwork together",
        group="epochs and training",
        carried_by="search_evaluator",
        at_least=1,
    )
    warmup_epochs: int | None = setting(None, "of these, epochs of uniform sampling (a fifth)", at_least=0)
    base_epochs: int | None = setting(
        None, "of these, epochs of the base search (three tenths; 0: choose by the supernet)", at_least=0
    )
    epochs: int = setting(20, "epochs of training per candidate", carried_by="evaluator", at_least=1, common=True)
    budget: int | None = setting(
        None,
        "training epochs of all candidates together; replaces epochs by budget // candidates",
        carried_by="evaluator",
    )
    learning_rate: float = setting(
        0.01, "initial learning rate of candidates (AdamW, cosine schedule)", carried_by="evaluator", above=0
    )
    weight_decay: float = setting(0.001, "weight decay of candidates", carried_by="evaluator", at_least=0)
    schedule: str = setting(
        SCHEDULES[0],
        f"learning rate over the epochs: {' or '.join(SCHEDULES)}",
        carried_by="evaluator",
        choices=SCHEDULES,
    )
    label_smoothing: float = setting(
        0.0,
        "share of the target that all classes get in the training of candidates",
        carried_by="evaluator",
        at_least=0,
        at_most=0.99,
    )
    mixup: float = setting(
        0.0,
        "mixup in the training of candidates: parameter of its beta distribution, such as 0.2 (0: none)",
        carried_by="evaluator",
        at_least=0,
    )
    auxiliary_weight: float = setting(
        0.0,
        "weight of an auxiliary head's loss in the training of candidates (0.4 in DARTS; the space must have one)",
        carried_by="evaluator",
        at_least=0,
    )
    early_stopping: int | None = setting(
        None,
        "stop a candidate after so many epochs without a lower validation NLL, and keep the weights of its best epoch "
        "(candidates train to the end)",
        carried_by="evaluator",
        at_least=1,
    )
    accelerator: str = setting(
        "auto",
        f"where search and trials compute, as Lightning names it: {', '.join(ACCELERATORS)}",
        carried_by="evaluator",
        choices=ACCELERATORS,
    )
    precision: str = setting(
        PRECISIONS[0],
        f"precision of search and training, as Lightning names it: {', '.join(PRECISIONS)} (bf16-mixed on a GPU that "
        "has it, else 32-true)",
        carried_by="evaluator",
        choices=PRECISIONS,
    )
    compile: bool = setting(
        False, "compile each candidate with torch.compile before its training (takes a while)", carried_by="evaluator"
    )
    warm_start: bool = setting(False, "candidates begin with the weights of their path in the supernet")
    selection: str = setting(
        "exhaustive",
        f"how members are chosen on validation data: {', '.join(METHODS)}",
        group="choice of members",
        choices=METHODS,
    )
    objective: str = setting("nll", f"what the choice minimises: {', '.join(OBJECTIVES)}", choices=OBJECTIVES)
    selection_steps: int | None = setting(
        None,
        "steps of greedy_with_replacement, which adds at most `members` different candidates (as many as members)",
        at_least=1,
    )
    beam_width: int = setting(BEAM_WIDTH, "ensembles of each size that beam keeps", at_least=1)
    diversity_weight: float | None = setting(
        None, "weight of the members' disagreement in the choice (0; 0.1 for diversity_weighted)", at_least=0
    )
    max_total_params: float | None = setting(None, "largest number of parameters of all members", above=0)
    max_total_flops: float | None = setting(None, "largest number of FLOPs of all members for one image", above=0)
    max_latency_ms: float | None = setting(
        None,
        "longest time in milliseconds to run all members in turn on one image, with one thread of this machine",
        above=0,
    )
    known_results: str | None = setting(
        None, "CSV or JSON file of known results by architecture, to compare the rankings with", metavar="FILE"
    )
    pooling: str = setting(
        LOG,
        "how members are averaged: log (their log-probabilities, renormalised), or linear (their probabilities)",
        group="calibration, report and the rest",
        choices=POOLINGS,
    )
    calibration: str = setting(
        "ensemble",
        "temperatures, fitted on validation data: ensemble (one on the average), members (one each first), none",
        choices=CALIBRATIONS,
    )
    ood: str = setting(
        "auto",
        "out-of-distribution images for the report: digits, fashion_mnist, noise, paths of .npz files with x_test, "
        "separated by commas; auto (noise, and fashion_mnist for digits or digits for fashion_mnist if on disk); none",
    )
    stress_images: int = setting(
        256, "number of test images to corrupt and to compare with out-of-distribution images; 0 for none", at_least=0
    )
    threads: int = setting(
        1,
        "threads of torch in the search and in each trial (more help large networks, and stall on busy cores)",
        at_least=1,
    )
    seed: int = setting(0, "seed of every random draw", at_least=0, at_most=MAX_SEED, common=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "config") -> Settings:
        """Make settings from a mapping. Text is parsed to the types of the fields; `check` checks the ranges.

        Raises:
            InputError: Unknown name (with the nearest one), or a value of the wrong type.
        """
        return from_mapping(cls, values, source)

    def to_mapping(self) -> dict[str, Any]:
        """All settings as plain data."""
        return dataclasses.asdict(self)

    def check(
        self, base_given: bool | None = None, search_length: str = "search_epochs", needed: Collection[str] = FILES
    ) -> None:
        """Check everything that can be checked without opening data or building the space.

        Args:
            base_given: Whether a base is given, so that it is not searched; None if the setting `base` decides.
            search_length: What the user calls the epochs of the search.
            needed: Those of `FILES` that are still to be read.

        Raises:
            InputError: A setting is wrong; the error names it.
        """
        check_fields(self)
        if self.paths != "all" and not (self.paths.isdecimal() and int(self.paths) >= 1):
            raise InputError("paths", repr(self.paths), "a whole number of at least 1, or all")
        if "supernet" in needed and self.supernet is not None and not Path(self.supernet).is_file():
            raise InputError("supernet", self.supernet, "a safetensors file written by a search")
        augmentation_names(self.augment)
        ood_names(self.ood, self.data)
        self._check_contradictions()
        base_given = self.base is not None if base_given is None else base_given
        Schedule.plan(self.search_epochs, self.warmup_epochs, self.base_epochs, base_given, search_length)

    def _check_contradictions(self) -> None:
        if self.members == ALL:
            self.check_all()
        if self.ensemble_size > self.candidates:
            wanted = "at most as many members as candidates"
            raise InputError("members", f"{self.members} of {self.candidates} candidates", wanted)
        if self.budget is not None and self.budget < self.candidates:
            wanted = f"at least one epoch for each of {self.candidates} candidates"
            raise InputError("budget", f"{self.budget} epochs", wanted)
        most = max(self.candidates - MIN_DRAWN, 0)
        if self.adaptive is not None and self.adaptive > most:
            raise InputError("adaptive", self.adaptive, f"0 to {most} of {self.candidates} candidates")
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            raise InputError("precision", "16-mixed with accelerator=cpu", "bf16-mixed or 32-true on a processor")
        if self.train_space_args:
            self.check_train_space("train_space_args")
        if self.adaptive and self.warm_start:
            raise InputError("adaptive", self.adaptive, "0 with warm_start, which needs all candidates at the start")
        if self.lam_low is not None and self.lam_high is not None and self.lam_low > self.lam_high:
            raise InputError("lam_low", f"{self.lam_low:g}, above lam_high={self.lam_high:g}", "at most lam_high")
        if self.selection == "exhaustive" and self.members != ALL:
            check_combinations(self.candidates, (self.ensemble_size,), "members")
        if self.selection_steps is not None and self.selection != "greedy_with_replacement":
            wanted = "selection=greedy_with_replacement, the only method with steps"
            raise InputError("selection_steps", f"{self.selection_steps} with selection={self.selection}", wanted)
        if self.diversity_weight is not None and self.selection == "top_k":
            given = f"{self.diversity_weight} with selection=top_k"
            raise InputError("diversity_weight", given, "another selection, or no weight")

    def check_all(self) -> None:
        """Check what cannot go with members=all, in the settings or when members are chosen again."""
        if self.pooling != LOG:
            raise InputError("pooling", f"{self.pooling} with members=all", f"{LOG}, for which weights are fitted")
        for name in self.total_limits:
            raise InputError(name, f"{getattr(self, name):g} with members=all", "a number of members, or no limit")

    def check_train_space(self, field: str) -> None:
        """Check what cannot go with a larger space for training; `field` is what gives it."""
        if self.warm_start:
            raise InputError("warm_start", f"true with {field}", "false: weights of the supernet do not fit")
        for name in ("max_params", "max_flops"):
            if getattr(self, name) is not None:
                wanted = "a limit on the ensemble, as max_total_params: this one counts networks of the search's space"
                raise InputError(name, f"{getattr(self, name):g} with {field}", wanted)

    @property
    def epochs_each(self) -> int:
        """Training epochs of one candidate."""
        return self.epochs if self.budget is None else self.budget // self.candidates

    @property
    def ensemble_size(self) -> int:
        """Most members that the ensemble can have."""
        return self.candidates if self.members == ALL else int(self.members)

    @property
    def least_trained(self) -> int:
        """Candidates without which there is no ensemble."""
        return min(2, self.candidates) if self.members == ALL else int(self.members)

    @property
    def total_limits(self) -> dict[str, float]:
        """The limits on the ensemble that are set, by name."""
        return {name: limit for name in LIMITS if (limit := getattr(self, name)) is not None}

    @property
    def adaptive_count(self) -> int:
        """Number of candidates to choose during training, with the default resolved.

        By default all but `DEFAULT_DRAWN`. None if another setting decides which candidates are trained, or needs all
        of them before training.
        """
        if self.adaptive is not None:
            return self.adaptive
        fixed = self.ranking not in ("auto", *WITH_LARGE) or self.lam_low is not None or self.lam_high is not None
        if fixed or self.warm_start or self.total_limits:
            return 0
        return max(self.candidates - DEFAULT_DRAWN, 0)

    @property
    def resolved_ranking(self) -> str:
        """The ranking, with `auto` resolved: adaptive training needs none.

        With a limit on the ensemble it is `spread`, because the choice then needs small networks and the base too.
        """
        if self.ranking != "auto":
            return self.ranking
        return "none" if self.adaptive_count and not self.total_limits else "spread"

    def selection_options(self) -> dict[str, Any]:
        """The options of `nni_hypens.selection.select` besides the number of members."""
        options: dict[str, Any] = {"objective": self.objective}
        if self.selection == "beam":
            options["width"] = self.beam_width
        if self.selection == "greedy_with_replacement":
            options |= {"size": self.selection_steps or self.ensemble_size, "max_members": self.ensemble_size}
        if self.diversity_weight is not None:
            options["diversity_weight"] = self.diversity_weight
        return options
