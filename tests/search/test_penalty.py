from __future__ import annotations

from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.oneshot.pytorch.profiler import ExpectationProfilerPenalty, SampleProfilerPenalty
from nni.nas.oneshot.pytorch.supermodule._expression_utils import expression_expectation
from nni.nas.profiler.pytorch.flops import NumParamsProfiler
from torch import nn

from nni_hypens import EdgeNES, ImageData
from nni_hypens.errors import InputError
from nni_hypens.search.penalty import ExpectedCost, Penalty
from nni_hypens.space.choices import ChoiceTable
from search_spaces import OneCell
from tests.support.searches import run_search, tiny
from tests.support.space_checks import HUB


def probabilities(options: dict[str, tuple[Any, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    result = {}
    for label, values in options.items():
        row = torch.rand(len(values), generator=generator, dtype=torch.float64)
        result[label] = (row / row.sum()).requires_grad_()
    return result


def mean_over_draws(
    profiler: Any, options: dict[str, tuple[Any, ...]], at: dict[str, torch.Tensor]
) -> tuple[float, float]:
    """Mean cost of random architectures, and its standard error."""
    rng = np.random.default_rng(0)
    rows = {label: row.detach().numpy() for label, row in at.items()}
    costs = [
        profiler.profile({label: values[rng.choice(len(values), p=rows[label])] for label, values in options.items()})
        for _ in range(600)
    ]
    return float(np.mean(costs)), float(np.std(costs) / len(costs) ** 0.5)


def test_expectation_of_expressions_is_that_of_nni() -> None:
    a, b, c = (nni.choice(label, values) for label, values in (("a", [1, 2, 4]), ("b", [3, 5]), ("c", [0, 7, 9])))
    options = {"a": (1, 2, 4), "b": (3, 5), "c": (0, 7, 9)}
    at = probabilities(options)
    for expression in (a + b, a * b - c, a * (a + b) * c, (a + 1) * (c - 2) * 3 + b // 2, a * a, 5 * b / 2):
        ours = ExpectedCost(expression)(at)
        theirs = expression_expectation(expression, {label: row.tolist() for label, row in at.items()})
        assert ours.item() == pytest.approx(float(theirs), rel=1e-12)
    gradient = torch.autograd.grad(ExpectedCost(a * b)(at), at["a"])[0]
    mean_b = (at["b"] * torch.tensor([3.0, 5.0], dtype=torch.float64)).sum()
    assert torch.allclose(gradient, torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64) * mean_b)
    assert ExpectedCost(3.5)(at).item() == 3.5


@pytest.mark.parametrize("space", [HUB["MobileNetV3Space"], lambda: OneCell(2)])
def test_expected_parameters_are_the_mean_over_draws(space: Any) -> None:
    """Also where NNI's own stops: some operations of OneCell have no parameters, others whole numbers of them."""
    made: ModelSpace = space()
    options = ChoiceTable.from_space(made).options
    at = probabilities(options)
    profiler = NumParamsProfiler(made, torch.zeros(1, 3, 64, 64))
    mean, error = mean_over_draws(profiler, options, at)
    expected = ExpectedCost(profiler.expression)(at)
    assert expected.item() == pytest.approx(mean, abs=4 * error)
    expected.backward()
    assert sum(row.grad is not None and row.grad.abs().sum() > 0 for row in at.values()) >= 4


def test_penalty_is_nnis_formula() -> None:
    choice = nni.choice("a", [1.0, 3.0])
    profiler = _Expression(choice * 100)
    at = {"a": torch.tensor([0.25, 0.75], dtype=torch.float64)}
    loss = torch.tensor(2.0, dtype=torch.float64)
    for settings in ({}, {"nonlinear": "positive"}, {"nonlinear": "absolute", "aggregate": "mul"}, {"scale": -0.5}):
        theirs = ExpectationProfilerPenalty(profiler, 400.0, **settings)
        wanted, details = theirs(loss, {"a": {1.0: 0.25, 3.0: 0.75}})
        for given in (theirs, {"profiler": profiler, "baseline": 400.0, **settings}):
            ours, numbers = Penalty(given)(loss, at)
            assert float(ours) == pytest.approx(float(wanted))
            assert float(numbers["penalty"]) == details["penalty"] == 250.0
            assert float(numbers["normalized_penalty"]) == pytest.approx(details["normalized_penalty"])


class _Expression(NumParamsProfiler):
    def __init__(self, expression: Any) -> None:
        self.expression = expression


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        ({"baseline": 1}, "profiler"),
        ({"profiler": None, "baseline": 1, "scales": 2}, "scales"),
        (3.0, "float"),
        (SampleProfilerPenalty(object(), 1), "no gradient"),
        (ExpectationProfilerPenalty(object(), 1), "ExpressionProfiler"),
    ],
)
def test_bad_penalties(penalty: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^penalty.*{message}"):
        Penalty(penalty)


def test_expressions_that_cannot_be_tabled_are_refused() -> None:
    many = nni.choice("x0", list(range(1, 11)))
    for index in range(1, 8):
        many = (many + 0) * (many + nni.choice(f"x{index}", list(range(1, 11))))
    with pytest.raises(InputError, match="^penalty.profiler"):
        ExpectedCost(many)


def test_penalty_makes_networks_smaller(digits: ImageData, tmp_path: Path) -> None:
    """A space of two widths where only the penalty tells them apart for sure."""

    class Two(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.flat = nn.Flatten()
            blocks = {f"layer_{index}": _pair() for index in range(4)}
            self.body = nn.Sequential(*(LayerChoice(pair, label=name) for name, pair in blocks.items()))
            self.head = nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(self.flat(images)))

    def _pair() -> dict[str, nn.Module]:
        return {"big": nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 64)), "small": nn.Linear(64, 64)}

    def expected(scale: float) -> float:
        space = Two()
        profiler = NumParamsProfiler(space, torch.zeros(1, 1, 8, 8))
        penalty = {"profiler": profiler, "baseline": 50_000, "scale": scale}
        strategy = EdgeNES(penalty=penalty, architecture_lr=0.3, base_epochs=1)
        run_search(tmp_path / str(scale), strategy, digits, space)
        pool = strategy.sampler
        share = torch.stack([pool.logits(lam).softmax(-1)[:, 0].mean() for lam in (0.0, 2.0, 4.0)])
        return share.mean().item()

    assert expected(10.0) < expected(-10.0) - 0.2


def test_penalty_is_logged_and_enters_the_loss(digits: ImageData, tmp_path: Path) -> None:
    space = tiny()
    profiler = NumParamsProfiler(space, torch.zeros(1, 1, 8, 8))
    strategy = EdgeNES(penalty={"profiler": profiler, "baseline": 100.0})
    run_search(tmp_path, strategy, digits, space)
    logged = strategy.oneshot_module.trainer.callback_metrics
    assert logged["penalty/penalty"] > 0
    cost, normalized = (float(logged[f"penalty/{name}"]) for name in ("penalty", "normalized_penalty"))
    assert normalized == pytest.approx(cost / 100 - 1, 1e-4)
