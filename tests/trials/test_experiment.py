from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests

from nni_hypens import ImageData, image_evaluator
from nni_hypens._manager import manager_environment
from nni_hypens._nni import trial_config
from nni_hypens.errors import InputError
from nni_hypens.trials import experiment
from nni_hypens.trials.experiment import ask_for_gpus, kill_trials, manager_error, stop_orphan
from nni_hypens.trials.services import check_service
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.utils import ports
from nni_hypens.utils.files import write_json
from nni_hypens.utils.ports import free_port, held_port
from nni_hypens.utils.processes import OWNER, ProcessName
from tests.support.loaded import PATIENCE, own_ports


@pytest.fixture
def first_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Ports are looked for where no other process of pytest does, instead of from 8080."""
    assert ports.FIRST_PORT == 8080
    monkeypatch.setattr(ports, "FIRST_PORT", own_ports()[0])
    return own_ports()[0]


@pytest.mark.usefixtures("first_port")
def test_a_port_is_held_until_the_manager_listens() -> None:
    """Two runs that begin at once must not agree on a port."""
    with held_port(None) as first, held_port(None) as second:
        assert first != second
        with pytest.raises(InputError, match=f"^port: got {first}, which another run has taken"), held_port(first):
            pass
        assert free_port(first) == first  # nothing listens there yet
    with held_port(first) as again:
        assert again == first
    with held_port(first, 2) as pair, held_port(None) as other:
        assert pair == first and other > first + 1


def test_ports(first_port: int) -> None:
    found = free_port(None)
    assert first_port <= found < first_port + 200 and free_port(found) == found
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(InputError, match="in use"):
            free_port(busy.getsockname()[1])
    for wrong in (80, 70000, "8080"):
        with pytest.raises(InputError, match="^port"):
            free_port(wrong)


ENDED = ProcessName(2**22, 1)
"""A process that does not run: no id is this large."""
FAMILY = "import subprocess, time; subprocess.Popen(['sleep', '900']); time.sleep(900)"


def fake_manager(place: Path, owner: ProcessName, *arguments: str) -> subprocess.Popen[bytes]:
    """A process with the command line and the environment of NNI's manager, and a child."""
    main = place / "nni_node" / "main.js"
    main.parent.mkdir(parents=True, exist_ok=True)
    main.write_text(FAMILY)
    started = subprocess.Popen([sys.executable, str(main), *arguments], env={**os.environ, OWNER: str(owner)})
    end = time.monotonic() + PATIENCE
    while not psutil.Process(started.pid).children() and time.monotonic() < end:
        time.sleep(0.01)
    return started


def test_only_the_orphan_of_this_run_is_ended(tmp_path: Path) -> None:
    """A copy of a folder whose run goes on, a record that somebody has made up, a manager whose owner still runs: the
    folder is not believed, and no other process is touched."""
    run, other = tmp_path / "run", tmp_path / "other"
    crafted = {"experiment": "--experiment-id", "port": 1, "owner": 1}
    for folder in (run, other):
        write_json(folder / "nni" / "manager.json", crafted)
    directory = ("--experiment-id", "abc123xy", "--experiments-directory")
    managers = {
        "orphan": fake_manager(tmp_path, ENDED, *directory, str(run / "nni")),
        "owned": fake_manager(tmp_path, ProcessName.own(), *directory, str(run / "nni")),
        "elsewhere": fake_manager(tmp_path, ENDED, *directory, str(tmp_path / "live" / "nni")),
        "no manager": fake_manager(tmp_path, ENDED, "--experiment-id", "--experiments-directory", "abc123xy"),
    }
    everybody = [psutil.Process(one.pid) for one in managers.values()]
    everybody += [child for one in everybody for child in one.children()]
    try:
        assert not stop_orphan(other) and not (other / "nni" / "manager.json").exists()
        (child,) = psutil.Process(managers["orphan"].pid).children()
        assert stop_orphan(run) and not stop_orphan(run)
        assert managers["orphan"].wait(PATIENCE) is not None
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        assert [name for name, one in managers.items() if one.poll() is None] == ["owned", "elsewhere", "no manager"]
        assert not (run / "nni" / "manager.json").exists()
    finally:
        for process in everybody:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.mark.parametrize(
    ("owner", "inside", "ended"),
    [("gone", True, True), ("own", True, True), ("gone", False, False), ("another", True, False)],
)
def test_trials_that_outlive_their_manager(owner: str, inside: bool, ended: bool, tmp_path: Path) -> None:
    names = {"gone": ENDED, "own": ProcessName.own(), "another": ProcessName.of(os.getppid())}
    place = tmp_path / "nni"
    folder = (place if inside else tmp_path / "other") / "abc" / "environments" / "local-env" / "trials" / "x"
    environment = {**os.environ, "NNI_SYS_DIR": str(folder), OWNER: str(names[owner])}
    trial = subprocess.Popen(["sleep", "900"], env=environment)
    try:
        assert kill_trials(place) is ended
        if ended:
            assert trial.wait(PATIENCE) == -signal.SIGKILL
        assert ended or trial.poll() is None
    finally:
        trial.kill()


SERVER = """
const http = require('http');
const server = http.createServer();
server.listen(...JSON.parse(process.argv[1]), () => { console.log(server.address().address); server.close(); });
"""


