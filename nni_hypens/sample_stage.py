"""The candidates of a run folder: drawn from the hypernetwork, ranked on the supernet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from nni_hypens.architecture import EdgeStructure
from nni_hypens.errors import InputError
from nni_hypens.files import read_json, write_json
from nni_hypens.plan import Plan, fresh
from nni_hypens.progress import Progress
from nni_hypens.sampling import ArchitectureSampler, Candidate, choose_pool
from nni_hypens.search import EdgeNES

OVERSAMPLE = 4
"""Architectures ranked on the supernet for each one that is trained."""


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
    pool = _new_pool(plan, sampler, n, keys, len(known))
    probabilities = _predict(plan, folder, pool, progress)
    labels = plan.data.labels("validation")
    true_class = probabilities[:, np.arange(len(labels)), labels]
    nll = -np.log(np.clip(true_class, 1e-12, None)).mean(axis=1)
    records: list[dict[str, Any]] = []
    chosen = choose_pool(pool, probabilities, labels, n + bool(known))
    for index in chosen[1:] if known else chosen:  # the base is there already
        candidate = pool[index]
        records.append(
            {
                "id": f"c{len(known) + len(records):02d}",
                "lam": candidate.lam,
                "shared_edges": candidate.shared_edges,
                "source": candidate.source,
                "supernet_nll": float(nll[index]),
                "architecture": candidate.architecture,
                "edges": [list(edge) for edge in structure.edges(candidate.architecture)],
                "text": structure.describe(candidate.architecture),
            }
        )
    path = folder / "ranking.json"
    before = read_json(path) if known and path.exists() else {"architectures": 0, "seconds": 0.0}
    seconds = before["seconds"] + time.perf_counter() - start
    write_json(path, {"architectures": before["architectures"] + len(pool), "seconds": seconds})
    return records


def _new_pool(plan: Plan, sampler: ArchitectureSampler, n: int, known: set, offset: int) -> list[Candidate]:
    """Architectures to rank, the base first; the others are not among ``known``."""
    wanted = OVERSAMPLE * n
    if not known:
        return sampler.pool(wanted, plan.lam_range, plan.seed, at_least=n)
    base, *others = sampler.pool(wanted + len(known), plan.lam_range, plan.seed + offset, at_least=1)
    new = [candidate for candidate in others if sampler.structure.key(candidate.architecture) not in known]
    if len(new) < n:
        raise InputError("more", n, f"at most {len(new)}: no more different architectures in the range of lam")
    return [base, *new[:wanted]]


def _predict(plan: Plan, folder: Path, pool: Sequence[Candidate], progress: Progress) -> np.ndarray:
    """Probabilities ``P x N x C`` on validation images, with the supernet's weights."""
    strategy = EdgeNES()
    space = strategy.mutate_model(fresh(plan.space))
    space.load_state_dict(load_file(folder / "supernet.safetensors"))
    progress.start("sample", len(pool), "architecture")
    batches, predictions = list(plan.data.val_dataloader()), []
    for candidate in pool:
        predictions.append(strategy.trained_supernet.predict([candidate.architecture], batches)[0].numpy())
        progress.step()
    progress.stop()
    return np.stack(predictions)
