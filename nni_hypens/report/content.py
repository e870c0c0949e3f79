"""The files of a run folder that a report is made from, read and checked as untrusted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nni_hypens.errors import InputError
from nni_hypens.report.html import number

_PARTS = {
    "members": list, "candidates": list, "baselines": list, "diversity": dict, "reliability": dict, "cost": dict,
    "data": dict, "calibration": dict, "uncertainty": dict, "ood": dict, "corruptions": dict,
    "cost_front": dict, "intervals": dict,
}  # fmt: skip


@dataclass(frozen=True)
class RunContent:
    """The content of a run folder that the report needs."""

    name: str
    config: Mapping[str, Any]
    candidates: Sequence[Mapping[str, Any]]
    results: Mapping[str, Any]
    history: Sequence[Mapping[str, str]]
    base: Mapping[str, Any] | None
    trained: Sequence[dict[str, Any]]
    failed: Sequence[Mapping[str, Any]]
    stopped: Sequence[Mapping[str, Any]]
    members: Sequence[Mapping[str, Any]]
    n_test: int | None
    examples: Mapping[str, Any]


def _read_text(run_dir: Path, name: str) -> str:
    path = run_dir / name
    if not path.is_file():
        raise InputError(name, f"no such file in {run_dir}", "a run folder in which this file has been written")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(name, f"bytes that are not UTF-8 ({error.reason})", "the file as the run wrote it") from None


def _read_json(run_dir: Path, name: str, kind: type) -> Any:
    try:
        value = json.loads(_read_text(run_dir, name))
    except json.JSONDecodeError as error:
        raise InputError(name, f"invalid JSON ({error})", "the file as the run wrote it") from None
    return _typed(name, value, kind)


def _typed(field: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        words: dict[type, str] = {dict: "a mapping", list: "a list"}
        raise InputError(field, f"{type(value).__name__}", words.get(kind, kind.__name__))
    return value


def read_run(run_dir: Path) -> RunContent:
    if not run_dir.is_dir():
        raise InputError("run folder", run_dir, "an existing folder")
    try:
        config = yaml.safe_load(_read_text(run_dir, "config.yaml"))
    except yaml.YAMLError as error:
        raise InputError("config.yaml", f"invalid YAML ({error})", "the file as the run wrote it") from None
    config = _typed("config.yaml", config, dict)
    candidates = [_with_id("candidates.json", item) for item in _read_json(run_dir, "candidates.json", list)]
    results = _read_json(run_dir, "results.json", dict)
    for part in ("ensemble", "best_member"):
        metrics = _typed(f"results.json: {part}", results.get(part), dict)
        for key in ("accuracy", "nll"):
            if number(metrics.get(key)) is None:
                raise InputError(f"results.json: {part}.{key}", metrics.get(key), "a finite number")
    for part, kind in _PARTS.items():
        if results.get(part) is not None:
            _typed(f"results.json: {part}", results[part], kind)
    for item in candidates:
        edges = item.get("edges") or []
        if not isinstance(edges, list) or any(not isinstance(edge, list) or len(edge) != 3 for edge in edges):
            raise InputError(f"candidates.json: edges of {item['id']}", edges, "a list of [group, input, operation]")
    base = _read_json(run_dir, "search/base.json", dict) if (run_dir / "search" / "base.json").is_file() else None
    examples = _read_json(run_dir, "examples.json", dict) if (run_dir / "examples.json").is_file() else {}
    trained, failed, stopped = _outcomes(run_dir, candidates, results)
    members = [_with_id("results.json: members", item) for item in results.get("members") or ()]
    return RunContent(
        run_dir.resolve().name, config, candidates, results, _read_history(run_dir), base, trained, failed, stopped,
        members, _test_size(run_dir, results, trained), examples,
    )  # fmt: skip


def _read_history(run_dir: Path) -> list[dict[str, str]]:
    if not (run_dir / "search" / "history.csv").is_file():
        return []
    try:
        return list(csv.DictReader(io.StringIO(_read_text(run_dir, "search/history.csv"), newline="")))
    except csv.Error as error:
        raise InputError("search/history.csv", f"invalid CSV ({error})", "the file as the run wrote it") from None


def _with_id(field: str, item: Any) -> Mapping[str, Any]:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise InputError(field, "an entry without an id", "a list of mappings, each with the text id")
    return item


def _is_folder_name(name: str) -> bool:
    """Say whether an id from a file may be used as a path: it must not lead out of the run folder."""
    return name.isprintable() and name not in ("", ".", "..") and not set(name) & {"/", "\\"} and len(name) < 200


def _outcomes(
    run_dir: Path, candidates: Sequence[Mapping[str, Any]], results: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Join what candidates.json, metrics.json and results.json say of each candidate: (trained, failed, stopped)."""
    drawn = {item["id"]: item for item in candidates}
    rows = [_with_id("results.json: candidates", item) for item in results.get("candidates") or ()]
    final = {row["id"]: row for row in rows}
    trained, failed, stopped = [], [], []
    for name in dict.fromkeys([*drawn, *final]):
        metrics: Mapping[str, Any] = {}
        if _is_folder_name(name) and (run_dir / "candidates" / name / "metrics.json").is_file():
            metrics = _read_json(run_dir, f"candidates/{name}/metrics.json", dict)
        row = {**drawn.get(name, {}), **metrics, **final.get(name, {}), "id": name}
        if row.get("status") == "failed":
            failed.append(row)
        elif row.get("status") == "stopped":
            stopped.append(row)
        elif name in final or metrics:
            trained.append(row)
    return trained, failed, stopped


def _test_size(run_dir: Path, results: Mapping[str, Any], trained: Iterable[Mapping[str, Any]]) -> int | None:
    """Find how many test examples there are: what the data says, or the rows of the first predictions there are."""
    data = results.get("data") or {}
    sizes = data.get("sizes")
    if isinstance(sizes, dict) and number(sizes.get("test")):
        return int(sizes["test"])
    for row in trained:
        path = run_dir / "candidates" / row["id"] / "predictions.npz"
        if _is_folder_name(row["id"]) and path.is_file():
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    return len(arrays["test"])
            except (ValueError, KeyError, OSError) as error:
                name = f"candidates/{row['id']}/predictions.npz"
                raise InputError(name, f"unreadable ({error})", "an .npz with the arrays val and test") from None
    return None


def _base_candidate(run: RunContent) -> Mapping[str, Any] | None:
    return next((item for item in run.candidates if item.get("source") == "base"), None)
