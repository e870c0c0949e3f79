"""What is published: wheel and sdist, their metadata, and the licences of what they need."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import nni_hypens
from nni_hypens.cli import doctor
from tests.support import licences
from tests.support.loaded import PATIENCE

ROOT = Path(__file__).parents[2]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def test_every_dependency_has_its_licence_on_the_page() -> None:
    rows = dict(re.findall(r"^\| ([\w.-]+) \| (.+) \|$", licences.PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for name in licences.needed()[""]:
        assert rows.get(name, "not installed").split()[:2] not in (["not", "stated"], ["not", "installed"]), name
        assert licences.licence(name) != "not stated"  # packages reword it, so the two texts are not compared
    assert {name for names in licences.needed().values() for name in names} <= set(rows)


def test_version_is_in_one_place() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: nni_hypens.__version__"
    assert f"## {nni_hypens.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in ("setup.cfg", "pyproject.toml", "mkdocs.yml", "README.md"):
        assert f'"{nni_hypens.__version__}"' not in (ROOT / name).read_text(encoding="utf-8"), name


def extras() -> dict[str, set[str]]:
    """Extra -> names of its packages, from setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return {
        extra: {Requirement(line).name for line in text.splitlines() if line.strip()}
        for extra, text in config["options.extras_require"].items()
    }


def texts() -> dict[str, str]:
    """What a user or a developer may read or run: code with its messages, documentation, CI, image."""
    folders = ("nni_hypens", "search_spaces", "tests", "examples", "docs", ".ci")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    paths += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Dockerfile", "setup.cfg", "pyproject.toml")]
    kinds = {".py", ".md", ".ipynb", ".j2", ".yaml", ".cfg", ".toml", ""}
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in paths
        if path.suffix in kinds and "__pycache__" not in path.parts
    }


def test_every_extra_is_described() -> None:
    page = (ROOT / "docs" / "guides" / "install.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", page, re.MULTILINE))
    assert set(rows) == set(extras())
    for extra in ("export", "tensorboard", "enas", "packed", "compare", "packaging"):  # those that name each package
        assert extras()[extra] <= set(re.findall(r"[\w-]+", rows[extra])), extra


def test_extras_have_one_name_everywhere() -> None:
    """A message or a page that tells what to install names an extra that there is."""
    named = {
        (name, extra)
        for name, text in texts().items()
        for found in re.findall(r"(?:nni[-_]hypens|[\s'\"]\.)\[([a-z, -]+)\]", text)
        for extra in re.split(r", *", found)
    }
    assert {extra for _, extra in named} <= set(extras()), named
    used = {extra for name, extra in named if name.startswith("nni_hypens/")}
    assert used == {"export", "enas", "packed", "tensorboard"}  # each with the packages that its messages are about
    assert {"onnx", "onnxruntime", "onnxscript"} <= extras()["export"]
    assert "torch-uncertainty" in extras()["packed"]
    assert "tianshou" in extras()["enas"] and "tensorboard" in extras()["tensorboard"]
    assert set(doctor._EXTRAS) <= set.union(*extras().values())


