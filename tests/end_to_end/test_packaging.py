"""What is published: wheel and sdist, their metadata, and the licences of what they need."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import nni_hypens
from tests.support import licences
from tests.support.loaded import PATIENCE

ROOT = Path(__file__).parents[2]


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
    assert {"nni_hypens/py.typed", "nni_hypens/loopback.js", "search_spaces/one_cell.py"} <= names
    templates = {path.name for path in (ROOT / "nni_hypens" / "report" / "templates").iterdir()}
    assert templates and {f"nni_hypens/report/templates/{name}" for name in templates} <= names
    assert not any(name.startswith(("tests/", "examples/", "docs/")) for name in names)
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
assert (folder / "py.typed").exists() and (folder / "loopback.js").exists()
from nni_hypens import EdgeNES
from search_spaces import OneCell
print(nni_hypens.__version__, OneCell.__name__, EdgeNES.__name__)"""
    assert run(python, "-c", code, cwd=tmp_path).split() == [nni_hypens.__version__, "OneCell", "EdgeNES"]