@pytest.mark.parametrize(
    ("arguments", "address"),
    [("[0]", "127.0.0.1"), ('["0"]', "127.0.0.1"), ('[{"port": 0}]', "127.0.0.1"), ('[0, "0.0.0.0"]', "0.0.0.0")],
)
def test_servers_of_the_manager_listen_on_loopback(arguments: str, address: str) -> None:
    import nni_node

    node = str(Path(nni_node.__path__[0]) / "node")
    before = dict(os.environ)
    with manager_environment():
        run = subprocess.run([node, "-e", SERVER, arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert run.stdout.strip() == address, run.stderr
    assert dict(os.environ) == before
    with manager_environment(host="gpu1"):
        run = subprocess.run([node, "-e", SERVER, "[0]"], capture_output=True, text=True, timeout=PATIENCE)
    assert run.stdout.strip() in ("::", "0.0.0.0"), run.stderr


@pytest.mark.usefixtures("first_port")
def test_two_ports_in_a_row_where_a_service_wants_two() -> None:
    first = free_port(None, 2)
    assert free_port(first, 2) == first
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", first + 1))
        busy.listen()
        assert free_port(first) == first and free_port(None, 2) != first
        with pytest.raises(InputError, match=f"^port: got {first + 1}, which is in use"):
            free_port(first, 2)
    with pytest.raises(InputError, match="1024..65534"):
        free_port(65535, 2)


def test_why_a_manager_gave_up(tmp_path: Path) -> None:
    assert manager_error(tmp_path) is None
    log = tmp_path / "log" / "nnimanager.log"
    log.parent.mkdir()
    error = "[2026-01-01 00:00:00] ERROR (TrainingServiceCompat) Training srevice initialize failed: Error: no sftp\n"
    log.write_text("[2026-01-01 00:00:00] INFO (main) Start NNI manager\n" + error)
    assert manager_error(tmp_path) is None  # it goes on
    ended = "[2026-01-01 00:00:01] INFO (ShutdownManager) Initiate shutdown: training service initialize failed\n"
    log.write_text(log.read_text() + ended)
    assert manager_error(tmp_path).startswith("ERROR (TrainingServiceCompat) Training srevice initialize failed")


def test_gpus_are_asked_for_as_nni_accepts_them() -> None:
    config = trial_config(check_service(None).config)
    config.trial_concurrency = config.max_trial_number = 5
    ask_for_gpus(config, [1, 3], concurrency=5)
    canonical = config.canonical_copy()
    canonical.validate()
    local = canonical.training_service
    assert (canonical.trial_gpu_number, local.trial_gpu_number, local.gpu_indices) == (1, 1, [1, 3])
    assert local.use_active_gpu and local.max_trial_number_per_gpu == 3


class Played:
    """Stands for NNI's experiment: its run raises, after its manager has ended or not."""

    error: Exception
    ended: bool
    id, port = "abc", None

    def __init__(self, *arguments: object) -> None: ...

    def run(self, port: int, wait_completion: bool) -> None:
        raise self.error

    def manager_ended(self) -> bool:
        return self.ended


REFUSED = requests.ConnectionError("HTTPConnectionPool(host='localhost', port=1): Max retries exceeded with url: /api")


@pytest.mark.parametrize(
    ("error", "ended", "words", "raised", "says"),
    [
        (REFUSED, True, "", RuntimeError, "NNI's manager has ended: it gave no reason, so it was killed"),
        (REFUSED, True, "a trial cannot be started: gone", RuntimeError, "has ended: a trial cannot be started: gone$"),
        (REFUSED, False, "", RuntimeError, "does not answer at port .*nni/abc/log"),
        (AttributeError("'NoneType' has no 'send'"), True, "", RuntimeError, "NNI's manager has ended"),
        (OSError(28, "No space left on device", "/a"), False, "", OSError, "No space left"),
        (InputError("port", 1, "another"), False, "", InputError, "^port"),
    ],
)
def test_why_training_has_ended(
    error: Exception, ended: bool, words: str, raised: type[Exception], says: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    @contextlib.contextmanager
    def environment(host: str | None) -> Iterator[Callable[[], str]]:
        yield lambda: words

    monkeypatch.setattr(experiment, "manager_environment", environment)
    monkeypatch.setattr(experiment, "TrialExperiment", type("One", (Played,), {"error": error, "ended": ended}))
    strategy = SimpleNamespace(concurrency=1, candidates=[], proposals=None)
    with pytest.raises(raised, match=says):
        experiment.run_trials(None, None, strategy, tmp_path, None)  # type: ignore[arg-type]
    assert not (tmp_path / "nni" / "manager.json").exists()


def test_ctrl_c_while_the_manager_starts_is_not_taken_for_the_end(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NNI then returns as if all candidates had been trained, and its strategy has not begun."""
    monkeypatch.setattr(Played, "run", lambda *arguments, **options: None)
    monkeypatch.setattr(experiment, "TrialExperiment", type("One", (Played,), {"error": REFUSED, "ended": False}))
    strategy = CandidateTraining([], image_evaluator(data, 10, 1), data, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_trials(None, None, strategy, tmp_path, None)  # type: ignore[arg-type]


def test_a_run_folder_that_is_gone_is_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Removed(Played):
        error, ended = REFUSED, True

        def run(self, port: int, wait_completion: bool) -> None:
            shutil.rmtree(tmp_path / "run")
            super().run(port, wait_completion)

    monkeypatch.setattr(experiment, "TrialExperiment", Removed)
    strategy = SimpleNamespace(concurrency=1, candidates=[], proposals=None)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "run")):
        experiment.run_trials(None, None, strategy, tmp_path / "run", None)  # type: ignore[arg-type]
