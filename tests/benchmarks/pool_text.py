"""What the names in the measurements of the pool are called on its page."""

from __future__ import annotations

from tests.benchmarks.pool_selection import SCALES

TITLES = {
    f"{data}_{regime}": f"{name}, {regime}"
    for data, name in (("fashion", "Fashion-MNIST"), ("cifar", "CIFAR-10"))
    for regime in ("data", "capacity", "short")
}
WAY_TITLES = {
    "linear, ensemble": "linear, one temperature", "linear, members": "linear, members' first",
    "linear, shared": "linear, shared one first", "linear, none": "linear, none",
    "log, ensemble": "log, one temperature", "log, members": "log, members' first", "log, none": "log, none",
}  # fmt: skip
RULE_TITLES = {
    "calibrated": "step by step, calibrated alone", "exhaustive": "exhaustive, calibrated alone",
    "raw": "raw probabilities", "log average": "log average, common temperature",
    "bagged images": "bagged over images", "bagged candidates": "bagged over candidates", "top": "the best alone",
    "random": "random",
}  # fmt: skip
KINDS = {
    "1": "1 member", "2": "2 members", "3": "3 members", "5": "5 members", "12": "all, equal weights",
    **{f"weights {scale:g}": f"all, fitted weights, scale {scale:g}" for scale in SCALES},
}  # fmt: skip
KNOWN_TITLES = {
    "params": "parameters", "flops": "FLOPs", "nwot": "nwot", "jacov": "jacov", "synflow": "synflow",
    "relus": "ReLU units", "size and flow": "size and flow together",
    **{f"{name} at {mark}%": f"{name} at {mark}%" for mark in (25, 50, 70) for name in ("NLL", "accuracy")},
    "training loss": "training loss at the end",
}  # fmt: skip
HALVING_TITLES = {
    "random_pool": "12 random ones, to the end", "halving": "halving", "known end": "halving that knows the end",
}  # fmt: skip
