"""A run folder of another person: no code that it names runs, and nothing outside of it is read or changed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_hypens.errors import InputError
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.space.build import build_named_space
from nni_hypens.utils.files import read_json, write_json
from tests.support.fuzzed_run import everything, make_whole_run, outcome, without_drawing

EVIL = """
from pathlib import Path

Path("was_imported").touch()

def load(**arguments):
    Path("was_called").touch()

Cell = load
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def out(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder beside a module that leaves a trace, in the working folder."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    without_drawing(monkeypatch)
    return Path(shutil.copytree(whole, tmp_path / "run"))


def change(out: Path, **settings: Any) -> None:
    path = out / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))


# ---- code -----------------------------------------------------------------------------------------------------------

NAMED = (
    {"data": "evil:load"},
    {"space": "evil:Cell"},
    {"space": "os:system", "space_args": {"command": "touch was_called"}},
)


@pytest.mark.parametrize("settings", NAMED)
def test_reading_a_finished_run_imports_nothing_that_it_names(out: Path, whole: Path, settings: dict[str, Any]) -> None:
    change(out, **settings)
    (out / "report.html").unlink()
    folder = ("--out", out, "--quiet")
    words = [
        ("report", *folder),
        ("select", *folder),
        ("evaluate", *folder),
        ("train", *folder),
        ("run", "--resume", *folder),
    ]
    for command in (*words, ("predict", out, whole.parent / "image.npy")):
        assert outcome(*command)[0] == 0, command
    assert (out / "report.html").stat().st_size > 1000
    assert "evil" not in sys.modules and not list(out.parent.glob("was_*"))


def test_a_run_that_lacks_only_the_report_imports_nothing_either(out: Path) -> None:
    change(out, data="evil:load")
    (out / "report.html").unlink()
    assert outcome("run", "--resume", "--out", out, "--quiet")[0] == 0
    assert (out / "report.html").exists() and "evil" not in sys.modules


@pytest.mark.parametrize("settings", NAMED)
def test_a_run_that_goes_on_calls_only_what_is_a_space_or_a_loader(out: Path, settings: dict[str, Any]) -> None:
    change(out, **settings)
    RunFolder(out).take_back_choice()
    code, _, said = outcome("select", "--out", out, "--quiet")
    assert code == 2 and len(said.strip().splitlines()) == 1 and next(iter(settings)) in said
    assert not (out.parent / "was_called").exists()


def test_what_is_no_space_is_not_called(out: Path) -> None:
    for name in ("os:system", "evil:load", "subprocess:Popen", "builtins:exec", "nni_hypens.data.sources:open_source"):
        with pytest.raises(InputError, match="^space: got"):
            build_named_space(name, {"command": "touch was_called"}, (3, 32, 32), 10)
    assert not (out.parent / "was_called").exists()
    # a function whose annotation says what it makes
    assert build_named_space("darts", {"preset": "tiny"}, (3, 32, 32), 10)


# ---- places ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [".lock", "config.yaml", "search", "ensemble", "candidates", "candidates/c00", "nni", "report.html"]
)
def test_links_in_a_run_folder_are_refused_before_anything_is_written(out: Path, name: str) -> None:
    outside, path = out.parent / "outside", out / name
    outside.mkdir()
    if path.exists():
        path.rename(outside / path.name)
    else:
        (outside / path.name).write_text("keep")
    path.symlink_to(outside / path.name)
    before = everything(out.parent)
    for words in (("run", "--resume"), ("sample", "--more", "1"), ("select",), ("report",)):
        code, _, said = outcome(*words, "--out", out, "--quiet")
        assert code == 2 and len(said.strip().splitlines()) == 1 and "link" in said, (words, said)
    if name == "ensemble":
        for words in (("export", out), ("predict", out, "x.png")):
            assert outcome(*words)[0] == 2
    assert everything(out.parent) == before


@pytest.mark.parametrize("name", ["../../outside", "/etc", "..", "", ".hidden", "a/b", "a\n", 3, None])
def test_ids_are_plain_names(out: Path, name: Any) -> None:
    folder = RunFolder(out)
    records = read_json(folder.candidates)
    write_json(folder.candidates, [{**records[0], "id": name}, records[1]])
    with pytest.raises(InputError, match=r"^candidates.json\[0\]\.id: got "):
        folder.read_candidates()
    with pytest.raises(InputError, match="^candidate id: got "):
        folder.candidate(name)


def test_ids_are_different(out: Path) -> None:
    records = read_json(out / "candidates.json")
    write_json(out / "candidates.json", [records[0], records[0]])
    with pytest.raises(InputError, match="an id twice"):
        RunFolder(out).read_candidates()


@pytest.mark.parametrize(
    "change", [{"edges": [["a", 1]]}, {"edges": 3}, {"lam": "x"}, {"shared_edges": 1.5}, {"new": 1}]
)
def test_a_candidate_has_the_fields_of_a_candidate(out: Path, change: dict[str, Any]) -> None:
    record = {**read_json(out / "candidates.json")[0], **change}
    with pytest.raises(InputError, match=rf"^candidate.*{next(iter(change))}"):
        Candidate.from_json(record)
    with pytest.raises(InputError, match="^candidate: got"):
        Candidate.from_json([record])
