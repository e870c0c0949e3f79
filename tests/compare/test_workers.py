"""The worker processes of a comparison end with it."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils.locks import held_folder
from nni_hypens.utils.processes import ProcessName
from tests.support import sleeping_cell
from tests.support.forked import Forked
from tests.support.loaded import PATIENCE


def compare(folder: Path) -> int:
    """The command line with a comparison whose cells never end."""
    from nni_hypens.cli import main as cli
    from nni_hypens.compare import comparison
    from nni_hypens.utils.progress import Progress

    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined] # or no pool is allowed
    comparison.run_cell = sleeping_cell.run_cell  # type: ignore[assignment]

    def run(arguments: Any) -> None:
        comparison.run_cells(SimpleNamespace(cells=[("a", 0), ("a", 1)]), folder, 2, Progress(True))  # type: ignore[arg-type]

    cli.compare.run_command = run
    return cli.main(["compare", "--quiet"])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_workers_end_with_the_comparison(number: int, code: int, tmp_path: Path) -> None:
    files = tmp_path / "out", tmp_path / "err"
    child = Forked(lambda: compare(tmp_path), files)
    pids = tmp_path / "0.pid", tmp_path / "1.pid"
    child.when(lambda: all(path.exists() for path in pids), number)
    workers = [ProcessName.of(int(path.read_text())) for path in pids]
    assert child.wait() == code
    end = time.monotonic() + PATIENCE
    while any(worker is not None and worker.runs() for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(worker is not None and worker.runs() for worker in workers)
    if number != signal.SIGKILL:
        assert len(files[1].read_text().strip().splitlines()) == 1, files[1].read_text()


def test_one_comparison_at_a_time_and_what_killed_ones_left_is_removed(tmp_path: Path) -> None:
    cell = tmp_path / "digits-0" / "networks"
    cell.mkdir(parents=True)
    left, kept = cell / ".a.npz.x1y2.tmp", cell / "a.npz"
    for path in (left, kept):
        path.write_bytes(b"1")
    with held_folder(tmp_path):
        assert kept.exists() and not left.exists()
        left.write_bytes(b"1")
        with pytest.raises(InputError, match="^out: got .*in use by another run"), held_folder(tmp_path):
            pass
        assert left.exists()  # of the process that holds the folder
