from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch

from nni_hypens import ImageData, image_evaluator
from nni_hypens.errors import InputError
from nni_hypens.run.plan import Plan, RunObjects, make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.trials.evaluators import keeps_best
from nni_hypens.utils.seeds import SEED_SCHEME
from search_spaces import MLP, OneCell


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=64, validation_size=64)


def plan(data: ImageData, space: Any = None, base: Any = None, epochs: int = 2, **settings: Any) -> Plan:
    evaluator = image_evaluator(data, 10, epochs)
    space = space or OneCell(channels=2, in_channels=1)
    return make_plan(Settings(**settings), RunObjects(space, evaluator, evaluator, data, base))


def test_a_plan_is_resolved_and_does_not_change(data: ImageData) -> None:
    made = plan(data, max_flops=1e9)
    assert made.lam_range == (1.0, 4.0) and made.adaptive == 5 and made.ranking == "none"
    assert made.base is None and made.strategy["input_shape"] == made.input_shape == (1, 8, 8)
    with pytest.raises(FrozenInstanceError):
        made.adaptive = 0  # type: ignore[misc]


def test_a_plan_from_settings_alone_is_that_of_the_same_objects(data: ImageData) -> None:
    settings = Settings(
        train_size=64, validation_size=64, space_args={"channels": 2}, lam_low=2, candidates=4, search_epochs=9
    )
    made, again = make_plan(settings), plan(data, lam_low=2, candidates=4, search_epochs=9)
    for name in ("lam_range", "ranking", "adaptive", "selection_options", "limits", "strategy"):
        assert getattr(made, name) == getattr(again, name), name
    assert made.identity == settings.to_mapping() and made.search_evaluator.trainer.max_epochs == 9


def test_a_plan_for_a_table() -> None:
    name = "tests.support.tables:load"
    made = make_plan(Settings(data=name, space="mlp", space_args={"width": 4, "layers": 2}, max_flops=1e6))
    assert made.input_shape == made.strategy["input_shape"] == (4,) and made.space.in_features == 4
    with pytest.raises(InputError, match=r"^space: got one_cell, .* of shape \(4,\); expected mlp"):
        make_plan(Settings(data=name))
    evaluator = image_evaluator(made.data, 3, 2)
    with pytest.raises(InputError, match="^inputs: got .*4 numbers per example; expected 5"):
        make_plan(Settings(), RunObjects(MLP(5, 3, 4, 2), evaluator, evaluator, made.data))
    with pytest.raises(InputError, match="^ood: got 'noise' for data that are no images; expected auto or none"):
        make_plan(Settings(ood="noise"), RunObjects(made.space, evaluator, evaluator, made.data))


def test_a_shuffled_loader_is_refused_and_changed_data_have_another_fingerprint(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = plan(data).fingerprint
    assert known == plan(data).fingerprint and known["seed_scheme"] == SEED_SCHEME
    assert known["data_checksum"] == data.checksum()
    loader = data.train_dataloader()
    monkeypatch.setattr(data, "val_dataloader", lambda: loader)  # shuffles
    with pytest.raises(InputError, match="^data.val_dataloader"):
        plan(data)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("class_names", ["cat"] * 10, "^data.class_names: got 'cat' twice"),
        ("class_names", [*"abcdefghi"], "^data.class_names: got 9 names; expected 10, as many as data.num_classes"),
        ("input_spec", {"channels": 1, "height": 8, "width": 8, "scale": 1.0, "mean": [0.0], "std": [1e-320]}, "std"),
    ],
)
def test_data_that_no_ensemble_could_describe_are_refused_before_the_search(
    data: ImageData, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, message: str
) -> None:
    monkeypatch.setattr(ImageData, name, property(lambda self: value))
    with pytest.raises(InputError, match=message):
        plan(data)


def test_wrong_options_of_the_choice_are_found_before_training(data: ImageData) -> None:
    evaluator, space = image_evaluator(data, 10, 2), OneCell(channels=2, in_channels=1)
    for options, message in (
        ({"objective": "acuracy"}, "^selection_options.objective"),
        ({"size": 9}, "^selection_options.size"),
        ({"limits": {}}, "^selection_options.limits"),
    ):
        with pytest.raises(InputError, match=message):
            make_plan(Settings(), RunObjects(space, evaluator, evaluator, data, selection_options=options))


