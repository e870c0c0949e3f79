"""A machine reached by ssh: run a script there, and copy the files of a folder from there."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MARK = b"nni_hypens: files"
MAX_GREETING_LINES = 200
FETCH_SECONDS = 1800


class FetchError(RuntimeError):
    """Files could not be fetched, or failed their checks."""


@dataclass(frozen=True)
class Machine:
    """A machine as ``ssh`` reaches it.

    Args:
        host: Name or address.
        port: Port of its ssh server.
        user: User name of the login.
        key: Path of the private key.
        known_hosts: Host keys seen by this run; the user's known_hosts is read as well. A key in neither is accepted
            once; a changed key is refused. (NNI itself compares no host keys.)
        python: Folder of its python, or None for the one on its ``PATH``.
    """

    host: str
    port: int
    user: str
    key: str
    known_hosts: Path
    python: str | None = None

    def command(self, script: str) -> list[str]:
        """The command that runs a shell script there, without the user's ssh configuration and without a terminal."""
        hosts = str(self.known_hosts.absolute()).replace("%", "%%")
        options = (
            "BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=15", "ServerAliveInterval=10",
            "ServerAliveCountMax=3", "StrictHostKeyChecking=accept-new", "ClearAllForwardings=yes",
            "ForwardAgent=no", "LogLevel=ERROR", f'UserKnownHostsFile="{hosts}" ~/.ssh/known_hosts',
        )  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        target = ["-p", str(self.port), "-l", self.user, "-i", self.key, "--", self.host]
        return ["ssh", "-F", "none", "-T", *words, *target, f"exec sh -c {shlex.quote(script)}"]

    def run(self, script: str, seconds: float = 60) -> str:
        """Standard output of a script.

        Raises:
            FetchError: The script failed or took too long.
        """
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                self.command(script), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"{self.host} did not answer in {seconds:.0f} s") from None
        if done.returncode:
            raise FetchError(last_line(done.stderr) or f"exit code {done.returncode}")
        return done.stdout.decode("utf-8", errors="replace")

    def versions(self) -> dict[str, str]:
        """Versions of nni and nni_hypens that trials would use there.

        Raises:
            FetchError: The machine cannot be reached, or has no python with nni and nni_hypens.
        """
        code = (
            "import json, nni, nni_hypens; "
            "print(json.dumps({'nni': nni.__version__, 'nni_hypens': nni_hypens.__version__}))"
        )
        path = f"PATH={shlex.quote(self.python)}:$PATH; " if self.python else ""
        output = self.run(f"{path}$(command -v python || command -v python3) -c {shlex.quote(code)}")
        try:
            return dict(json.loads(output.strip().splitlines()[-1]))
        except (ValueError, IndexError, TypeError):
            raise FetchError(f"an unreadable answer: {output!r:.100}") from None

    def fetch(self, folder: str, limits: Mapping[str, int], into: Path) -> None:
        """Copy complete files of one folder there.

        Args:
            folder: Absolute path there.
            limits: File name -> largest accepted size in bytes.
            into: A local folder; discard its content after an error.

        Raises:
            FetchError: The connection was cut, a file is missing or larger than its limit.
        """
        names = " ".join(map(shlex.quote, limits))
        script = (
            f"cd -- {shlex.quote(folder)} && echo {shlex.quote(MARK.decode())} && "
            f'for name in {names}; do wc -c < "$name" || exit 1; done && cat -- {names}'
        )
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self.command(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            assert process.stdout is not None
            timer = threading.Timer(FETCH_SECONDS, process.kill)
            timer.start()
            try:
                _copy(process.stdout, limits, into)
            except FetchError as error:
                process.kill()
                process.wait()
                errors.seek(0)
                raise FetchError(f"{error} ({self.host}: {last_line(errors.read()) or 'no error message'})") from None
            finally:
                timer.cancel()
                process.kill()
                process.stdout.close()
                process.wait()


def last_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def _copy(stream: IO[bytes], limits: Mapping[str, int], into: Path) -> None:
    """Read the sizes, one a line, then the files one after another; skip a greeting before them."""
    for _ in range(MAX_GREETING_LINES):
        line = stream.readline(10_000)
        if line.strip() == MARK or not line:
            break
    sizes = {}
    for name, limit in limits.items():
        line = stream.readline(100).strip()
        if not (line.isascii() and line.isdigit()):
            raise FetchError(f"{name} cannot be read there")
        sizes[name] = int(line)
        if sizes[name] > limit:
            raise FetchError(f"{name} has {sizes[name]} bytes, more than the limit of {limit}")
    for name, size in sizes.items():
        with (into / name).open("wb") as file:
            while size:
                block = stream.read(min(size, 2**20))
                if not block:
                    raise FetchError(f"{name} was cut off, {size} bytes before its end")
                file.write(block)
                size -= len(block)
