"""NNI's training services, where candidates are trained: config objects of NNI, checked before any long work.

On ``local`` trials write into the run folder. On ``remote`` the run folder is not there: trials write into their own
output folders, and ``trials/remote.py`` fetches the files. On any other service (Kubernetes ...) the run
folder must be on a file system that trials see at the same path.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nni.experiment.config.training_service import TrainingServiceConfig

from nni_hypens._nni import canonical_service, load_service, service_fields
from nni_hypens.errors import InputError, reason
from nni_hypens.utils.files import MAX_YAML_BYTES, parse_yaml, read_text

PLATFORMS = ("local", "remote", "kubeflow", "frameworkcontroller", "openpai", "aml", "dlc")
MAX_UPLOAD_FILES, MAX_UPLOAD_BYTES = 2000, 300 * 2**20
"""Limits of the code folder in NNI's ``nni_node/common/tarball.js``, whose error is only in the manager's log."""
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*|::[A-Fa-f0-9:.]*")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._@-]*")


@dataclass(frozen=True)
class Service:
    """A checked training service.

    Args:
        config: NNI's config object; paths in it are absolute.
    """

    config: TrainingServiceConfig

    @property
    def platform(self) -> str:
        """NNI's name of the service."""
        name: str = self.config.platform
        return name

    @property
    def fetches(self) -> bool:
        """Whether candidates' files are fetched over ssh."""
        return self.platform == "remote"

    @property
    def public(self) -> bool:
        """Whether NNI's manager listens beyond loopback."""
        return self.platform != "local" and not is_loopback(str(self.config.nni_manager_ip))

    @property
    def host(self) -> str | None:
        """Name or address at which trials of other machines reach NNI's manager; None where it stays on loopback."""
        return str(self.config.nni_manager_ip) if self.public else None

    @property
    def ports(self) -> int:
        """Number of consecutive ports that NNI's manager needs."""
        return 1 if self.platform == "local" else 2


def read_service(path: str | Path) -> TrainingServiceConfig:
    """NNI's config object of a training service from a YAML file: the mapping that is under ``trainingService`` in a
    configuration of NNI (or all of such a mapping, with ``trainingService`` as its one key).

    Raises:
        InputError: No such file, not a YAML mapping, or a platform or key that NNI does not know.
    """
    path = Path(path)
    try:
        content = parse_yaml(read_text(path, MAX_YAML_BYTES, links=True))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(
            "service", f"{path} ({reason(error)})", "a YAML file of one of NNI's training services"
        ) from None
    if isinstance(content, dict) and list(content) in (["trainingService"], ["training_service"]):
        (content,) = content.values()
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError("service", f"{path} with a {type(content).__name__}", "a mapping: `platform: remote` ...")
    platform = content.get("platform")
    if platform not in PLATFORMS:
        raise InputError("service.platform", f"{platform!r} in {path}", f"one of {', '.join(PLATFORMS)}")
    fields = service_fields(platform) or []
    try:
        found = load_service(content, path.parent)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("service", f"{path}: {error}", f"NNI's fields: {', '.join(fields)}") from None
    if found is None:
        raise InputError("service.platform", f"{platform!r} in {path}", "a platform that this NNI has")
    return found


def check_service(config: TrainingServiceConfig | None) -> Service:
    """Check a training service before any long work; None stands for the local service.

    Raises:
        InputError: Naming the field.
    """
    if config is None:
        return Service(canonical_service(load_service({"platform": "local"}, Path())))
    if not isinstance(config, TrainingServiceConfig):
        got = f"a {type(config).__name__}"
        raise InputError("training_service", got, "one config object of nni.experiment.config, such as RemoteConfig")
    if config.platform not in PLATFORMS:
        raise InputError("service.platform", repr(config.platform), f"one of {', '.join(PLATFORMS)}")
    if isinstance(config.trial_command, str):
        raise InputError("service.trialCommand", repr(config.trial_command), "none: NNI sets it for its NAS")
    if config.platform == "remote":
        _check_machines(config)
    _check_manager_address(config)
    try:
        canonical = canonical_service(config)
    except AssertionError as error:  # NNI's assertions have no text: show the line that failed
        line = traceback.extract_tb(error.__traceback__)[-1].line
        raise InputError("service", f"what NNI refuses by `{line}`", "what that line asks for") from None
    except (ValueError, TypeError) as error:
        raise InputError(
            "service", f"what NNI refuses: {reason(error)}", f"the fields of {type(config).__name__}"
        ) from None
    if canonical.platform == "remote":
        _check_upload(Path(canonical.trial_code_directory))
    return Service(canonical)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's loopback interface."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_machines(config: Any) -> None:
    if config.reuse_mode:
        raise InputError("service.reuseMode", True, "false: the other kind of remote service keeps no output folders")
    if not (isinstance(config.machine_list, list) and config.machine_list):
        raise InputError("service.machineList", "nothing", "at least one machine: host, user, sshKeyFile, pythonPath")
    for index, machine in enumerate(config.machine_list):
        where = f"service.machineList[{index}]"
        for name, pattern in (("host", _HOST), ("user", _USER)):
            value = getattr(machine, name, None)
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise InputError(f"{where}.{name}", repr(value) if isinstance(value, str) else "nothing", f"its {name}")
        for name, field in (("password", "password"), ("ssh_passphrase", "sshPassphrase")):
            if getattr(machine, name) is not None:  # not repeated in the message
                raise InputError(f"{where}.{field}", "one", "a key file without: NNI's web UI would show it to anybody")
        key = Path(os.path.expanduser(str(machine.ssh_key_file)))
        key = key if key.is_absolute() else Path(machine._base_path) / key
        if not key.is_file():
            raise InputError(f"{where}.sshKeyFile", f"{key}, which is not there", "the private key that logs in")
    if shutil.which("ssh") is None:
        raise InputError("service", "no `ssh` on this machine", "OpenSSH's client, which fetches the candidates' files")


def _check_manager_address(config: Any) -> None:
    """Trials elsewhere must reach the manager, which has no password, so the user must decide to open it."""
    if config.platform == "local":
        return
    given = config.nni_manager_ip if isinstance(config.nni_manager_ip, str) else None
    hosts = [machine.host for machine in config.machine_list] if config.platform == "remote" else [config.platform]
    away = [host for host in hosts if not is_loopback(host)]
    if given is None and away:
        raise InputError(
            "service.nniManagerIp",
            f"nothing, and trials on {away[0]}",
            "127.0.0.1 with a tunnel (`ssh -R`), or this machine's address: then NNI's server, which has no password "
            "and serves any file, listens on every interface",
        )
    if given is not None and given != "localhost":
        try:
            ipaddress.ip_address(given)
        except ValueError:
            raise InputError("service.nniManagerIp", repr(given), "an IP address") from None


def _check_upload(folder: Path) -> None:
    """Check the size of the folder that NNI uploads; not if ``.nniignore`` excludes parts of it."""
    if (folder / ".nniignore").exists():
        return
    files = size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            files, size = files + 1, size + os.lstat(os.path.join(root, name)).st_size
        if files > MAX_UPLOAD_FILES or size > MAX_UPLOAD_BYTES:
            raise InputError(
                "service.trialCodeDirectory",
                f"{folder}, with more than {MAX_UPLOAD_FILES} files or {MAX_UPLOAD_BYTES // 2**20} MB",
                "a folder of your modules alone, which NNI uploads, or a file .nniignore in it",
            )
    if not files:
        raise InputError("service.trialCodeDirectory", f"{folder}, without a file", "a folder with one: NNI uploads it")
