"""What the script that is preloaded into NNI's manager refuses: attacks on a real manager, with and without it."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nni.experiment import Experiment

from nni_hypens import _manager
from nni_hypens._manager import PatientManager, manager_environment
from tests.support.loaded import PATIENCE, free_port

CHROMIUM = shutil.which("chromium")
BEFORE = """
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) { return listen.call(this, port, '127.0.0.1', ...rest); };
"""
"""Binds to loopback and checks nothing, as if there were no other protection."""
PAGE = """<!DOCTYPE html><title>waiting</title><script>
const manager = '127.0.0.1:%d';
fetch(`http://${manager}/api/v1/nni/trial-jobs`, {method: 'POST', mode: 'no-cors', body: '{"x": 1}'}).catch(() => 0);
const socket = new WebSocket(`ws://${manager}/tuner`);
socket.onopen = () => fetch('/outcome/open');
socket.onerror = () => fetch('/outcome/refused');
</script>"""


class PatientExperiment(PatientManager, Experiment):
    """NNI's experiment, whose manager has time to start on a busy machine."""


@contextmanager
def manager(folder: Path, script: str | None) -> Iterator[int]:
    """A manager of NNI with a trial that sleeps; its port. ``script``: what is preloaded in place of ours."""
    experiment = PatientExperiment("local")
    config = experiment.config
    config.trial_command, config.trial_code_directory = "sleep 300", str(folder)
    config.search_space = {"x": {"_type": "choice", "_value": [1, 2]}}
    config.tuner.name, config.trial_concurrency, config.max_trial_number = "Random", 1, 5
    config.experiment_working_directory = str(folder / "nni")
    port = free_port()
    with manager_environment(), pytest.MonkeyPatch.context() as patch:
        if script is not None:
            (folder / "before.js").write_text(script)
            patch.setenv("NODE_OPTIONS", f'--require "{folder / "before.js"}"')
        experiment.start(port)
    try:
        yield port
    finally:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_manager, "STOP_SECONDS", 2.0)  # after an attack it may not end by itself
                experiment.stop()
        except Exception:  # an attack may have ended it
            if experiment._proc is not None:
                experiment._proc.kill()


def status(port: int, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def upgraded(port: int, origin: str) -> bool:
    """Whether a WebSocket that says it comes from a page of ``origin`` becomes the tuner."""
    lines = (
        "GET /tuner HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: {origin}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as link:
        link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return b" 101 " in link.recv(64)


def n_jobs(port: int) -> int:
    """Trials that the manager knows."""
    return status(port, "/api/v1/nni/trial-jobs")[1].count(b'"trialJobId"')


def first_job(port: int) -> str:
    """Id of the first trial, once it runs."""
    end = time.monotonic() + PATIENCE
    while True:
        jobs = json.loads(status(port, "/api/v1/nni/trial-jobs")[1])
        if jobs and jobs[0]["status"] == "RUNNING":
            job: str = jobs[0]["trialJobId"]
            return job
        assert time.monotonic() < end, jobs
        time.sleep(0.2)


def as_other_user(port: int) -> int:
    """Status that another user of this machine gets."""
    code = (
        "import encodings.idna, http.client, os; os.setgid(65534); os.setuid(65534); "
        f"c = http.client.HTTPConnection('127.0.0.1', {port}); c.request('GET', '/api/v1/nni/check-status'); "
        "print(c.getresponse().status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    return int(done.stdout)


@pytest.mark.end_to_end
@pytest.mark.parametrize("protected", [False, True], ids=["before", "after"])
def test_attacks_on_the_manager(protected: bool, tmp_path: Path) -> None:
    """Each attack works on a manager without the script, so that each refusal is the script's doing."""
    refused = 403
    with manager(tmp_path, None if protected else BEFORE) as port:
        api, job = "/api/v1/nni", first_job(port)
        up = "%2F".join([".."] * 20)
        found, content = status(port, f"{api}/trial-file/{job}/{up}%2Fetc%2Fpasswd")
        assert (found == refused) if protected else b"root:" in content
        answers = [
            status(port, f"{api}/check-status", Host="attacker.example")[0],
            status(port, f"{api}/trial-jobs", "POST", '{"x": 1}', Origin="http://attacker.example",
                   Content_Type="text/plain")[0],
            status(port, f"{api}/experiment", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0],
        ]  # fmt: skip
        if os.geteuid() == 0:
            answers.append(as_other_user(port))
        assert all(answer == refused for answer in answers) if protected else refused not in answers, answers
        assert upgraded(port, "http://attacker.example") is not protected
        if protected:
            assert status(port, "/netron/")[0] == refused
            assert status(port, "/oview", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate",
                          Sec_Fetch_Dest="document")[0] == 200  # fmt: skip
            assert status(port, f"{api}/trial-file/{job}/stderr")[0] == 200
            tunnel = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}
            assert status(port, f"{api}/check-status", **tunnel)[0] == 200
            assert n_jobs(port) == 1


@pytest.mark.end_to_end
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: Debian's package chromium has it")
@pytest.mark.parametrize("protected", [False, True], ids=["before", "after"])
def test_a_page_in_a_browser_is_refused(protected: bool, tmp_path: Path) -> None:
    with manager(tmp_path, None if protected else BEFORE) as port:
        first_job(port)
        page = tmp_path / "page"
        page.mkdir()
        (page / "index.html").write_text(PAGE % port)

        outcomes: queue.Queue[str] = queue.Queue()

        class Attacker(http.server.SimpleHTTPRequestHandler):
            """Serves the page, which says by the address that it asks for next how its attack went."""

            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(page))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                if self.path.startswith("/outcome/"):
                    outcomes.put(self.path.removeprefix("/outcome/"))
                super().do_GET()

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Attacker) as attacker:
            threading.Thread(target=attacker.serve_forever, daemon=True).start()
            with browser(f"http://127.0.0.1:{attacker.server_port}/index.html", tmp_path / "profile"):
                outcome = outcomes.get(timeout=PATIENCE)
            attacker.shutdown()
        assert outcome == ("refused" if protected else "open")
        if protected:
            assert n_jobs(port) == 1
            # not in the browser: the web UI asks the manager without end, so its page is never complete
            assert b'id="root"' in status(port, "/oview", Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate")[1]
            own_page = {"Origin": f"http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}
            assert status(port, "/api/v1/nni/check-status", **own_page)[0] == 200


@contextmanager
def browser(address: str, profile: Path) -> Iterator[None]:
    """A browser on a page, until the block ends. It does not wait for the page, whose WebSocket no time-out covers."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--no-first-run", "--disable-sync", f"--user-data-dir={profile}", "--remote-debugging-port=0", address,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
