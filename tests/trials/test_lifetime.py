"""What NNI's manager is preloaded with, in a small node program that plays the manager: it ends with its owner, starts
nothing then, and gives up a trial that cannot be started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nni_node
import psutil
import pytest

from nni_hypens._manager import manager_environment
from nni_hypens.utils.processes import OWNER, ProcessName
from tests.support.loaded import PATIENCE

NODE = str(Path(nni_node.__path__[0], "node"))
PLAYED = """
const childProcess = require('child_process');
const fs = require('fs');
const { trainingServiceFactoryV3 } = require('./factory');
const service = trainingServiceFactoryV3({});
const initiate = (reason) => { fs.writeFileSync('reason', reason); setTimeout(() => process.exit(1), 50); };
global.nni = { shutdown: { initiate } };
process.on('SIGTERM', () => setTimeout(() => process.exit(0), 100));
(async () => {
  for (;;) {
    const started = await service.createTrial();
    fs.appendFileSync('tried', 'x');
    if (started) await new Promise((resolve) => setTimeout(resolve, 100));
  }
})();
console.log('ready');
"""
FACTORY = """
const childProcess = require('child_process');
exports.trainingServiceFactoryV3 = (config) => ({
  createTrial: () => new Promise((resolve, reject) => {
    if (process.env.MODE === 'throws') return reject(new Error('ENOSPC: no space left on device, mkdir'));
    if (process.env.MODE === 'limit') {  // as root no limit would hold
      const refused = childProcess.spawn('true');
      refused.emit('error', Object.assign(new Error('spawn /bin/bash EAGAIN'), { code: 'EAGAIN' }));
      return resolve(null);
    }
    const gone = process.env.MODE === 'gone' ? { cwd: '/no/such/folder' } : {};
    const child = childProcess.spawn('sleep', ['900'], { stdio: 'ignore', ...gone });
    child.on('spawn', () => resolve('trial'));
    child.on('error', () => resolve(null));
  }),
});
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "nni_node"
    folder.mkdir()
    (folder / "main.js").write_text(PLAYED)
    (folder / "factory.js").write_text(FACTORY)
    return folder


def start(place: Path, mode: str, owner: ProcessName | None = None) -> subprocess.Popen[str]:
    more = {"MODE": mode, **({OWNER: str(owner)} if owner else {})}
    return subprocess.Popen(
        [NODE, str(place / "main.js")], cwd=place, env={**os.environ, **more}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, preexec_fn=os.setpgrp,
    )  # fmt: skip


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "900"])
    yield process
    process.kill()
    process.wait()


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


def trials(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


@pytest.mark.parametrize("stopped", [False, True])
def test_the_manager_ends_with_its_owner_and_starts_nothing_then(
    stopped: bool, place: Path, owner: subprocess.Popen[bytes]
) -> None:
    """Also with trials that it was just about to start when its owner died: it is stopped meanwhile."""
    with manager_environment():
        name = ProcessName.of(owner.pid)
        process = start(place, "works", name)
        wait_for(place / "tried")
        if stopped:
            process.send_signal(signal.SIGSTOP)
        before = {trial.pid for trial in trials(process)}
        owner.kill()
        owner.wait()
        if stopped:
            before = {trial.pid for trial in trials(process)}
            process.send_signal(signal.SIGCONT)
        family = trials(process)
        assert process.wait(PATIENCE) == 0 and process.communicate()[0] == ""
    assert before and (not stopped or {trial.pid for trial in family} <= before)
    for trial in family:
        trial.kill()  # of NNI's own shutdown, which is not played


def test_a_manager_that_does_not_end_is_killed_with_its_trials(place: Path, owner: subprocess.Popen[bytes]) -> None:
    text = (place / "main.js").read_text()
    (place / "main.js").write_text(text.replace("process.exit(0)", "0"))
    lifetime = Path(__file__).parents[2] / "nni_hypens" / "lifetime.js"
    (place / "quick.js").write_text(lifetime.read_text().replace("END_MS = 8000", "END_MS = 200"))
    with manager_environment(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODE_OPTIONS", f"--require {place / 'quick.js'}")
        process = start(place, "works", ProcessName.of(owner.pid))
        wait_for(place / "tried")
        owner.kill()
        owner.wait()
        (first, *_) = trials(process)
        assert process.wait(PATIENCE) == -signal.SIGKILL
        first.wait(PATIENCE)


def test_a_manager_whose_owner_is_gone_from_the_start(place: Path) -> None:
    with manager_environment():
        process = start(place, "works", ProcessName(2**22, 1))
        assert process.wait(PATIENCE) == 0
    assert not (place / "tried").exists()


CAUSES = {
    "gone": "the working folder /no/such/folder is gone",
    "throws": "no space left on device",
    "limit": "no further process",
}


@pytest.mark.parametrize("mode", CAUSES)
def test_a_trial_that_cannot_be_started_is_given_up(mode: str, place: Path) -> None:
    lifetime = Path(__file__).parents[2] / "nni_hypens" / "lifetime.js"
    (place / "quick.js").write_text(lifetime.read_text().replace("RETRY_MS = 1000", "RETRY_MS = 50"))
    with manager_environment() as last_words, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODE_OPTIONS", f"--require {place / 'quick.js'}")
        process = start(place, mode)
        assert process.wait(PATIENCE) == 1 and process.communicate()[0] == ""
        assert CAUSES[mode] in last_words() and last_words() in (place / "reason").read_text()
    assert (place / "tried").read_text() == "xx"  # NNI tried twice again, after pauses


def test_an_error_of_the_manager_is_no_page_on_the_terminal(place: Path) -> None:
    (place / "main.js").write_text("console.error('page\\n'.repeat(9)); Promise.reject(new Error('SQLITE_FULL: disk'))")
    with manager_environment() as last_words:
        process = start(place, "works")
        assert process.wait(PATIENCE) != 0 and process.communicate()[0] == ""
        assert last_words() == "SQLITE_FULL: disk"


def test_trials_get_the_options_of_the_user_and_the_name_of_the_manager(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "main.js").write_text("require('fs').writeFileSync('env', JSON.stringify(process.env))")
    for own in ("--max-old-space-size=2000", None):
        if own is None:
            monkeypatch.delenv("NODE_OPTIONS")
        else:
            monkeypatch.setenv("NODE_OPTIONS", own)
        with manager_environment():
            process = start(place, "works")
            assert process.wait(PATIENCE) == 0, process.communicate()
        text = (place / "env").read_text()
        assert f'"NNI_HYPENS_MANAGER":"{process.pid}:' in text and str(ProcessName.own()) in text
        assert ("NODE_OPTIONS" in text) is (own is not None) and "LAST_WORDS" not in text


def test_a_trial_ends_with_its_manager() -> None:
    """Without waiting for NNI's channel, which takes 15 seconds to notice."""
    manager = subprocess.Popen(["sleep", "900"])
    code = (
        "import sys, time, types\n"
        "from nni_hypens.trials import process\n"
        "process.import_for_training = lambda: (print('here', flush=True), time.sleep(900))\n"
        "process.main(process.ENTRY)"
    )
    environment = {**os.environ, "NNI_HYPENS_MANAGER": str(ProcessName.of(manager.pid))}
    trial = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert trial.stdout is not None and trial.stdout.readline() == "here\n"
    manager.kill()
    manager.wait()
    assert trial.wait(PATIENCE) == -signal.SIGKILL
