"""The command `nni-hypens doctor`: versions, known faults of NNI on this machine, and what works here.

NNI is imported by one check only, because users run the doctor where NNI cannot be imported.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from nni_hypens.cli.output import show, show_json
from nni_hypens.errors import InputError, raised
from nni_hypens.utils.files import read_text

OK, NOTE, FAILS = "ok", "note", "FAILS"
LEAST_DISK, LEAST_MEMORY = 100 * 2**20, 2 * 2**30  # bytes: a default run keeps about 1 MB, NNI's logs more
EXAMPLES = """`note`: works, with a limit to know about. `FAILS`: a default run would not work; the exit code is then 1.

examples:
  nni-hypens doctor            a table
  nni-hypens doctor --json     the same as JSON
"""
_EXTRAS = ("onnx", "onnxruntime", "onnxscript", "tianshou", "deephyper", "tensorboard", "torch-uncertainty")
_LISTEN = """const server = require('net').createServer(socket => socket.end());
server.listen(PORT, () => console.log(server.address().address)); setTimeout(() => process.exit(0), 5000);"""


@dataclass
class Check:
    """Result of one check.

    Args:
        name: Subject of the check.
        state: ``ok``, ``note`` or ``FAILS``.
        found: Result, and what to do about it.
    """

    name: str
    state: str
    found: str


def add_command(commands: Any) -> None:
    """Add `doctor` to the subparsers of the command line."""
    parser = commands.add_parser(
        "doctor",
        help="what is installed, and what works on this machine",
        description="Show what is installed, which known faults of NNI this machine has, and what works here.",
        examples=EXAMPLES,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(call=examine_machine)


def examine_machine(arguments: argparse.Namespace) -> int:
    """Examine this machine and print what was found.

    Returns:
        0 if a default run would work, otherwise 1.
    """
    begun = time.monotonic()
    checks = examine()
    works = abilities(checks)
    if arguments.json:
        summary = {"ok": works["default run"], "seconds": round(time.monotonic() - begun, 2), "versions": versions()}
        show_json({**summary, "checks": [asdict(check) for check in checks], "works": works})
    else:
        show(table(checks, works))
    return 0 if works["default run"] else 1


def versions() -> dict[str, str | None]:
    """Versions of Python, this package, its dependencies and the extras by name; None for missing packages."""
    names = ["nni-hypens", *(requirement.name for requirement in _requirements()), *_EXTRAS]
    return {"python": platform.python_version(), **{name: _version(name) for name in dict.fromkeys(names)}}


def examine() -> list[Check]:
    """Run all checks. A function that raises becomes a failed check with the error."""
    checks: list[Check] = []
    functions: tuple[Callable[[], Iterator[Check]], ...] = (
        _python, _packages, _imports, _manager, _ports, _places, _machine, _traps, _extras, _services, _data,
    )  # fmt: skip
    for function in functions:
        try:
            checks += function()
        except Exception as error:  # noqa: BLE001 - the doctor reports every error
            checks.append(Check(function.__name__.strip("_"), FAILS, raised(error)))
    return checks


def abilities(checks: Sequence[Check]) -> dict[str, bool]:
    """What works here, derived from the checks."""
    state = {check.name: check.state for check in checks}
    fine = FAILS not in state.values()
    return {
        "default run": fine,
        "watch a search in the web UI": fine,
        "export to ONNX": state.get("onnx") == state.get("onnxscript") == state.get("onnxruntime") == OK,
        "a base from NNI's ENAS": state.get("tianshou") == OK,
        "trials on other machines by ssh": fine and state.get("ssh") == OK,
        "Fashion-MNIST without a download": state.get("fashion_mnist") == OK,
        "a GPU that torch sees": state.get("gpu") == OK,
    }


def table(checks: Sequence[Check], works: dict[str, bool]) -> str:
    """Table of the checks and of what works, for the terminal."""
    width = max(len(name) for name in [*works, *(check.name for check in checks)])
    lines = [f"{check.name:<{width}}  {check.state:<5}  {check.found}" for check in checks]
    lines += ["", "what works here", *(f"{name:<{width}}  {'yes' if yes else 'no'}" for name, yes in works.items())]
    return "\n".join(lines)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements() -> list[Requirement]:
    """What this package needs, without extras; empty if the package is not installed."""
    try:
        texts = importlib.metadata.requires("nni-hypens") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [need for text in texts if not (need := Requirement(text)).marker or need.marker.evaluate({"extra": ""})]


def _python() -> Iterator[Check]:
    fits = (3, 10) <= sys.version_info[:2] < (3, 14)
    yield Check("python", OK if fits else FAILS, f"{platform.python_version()}; 3.10 to 3.13 are supported")
    linux = sys.platform == "linux"
    yield Check("system", OK if linux else NOTE, platform.platform() + ("" if linux else "; only Linux was tested"))


def _packages() -> Iterator[Check]:
    needs = _requirements()
    if not needs:
        yield Check("nni-hypens", NOTE, "not installed: the versions that it needs are not known here")
    for need in needs:
        version = _version(need.name)
        fits = version is not None and need.specifier.contains(version, prereleases=True)
        yield Check(need.name, OK if fits else FAILS, f"{version or 'missing'}{'' if fits else f'; needs {need}'}")


def _imports() -> Iterator[Check]:
    begun = time.monotonic()
    from nni_hypens import _nni  # noqa: F401 - NNI, torch and Lightning, first without their noise
    from nni_hypens.trials import experiment as experiments  # noqa: F401 - NNI, torch and Lightning, first without their noise

    yield Check("imports", OK, f"NNI, torch and Lightning, {time.monotonic() - begun:.1f} s")


def _nni_node() -> Path:
    spec = importlib.util.find_spec("nni_node")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("nni_node: no such package; install nni again")
    return Path(next(iter(spec.submodule_search_locations)))


def _manager() -> Iterator[Check]:
    """Start NNI's node program as for its manager, with a small server that sets no address."""
    folder = _nni_node()
    node = str(folder / "node")
    ran = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10)
    yield Check("node", OK if ran.returncode == 0 else FAILS, (ran.stdout or ran.stderr).strip() or "no output")
    listens = re.search(r"\.listen\(this\.port\)", read_text(folder / "rest_server" / "index.js", links=True))
    text = "listens on every interface, without password" if listens else "listens on one address"
    yield Check("manager by itself", NOTE if listens else OK, f"{text}; nni-hypens keeps it on 127.0.0.1")
    address, reached = _listen(node, loopback=True)
    kept = address == "127.0.0.1"
    yield Check("manager on loopback", OK if kept else FAILS, f"listens on {address or 'nothing'}")
    yield Check("localhost", OK if reached else FAILS, f"{'reaches' if reached else 'does not reach'} 127.0.0.1")
    from nni_hypens._manager import HOME_FOLDER, check_home

    try:
        check_home()
        yield Check("home folder", OK, str(HOME_FOLDER))
    except InputError as error:
        yield Check("home folder", FAILS, str(error))


