from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nni_hypens.errors import InputError
from nni_hypens.run.begun import settings_in
from nni_hypens.run.plan import resolve_lam_range
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings
from nni_hypens.selection import METHODS, check_options
from nni_hypens.space.build import build_named_space, find_object
from nni_hypens.utils.checks import one_of
from nni_hypens.utils.files import read_yaml
from search_spaces import OneCell


def test_defaults_are_consistent() -> None:
    config = Settings()
    config.check()
    assert Settings.from_mapping(config.to_mapping()) == config and config.epochs_each == config.epochs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"members": 0}, "^members"),
        ({"members": 9}, "^members: got 9 of 8 candidates"),
        ({"members": "ALL"}, "^members: got 'ALL'; expected a whole number.* all"),
        ({"members": "some"}, "^members: got 'some'; expected a whole number.* all"),
        ({"members": "all", "pooling": "linear"}, "^pooling: got linear with members=all; expected log"),
        ({"members": "all", "max_latency_ms": 2}, "^max_latency_ms: got 2 with members=all"),
        ({"pooling": "geometric"}, "^pooling: got 'geometric'; expected one of log, linear"),
        ({"candidates": "all"}, "^candidates: got 'all'; expected a whole number"),
        ({"seed": -1}, "^seed"),
        ({"epochs": 0}, "^epochs"),
        ({"budget": 5}, "^budget: got 5 epochs"),
        ({"learning_rate": 0}, "^learning_rate"),
        ({"weight_decay": -1}, "^weight_decay"),
        ({"diversity": "jensen"}, "^diversity.*nearest: jensen_shannon"),
        ({"selection": "greedi"}, "^selection.*nearest: greedy"),
        ({"objective": "breir"}, "^objective.*one of nll, brier, error; nearest: brier"),
        ({"beam_width": 0}, "^beam_width: got 0"),
        ({"diversity_weight": -0.1}, "^diversity_weight: got -0.1"),
        ({"diversity_weight": 0.1, "selection": "top_k"}, "^diversity_weight: got 0.1 with selection=top_k"),
        ({"selection_steps": 5}, "^selection_steps: got 5 with .*=greedy_with_replacement"),
        ({"selection_steps": 0, "selection": "greedy_with_replacement"}, "^selection_steps: got 0"),
        ({"members": 10, "candidates": 60}, "^members: got 10 of 60 candidates, 75394027566 combinations"),
        ({"warmup_epochs": 40, "base_epochs": 20}, "^warmup_epochs"),
        ({"search_epochs": 0}, "^search_epochs"),
        ({"seed": 2**32}, "^seed: got 4294967296"),
        ({"augment": "crop_flop"}, "^augment.*nearest: crop_flip"),
        ({"max_params": 0}, "^max_params"),
        ({"max_total_params": -1}, "^max_total_params"),
        ({"lam_low": 3, "lam_high": 2}, "^lam_low"),
        ({"adaptive": -1, "candidates": 5}, "^adaptive: got -1"),
        ({"adaptive": 4, "candidates": 5}, "^adaptive: got 4; expected 0 to 3 of 5"),
        ({"adaptive": 1, "candidates": 1, "members": 1}, "^adaptive: got 1; expected 0 to 0 of 1"),
        ({"adaptive": 2, "warm_start": True}, "^adaptive: got 2; expected 0 with warm_start"),
    ],
)
def test_settings_that_contradict(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings.from_mapping(values).check()


def test_members_are_a_number_or_all(tmp_path: Path) -> None:
    """As text of the command line, in a file, and as a keyword; and written as it was read."""
    (tmp_path / "all.yaml").write_text("members: all\ncandidates: 60\n")
    given = [{"members": "all", "candidates": "60"}, read_yaml(tmp_path / "all.yaml")]
    for settings in (*map(Settings.from_mapping, given), Settings(members="all", candidates=60)):
        settings.check()  # of so many, no method has to try all combinations
        assert (settings.members, settings.ensemble_size, settings.least_trained) == ("all", 60, 2)
        assert Settings.from_mapping(settings.to_mapping()) == settings
    for number in ("4", 4, 4.0):
        settings = Settings.from_mapping({"members": number})
        assert (settings.members, settings.ensemble_size, settings.least_trained) == (4, 4, 4)
    for wrong in ("ALL", "3"):
        with pytest.raises(InputError, match=f"^members: got '{wrong}'; expected a whole number"):
            Settings(members=wrong).check()  # type: ignore[arg-type]
    assert Settings(members="all", candidates=1).least_trained == 1


def test_selection_has_its_options() -> None:
    assert Settings().selection_options() == {"objective": "nll"}
    wide = Settings.from_mapping({"selection": "beam", "beam_width": "20", "diversity_weight": "0.2"})
    assert wide.selection_options() == {"objective": "nll", "width": 20, "diversity_weight": 0.2}
    repeated = Settings(selection="greedy_with_replacement", selection_steps=20, objective="error")
    assert repeated.selection_options() == {"objective": "error", "size": 20, "max_members": 3}
    for method in METHODS:  # whatever the settings give, the method takes
        check_options(method, Settings(selection=method).selection_options())


def test_runtime() -> None:
    Runtime().check()
    for values, message in (
        ({"concurrency": 0}, "^concurrency"),
        ({"per_trial": 0}, "^per_trial"),
        ({"logger": "wandb"}, "^logger.*csv"),
    ):
        with pytest.raises(InputError, match=message):
            Runtime.from_mapping(values).check()


def test_budget_is_shared() -> None:
    assert Settings(budget=100, candidates=8).epochs_each == 12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"calibration": "member"}, "^calibration: .*nearest: members"),
        ({"ood": "svhn"}, "^ood: got 'svhn'"),
        ({"ood": "noise,digits"}, "^ood: got 'digits'"),
        ({"stress_images": -1}, "^stress_images"),
    ],
)
def test_settings_of_the_evaluation(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings.from_mapping(values).check()
    Settings(calibration="members", ood="noise,some.npz", stress_images=0).check()


def test_lam_range() -> None:
    assert resolve_lam_range(Settings(), 4) == (1.0, 4.0)
    assert resolve_lam_range(Settings(lam_low=2, lam_high=3), 4) == (2, 3)
    for settings, name in (
        (Settings(lam_high=5), "lam_high"),
        (Settings(lam_high=0.5), "lam_low"),
        (Settings(lam_low=-1), "lam_low"),
    ):
        with pytest.raises(InputError, match=f"^{name}"):
            resolve_lam_range(settings, 4)


@pytest.mark.parametrize(
    ("changes", "adaptive", "ranking"),
    [
        ({}, 5, "none"),
        ({"candidates": 2, "members": 2}, 0, "spread"),
        ({"adaptive": 0}, 0, "spread"),
        ({"warm_start": True}, 0, "spread"),
        ({"max_total_params": 1e6}, 0, "spread"),
        ({"adaptive": 2, "max_total_params": 1e6}, 2, "spread"),
        ({"lam_low": 0}, 0, "spread"),
        ({"ranking": "ensemble"}, 0, "ensemble"),
        ({"ranking": "promising"}, 5, "promising"),
    ],
)
def test_defaults_of_adaptive_and_ranking_are_resolved(changes: dict[str, Any], adaptive: int, ranking: str) -> None:
    settings = Settings(**changes)
    assert (settings.adaptive_count, settings.resolved_ranking) == (adaptive, ranking)


def test_yaml_files(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("data: digits\nmembers: 2\nversions: {torch: 1}\ncommand: x\n")
    assert settings_in(path) == {"data": "digits", "members": 2, "pooling": "linear"}, "a run before there was pooling"
    path.write_text("data: digits\npooling: log\nhalving: false\nversions: {torch: 1}\n")
    assert settings_in(path) == {"data": "digits", "pooling": "log"}
    path.write_text("data: digits\nhalving: false\n")
    assert settings_in(path) == {"data": "digits", "halving": False}, "by hand: it is refused by its name"
    path.write_text("")
    assert settings_in(path) == {}
    for content in ("- a\n", "a: [", "!!python/object/apply:os.system ['true']"):
        path.write_text(content)
        with pytest.raises(InputError, match="^config"):
            settings_in(path)
    with pytest.raises(InputError, match="^config"):
        settings_in(tmp_path / "missing.yaml")


def build(settings: Settings, classes: int = 7) -> Any:
    return build_named_space(settings.space, settings.space_args, (1, 8, 8), classes)


def test_spaces_are_built_for_the_data() -> None:
    space = build(Settings(space_args={"channels": 3}))
    assert isinstance(space, OneCell) and space.stem[0].in_channels == 1 and space.head.out_features == 7
    darts = build(Settings(space="darts", space_args={"preset": "tiny", "width": 4}), 3)
    assert darts.arguments["in_channels"] == 1 and darts.arguments["width"] == 4
    for config, message in (
        (Settings(space="one_sell"), "^space.*nearest: one_cell"),
        (Settings(space="nowhere:Space"), "^space.*importable"),
        (Settings(space="search_spaces:OneSell"), "^space.*nearest: OneCell"),
        (Settings(space="json:loads"), "^space"),
        (Settings(space_args={"chanels": 3}), "^space_args.chanels.*nearest: channels"),
        (Settings(space_args={"channels": 0}), "^space_args.channels"),
        (Settings(space="darts", space_args={"preset": "huge"}), "^space_args.preset"),
    ):
        with pytest.raises(InputError, match=message):
            build(config)


def test_names() -> None:
    assert find_object("space", "one_cell", {"one_cell": "search_spaces:OneCell"}) is OneCell
    with pytest.raises(InputError, match="^x: got 'c'; expected one of a, b"):
        one_of("x", "c", ("a", "b"))
