"""NNI's manager: its environment, its start and its end. Like ``_nni.py``, it works around faults of NNI 3.0; each
workaround says how to tell when it can go."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from nni_hypens import _nni  # noqa: F401 - the first import of NNI is quiet and in the right order
from nni_hypens.errors import InputError
from nni_hypens.utils.disks import check_writable
from nni_hypens.utils.processes import OWNER, ProcessName, kill_family

# isort: split
from nni.experiment import launcher, rest
from nni.tools.nnictl.constants import NNI_HOME_DIR

HOME_FOLDER = Path(NNI_HOME_DIR)
"""Where NNI keeps the list of all experiments of a user."""
PRELOADED = ("loopback.js", "lifetime.js")


@contextmanager
def manager_environment(
    host: str | None = None, one_thread: bool = True, more: dict[str, str] | None = None
) -> Iterator[Callable[[], str]]:
    """Set the environment in which NNI's manager starts, and that of this process as long as it talks to the manager.

    nni 3.0 listens on every interface (``nni_node/rest_server/index.js``: ``app.listen(port)``), has no password,
    answers every web page and every user of the machine, and outlives its owner. No option changes that, so its node
    process first loads ``loopback.js`` and ``lifetime.js``; see the comments there. Can go when these can go.

    Args:
        host: Name or address at which other machines reach the manager, for remote training services. The manager
            then listens on all interfaces. None keeps it on loopback.
        one_thread: Use one thread for each trial; a single trial keeps the user's setting.
        more: Further variables for the trials.

    Yields:
        A function that returns why the manager has ended by itself; an empty text if it has not said.
    """
    own = os.environ.get("NODE_OPTIONS", "")
    scripts = " ".join(f'--require "{Path(__file__).with_name(name).resolve()}"' for name in PRELOADED)
    words = os.memfd_create("nni_hypens")  # needs no space on a disk
    # a proxy would refuse to reach this machine by its own loopback address
    bypass = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")] + ["localhost,127.0.0.1,::1"]
    no_proxy = ",".join(filter(None, bypass))
    changes = {
        **(more or {}),
        **({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if one_thread else {}),
        **{"no_proxy": no_proxy, "NO_PROXY": no_proxy},
        "NODE_OPTIONS": f"{own} {scripts}".strip(),
        "NNI_HYPENS_NODE_OPTIONS": own,
        "NNI_HYPENS_MANAGER_HOST": host or "",
        OWNER: str(ProcessName.own()),
        "NNI_HYPENS_LAST_WORDS": f"/proc/{os.getpid()}/fd/{words}",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield lambda: os.pread(words, 2000, 0).decode(errors="replace")
    finally:
        os.close(words)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def check_node() -> None:
    """Check that NNI's manager could start here.

    Raises:
        InputError: Its node program does not start, for example because of ``NODE_OPTIONS``.
    """
    import nni_node  # type: ignore[import-untyped]

    command = [str(Path(nni_node.__path__[0], "node")), "-e", ""]
    with manager_environment():
        try:
            ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
        except OSError as error:
            raise InputError(
                "node", f"{command[0]} ({error.strerror})", "NNI's node program; install nni again"
            ) from None
        except subprocess.TimeoutExpired:
            raise InputError("node", f"{command[0]}, which does not end", "NNI's node program") from None
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if "rror" in line or "not allowed" in line]
        options = os.environ.get("NODE_OPTIONS")
        got = f"{options!r}: {(said or ['no reason given'])[0]:.200}"
        raise InputError("NODE_OPTIONS", got, "options of node that NNI's manager can start with, or none")


def check_home() -> None:
    """Check that NNI can write its list of experiments in the home folder; every experiment needs it.

    Raises:
        InputError: It cannot.
    """
    try:
        HOME_FOLDER.mkdir(parents=True, exist_ok=True)
        check_writable(HOME_FOLDER)
        with tempfile.TemporaryFile(dir=HOME_FOLDER):
            pass
    except OSError as error:
        got = f"{HOME_FOLDER}: {error.strerror}"
        raise InputError("HOME", got, "a home folder where NNI can keep its list of experiments; set HOME") from None


MANAGER_ATTEMPTS = 4
MANAGER_SECONDS = 30.0
"""How long a manager that runs may take until it answers."""
STOP_SECONDS = 15.0
LISTENER_SECONDS = 0.5


class PatientManager:
    """Mixin of an NNI experiment that waits for its manager, and starts it again if it ends or does not answer.

    nni 3.0 gives a manager three seconds, too few on a busy machine, and treats an incomplete answer (not JSON) as a
    failure. At the end it waits for a manager without limit, and logs a traceback if the manager is gone. Private:
    ``nni.experiment.launcher._check_rest_server``. Can go when that waits longer and ``_stop_nni_manager`` expects
    both.
    """

    _proc: subprocess.Popen[bytes] | None
    id: str
    port: int | None
    url_prefix: str | None

    def _start_nni_manager(self, port: int, *arguments: Any, **options: Any) -> None:
        for attempt in range(1, MANAGER_ATTEMPTS + 1):
            try:
                with _patience(self._wait_for_manager):
                    super()._start_nni_manager(port, *arguments, **options)  # type: ignore[misc]
                return
            except (OSError, ValueError):  # errors of the requests package; NNI has already killed the manager
                if attempt == MANAGER_ATTEMPTS:
                    raise
                logging.getLogger("nni").warning("NNI's manager did not answer in time; starting it again")
                _wait_until_free(port)
            except KeyboardInterrupt:  # NNI does not know the manager yet
                for child in self._managers():
                    kill_family(child)
                raise

    def _managers(self) -> list[psutil.Process]:
        """Managers of this experiment that run."""
        found = []
        for child in psutil.Process().children():
            with suppress(psutil.Error):  # it has ended
                if self.id in child.cmdline():
                    found.append(child)
        return found

    def _wait_for_manager(self, port: int, retry: int = 0, url_prefix: str | None = None) -> None:
        """In the place of NNI's function, and with its arguments: wait until the manager answers.

        Raises:
            OSError: It has ended, or does not answer in time.
            ValueError: It answers, but incompletely.
        """
        end = time.monotonic() + MANAGER_SECONDS
        while True:
            try:
                rest.get(port, "/check-status", url_prefix)
                return
            except (OSError, ValueError):
                if time.monotonic() > end or not self._managers():
                    raise
            time.sleep(0.2)

    def execution_engine_factory(self, config: Any) -> Any:
        """NNI's engine; its thread that listens to the manager raises unseen, as the strategy notices that itself."""
        engine, shown = super().execution_engine_factory(config), threading.excepthook  # type: ignore[misc]
        thread = engine._channel_listen_thread
        threading.excepthook = lambda error: None if error.thread is thread else shown(error)
        return engine

    def manager_ended(self) -> bool:
        """Whether NNI's manager was started, and has ended or ends now."""
        if self._proc is None:
            return False
        with suppress(subprocess.TimeoutExpired):
            self._proc.wait(1)
        return self._proc.poll() is not None

    def _stop_nni_manager(self) -> None:
        process, self._proc = self._proc, None  # NNI has nothing left to stop
        if process is not None:
            with suppress(OSError):  # it has ended, or does not answer; requests' errors are such
                rest.delete(self.port, "/experiment", self.url_prefix)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                kill_family(psutil.Process(process.pid))
                process.wait()
        super()._stop_nni_manager()  # type: ignore[misc]
        _leave_listener(getattr(self, "_engine", None))


