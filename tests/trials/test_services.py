"""What a training service may be, found out before any long work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from nni.experiment.config import K8sStorageConfig, KubeflowConfig, LocalConfig, RemoteConfig, RemoteMachineConfig

from nni_hypens import InputError
from nni_hypens.cli import main as cli
from nni_hypens.trials.services import check_service, is_loopback, read_service


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "id_test").write_text("key")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").touch()
    machine = {"host": "127.0.0.1", "port": 2222, "user": "me", "sshKeyFile": "id_test", "pythonPath": "/opt/venv/bin"}
    return {"platform": "remote", "trialCodeDirectory": "code", "machineList": [machine]}


def write(folder: Path, content: Any) -> Path:
    path = folder / "service.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_remote_service(tmp_path: Path, content: dict[str, Any]) -> None:
    service = check_service(read_service(write(tmp_path, content)))
    (machine,) = service.config.machine_list
    assert machine.ssh_key_file == str(tmp_path / "id_test") and machine.python_path == "/opt/venv/bin"
    assert service.config.trial_code_directory == str(tmp_path / "code")
    assert service.fetches and not service.public and service.ports == 2
    assert service.config.nni_manager_ip == "127.0.0.1"
    nested = check_service(read_service(write(tmp_path, {"trainingService": content})))
    assert nested.config == service.config


def test_the_local_service_is_the_default(tmp_path: Path) -> None:
    for config in (None, LocalConfig(), read_service(write(tmp_path, "platform: local"))):
        service = check_service(config)
        assert service.platform == "local" and service.ports == 1 and not service.fetches and not service.public


def test_objects_of_python_are_checked_as_files_are(tmp_path: Path) -> None:
    key = tmp_path / "key"
    machine = RemoteMachineConfig(host="localhost", user="me", ssh_key_file=str(key))
    config = RemoteConfig(machine_list=[machine], trial_code_directory=str(tmp_path))
    with pytest.raises(InputError, match=r"machineList\[0\].sshKeyFile: got .*/key, which is not there"):
        check_service(config)
    key.touch()
    assert check_service(config).config.machine_list[0].port == 22
    with pytest.raises(InputError, match="^training_service: got a list"):
        check_service([config])


def test_the_manager_is_open_only_when_told(tmp_path: Path, content: dict[str, Any]) -> None:
    content["machineList"][0]["host"] = "gpu1.example.org"
    with pytest.raises(InputError, match="^service.nniManagerIp: got nothing, and trials on gpu1.example.org"):
        check_service(read_service(write(tmp_path, content)))
    tunnel = check_service(read_service(write(tmp_path, {**content, "nniManagerIp": "127.0.0.1"})))
    assert not tunnel.public
    given = check_service(read_service(write(tmp_path, {**content, "nniManagerIp": "192.0.2.7"})))
    assert given.public and given.config.nni_manager_ip == "192.0.2.7"
    with pytest.raises(InputError, match="^service.nniManagerIp: got 'all'"):
        check_service(read_service(write(tmp_path, {**content, "nniManagerIp": "all"})))


def test_hosts_of_this_machine() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("10.0.0.1", "gpu1", "localhost.example.org", "None", "")))


EXAMPLES = Path(__file__).parents[2] / "examples" / "remote"


def test_the_examples(tmp_path: Path) -> None:
    """As they stand, but for the key, which a user has."""
    remote = read_service(EXAMPLES / "remote.yaml")
    assert isinstance(remote, RemoteConfig) and len(remote.machine_list) == 2
    for machine in remote.machine_list:
        machine.ssh_key_file = str(tmp_path / "key")
    (tmp_path / "key").touch()
    service = check_service(remote)
    assert service.fetches and not service.public
    assert service.config.trial_code_directory == str(EXAMPLES / "code")

    service = check_service(read_service(EXAMPLES / "kubernetes.yaml"))
    assert isinstance(service.config, KubeflowConfig) and isinstance(service.config.storage, K8sStorageConfig)
    assert service.config.storage.path == "/exports/nni" and service.config.master.memory_size == "4gb"
    assert service.public and not service.fetches and service.ports == 2


def test_commands_of_the_examples_parse() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (EXAMPLES / "README.md").read_text(), re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if "nni-hypens" in line]
    assert len(lines) == 2
    for line in lines:
        assert (EXAMPLES.parent.parent / cli.build_parser().parse_args(shlex.split(line)[1:]).service).exists()


def test_a_kubernetes_service_with_keys_that_are_none(tmp_path: Path) -> None:
    content = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    content["trialCodeDirectory"] = str(EXAMPLES / "code")
    check_service(read_service(write(tmp_path, content)))
    with pytest.raises(InputError, match="^service.nniManagerIp: got nothing, and trials on kubeflow"):
        check_service(read_service(write(tmp_path, {k: v for k, v in content.items() if k != "nniManagerIp"})))
    with pytest.raises(InputError, match="storage"):
        check_service(read_service(write(tmp_path, {**content, "storage": {"storageType": "nfs", "sever": "x"}})))
    with pytest.raises(InputError, match="cpu"):
        check_service(read_service(write(tmp_path, {**content, "master": {**content["master"], "cpuNumber": "a"}})))


MACHINE = {"host": "127.0.0.1", "user": "me", "sshKeyFile": "id_test"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"platform": "lokal"}, "^service.platform: got 'lokal' in .* expected one of local, remote"),
        ({"platform": None}, "^service.platform"),
        ({"machinList": []}, "machinlist; expected NNI's fields: .*machineList"),
        ({"machineList": [{**MACHINE, "hots": "b"}]}, "hots"),
        ({"machineList": []}, "^service.machineList: got nothing"),
        ({"machineList": [{"user": "me", "sshKeyFile": "id_test"}]}, r"^service.machineList\[0\].host: got nothing"),
        ({"machineList": [{"host": "::1", "sshKeyFile": "id_test"}]}, r"^service.machineList\[0\].user: got nothing"),
        ({"machineList": [{**MACHINE, "host": "-oProxyCommand=x"}]}, r"machineList\[0\].host: got '-oProxyCommand"),
        ({"machineList": [{**MACHINE, "sshKeyFile": "no"}]}, r"machineList\[0\].sshKeyFile: .*/no, which is not"),
        ({"machineList": [{**MACHINE, "port": 70000}]}, "assert 0 < self.port < 65536"),
        ({"machineList": [{**MACHINE, "port": "ssh"}]}, "^service"),
        ({"machineList": [{**MACHINE, "sshPassphrase": "secret"}]}, r"machineList\[0\].sshPassphrase: got one"),
        ({"machineList": [MACHINE, {**MACHINE, "password": "secret"}]}, r"machineList\[1\].password: got one"),
        ({"reuseMode": True}, "^service.reuseMode"),
        ({"trialCommand": "python x.py"}, "^service.trialCommand"),
        ({"trialGpuNumber": -1}, "trial_gpu_number"),
        ({"trialCodeDirectory": "nowhere"}, "nowhere.* is not a directory"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: dict[str, Any], change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        check_service(read_service(write(tmp_path, {**content, **change})))
    assert "\n" not in str(error.value) and "secret" not in str(error.value)
    check_service(read_service(write(tmp_path, content)))  # NNI keeps nothing of the one before


@pytest.mark.parametrize("text", ["- platform: remote", "platform: [", "", "1: 2", "remote"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="^service"):
        read_service(write(tmp_path, text))
    with pytest.raises(InputError, match="^service: got .*nothing.yaml"):
        read_service(tmp_path / "nothing.yaml")


def test_a_folder_that_nni_would_not_upload(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="^service.trialCodeDirectory: .*empty, without a file"):
        check_service(read_service(write(tmp_path, {**content, "trialCodeDirectory": "empty"})))
    for index in range(2001):
        (tmp_path / "code" / f"{index}").touch()
    path = write(tmp_path, content)
    with pytest.raises(InputError, match="^service.trialCodeDirectory: .*more than 2000 files"):
        check_service(read_service(path))
    (tmp_path / "code" / ".nniignore").write_text("*\n")
    check_service(read_service(path))


def test_the_command_line_says_it_before_anything_is_done(
    tmp_path: Path, content: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    content["machineList"][0]["sshKeyFile"] = "nowhere"
    out = tmp_path / "run"
    assert cli.main(["run", "--out", str(out), "--service", str(write(tmp_path, content))]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("nni-hypens: service.machineList[0].sshKeyFile") and "\n" not in error
    assert not out.exists()


def test_a_machine_that_does_not_answer(
    tmp_path: Path, content: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    content["machineList"][0]["port"] = 1
    out = tmp_path / "run"
    assert cli.main(["run", "--out", str(out), "--service", str(write(tmp_path, content))]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("nni-hypens: service.machineList[0]: got 127.0.0.1: ") and "\n" not in error
    assert not out.exists()
