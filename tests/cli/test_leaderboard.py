"""The table of all candidates of a run."""

from __future__ import annotations

import csv
import json
import os
import re
import threading
from pathlib import Path

import pytest

from nni_hypens.cli import main as cli
from nni_hypens.utils.files import write_json
from tests.cli.test_output import ROW, out  # noqa: F401 - a fixture


@pytest.fixture
def run(out: Path) -> Path:  # noqa: F811
    """A run with one trained, one failed and one waiting candidate; the trained one is the ensemble."""
    candidates = json.loads((out / "candidates.json").read_text())
    better = {**candidates[1], "id": "c02"}
    write_json(out / "candidates.json", [*candidates, better, {**better, "id": "c03"}])
    trained = {"id": "c02", "status": "trained", "validation": {**ROW, "nll": 0.5}, "seconds": 2.0, "parameters": 7}
    write_json(out / "candidates/c02/metrics.json", trained)
    write_json(out / "ensemble/ensemble.json", {"members": [{"id": "c02", "weight": 1.0}]})
    write_json(out / "results.json", {"candidates": [{"id": "c02", "test": {**ROW, "nll": 0.625}}, {"id": "c01"}]})
    return out


def test_the_best_come_first(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["leaderboard", str(run)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:6] == ["id", "status", "member", "nll", "accuracy", "test_nll"] and "flops" not in head
    assert [line.split()[:2] for line in lines] == [
        ["c02", "trained"], ["c00", "trained"], ["c01", "failed"], [r"c03", "waiting"],
    ]  # fmt: skip
    assert lines[0].split()[2:6] == ["1.0000", "0.5000", "0.5000", "0.6250"]


def test_csv_and_json_have_every_column(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["leaderboard", str(run), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["parameters"] == 7 and rows[0]["flops"] is None and rows[3]["nll"] is None
    table = tmp_path / "new" / "table.csv"
    assert cli.main(["leaderboard", str(run), "--csv", str(table)]) == 0
    with table.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == found


def test_a_table_goes_into_a_pipe_and_through_a_link(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("outside")
    pipe, link, target = place / "pipe", place / "link", place / "target.csv"
    os.mkfifo(pipe)
    link.symlink_to(target)
    assert cli.main(["leaderboard", str(run), "--csv", str(link)]) == 0
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert cli.main(["leaderboard", str(run), "--csv", str(pipe)]) == 0
    reader.join(10)
    assert read == [target.read_text()] and link.is_symlink() and pipe.is_fifo()


def test_a_link_in_the_run_folder_is_not_followed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folder may come from somebody else."""
    mine, link = tmp_path_factory.mktemp("outside") / "mine.csv", run / "table.csv"
    mine.write_text("keep")
    link.symlink_to(mine)
    assert cli.main(["leaderboard", str(run), "--csv", str(link)]) == 0
    assert mine.read_text() == "keep" and not link.is_symlink()


def test_nothing_is_added_to_a_table_on_standard_output(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["leaderboard", str(run), "--csv", "/proc/self/fd/1"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("id,") and len(lines) == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("gone", "DIR: got .* without candidates.json"),
        ("[]", "candidates.json: got ..; expected a list"),
        ('""', "candidates.json: got ''; expected a list"),
        ("[3]", "a missing value, or one of the wrong kind"),
        ("{", "candidates.json: got invalid JSON"),
    ],
)
def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, says: str) -> None:
    if change != "gone":
        (tmp_path / "candidates.json").write_text(change)
    assert cli.main(["leaderboard", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(says, line)
