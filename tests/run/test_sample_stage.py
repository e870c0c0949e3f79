from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import rankdata

from nni_hypens import ImageData, InputError, image_evaluator, metrics
from nni_hypens.proposals.pool import draw_pool
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import Plan, RunObjects, make_plan
from nni_hypens.run.sample_stage import draw_candidates, write_initial_weights
from nni_hypens.run.settings import Settings
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import NetworkSize, count_flops
from nni_hypens.space.draws import random_architectures
from nni_hypens.space.flow import SynapticFlow
from nni_hypens.space.known_results import KnownResults
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.seeds import Purpose, derive_seed
from search_spaces import DartsSpace, OneCell
from tests.support.comparison_fixture import remember_sizes
from tests.support.made_up_search import save_made_up_search
from tests.support.space_checks import HUB


def plan_for(space: Any, data: ImageData, folder: Path) -> Plan:
    """A run whose search is done: an untrained supernet and a hypernetwork of chance."""
    save_made_up_search(space, folder)
    structure = EdgeStructure.from_space(space)
    evaluator = image_evaluator(data, 10, 1)
    fits = OneCell(channels=2, in_channels=1)  # some spaces of the hub do not take the images of digits
    plan = make_plan(Settings(ranking="spread"), RunObjects(fits, evaluator, evaluator, data))
    return replace(plan, space=space, train_space=space, lam_range=(0.0, float(structure.n_edges)))


def test_more_candidates_are_new_ones(digits: ImageData, tmp_path: Path) -> None:
    plan = plan_for(OneCell(channels=2, nodes=2, in_channels=1), digits, tmp_path)
    first = draw_candidates(plan, tmp_path, 3, [], Progress(quiet=True))
    more = draw_candidates(plan, tmp_path, 4, first, Progress(quiet=True))
    assert [record.id for record in first + more] == [f"c{index:02d}" for index in range(7)]
    assert first[0].source == "base" and "base" not in {record.source for record in more}
    structure = EdgeStructure.from_space(plan.space)
    assert len({structure.key(record.architecture) for record in first + more}) == 7
    assert all(record.supernet_nll > 0 for record in first + more)
    again = draw_candidates(plan, tmp_path, 4, first, Progress(quiet=True))
    assert again == more
    with pytest.raises(InputError, match="^more: got 500"):  # 98 architectures in all
        draw_candidates(plan, tmp_path, 500, first, Progress(quiet=True))


def test_candidates_get_their_known_results(digits: ImageData, tmp_path: Path) -> None:
    plan = plan_for(OneCell(channels=2, nodes=2, in_channels=1), digits, tmp_path / "search")
    without = draw_candidates(plan, tmp_path / "search", 4, [], Progress(quiet=True))
    rows = [{"architecture": without[place].architecture, "accuracy": place} for place in (0, 2)]
    (tmp_path / "known.json").write_text(json.dumps(rows))
    plan = replace(plan, known=KnownResults.read(tmp_path / "known.json", plan.space))
    found = draw_candidates(plan, tmp_path / "search", 4, [], Progress(quiet=True))
    assert [record.known for record in found] == [{"accuracy": 0.0}, {}, {"accuracy": 2.0}, {}]
    assert [replace(record, known=None) for record in found] == without  # the table chooses nothing
    more = draw_candidates(plan, tmp_path / "search", 2, found, Progress(quiet=True))
    assert [record.known for record in more] == [{}, {}]


def test_the_ranking_is_the_one_asked_for(digits: ImageData, tmp_path: Path) -> None:
    """From the same draws; with a limit, the costs that are known before training are counted on the network."""
    plan = plan_for(OneCell(channels=2, nodes=2, in_channels=1), digits, tmp_path)
    found = {}
    for name in ("spread", "ensemble"):
        found[name] = draw_candidates(replace(plan, ranking=name), tmp_path, 5, [], Progress(quiet=True))
    assert found["spread"] != found["ensemble"] and all(records[0].source == "base" for records in found.values())
    assert found["spread"][0].parameters is None and found["spread"][0].flops is None
    limited = replace(plan, limits={"max_total_flops": 1e9})
    for record in draw_candidates(limited, tmp_path, 3, [], Progress(quiet=True)):
        network = fixed_network(plan.space, record.architecture)
        assert record.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert record.flops == count_flops(network.eval(), torch.zeros(1, 1, 8, 8))


