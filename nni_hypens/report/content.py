"""Read the files of a run folder that a report is made from. They are checked: they may come from anybody."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from nni_hypens.errors import InputError, reason
from nni_hypens.report.text import number
from nni_hypens.utils.checks import PLAIN_NAME
from nni_hypens.utils.files import MAX_TEXT_BYTES, MAX_YAML_BYTES, as_written, parse_json, parse_yaml, read_text
from nni_hypens.utils.inputs import is_image, noun
from nni_hypens.utils.npz import array_shape
from nni_hypens.utils.run_files import CandidateFiles, RunFiles

_RUN, _CANDIDATE = RunFiles(Path()), CandidateFiles(Path())  # names relative to a folder, for messages as well
REPORT, CONFIG, CANDIDATES = str(_RUN.report), str(_RUN.config), str(_RUN.candidates)
RESULTS, EXAMPLES = str(_RUN.results), str(_RUN.examples)
BASE, HISTORY = str(_RUN.search.base), str(_RUN.search.history)
METRICS, PREDICTIONS = str(_CANDIDATE.metrics), str(_CANDIDATE.predictions)

LINKED_FILES = {
    RESULTS: "every measurement",
    CONFIG: "all settings and versions; also a settings file for another run",
    CANDIDATES: "every network that was proposed, with its architecture",
    EXAMPLES: "the pictures of this page",
    str(_RUN.ensemble_index): "members, weights, temperatures, classes",
    str(_RUN.selection): "how the members were chosen",
    str(_RUN.ensemble / "model.onnx"): "the ensemble as one file",
    BASE: "the base architecture",
    HISTORY: "the search, epoch by epoch",
}
"""Files of a run folder that the report links to, and what they hold."""

MOST_SHOWN = 30
"""Most members that a section shows one by one, with drawings and pictures; tables have all."""

_PART_TYPES = {
    "members": list, "candidates": list, "baselines": list, "diversity": dict, "reliability": dict, "cost": dict,
    "data": dict, "calibration": dict, "uncertainty": dict, "ood": dict, "corruptions": dict,
    "cost_front": dict, "intervals": dict, "known_results": dict, "ranking": dict, "selection": dict,
    "prediction_sets": dict, "top_k": list, "sizes": list,
    "classes": dict, "made": dict, "variety": dict,
}  # fmt: skip
_AS_WRITTEN = "the file as the run wrote it"


@dataclass(frozen=True)
class RunContent:
    """What the report needs from a run folder.

    Attributes:
        name: Name of the folder.
        config: config.yaml.
        candidates: candidates.json: every candidate of the pool, each with an id.
        results: results.json; `ensemble` and `best_member` have accuracy (0..1) and nll (nats).
        history: Rows of the search history as text.
        base: The base architecture, if the run has searched one.
        trained: Candidates that were trained, with all that the files say about each.
        failed: Candidates whose training failed.
        members: Members of the ensemble, each with an id.
        n_test: Number of test images, if known.
        examples: examples.json: test images to show.
        files: Those of `LINKED_FILES` that are there.
        has_experiments: Whether NNI's own files are there.
    """

    name: str
    config: Mapping[str, Any]
    candidates: Sequence[Mapping[str, Any]]
    results: Mapping[str, Any]
    history: Sequence[Mapping[str, str]]
    base: Mapping[str, Any] | None
    trained: Sequence[dict[str, Any]]
    failed: Sequence[Mapping[str, Any]]
    members: Sequence[Mapping[str, Any]]
    n_test: int | None
    examples: Mapping[str, Any]
    files: frozenset[str] = frozenset()
    has_experiments: bool = False

    def part(self, name: str) -> Mapping[str, Any]:
        """A mapping in results.json; empty if the run did not write it."""
        found: Mapping[str, Any] = self.results.get(name) or {}
        return found

    def rows(self, name: str, key: str = "rows") -> list[Mapping[str, Any]]:
        """The mappings listed under `key` in a part of results.json."""
        return mappings(self.part(name).get(key))

    @cached_property
    def shown_members(self) -> list[Mapping[str, Any]]:
        """The members that are shown one by one."""
        names = heaviest({item["id"]: number(item.get("weight")) or 0.0 for item in self.members})
        return [item for item in self.members if item["id"] in names]

    def shown_note(self) -> str:
        """What a section says where it does not show all members; empty where it does."""
        count, shown = len(self.members), len(self.shown_members)
        return "" if shown == count else f"Of {count} members, the {shown} with the largest weights are shown."

    @property
    def baselines(self) -> list[Mapping[str, Any]]:
        """The other models that were measured on test data."""
        return mappings(self.results.get("baselines"))

    @property
    def input_spec(self) -> Mapping[str, Any]:
        """Description of the input; empty if the run did not write it."""
        found = self.part("data").get("input_spec")
        return found if isinstance(found, Mapping) else {}

    @property
    def of_images(self) -> bool:
        """Whether the data are images."""
        return is_image(self.input_spec)

    @property
    def noun(self) -> str:
        """What an example of the data is called: `image` or `example`."""
        return noun(self.input_spec)

    @cached_property
    def base_candidate(self) -> Mapping[str, Any] | None:
        """The candidate that is the base architecture; with adaptive training there seldom is one."""
        return next((item for item in self.candidates if item.get("source") == "base"), None)


def heaviest(weights: Mapping[str, float]) -> set[str]:
    """The members to show one by one: the `MOST_SHOWN` with the largest weights, of equals the first.

    Examples:
        >>> heaviest({"c01": 0.25, "c00": 0.75}) == {"c00", "c01"}
        True
    """
    return set(sorted(weights, key=lambda name: -weights[name])[:MOST_SHOWN])


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in what should be a list of them."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def read_run(run_dir: Path) -> RunContent:
    """Read a run folder.

    Raises:
        InputError: A required file is missing, or a file is not what the run wrote.
    """
    if not run_dir.is_dir():
        raise InputError("run folder", run_dir, "an existing folder")
    RunFiles(run_dir).check_entries()
    try:
        config = parse_yaml(_read_text(run_dir, CONFIG, MAX_YAML_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(CONFIG, f"invalid YAML ({reason(error)})", _AS_WRITTEN) from None
    with as_written("run folder", "the files of a run as it wrote them"):
        return _read_content(run_dir, _typed(CONFIG, config, dict))


def _read_content(run_dir: Path, config: Mapping[str, Any]) -> RunContent:
    candidates = [_with_id(CANDIDATES, item) for item in _read_json(run_dir, CANDIDATES, list)]
    results = _read_results(run_dir)
    for item in candidates:
        _check_edges(item)
    trained, failed = _outcomes(run_dir, candidates, results)
    return RunContent(
        name=run_dir.resolve().name,
        config=config,
        candidates=candidates,
        results=results,
        history=_read_history(run_dir),
        base=_read_json(run_dir, BASE, dict) if os.path.lexists(run_dir / BASE) else None,
        trained=trained,
        failed=failed,
        members=[_with_id(f"{RESULTS}: members", item) for item in results.get("members") or ()],
        n_test=_test_size(run_dir, results, trained),
        examples=_read_json(run_dir, EXAMPLES, dict) if os.path.lexists(run_dir / EXAMPLES) else {},
        files=frozenset(name for name in LINKED_FILES if (run_dir / name).is_file()),
        has_experiments=(run_dir / _RUN.nni).is_dir(),
    )


def _read_text(run_dir: Path, name: str, at_most: int = MAX_TEXT_BYTES) -> str:
    try:
        return read_text(run_dir / name, at_most)
    except FileNotFoundError:
        raise InputError(
            name, f"no such file in {run_dir}", "a run folder in which this file has been written"
        ) from None
    except OSError as error:
        raise InputError(name, error.strerror, _AS_WRITTEN) from None
    except UnicodeDecodeError as error:
        raise InputError(name, f"bytes that are not UTF-8 ({error.reason})", _AS_WRITTEN) from None


def _read_json(run_dir: Path, name: str, kind: type) -> Any:
    try:
        value = parse_json(_read_text(run_dir, name))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(name, f"invalid JSON ({reason(error)})", _AS_WRITTEN) from None
    return _typed(name, value, kind)


def _typed(field: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InputError(field, type(value).__name__, "a mapping" if kind is dict else "a list")
    return value


def _read_results(run_dir: Path) -> dict[str, Any]:
    results: dict[str, Any] = _read_json(run_dir, RESULTS, dict)
    for part in ("ensemble", "best_member"):
        metrics = _typed(f"{RESULTS}: {part}", results.get(part), dict)
        for key in ("accuracy", "nll"):
            if number(metrics.get(key)) is None:
                raise InputError(f"{RESULTS}: {part}.{key}", metrics.get(key), "a finite number")
    for part, kind in _PART_TYPES.items():
        if results.get(part) is not None:
            _typed(f"{RESULTS}: {part}", results[part], kind)
    return results


def _check_edges(candidate: Mapping[str, Any]) -> None:
    edges = candidate.get("edges") or []
    if not isinstance(edges, list) or any(not isinstance(edge, list) or len(edge) != 3 for edge in edges):
        field = f"{CANDIDATES}: edges of {candidate['id']}"
        raise InputError(field, edges, "a list of [group, input, operation]")


def _read_history(run_dir: Path) -> list[dict[str, str]]:
    if not os.path.lexists(run_dir / HISTORY):
        return []
    try:
        return list(csv.DictReader(io.StringIO(_read_text(run_dir, HISTORY), newline="")))
    except csv.Error as error:
        raise InputError(HISTORY, f"invalid CSV ({error})", _AS_WRITTEN) from None


def _with_id(field: str, item: Any) -> Mapping[str, Any]:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise InputError(field, "an entry without an id", "a list of mappings, each with the text id")
    return item


def _candidate_file(run_dir: Path, candidate: str, name: str) -> str | None:
    """Path of a candidate's file in the run folder; None if it is missing, or the id is no plain name."""
    if not PLAIN_NAME.fullmatch(candidate):
        return None
    path = f"candidates/{candidate}/{name}"
    return path if os.path.lexists(run_dir / path) else None


