"""An ssh server of a test's own: on a free port of 127.0.0.1, with a throw-away host key and one user key."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import nni_hypens
from tests.support.loaded import PATIENCE, free_port

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")


@dataclass(frozen=True)
class SshServer:
    """Where it listens, who logs in, and the home folder that its sessions see."""

    port: int
    user: str
    key: Path
    home: Path
    log: Path


def key_pair(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@contextmanager
def ssh_server(folder: Path, key: Path | None = None) -> Iterator[SshServer]:
    """Skips where OpenSSH's server is not installed. Sessions see the package under test, no package index, and NNI's
    servers there, which take every interface, stay on loopback. ``key``: that of another server; None for a new one."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd: Debian's package openssh-server has it")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation wants this folder
    home = folder / "home"
    home.mkdir(parents=True)
    host_key = key_pair(folder / "host_key")
    key = key or key_pair(folder / "user_key")
    authorized = folder / "authorized_keys"
    authorized.write_text(key.with_suffix(".pub").read_text())
    port = free_port()
    package = Path(nni_hypens.__file__).parent
    environment = {
        "HOME": home,
        "PYTHONPATH": package.parent,
        "PIP_NO_INDEX": "1",  # NNI runs `pip install nni --upgrade` there: what is installed will do
        "NODE_OPTIONS": f"--require={package / 'loopback.js'}",
    }
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nPidFile none\nAuthorizedKeysFile {authorized}\n"
        "Subsystem sftp internal-sftp\nAuthenticationMethods publickey\nPermitRootLogin prohibit-password\n"
        "UsePAM no\nStrictModes no\n"  # a folder under /tmp is nobody's home
        f"SetEnv {' '.join(f'{name}={value}' for name, value in environment.items())}\n"
    )
    log = folder / "sshd.log"
    process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(log)])
    try:
        for _ in range(round(PATIENCE / 0.05)):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                pytest.fail(f"sshd: {log.read_text()}")
            time.sleep(0.05)
        else:
            pytest.fail(f"sshd does not listen: {log.read_text()}")
        yield SshServer(port, getpass.getuser(), key, home, log)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def remote_yaml(server: SshServer, folder: Path, **more: object) -> Path:
    """A file for ``--service``; the code folder that NNI uploads holds a file of no use."""
    import yaml

    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "mine.txt").write_text("NNI refuses an empty folder\n")
    machine = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "sshKeyFile": str(server.key),
        "pythonPath": str(Path(sys.executable).parent),
    }
    content = {"platform": "remote", "trialCodeDirectory": str(code), "machineList": [machine], **more}
    path = folder / "remote.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
