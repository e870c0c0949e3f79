"""The command `nni-hypens leaderboard`: every candidate of a run, the best first."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

from nni_hypens.cli.output import cells_table, show, show_json
from nni_hypens.errors import InputError
from nni_hypens.utils.files import as_written, check_place, read_json, write_text
from nni_hypens.utils.run_files import RunFiles

EXAMPLES = """examples:
  nni-hypens leaderboard runs/my                           a table
  nni-hypens leaderboard runs/my --csv candidates.csv      the same for a spreadsheet, with every digit
"""
COLUMNS = (
    "id", "status", "member", "nll", "accuracy", "test_nll", "test_accuracy", "supernet_nll", "shared_edges", "lam",
    "source", "parameters", "flops", "latency_ms", "seconds",
)  # fmt: skip
"""`nll` and `accuracy` are those of validation data; `member` is the weight in the ensemble."""


def add_command(commands: Any) -> None:
    """Add `leaderboard` to the subparsers of the command line."""
    parser = commands.add_parser(
        "leaderboard",
        help="all candidates of a run, the best first",
        description="All candidates of a run by their NLL on validation data, with the members of the ensemble.",
        examples=EXAMPLES,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="run folder")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to this file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(call=leaderboard)


def leaderboard(arguments: argparse.Namespace) -> None:
    """Print the candidates, or write them to a file.

    Raises:
        InputError: The folder has no candidates, or the file cannot be made.
    """
    found = rows(arguments.folder)
    if arguments.csv is not None:
        if arguments.csv.is_dir():
            raise InputError("csv", f"{arguments.csv}, which is a folder", "a file")
        check_place(arguments.csv, "csv", "a place in a folder")
        write_text(arguments.csv, csv_text(found))
    if arguments.json:
        show_json(found)
    elif arguments.csv is not None:
        show(f"{arguments.csv}: {len(found)} candidates")
    else:
        known = [name for name in COLUMNS if any(row[name] is not None for row in found)]
        show(cells_table(known, [[row[name] for name in known] for row in found]))


def rows(out: Path) -> list[dict[str, Any]]:
    """A row of `COLUMNS` for each candidate: the trained ones by validation NLL, then the others.

    Args:
        out: The run folder.

    Raises:
        InputError: It has no candidates, or one of its files is not what the run wrote.
    """
    files = RunFiles(out)
    if not files.candidates.exists():
        raise InputError("DIR", f"{out} without {files.candidates.name}", "a run folder after `nni-hypens sample`")
    index = read_json(files.ensemble_index) if files.ensemble_index.exists() else {}
    results = read_json(files.results) if files.results.exists() else {}
    with as_written(str(out), "a run folder"):
        weights = {member["id"]: member["weight"] for member in index.get("members", ())}
        test = {row["id"]: row.get("test", {}) for row in results.get("candidates", ())}
        found = [_row(files, record, weights, test) for record in read_json(files.candidates)]
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


def csv_text(found: list[dict[str, Any]]) -> str:
    """Rows as CSV with a header; what is not known is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return buffer.getvalue()
