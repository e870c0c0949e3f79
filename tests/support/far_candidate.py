"""A candidate on another machine, and what must come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from nni_hypens.trials.received import Expected
from nni_hypens.trials.remote import Machines

SPEC = {
    "id": "c00", "architecture": {"a": 1}, "lam": 1.5, "shared_edges": 2, "seed": 7, "text": "one", "warm_start": False,
}  # fmt: skip


def metrics(**changes: Any) -> dict[str, Any]:
    about = {name: value for name, value in SPEC.items() if name != "architecture"}
    costs = {"seconds": 1.5, "cpu_seconds": 1.0, "flops": 12, "latency_ms": 0.2}
    validation = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1, "brier": 0.2, "aurc": 0.0}
    record = {"default": 0.5, "validation": validation, "history": [{"epoch": 0, "accuracy": 0.5}], **costs}
    return {**about, "status": "trained", **record, "parameters": 8, **changes}


def expected() -> Expected:
    return Expected(SPEC, nn.Linear(3, 2), 2, {"val": 8, "test": 4})


def bring(machines: Machines, place: Path, target: Path) -> dict[str, Any]:
    return machines.bring(str(place), expected(), target / "c00")


def nothing_came(target: Path) -> bool:
    return not (target / "c00").exists() or not list((target / "c00").iterdir())
