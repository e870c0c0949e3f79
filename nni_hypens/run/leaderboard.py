"""All candidates of a run in one table, for the command line and for pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni_hypens.errors import InputError
from nni_hypens.utils.files import as_written, read_json
from nni_hypens.utils.run_files import RunFiles

COLUMNS = (
    "id", "status", "member", "nll", "accuracy", "test_nll", "test_accuracy", "supernet_nll", "shared_edges", "lam",
    "source", "parameters", "flops", "latency_ms", "seconds",
)  # fmt: skip
"""`nll` and `accuracy` are those of validation data; `member` is the weight in the ensemble."""


def candidate_rows(out: Path) -> list[dict[str, Any]]:
    """A row of `COLUMNS` for each candidate: the trained ones by validation NLL, then the others.

    Args:
        out: The run folder.

    Raises:
        InputError: It has no candidates, or one of its files is not what the run wrote.
    """
    files = RunFiles(out)
    if not files.candidates.exists():
        raise InputError("DIR", f"{out} without {files.candidates.name}", "a run folder after `nni-hypens sample`")
    records = read_json(files.candidates)
    if not isinstance(records, list) or not records:
        raise InputError(str(files.candidates), f"{records!r:.80}", "a list of candidates")
    index = read_json(files.ensemble_index) if files.ensemble_index.exists() else {}
    results = read_json(files.results) if files.results.exists() else {}
    with as_written(str(out), "a run folder"):
        weights = {member["id"]: member["weight"] for member in index.get("members", ())}
        test = {row["id"]: row.get("test", {}) for row in results.get("candidates", ())}
        found = [_row(files, record, weights, test) for record in records]
        return sorted(found, key=lambda row: (row["nll"] is None, row["nll"] or 0.0, row["id"]))


def _row(files: RunFiles, record: dict[str, Any], weights: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    name = record["id"]
    path = files.candidate(name).metrics
    known: dict[str, Any] = read_json(path) if path.exists() else {"status": "waiting"}
    measured, tested = known.get("validation") or {}, test.get(name) or {}
    row = {
        **record,
        **known,
        "id": name,
        "member": weights.get(name),
        **{key: measured.get(key) for key in ("nll", "accuracy")},
        **{f"test_{key}": tested.get(key) for key in ("nll", "accuracy")},
    }
    return {column: row.get(column) for column in COLUMNS}
