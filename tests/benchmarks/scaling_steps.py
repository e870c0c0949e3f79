"""The steps of a run whose cost `scaling` measures, each on made-up input of any size.

A step is a function that makes the input for a `Point` and returns what to measure: a call without arguments. The call
may return the CPU seconds itself, where only a part of it counts.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CANDIDATES, PIXELS, CLASSES = "candidates", "pixels", "classes"
VALUES = {
    CANDIDATES: (10, 30, 100, 300, 1_000, 3_000, 10_000),
    PIXELS: (8, 16, 32, 64, 128, 224),
    CLASSES: (2, 10, 100, 1_000),
}
"""What grows, and how far."""
IMAGES, MEMBERS, BATCH, STEPS = 200, 5, 8, 2
"""Validation images, and as many test images; members of the ensemble; images of a training step; steps of an epoch."""


@dataclass(frozen=True)
class Point:
    """Sizes of one measurement; all but one are these defaults."""

    candidates: int = 100
    pixels: int = 32
    classes: int = 10


Call = Callable[[], float | None]


class Step(NamedTuple):
    """A step of a run.

    Attributes:
        title: Its name in the tables.
        make: Makes the input and returns the call.
        must: What grows -> the least possible exponent of its time, and why.
    """

    title: str
    make: Callable[[Point], Call]
    must: dict[str, tuple[float, str]]


def predictions(networks: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `P x IMAGES x C` (float32) of networks that are partly wrong in the same way, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=IMAGES)
    shared = rng.standard_normal((IMAGES, classes), dtype=np.float32)
    shared[np.arange(IMAGES), labels] += 3
    probs = np.empty((networks, IMAGES, classes), dtype=np.float32)
    for row in probs:
        np.exp(shared + rng.uniform(0.5, 1.5) * rng.standard_normal(shared.shape, dtype=np.float32), out=row)
        row /= row.sum(axis=1, keepdims=True)
    return probs, labels


def search_step(point: Point) -> Call:
    """Mean CPU seconds of a step of EdgeNES: one batch of training images and one of validation images."""
    from nni.nas.experiment import NasExperiment

    from nni_hypens import EdgeNES
    from nni_hypens._nni import quiet_logging, quiet_training

    def start(evaluator: Any) -> None:
        quiet_logging(logging.ERROR)
        # an epoch of one step chooses the base; a tiny rate keeps the paths uniform
        strategy = EdgeNES(warmup_epochs=0, base_epochs=1, base_draws=1, architecture_lr=1e-9)
        NasExperiment(_space(point.classes), evaluator, strategy).run()

    quiet_training()
    return partial(_step_seconds, start, point, epochs=2, validate=True)


def training_step(point: Point) -> Call:
    """Mean CPU seconds of a step in the training of one network: one batch."""
    from nni_hypens._nni import quiet_training
    from nni_hypens.space.architecture import EdgeStructure
    from nni_hypens.space.build import fixed_network
    from nni_hypens.space.draws import random_architectures

    def start(evaluator: Any) -> None:
        space = _space(point.classes)
        (sample,) = random_architectures(EdgeStructure.from_space(space), 1, seed=0)
        evaluator.evaluate(fixed_network(space, sample))

    quiet_training()
    return partial(_step_seconds, start, point, epochs=1, validate=False)


def _step_seconds(start: Callable[[Any], Any], point: Point, epochs: int, validate: bool) -> float:
    from tests.benchmarks.search_step import step_seconds

    steps = STEPS + 1  # the first of an epoch is left out
    seconds = step_seconds(start, BATCH, point.pixels, point.classes, steps, epochs, validate)
    return statistics.fmean(seconds[-STEPS:])


def _space(classes: int = 10, nodes: int = 4) -> Any:
    from search_spaces import OneCell

    return OneCell(channels=8, nodes=nodes, num_classes=classes)


def draw(ranking: str, point: Point) -> Call:
    """The pool from which this many candidates are chosen, of a hypernetwork that was not trained."""
    import torch

    from nni_hypens.proposals.pool import draw_pool
    from nni_hypens.search.hypernetwork import Hypernetwork
    from nni_hypens.search.sampler import ArchitectureSampler
    from nni_hypens.space.architecture import EdgeStructure
    from nni_hypens.space.cost import NetworkSize
    from nni_hypens.space.draws import ChoiceLayout, random_architectures

    space = _space(nodes=6)  # 85 million architectures
    structure = EdgeStructure.from_space(space)
    layout = ChoiceLayout(structure.table)
    (base,) = random_architectures(structure, 1, seed=0)
    network = Hypernetwork(layout.n_labels, layout.n_options, 0.0, structure.n_edges, 2)
    with torch.no_grad():  # it prefers the choices of the base more and more with lam
        network.values.copy_(torch.stack([-3 * layout.one_hot(base), 3 * layout.one_hot(base)]))
    sampler = ArchitectureSampler(structure, network, base)

    def call() -> None:
        draw_pool(sampler, NetworkSize(space, (3, 32, 32)), ranking, point.candidates, None, seed=0)

    return call


def choose(method: str, objective: str, size: int, point: Point) -> Call:
    """The choice of members."""
    from nni_hypens.selection.dispatch import select

    probs, labels = predictions(point.candidates, point.classes)
    calibrated = probs.astype(np.float64)  # as a run gives them
    return lambda: void(select(method, calibrated, labels, size, objective))


def weigh(point: Point) -> Call:
    """Weights of all candidates."""
    from nni_hypens.ensemble.weighting import fit_weights

    probs, labels = predictions(point.candidates, point.classes)
    return lambda: void(fit_weights(probs, labels))


def fit_temperatures(point: Point) -> Call:
    """The temperature of each candidate, and that of the average of all."""
    from nni_hypens.ensemble.calibration import calibrate, calibrated_alone

    probs, labels = predictions(point.candidates, point.classes)

    def call() -> None:
        calibrated_alone(probs, labels)
        calibrate("ensemble", probs, np.full(len(probs), 1 / len(probs)), labels)

    return call


def evaluate(everyone: bool, point: Point) -> Call:
    """The part `results.json` that depends on candidates: `MEMBERS` of them are members, or all."""
    from nni_hypens.ensemble.calibration import Combination
    from nni_hypens.run.candidate import Candidate
    from nni_hypens.run.evaluation import evaluate_pool

    both, labels = predictions(point.candidates, point.classes), predictions(1, point.classes, 1)[1]
    pool = {f"c{index}": [probs, probs[::-1]] for index, probs in enumerate(both[0])}
    rng = np.random.default_rng(0)
    records, trials = [], {}
    for name in pool:
        edges = tuple((f"node_{node}", int(rng.integers(node + 1)), str(rng.integers(7))) for node in range(6))
        records.append(Candidate(name, 1.0, 1, "draw", float(rng.random()), {}, edges, ""))
        trials[name] = {"validation": {}, "seconds": 1.0, "parameters": 100, "flops": 1000, "latency_ms": 1.0}
    names = list(pool)[: None if everyone else MEMBERS]
    members = [(name, 1 / len(names)) for name in names]
    combination = Combination(1.0, (1.0,) * len(names))
    return lambda: void(evaluate_pool(pool, both[1], labels, members, combination, records, trials))


def front(point: Point) -> Call:
    """The fronts of NLL against cost."""
    from nni_hypens.selection.costs import fronts

    probs, labels = predictions(point.candidates, point.classes)
    pool = {f"c{index}": [row, row] for index, row in enumerate(probs)}
    rng = np.random.default_rng(0)
    costs = {name: {"parameters": 100 + rng.random(), "flops": 1e3, "latency_ms": 1.0} for name in pool}
    members = [(name, 1 / MEMBERS) for name in list(pool)[:MEMBERS]]
    return lambda: void(fronts(pool, labels, labels, costs, members, MEMBERS))


def report(everyone: bool, point: Point) -> Call:
    """The report of a run; `MEMBERS` candidates are members, or all."""
    from nni_hypens.report.page import write_report
    from tests.support.report_fixture import make_run_folder

    holder = tempfile.TemporaryDirectory()
    count = point.candidates + 1  # the last one fails
    members = point.candidates if everyone else MEMBERS
    out = make_run_folder(Path(holder.name), count, count, members, n_classes=point.classes)

    def call() -> None:
        holder.name  # noqa: B018  # the folder lives as long as the call
        write_report(out)

    return call


def void(_: object) -> None:
    """Forget a result."""


_LINEAR = {
    CANDIDATES: (1.0, "each candidate is read once"),
    CLASSES: (1.0, "each probability is read once"),
}
_LOSS = {
    PIXELS: (2.0, "the number of pixels of an image"),
    CLASSES: (1.0, "the head has one row for each class"),
}
STEPS_OF_A_RUN: dict[str, Step] = {
    "search_step": Step("search step of EdgeNES", search_step, _LOSS),
    "training_step": Step("training step of a network", training_step, _LOSS),
    "draw_spread": Step("draw the pool, `spread`", partial(draw, "spread"), {CANDIDATES: (1.0, "one draw for each")}),
    **{
        f"select_{method}": Step(f"select, `{method}`", partial(choose, method, "nll", MEMBERS), _LINEAR)
        for method in ("greedy", "greedy_with_replacement", "beam", "top_k", "diversity_weighted")
    },
    "select_exhaustive": Step(
        "select, `exhaustive`, 3 members",
        partial(choose, "exhaustive", "nll", 3),
        {CANDIDATES: (3.0, "all ensembles of three are scored"), CLASSES: _LINEAR[CLASSES]},
    ),
    "select_brier": Step("select, `greedy`, Brier score", partial(choose, "greedy", "brier", MEMBERS), _LINEAR),
    "select_error": Step("select, `greedy`, error", partial(choose, "greedy", "error", MEMBERS), _LINEAR),
    "weights": Step("weights of all candidates", weigh, _LINEAR),
    "calibration": Step("calibration", fit_temperatures, _LINEAR),
    "evaluation": Step("evaluation", partial(evaluate, False), _LINEAR),
    "evaluation_all": Step("evaluation, all are members", partial(evaluate, True), _LINEAR),
    "fronts": Step("fronts of NLL and cost", front, _LINEAR),
    "report": Step("report", partial(report, False), _LINEAR),
    "report_all": Step("report, all are members", partial(report, True), _LINEAR),
    "draw_promising": Step(
        "draw the pool, `promising`", partial(draw, "promising"), {CANDIDATES: (1.0, "each network is measured")}
    ),
}
"""The measured steps, by the key of their results."""