def test_an_evaluator_does_not_train_on_the_images_that_choose(data: ImageData) -> None:
    other, space = ImageData("digits", train_size=64, validation_size=32), OneCell(channels=2, in_channels=1)
    evaluator, wrong = image_evaluator(data, 10, 2), image_evaluator(other, 10, 2)
    same = image_evaluator(ImageData("digits", train_size=32, validation_size=64, batch_size=16), 10, 2)
    make_plan(Settings(), RunObjects(space, same, same, data))
    for name, pair in (("evaluator", (wrong, evaluator)), ("search_evaluator", (evaluator, wrong))):
        with pytest.raises(InputError, match=f"^{name}.datamodule: got the same images in another split"):
            make_plan(Settings(), RunObjects(space, *pair, data))


def test_limits_of_the_search_do_not_go_with_a_space_for_training(data: ImageData) -> None:
    evaluator, small = image_evaluator(data, 10, 2), OneCell(channels=2, in_channels=1)
    objects = RunObjects(small, evaluator, evaluator, data, train_space=OneCell(channels=4, in_channels=1))
    for settings, message in (
        (Settings(max_params=900), "^max_params: got 900 with train_space; expected a limit on the ensemble"),
        (Settings(warm_start=True), "^warm_start: got true with train_space"),
    ):
        with pytest.raises(InputError, match=message):
            make_plan(settings, objects)


def test_candidates_may_train_in_a_larger_space_with_the_same_choices() -> None:
    small = {"train_size": 64, "validation_size": 64, "space_args": {"channels": 2}, "search_epochs": 9}
    made = make_plan(Settings(**small, train_space_args={"channels": 4, "layers": 2}))
    same = make_plan(Settings(**small))
    assert same.train_space is same.space
    sizes = [sum(parameter.numel() for parameter in space.parameters()) for space in (made.space, made.train_space)]
    assert sizes[1] > 2 * sizes[0]
    assert (
        EdgeStructure.from_space(made.space).table.options == EdgeStructure.from_space(made.train_space).table.options
    )
    for arguments, message in (
        ({"nodes": 3}, r"^train_space: got other choices than the space of the search \(node_3"),
        ({"chanels": 3}, r"^train_space_args\.chanels: .*nearest: channels"),
        ({"channels": 0}, r"^train_space_args\.channels"),
    ):
        with pytest.raises(InputError, match=message):
            make_plan(Settings(**small, train_space_args=arguments))


def test_only_candidates_are_regularised(data: ImageData) -> None:
    made = make_plan(Settings(label_smoothing=0.1, mixup=0.2, schedule="one_cycle", early_stopping=3, search_epochs=9))
    trains, searches = made.evaluator, made.search_evaluator
    assert (trains.module.label_smoothing, trains.module.mixup, trains.module.schedule) == (0.1, 0.2, "one_cycle")
    assert (searches.module.label_smoothing, searches.module.mixup, searches.module.schedule) == (0, 0, "cosine")
    assert keeps_best(trains) and not keeps_best(searches)


def test_a_gpu_that_is_not_there_is_refused(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="^accelerator: got gpu"):
        make_plan(Settings(accelerator="gpu"))


def test_what_does_not_fit_is_named(data: ImageData) -> None:
    for make, message in (
        (lambda: plan(data, OneCell(channels=2, in_channels=3)), r"^space: got OneCell on images of shape \(1, 8, 8\)"),
        (lambda: plan(data, OneCell(channels=2, in_channels=1, num_classes=4)), r"^space: got outputs of shape \(4,\)"),
        (lambda: plan(data, members=4, candidates=3), "^members"),
        (lambda: plan(data, ranking="best"), "^ranking"),
        (lambda: plan(data, max_total_params=-1), "^max_total_params"),
        (lambda: plan(data, lam_low=0.0, lam_high=5.0), "^lam_high"),
        (lambda: plan(data, base={"a": 1}), "^base: label"),
        (lambda: plan(data, known_results="absent.csv"), "^known_results: got absent.csv"),
    ):
        with pytest.raises(InputError, match=message):
            make()