def test_promising_candidates_are_the_best_by_supernet_and_size(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large random architectures join those of the hypernetwork; it is what adaptive training begins with."""
    remember_sizes(monkeypatch)
    plan = plan_for(OneCell(channels=2, nodes=3, in_channels=1), digits, tmp_path)
    plan, structure = replace(plan, ranking="promising"), EdgeStructure.from_space(plan.space)
    size = NetworkSize(plan.space, plan.input_shape)
    everything = draw_candidates(plan, tmp_path, 20, [], Progress(quiet=True))
    records = draw_candidates(plan, tmp_path, 4, [], Progress(quiet=True))
    assert {record.source for record in everything} >= {"draw", "large"}
    sampler = ArchitectureSampler.load(tmp_path, structure)
    seed = derive_seed(plan.settings.seed, Purpose.CANDIDATES, 0)
    drawn = sampler.pool(16, plan.lam_range, seed, at_least=1)
    large = sorted(random_architectures(structure, 60, seed), key=lambda one: -size.volume(one))[:8]
    looked_at = {structure.key(one): one for one in [*(one.architecture for one in drawn), *large]}
    predict = trained_strategy(plan.space, tmp_path, {}).trained_supernet.predict
    batches, labels = list(digits.val_dataloader()), digits.labels("validation")
    nll = [metrics.nll(predict([one], batches)[0].numpy(), labels) for one in looked_at.values()]
    score = rankdata(nll) - rankdata([size.volume(one) for one in looked_at.values()])
    best = sorted(zip(score, looked_at, strict=True), key=lambda pair: pair[0])
    assert {structure.key(record.architecture) for record in records} == {key for _, key in best[:4]}
    more = draw_candidates(plan, tmp_path, 3, records, Progress(quiet=True))
    assert len({structure.key(record.architecture) for record in records + more}) == 7


def test_without_a_ranking_the_base_comes_first_and_then_what_its_traits_put_first(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_sizes(monkeypatch)
    plan = plan_for(OneCell(channels=2, nodes=3, in_channels=1), digits, tmp_path)
    plan, structure = replace(plan, ranking="none"), EdgeStructure.from_space(plan.space)
    size = NetworkSize(plan.space, plan.input_shape)
    records = draw_candidates(plan, tmp_path, 4, [], Progress(quiet=True))
    sampler = ArchitectureSampler.load(tmp_path, structure)
    pool = draw_pool(sampler, size, "none", 4, plan.lam_range, plan.settings.seed)
    flow = SynapticFlow(plan.space, plan.input_shape)
    least = min(pool, key=lambda candidate: flow(candidate.architecture))
    assert records[0].source == "base"
    assert structure.key(least.architecture) in {structure.key(record.architecture) for record in records[:3]}
    assert records[3].lam is not None  # a draw of the dial
    predict = trained_strategy(plan.space, tmp_path, {}).trained_supernet.predict
    batches, labels = list(digits.val_dataloader()), digits.labels("validation")
    for record in records:  # the report compares it with what training finds
        expected = metrics.nll(predict([record.architecture], batches)[0].numpy(), labels)
        assert record.supernet_nll == pytest.approx(expected)
    assert json.loads((tmp_path / "ranking.json").read_text())["architectures"] == 4
    more = draw_candidates(plan, tmp_path, 3, records, Progress(quiet=True))
    assert len({structure.key(record.architecture) for record in records + more}) == 7


@pytest.mark.parametrize("ranking", ["none", "promising"])
def test_candidates_keep_the_budget(
    digits: ImageData, tmp_path: Path, ranking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_sizes(monkeypatch)
    plan = plan_for(OneCell(channels=2, nodes=3, in_channels=1), digits, tmp_path)
    plan, size = replace(plan, ranking=ranking), NetworkSize(plan.space, plan.input_shape)
    free = [size(record.architecture)[0] for record in draw_candidates(plan, tmp_path, 4, [], Progress(quiet=True))]
    limited = replace(plan, strategy={"max_params": min(free)})
    kept = draw_candidates(limited, tmp_path, 4, [], Progress(quiet=True))
    assert all(size(record.architecture)[0] <= 1 + min(free) for record in kept)


@pytest.mark.parametrize(
    "space",
    [
        lambda: OneCell(channels=2, n_chosen=2, layers=2, in_channels=1),
        lambda: DartsSpace(width=2, num_cells=3, in_channels=1),
        HUB["NasBench201"],
        HUB["MobileNetV3Space"],
    ],
)
def test_initial_weights_fit_the_network_of_a_trial(space: Any, digits: ImageData, tmp_path: Path) -> None:
    made = space()
    folder = RunFolder(tmp_path)
    search = folder.search.folder
    plan = plan_for(made, digits, search)
    structure = EdgeStructure.from_space(plan.space)
    sampler = ArchitectureSampler.load(search, structure)
    records = [Candidate.from_draw(structure, i, draw, 0.5) for i, draw in enumerate(sampler.pool(3))]
    write_initial_weights(plan, folder, records)
    strategy = trained_strategy(plan.space, search, {})
    for record in records:
        network = fixed_network(plan.space, record.architecture)
        weights = load_file(folder.candidate(record.id).initial_weights)
        network.load_state_dict(weights)
        shape = (2, 1, 16, 16) if "in_channels" in plan.space.trace_kwargs else (2, 3, 64, 64)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            frozen = strategy.inherited(record.architecture).eval()(images)
            assert torch.allclose(network.eval()(images), frozen, atol=1e-6)