def test_the_image_agrees_with_the_requirements() -> None:
    """CI builds no image, so that this is all that keeps the Dockerfile true."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needs = {Requirement(line).name: line for line in config["options"]["install_requires"].split("\n") if line.strip()}
    readme, guide = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/guides/install.md"))

    (version,) = [re.fullmatch(r"python:([\d.]+)-slim", text).group(1) for step, text in steps if step == "FROM"]
    assert SpecifierSet(config["options"]["python_requires"]).contains(version)
    assert f"Python {version}" in re.search(r"- Tested with (.*?)\n- ", readme, re.DOTALL).group(1)

    installs = [shlex.split(text) for step, text in steps if step == "RUN" and text.startswith("pip install")]
    torch, package = ([word for word in words[2:] if word != "--no-cache-dir"] for words in installs)
    assert torch == [needs["torch"], needs["torchvision"], "--index-url", CPU_INDEX]
    for page in (readme, guide):
        assert f"pip install torch torchvision --index-url {CPU_INDEX}" in page
    (extra,) = re.fullmatch(r"\.\[(\w+)\]", package[0]).groups()
    assert package[1:] == [] and extra in extras() and f"extra `{extra}`" in guide.split("## Docker")[1]

    copied = {name for step, text in steps if step == "COPY" for name in text.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    files = {config["metadata"]["long_description"].removeprefix("file: "), config["metadata"]["license_files"]}
    packages = {name.rstrip("*") for name in config["options.packages.find"]["include"].split()}
    assert copied == files | packages | {"setup.cfg", "pyproject.toml"}

    order = [step for step, _ in steps]
    (user,) = [text for step, text in steps if step == "USER"]
    assert user not in ("root", "0") and f"useradd --create-home --uid 1000 {user}" in " ".join(map(" ".join, steps))
    assert order.index("USER") > max(i for i, step in enumerate(order) if step in ("RUN", "COPY"))
    commands = [
        line.split("=")[0].strip() for line in config["options.entry_points"]["console_scripts"].split("\n") if line
    ]
    assert [json.loads(text) for step, text in steps if step == "ENTRYPOINT"] == [commands]


@pytest.mark.end_to_end
def test_what_is_built_can_be_published_and_installed(tmp_path: Path) -> None:
    for tool in ("build", "twine"):
        try:
            importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{tool} is not installed: pip install -e '.[packaging]'")
    made, place = tmp_path / "dist", tmp_path / "venv"

    tools = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != ROOT]
    clean = {**os.environ, "PYTHONPATH": os.pathsep.join(tools)}  # or this folder would stand before the wheel

    def run(*words: str | Path, cwd: Path = ROOT) -> str:
        ended = subprocess.run(
            [str(word) for word in words], cwd=cwd, env=clean, capture_output=True, text=True, timeout=PATIENCE
        )
        assert ended.returncode == 0, (ended.stdout + ended.stderr)[-3000:]
        return ended.stdout

    run(sys.executable, "-m", "build", "--outdir", made, ROOT)
    (wheel,), (sdist,) = made.glob("*.whl"), made.glob("*.tar.gz")
    assert f"-{nni_hypens.__version__}" in wheel.name and f"-{nni_hypens.__version__}" in sdist.name
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "nni_hypens/py.typed",
        "nni_hypens/loopback.js",
        "nni_hypens/lifetime.js",
        "search_spaces/one_cell.py",
    } <= names
    templates = {path.name for path in (ROOT / "nni_hypens" / "report" / "templates").iterdir()}
    assert templates and {f"nni_hypens/report/templates/{name}" for name in templates} <= names
    assert not any(name.startswith(("tests/", "examples/", "docs/")) for name in names)
    (about,) = [name for name in names if name.endswith(".dist-info/METADATA")]
    about_text = zipfile.ZipFile(wheel).read(about).decode()
    assert set(re.findall(r"^Provides-Extra: (.+)$", about_text, re.MULTILINE)) == set(extras())
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.getnames())
    # --system-site-packages shows the base interpreter, not this environment: what is here is put on the path
    run(sys.executable, "-m", "venv", place)
    python = place / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    here = [path for path in sys.path if path.endswith("site-packages")]
    code = f"""import sys; sys.path += {here!r}
from pathlib import Path
import nni_hypens, search_spaces
folder = Path(nni_hypens.__file__).parent
assert {str(place)!r} in str(folder) and {str(place)!r} in search_spaces.__file__, folder
assert (folder / "py.typed").exists() and all((folder / name).exists() for name in ("loopback.js", "lifetime.js"))
from nni_hypens import EdgeNES
from search_spaces import OneCell
print(nni_hypens.__version__, OneCell.__name__, EdgeNES.__name__)"""
    assert run(python, "-c", code, cwd=tmp_path).split() == [nni_hypens.__version__, "OneCell", "EdgeNES"]
