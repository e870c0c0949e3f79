"""The command `nni-hypens leaderboard`: every candidate of a run, the best first."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

from nni_hypens.cli.output import cells_table, show, show_json
from nni_hypens.errors import InputError
from nni_hypens.run.leaderboard import COLUMNS, candidate_rows
from nni_hypens.utils.files import check_place
from nni_hypens.utils.output import is_standard_output, output_file

EXAMPLES = """examples:
  nni-hypens leaderboard runs/my                           a table
  nni-hypens leaderboard runs/my --csv candidates.csv      the same for a spreadsheet, with every digit
"""


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
    found = candidate_rows(arguments.folder)
    if arguments.csv is not None:
        if arguments.csv.is_dir():
            raise InputError("csv", f"{arguments.csv}, which is a folder", "a file")
        check_place(arguments.csv, "csv", "a place in a folder")
        with output_file(arguments.csv, arguments.folder) as file:
            file.write(csv_text(found))
    if arguments.json:
        show_json(found)
    elif arguments.csv is not None:
        if not is_standard_output(arguments.csv):
            show(f"{arguments.csv}: {len(found)} candidates")
    else:
        known = [name for name in COLUMNS if any(row[name] is not None for row in found)]
        show(cells_table(known, [[row[name] for name in known] for row in found]))


def csv_text(found: list[dict[str, Any]]) -> str:
    """Rows as CSV with a header; what is not known is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return buffer.getvalue()
