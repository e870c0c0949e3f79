"""What `search_ensemble` takes."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from nni_hypens import ImageData, InputError, Settings, image_evaluator
from nni_hypens.run import api
from nni_hypens.run.api import SETTING_FIELDS, search_ensemble
from search_spaces import OneCell


def test_bad_arguments_are_named_before_any_work(digits: ImageData, tiny_cell: OneCell, tmp_path: Path) -> None:
    search = image_evaluator(digits, 10, 3)
    short = image_evaluator(digits, 10, 5)
    for evaluator, more, message in (
        (short, {"max_total_flops": 0}, "^max_total_flops"),
        (short, {"max_latency_ms": "fast"}, "^max_latency_ms"),
        (short, {"ranking": "best"}, "^ranking"),
        (short, {"membrs": 3}, "^membrs: got 3; .*nearest: members"),
        (short, {"pivot": 3}, "^pivot: .*nearest: pivots"),
        (short, {"pivots": 1}, "^pivots"),
        (short, {"learning_rate": 0.1}, "^learning_rate: .*`evaluator`"),
        (short, {"lam_range": (0, 9)}, "^lam_high"),
        (short, {"lam_range": (0, 2), "lam_low": 1}, "^lam_low"),
        (short, {"selection_options": {"size": 3}, "objective": "nll"}, "^objective"),
        (short, {"selection_options": {"wide": 3}}, "wide"),
        (short, {"search_evaluator": image_evaluator(digits, 10, -1)}, "^max_epochs: got -1"),
        (short, {"warmup_epochs": 3}, "^warmup_epochs: got 3 of max_epochs=3"),
        (short, {"diversity": "jensen"}, "^diversity: .*nearest: jensen_shannon"),
        (short, {"concurrency": 0}, "^concurrency"),
    ):
        with pytest.raises(InputError, match=message):
            search_ensemble(tiny_cell, evaluator, digits, tmp_path / "run", **{"search_evaluator": search, **more})
        assert not (tmp_path / "run").exists()


def test_settings_are_declared_and_documented_once() -> None:
    parameters = inspect.signature(search_ensemble).parameters
    assert "settings" in parameters and len(parameters) < 15
    assert {*parameters}.isdisjoint({*SETTING_FIELDS} - {"base", "diversity"})
    text = Settings.__doc__ or ""
    for entry in dataclasses.fields(Settings):
        assert f"{entry.name} ({entry.type}): {entry.metadata['help']}" in text
    assert "candidates (int): networks to train. Default: 8." in text


def resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """The settings and the options of the run that a call would carry out."""
    found: list[Any] = []

    class Played:
        def __init__(self, plan: Any, out: Path, runtime: Any, service: Any) -> None:
            found.extend((plan, runtime))

        def prepare(self) -> None: ...

        def run(self) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(api, "Run", Played)
    monkeypatch.setattr(api, "make_plan", lambda settings, objects, **rest: (settings, objects))
    search_ensemble(*arguments, tmp_path / "run", **options)
    return found[0], found[1]


def test_a_settings_object_and_keywords_say_the_same(
    digits: ImageData, tiny_cell: OneCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = (monkeypatch, tmp_path, tiny_cell, image_evaluator(digits, 10, 3), digits)
    wanted = {"members": 2, "candidates": 4, "seed": 7, "lam_low": 1.0, "diversity": "jensen_shannon"}
    (by_keyword, _), runtime = resolved(*call, **wanted, concurrency=3)
    (by_object, objects), plain = resolved(*call, settings=Settings(**wanted))  # type: ignore[arg-type]
    assert by_keyword == by_object and by_object.members == 2 and objects.base is None
    assert (runtime.concurrency, plain.concurrency) == (3, 1)
    (over, _), _ = resolved(*call, settings=Settings(**wanted), members=3, seed=0)  # type: ignore[arg-type]
    assert (over.members, over.seed, over.candidates) == (3, 0, 4)


def test_a_settings_object_may_not_contradict_the_other_arguments(
    digits: ImageData, tiny_cell: OneCell, tmp_path: Path
) -> None:
    evaluator = image_evaluator(digits, 10, 3)
    for settings, more, message in (
        (Settings(epochs=7), {}, "^epochs: got 7; .*`evaluator`"),
        (Settings(data="cifar10"), {}, "^data: .*`data`"),
        ({"members": 3}, {}, "^settings: got dict"),
        (Settings(lam_low=1), {"lam_range": (0, 2)}, "^lam_low"),
        (Settings(objective="accuracy"), {"selection_options": {"size": 3}}, "^objective"),
        (Settings(base=str(tmp_path / "none.json")), {}, "none.json"),
        (Settings(members=9), {}, "^members: got 9 of 8"),
    ):
        with pytest.raises(InputError, match=message):
            search_ensemble(tiny_cell, evaluator, digits, tmp_path / "run", settings=settings, **more)
        assert not (tmp_path / "run").exists()
