"""The candidates of a run folder: drawn from the hypernetwork, ranked on the supernet."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_hypens.errors import InputError
from nni_hypens.proposals.names import WITH_LARGE
from nni_hypens.proposals.pool import draw_pool
from nni_hypens.proposals.ranking import rank_pool
from nni_hypens.run.candidate import Candidate, KnownBefore, adaptive_left
from nni_hypens.run.enough import too_few
from nni_hypens.run.folder import RunFolder, read_fields
from nni_hypens.run.plan import Plan
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.search.strategy import trained_strategy
from nni_hypens.search.supernet import Supernet
from nni_hypens.selection.names import ALL, MAX_COMBINATIONS
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import NetworkSize
from nni_hypens.utils.checks import NUMBER
from nni_hypens.utils.files import write_json
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.run_files import SearchFiles
from nni_hypens.utils.runtime import torch_threads
from nni_hypens.utils.tensors import write_tensors


def draw_candidates(
    plan: Plan, folder: Path, n: int, existing: Sequence[Candidate], progress: Progress
) -> list[Candidate]:
    """Draw and rank new candidates.

    Args:
        plan: What the run does.
        folder: Its `search` folder; `ranking.json` there counts what was ranked and the seconds it took.
        n: How many new candidates.
        existing: The candidates that exist already. The new ones differ from them, and their ids follow.
        progress: Where progress is shown.

    Returns:
        The new candidates.

    Raises:
        InputError: Fewer than `n` different architectures are left in the range of lam.
    """
    start = time.perf_counter()
    structure = EdgeStructure.from_space(plan.space)
    sampler = ArchitectureSampler.load(folder, structure, plan.budget())
    known = {structure.key(candidate.architecture) for candidate in existing}
    size = NetworkSize(plan.train_space, plan.input_shape)
    pool = draw_pool(sampler, size, plan.ranking, n, plan.lam_range, plan.settings.seed, known, progress)
    base_exists = bool(existing) and plan.ranking not in WITH_LARGE
    if len(pool) - base_exists < n:
        got, where = len(pool) - base_exists, "" if plan.ranking in WITH_LARGE else " in the range of lam"
        if existing:
            raise InputError("more", n, f"at most {got}: there are no more different architectures{where}")
        raise too_few(plan.settings, n, got, where)

    def predict(samples: Sequence[Sample]) -> np.ndarray:
        supernet = trained_strategy(plan.space, folder, plan.strategy).trained_supernet
        progress.start("sample", len(samples), "architecture")
        probabilities = supernet_probabilities(supernet, plan, samples, progress.step)
        progress.stop()
        return probabilities

    ranked = rank_pool(pool, predict, plan.data.labels("validation"), plan.ranking, n, size, base_exists)
    known_before = KnownBefore(plan)
    candidates = []
    for place, index in enumerate(ranked.chosen, start=len(existing)):
        draw, nll = ranked.pool[index], ranked.supernet_nll[index]
        candidates.append(Candidate.from_draw(structure, place, draw, nll, **known_before(draw.architecture)))
    path = SearchFiles(folder).ranking
    before: dict[str, Any] = {"architectures": 0, "seconds": 0.0}
    if existing and path.exists():
        before = read_fields(path, architectures=int, seconds=NUMBER)
    seconds = before["seconds"] + time.perf_counter() - start
    write_json(path, {"architectures": before["architectures"] + len(ranked.pool), "seconds": seconds})
    return candidates


def check_more(plan: Plan, existing: Sequence[Candidate] | None, more: int) -> None:
    """Check that members can still be chosen when a run has more candidates, before anything is drawn or removed.

    Args:
        plan: What the run does.
        existing: The candidates that exist already, to which adaptive training may still add some; None before any
            is drawn.
        more: How many are to be added.

    Raises:
        InputError: The exhaustive choice would have too many combinations.
    """
    settings = plan.settings
    if settings.selection != "exhaustive" or settings.members == ALL:
        return
    size = int(plan.selection_options.get("size", settings.ensemble_size))
    without = settings.candidates
    if existing is not None:
        without = len(existing) + adaptive_left(plan.adaptive, existing)

    def total(added: int) -> int:
        return math.comb(without + added, size)

    if total(more) <= MAX_COMBINATIONS:
        return
    most = bisect_right(range(more), MAX_COMBINATIONS, key=total) - 1
    raise InputError(
        "more",
        f"{more}, with which {size} of {without + more} candidates have {total(more)} combinations",
        f"at most {max(most, 0)}: selection=exhaustive looks at up to {MAX_COMBINATIONS} combinations; for more "
        "candidates begin another run with --selection beam",
    )


def supernet_probabilities(
    supernet: Supernet, plan: Plan, samples: Sequence[Sample], on_step: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Predict validation images with the supernet's weights.

    Args:
        supernet: The trained supernet.
        plan: Has the data, and the number of threads.
        samples: `P` architectures.
        on_step: Called after each of them.

    Returns:
        Probabilities `P x N x C`.
    """
    batches, probabilities = list(plan.data.val_dataloader()), []
    with torch_threads(plan.settings.threads):
        for sample in samples:
            probabilities.append(supernet.predict([sample], batches)[0].numpy())
            on_step()
    return np.stack(probabilities)


def write_initial_weights(plan: Plan, folder: RunFolder, candidates: Sequence[Candidate]) -> None:
    """Write `initial.safetensors` to the folder of each candidate: the weights of its path in the supernet.

    Raises:
        InputError: The supernet has no weights for some layer of a stand-alone network.
    """
    strategy = trained_strategy(plan.space, folder.search.folder, plan.strategy)
    for candidate in candidates:
        inherited = strategy.inherited(candidate.architecture).state_dict()
        with torch.random.fork_rng(devices=[]):
            wanted = fixed_network(plan.space, candidate.architecture).state_dict()
        # a frozen network and one that is built for the architecture may number layers differently (MobileNetV3)
        if [value.shape for value in inherited.values()] != [value.shape for value in wanted.values()]:
            got = f"true with {type(plan.space).__name__}, whose fixed network has other layers than its frozen one"
            raise InputError("warm_start", got, "false for this space")
        tensors = {name: value.contiguous() for name, value in zip(wanted, inherited.values(), strict=True)}
        write_tensors(folder.candidate(candidate.id).initial_weights, tensors)