def _outcomes(
    run_dir: Path, candidates: Sequence[Mapping[str, Any]], results: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Join what candidates.json, metrics.json and results.json say about each candidate: (trained, failed)."""
    drawn = {item["id"]: item for item in candidates}
    final = {row["id"]: row for row in (_with_id(f"{RESULTS}: candidates", r) for r in results.get("candidates") or ())}
    trained, failed = [], []
    for name in dict.fromkeys([*drawn, *final]):
        path = _candidate_file(run_dir, name, METRICS)
        metrics: Mapping[str, Any] = _read_json(run_dir, path, dict) if path else {}
        row = {**drawn.get(name, {}), **metrics, **final.get(name, {}), "id": name}
        if row.get("status") == "failed":
            failed.append(row)
        elif name in final or metrics:
            trained.append(row)
    return trained, failed


def _test_size(run_dir: Path, results: Mapping[str, Any], trained: Iterable[Mapping[str, Any]]) -> int | None:
    """Number of test images: what the description of the data says, or else the length of the first predictions."""
    sizes = (results.get("data") or {}).get("sizes")
    if isinstance(sizes, dict) and number(sizes.get("test")):
        return int(sizes["test"])
    for row in trained:
        path = _candidate_file(run_dir, row["id"], PREDICTIONS)
        if path is not None:
            return array_shape(run_dir / path, "test")[0]
    return None