@contextmanager
def _patience(wait: Callable[..., None]) -> Iterator[None]:
    """Let NNI wait for a manager with this function."""
    own = launcher._check_rest_server
    launcher._check_rest_server = wait
    try:
        yield
    finally:
        launcher._check_rest_server = own


def _leave_listener(engine: Any) -> None:
    """Do not wait for the thread that listens to a manager that has ended, nor let it reach the next one.

    It tries for ten seconds to connect again, and then raises; NNI joins it. Private: ``_channel``,
    ``_channel_listen_thread``. Can go when the thread ends with the manager.
    """
    if engine is None:
        return
    engine._channel._channel._closing = True
    thread: threading.Thread = engine._channel_listen_thread
    thread.join = partial(thread.join, LISTENER_SECONDS)  # type: ignore[method-assign]


def _wait_until_free(port: int, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) != 0:
                return
        time.sleep(0.2)


@contextmanager
def viewing_manager(folder: Path, experiment: str, port: int, seconds: int = 60) -> Iterator[subprocess.Popen[bytes]]:
    """Run NNI's manager, and so its web UI, on the database of an experiment that is over. It starts no trial.

    NNI's own ``Experiment.view`` refuses NAS experiments (``search_space`` "can not be customized"), replaces the
    record of the experiment in the user's home folder, and writes into the folder of the experiment. Private:
    ``nni.experiment.launcher``. Can go when ``Experiment.view`` does none of this.

    Args:
        folder: Holds ``ID/db/nni.sqlite``; the manager writes here.
        experiment: The ID.
        port: Port of the web UI, on loopback.
        seconds: How long to wait for it.

    Yields:
        The process; it is ended at the end.

    Raises:
        RuntimeError: It has not started.
    """
    from nni.experiment import RunMode

    (folder / experiment / "log").mkdir(parents=True, exist_ok=True)
    platform = SimpleNamespace(platform="local")
    config = SimpleNamespace(experiment_working_directory=str(folder), training_service=platform, log_level="info")
    arguments = launcher.NniManagerArgs("view", experiment, config, port, False, False, None, None)
    with manager_environment() as last_words:
        process = launcher._start_rest_server(arguments, RunMode.Detach)
        try:
            end = time.monotonic() + seconds
            while True:
                try:
                    rest.post(port, "/experiment", {}, None)
                    break
                except (OSError, ValueError) as error:
                    if process.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"NNI's manager has not started: {last_words() or error}") from error
                    time.sleep(0.2)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                kill_family(psutil.Process(process.pid))
                process.wait()
