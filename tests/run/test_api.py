"""What `search_ensemble` takes."""

from __future__ import annotations

import inspect
from pathlib import Path

import nni
import pytest
from nni.nas.evaluator import FunctionalEvaluator

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.run.api import SETTING_FIELDS, search_ensemble
from search_spaces import OneCell


def test_bad_arguments_are_named_before_any_work(digits: ImageData, tiny_cell: OneCell, tmp_path: Path) -> None:
    search = image_evaluator(digits, 10, 3)
    short, other = image_evaluator(digits, 10, 5), nni.trace(FunctionalEvaluator)(len)
    for evaluator, more, message in (
        (other, {"halving": True}, "^halving: got FunctionalEvaluator"),
        (short, {"halving": True}, "^halving: got 5 epochs"),
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


def test_every_setting_is_documented() -> None:
    parameters, text = inspect.signature(search_ensemble).parameters, search_ensemble.__doc__ or ""
    for name, entry in SETTING_FIELDS.items():
        assert name in parameters, name
        assert name in ("base", "diversity") or f"{name} ({entry.type}): {entry.metadata['help']}" in text
    assert parameters["members"].default == 3 and parameters["concurrency"].default == 1
    assert "epochs" not in parameters and "service" not in parameters