def _listen(node: str, loopback: bool) -> tuple[str, bool]:
    """Start a node server that sets no address. Return the address it gets, and whether ``localhost`` reaches it."""
    from nni_hypens._manager import manager_environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with manager_environment() if loopback else nullcontext():
        code = _LISTEN.replace("PORT", str(port))
        process = subprocess.Popen([node, "-e", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            socket.create_connection(("localhost", port), timeout=2).close()
        except OSError:
            return address, False
        return address, True
    finally:
        process.kill()
        process.communicate()


def _ports() -> Iterator[Check]:
    from nni_hypens.utils.ports import free_port

    first = free_port(None)
    busy = "" if first == 8080 else "; those before are in use, perhaps by a manager of NNI whose script was killed"
    yield Check("ports", OK if first == 8080 else NOTE, f"{first} is the first free one from 8080{busy}")


def _places() -> Iterator[Check]:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK | os.X_OK)
    space = f"{free / 2**30:.1f} GB free" + ("" if writable else ", but it cannot be written to: choose --out")
    yield Check("working folder", OK if writable and free >= LEAST_DISK else FAILS, f"{folder}: {space}")


def _machine() -> Iterator[Check]:
    import psutil
    import torch

    free = psutil.virtual_memory().available
    little = free < LEAST_MEMORY
    yield Check("memory", NOTE if little else OK, f"{free / 2**30:.1f} GB free{'; try --concurrency 1' * little}")
    usual = f"torch by itself would use {torch.get_num_threads()} threads on {os.cpu_count()} cores"
    yield Check("threads", OK, f"{usual}; --threads is 1 by default; set OMP_NUM_THREADS=1 in your scripts")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
    yield Check("gpu", OK if count else NOTE, names or "none that torch sees")
    used = f"the first of {count} GPUs for the search, one for each trial" if count else "the processor"
    yield Check("used", OK, f"{used}, in 32 bits; --accelerator, --devices and --precision change that")


def _traps() -> Iterator[Check]:
    """Known faults of the installed NNI and of its packages."""
    queue = read_text(_nni_node() / "training_service" / "v3" / "compat.js", links=True)
    if "this.parameters.shift()" in queue:
        text = "NNI may mix up the parameters of trials; nni-hypens submits a trial after the previous one has reported"
        yield Check("parameters of trials", NOTE, text)
    bare = importlib.util.find_spec("pkg_resources") is None
    missing = "does not start: it needs setuptools below 82; nni-hypens does not use nnictl"
    text = missing if bare else "has pkg_resources"
    yield Check("nnictl", NOTE if bare else OK, text)


def _extras() -> Iterator[Check]:
    use = {"tianshou": "NNI's ENAS", "deephyper": "a comparison in the tests", "tensorboard": "its logger"}
    use["torch-uncertainty"] = "packed ensembles in a comparison"
    for name in _EXTRAS:
        version = _version(name)
        text = version or f"missing: only for {use.get(name, 'nni-hypens export')}"
        yield Check(name, OK if version else NOTE, text)


def _services() -> Iterator[Check]:
    ssh = shutil.which("ssh")
    yield Check("ssh", OK if ssh else NOTE, ssh or "missing: only for trials on other machines")
    sshd = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    yield Check("sshd", OK if sshd else NOTE, sshd or "missing: only for machines that receive trials, and tests")


def _data() -> Iterator[Check]:
    from nni_hypens.data.sources import DEBIAN_FASHION_MNIST, cache_folder

    spec = importlib.util.find_spec("sklearn.datasets")
    digits = spec is not None and (Path(str(spec.origin)).parent / "data" / "digits.csv.gz").exists()
    text = "in scikit-learn" if digits else "missing: install scikit-learn again"
    yield Check("digits", OK if digits else FAILS, text)
    places = [path for path in (DEBIAN_FASHION_MNIST, cache_folder() / "FashionMNIST") if path.is_dir()]
    missing = "not on disk: downloaded when asked for, or apt install dataset-fashion-mnist"
    text = f"in {places[0]}" if places else missing
    yield Check("fashion_mnist", OK if places else NOTE, text)
