"""How NNI's manager starts and ends; what it is preloaded with is in tests/trials/test_lifetime.py."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from nni.experiment import launcher

from nni_hypens import _manager
from nni_hypens._manager import MANAGER_ATTEMPTS, PatientManager, check_home, check_node, manager_environment
from nni_hypens.errors import InputError


class FailsAtFirst:
    """An experiment whose manager does not answer ``failures`` times."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.asked = failures, error, []

    def _start_nni_manager(self, port: int, debug: bool, tags: list[str]) -> None:
        self.asked.append((port, debug, tags))
        if len(self.asked) <= self.failures:
            raise self.error


class Patient(PatientManager, FailsAtFirst):
    pass


@pytest.mark.parametrize("error", [ConnectionError("refused"), ValueError("Expecting value: line 1 column 1 (char 0)")])
def test_a_manager_that_does_not_answer_in_time_is_started_again(error: Exception) -> None:
    experiment = Patient(2, error)
    experiment._start_nni_manager(1, False, tags=["a"])
    assert experiment.asked == [(1, False, ["a"])] * 3
    hopeless = Patient(99, error)
    with pytest.raises(type(error), match=str(error)[:8]):
        hopeless._start_nni_manager(1, False, tags=[])
    assert len(hopeless.asked) == MANAGER_ATTEMPTS
    taken = Patient(1, RuntimeError("Port 8080 is not idle"))
    with pytest.raises(RuntimeError, match="not idle"):
        taken._start_nni_manager(8080, False, tags=[])
    assert len(taken.asked) == 1


def test_a_manager_that_just_starts_is_ended_by_ctrl_c() -> None:
    """NNI forgets it then."""
    started: list[subprocess.Popen[bytes]] = []

    class Starts:
        def _start_nni_manager(self, port: int) -> None:
            for name in ("abc123xy", "zzz999zz"):
                code = "import time; time.sleep(900)"
                started.append(subprocess.Popen([sys.executable, "-c", code, "--experiment-id", name]))
            raise KeyboardInterrupt

    class Started(PatientManager, Starts):
        id = "abc123xy"

    try:
        with pytest.raises(KeyboardInterrupt):
            Started()._start_nni_manager(1)
        assert [process.poll() is None for process in started] == [False, True]
    finally:
        started[1].kill()


def test_a_manager_that_runs_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine it takes longer than NNI waits; one that has ended is not waited for."""
    asked: list[int] = []
    name = "slow1234"
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)", "--experiment-id", name])

    def get(port: int, path: str, url_prefix: str | None) -> None:
        asked.append(port)
        if len(asked) < 8:
            raise ConnectionError("refused")

    class Starts:
        def _start_nni_manager(self, port: int) -> None:
            launcher._check_rest_server(port, url_prefix=None)

    class Started(PatientManager, Starts):
        id = name

    monkeypatch.setattr(_manager.rest, "get", get)
    monkeypatch.setattr(_manager.time, "sleep", lambda seconds: None)
    nnis = launcher._check_rest_server
    try:
        Started()._start_nni_manager(1)
        assert asked == [1] * 8 and launcher._check_rest_server is nnis
        for limit in (0.0, 30.0):  # first it takes too long, then it has ended
            asked.clear()
            monkeypatch.setattr(_manager, "MANAGER_SECONDS", limit)
            with pytest.raises(ConnectionError):
                Started()._start_nni_manager(1)
            assert len(asked) == MANAGER_ATTEMPTS
            sleeper.kill()
            sleeper.wait()
    finally:
        sleeper.kill()


class Stopping(PatientManager):
    """An experiment whose manager is any process."""

    url_prefix = None

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._proc, self.port = process, port


class Base:
    def _stop_nni_manager(self) -> None:
        self.stopped = True


class Stopped(Stopping, Base):
    pass


def test_a_manager_that_has_ended_or_hangs_is_stopped_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """NNI logs a traceback for the first, and waits without limit for the second."""
    monkeypatch.setattr(_manager, "STOP_SECONDS", 0.1)
    with caplog.at_level(logging.WARNING):
        dead = Stopped(subprocess.Popen(["true"]), 1)
        dead._proc.wait()
        assert dead.manager_ended()
        dead._stop_nni_manager()
        hanging = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])
        experiment = Stopped(hanging, 1)
        monkeypatch.setattr(hanging, "wait", lambda timeout=None, wait=hanging.wait: wait(min(timeout or 5, 5)))
        assert not experiment.manager_ended()
        experiment._stop_nni_manager()
    assert hanging.poll() is not None and dead.stopped and experiment.stopped and not caplog.records


def test_the_thread_that_listens_to_a_manager_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """NNI's thread tries for ten seconds to reach a manager that has ended, and then raises."""
    shown: list[object] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    def listen() -> None:
        time.sleep(1)
        raise ConnectionRefusedError

    thread = threading.Thread(target=listen, daemon=True)
    channel = SimpleNamespace(_channel=SimpleNamespace(_closing=False))
    engine = SimpleNamespace(_channel=channel, _channel_listen_thread=thread)

    class Started(Base):
        def execution_engine_factory(self, config: object) -> object:
            return engine

    class Played(Stopping, Started):
        pass

    experiment = Played(subprocess.Popen(["true"]), 1)
    experiment._engine = experiment.execution_engine_factory(None)
    thread.start()
    experiment._stop_nni_manager()
    begun = time.monotonic()
    thread.join()
    assert time.monotonic() - begun < 0.9 and thread.is_alive() and channel._channel._closing
    threading.Thread.join(thread)
    assert not shown
    other = threading.Thread(target=listen)
    other.start()
    other.join()
    assert len(shown) == 1


@pytest.mark.parametrize("options", ["--require /no/such.js", "--no-such-option", "--require ./exits.js"])
def test_node_options_that_stop_the_manager_are_found_before_the_search(
    options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exits.js").write_text("process.exit(3)")
    check_node()
    monkeypatch.setenv("NODE_OPTIONS", options)
    with pytest.raises(InputError, match="^NODE_OPTIONS: got '") as error:
        check_node()
    assert options in str(error.value) and os.environ["NODE_OPTIONS"] == options


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_manager, "HOME_FOLDER", tmp_path / "home" / "nni-experiments")
    check_home()
    assert not list((tmp_path / "home" / "nni-experiments").iterdir())
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "nni-experiments", Path("/proc/nni-experiments")):
        monkeypatch.setattr(_manager, "HOME_FOLDER", place)
        with pytest.raises(InputError, match=f"^HOME: got {place}"):
            check_home()


@pytest.mark.parametrize("own", [None, "example.org"])
def test_no_proxy_for_this_machine(own: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    if own is not None:
        monkeypatch.setenv("NO_PROXY", own)
    proxies = requests.utils.get_environ_proxies
    assert proxies("http://localhost:8080") != {}
    with manager_environment():
        assert proxies("http://localhost:8080") == proxies("http://127.0.0.1:8080") == {}
        assert proxies("http://other.example") != {} and (proxies("http://example.org") == {}) is (own is not None)
    assert os.environ.get("NO_PROXY") == own and "no_proxy" not in os.environ


def test_the_last_words_of_a_manager() -> None:
    code = "import os; open(os.environ['NNI_HYPENS_LAST_WORDS'], 'w').write('no space')"
    with manager_environment() as last_words:
        assert last_words() == ""
        subprocess.run([sys.executable, "-c", code], check=True)
        assert last_words() == "no space"
