"""The candidates of a run folder: drawn from the hypernetwork, ranked on the supernet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_hypens import metrics
from nni_hypens.errors import InputError
from nni_hypens.proposals.ranking import (
    choose_ensemble,
    choose_pool,
    choose_promising,
    looked_at,
)
from nni_hypens.run.candidate import OVERSAMPLE, candidate_record, cost_counter, counted
from nni_hypens.run.plan import Plan
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.space.architecture import EdgeKey, EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.known_results import known_values
from nni_hypens.trials.training import INITIAL
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.runtime import torch_threads
from nni_hypens.utils.seeds import Purpose, derive_seed
from nni_hypens.utils.tensors import write_tensors


def draw_candidates(
    plan: Plan, folder: Path, n: int, known: Sequence[dict[str, Any]], progress: Progress
) -> list[dict[str, Any]]:
    """Records of ``n`` new candidates, as ``candidates.json`` holds them.

    Args:
        plan: What the run does.
        folder: Its ``search`` folder; ``ranking.json`` there counts what was ranked and the seconds it took.
        n: How many.
        known: Records of the candidates there are; the new ones differ from them, and their ids follow.
        progress: Where progress is shown.

    Raises:
        InputError: Fewer than ``n`` different architectures are left in the range of lam.
    """
    start = time.perf_counter()
    structure = EdgeStructure.from_space(plan.space)
    sampler = ArchitectureSampler.load(folder, structure, plan.budget())
    keys = {structure.key(record["architecture"]) for record in known}
    size = NetworkSize(plan.space, plan.image_shape)
    pool = _new_pool(plan, sampler, size, n, keys, len(known), progress)
    probabilities = _predict(plan, folder, pool, progress)
    labels = plan.data.labels("validation")
    nll = metrics.nll_of_each(probabilities, labels)
    records: list[dict[str, Any]] = []
    counter = cost_counter(plan)
    if plan.ranking == "promising":
        chosen = choose_promising(nll, [size.volume(one.architecture) for one in pool], n)
    else:
        rank = {"spread": choose_pool, "ensemble": choose_ensemble}[plan.ranking]
        chosen = rank(pool, probabilities, labels, n + bool(known))[bool(known) :]  # the base is there already
    for index in chosen:
        candidate = pool[index]
        costs = {} if counter is None else counted(counter, candidate.architecture)
        place = len(known) + len(records)
        known_to_be = known_values(plan.known, candidate.architecture)
        records.append(candidate_record(structure, place, candidate, float(nll[index])) | costs | known_to_be)
    path = folder / "ranking.json"
    before = read_json(path) if known and path.exists() else {"architectures": 0, "seconds": 0.0}
    seconds = before["seconds"] + time.perf_counter() - start
    write_json(path, {"architectures": before["architectures"] + len(pool), "seconds": seconds})
    return records


def _new_pool(
    plan: Plan,
    sampler: ArchitectureSampler,
    size: NetworkSize,
    n: int,
    known: set[EdgeKey],
    offset: int,
    progress: Progress,
) -> list[Candidate]:
    """Architectures to rank. None is among ``known``, but for the base, which comes first where it is asked for."""
    wanted = OVERSAMPLE * n
    others = looked_at(
        plan.ranking,
        plan.lam_range,
        sampler,
        size,
        wanted + len(known),
        derive_seed(plan.settings.seed, Purpose.CANDIDATES, offset),
        1 if known else n,
        progress,
    )
    base, others = ([], others) if plan.ranking == "promising" else (others[:1], others[1:])
    new = [candidate for candidate in others if sampler.structure.key(candidate.architecture) not in known]
    there = len(new) if known else len(base) + len(new)
    if there < n:
        name, where = "more" if known else "candidates", " in the range of lam" if base else ""
        raise InputError(name, n, f"at most {there}: no more different architectures{where}")
    return [*base, *new[:wanted]] if base else new


def _predict(plan: Plan, folder: Path, pool: Sequence[Candidate], progress: Progress) -> np.ndarray:
    """Probabilities ``P x N x C`` on validation images, with the supernet's weights."""
    strategy = trained_strategy(plan.space, folder)
    progress.start("sample", len(pool), "architecture")
    batches, predictions = list(plan.data.val_dataloader()), []
    with torch_threads(plan.settings.threads):
        for candidate in pool:
            predictions.append(strategy.trained_supernet.predict([candidate.architecture], batches)[0].numpy())
            progress.step()
    progress.stop()
    return np.stack(predictions)


def write_initial_weights(plan: Plan, folder: Path, candidates: Path, records: Sequence[dict[str, Any]]) -> None:
    """``initial.safetensors`` in the folder of each candidate: the weights of its path in the supernet.

    Raises:
        InputError: The supernet has no weights for some layer of a stand-alone network.
    """
    strategy = trained_strategy(plan.space, folder)
    for record in records:
        inherited = strategy.inherited(record["architecture"]).state_dict()
        with torch.random.fork_rng(devices=[]):
            wanted = fixed_network(plan.space, record["architecture"]).state_dict()
        # a network that is frozen and one that is built fixed may number their layers differently (MobileNetV3)
        if [value.shape for value in inherited.values()] != [value.shape for value in wanted.values()]:
            got = f"{type(plan.space).__name__}, whose fixed network has other layers than its frozen one"
            raise InputError("warm_start", got, "false for this space")
        tensors = {name: value.contiguous() for name, value in zip(wanted, inherited.values(), strict=True)}
        write_tensors(candidates / record["id"] / INITIAL, tensors)
