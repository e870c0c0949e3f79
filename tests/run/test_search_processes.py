"""A search in two processes on a CPU (gloo), the second of which is a forked child: it has everything loaded."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_hypens import ImageData, image_evaluator
from nni_hypens.cli.main import main
from nni_hypens.errors import InputError
from nni_hypens.run import search_processes
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import make_plan
from nni_hypens.run.search_processes import RANK, processes_for, with_others
from nni_hypens.run.search_stage import search_stage
from nni_hypens.run.settings import Settings
from nni_hypens.utils.progress import Progress


class Child:
    """A forked process that runs a command of `nni-hypens`, in the place of a started one."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Any) -> None:
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.update(environment)
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            code = 1
            try:
                code = main(command[command.index("nni_hypens") + 1 :]) or 0
            finally:
                os._exit(code)

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, 9)


@pytest.mark.end_to_end
def test_two_processes_run_the_same_paths_on_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("lightning_fabric"), "handlers", [caplog.handler])
    out, watched = tmp_path / "run", tmp_path / "watched"
    watched.mkdir()
    monkeypatch.setenv("WATCHED", str(watched))
    monkeypatch.setattr(search_processes, "start_process", Child)
    settings = Settings(
        train_size=100, validation_size=64, batch_size=32, space="tests.support.watched_cell:WatchedCell",
        search_epochs=3, accelerator="cpu",
    )  # fmt: skip
    plan, folder = make_plan(settings), RunFolder(out)
    folder.claim({**plan.identity, **plan.fingerprint}, "")
    for noted in watched.iterdir():  # by the dry run of the plan
        noted.unlink()
    search_stage(plan, out, Progress(True), None, processes_for(plan.search_evaluator, "2"))
    assert not torch.distributed.is_initialized() and "LOCAL_RANK" not in os.environ
    assert "Initializing" not in caplog.text
    seen = [[line.split(";") for line in (watched / rank).read_text().splitlines()] for rank in ("0", "1")]
    seen[1] = seen[1][-len(seen[0]) :]  # the child's plan had a dry run, too
    assert len(seen[0]) > 6 and len({path for *_, path in seen[0]}) > 1
    for (size, total, path), (other_size, other_total, other_path) in zip(*seen, strict=True):
        assert path == other_path and size == other_size and total != other_total
    assert seen[0][0][0] == "16", "half of a batch"
    found = {str(path.relative_to(out)) for path in out.rglob("*") if "nni" not in path.parts}
    assert {"search/base.json", "search/supernet.safetensors"} <= found
    assert len([path for path in (out / "nni").iterdir() if path.is_dir()]) == 1, "one experiment, that of the run"


@pytest.mark.parametrize(
    ("script", "end"), [("echo too hot >&2; exit 3", "3: too hot$"), ("kill -9 $$", "-9$")], ids=["exits", "is_killed"]
)
def test_the_end_of_another_process_ends_the_search(
    script: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_processes, "own_python", lambda: ["sh", "-c", script])
    with pytest.raises(RuntimeError, match=f"process 1 of the search ended with exit code {end}"):
        with with_others(tmp_path, 2):
            assert os.environ["LOCAL_RANK"] == "0"
    assert "LOCAL_RANK" not in os.environ and RANK not in os.environ


def test_the_number_of_processes_follows_the_devices() -> None:
    evaluator = image_evaluator(ImageData("digits"), 10, 1, accelerator="cpu")
    assert processes_for(evaluator, None) == 1 and processes_for(evaluator, "3") == 3
    with pytest.raises(InputError, match="^devices: got 0,2"):
        processes_for(evaluator, "0,2")
