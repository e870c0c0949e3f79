"""Another choice of members: the old one stays until the new one is complete, and a kill leaves one of the two."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.run import choice
from nni_hypens.run.folder import RunFolder
from nni_hypens.utils.run_files import MODEL_CARD_MARK

OURS = ("ensemble.json", "member-c0.safetensors", "selection.json")
EXPORTED = ("model.onnx", "model.pt2", "MODEL_CARD.md")
THEIRS = {"notes.txt": "mine", "plots/accuracy.svg": "mine", "README.md": "mine"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished run with exported files, and files of the user's beside them."""
    found = RunFolder(tmp_path)
    texts = {**dict.fromkeys((*OURS, *EXPORTED[:2]), "old"), "MODEL_CARD.md": f"# old\n\n{MODEL_CARD_MARK}\n", **THEIRS}
    for name, text in texts.items():
        (found.ensemble / name).parent.mkdir(parents=True, exist_ok=True)
        (found.ensemble / name).write_text(text)
    for path in (found.results, found.examples, found.report):
        path.write_text("old")
    return found


def content(folder: RunFolder) -> dict[str, str]:
    """Every file of a run folder, without its lock."""
    paths = (path for path in folder.out.rglob("*") if path.is_file() and path != folder.lock)
    return {str(path.relative_to(folder.out)): path.read_text() for path in paths}


def replace(folder: RunFolder) -> None:
    with choice.replacing_choice(folder) as place:
        for name in ("ensemble.json", "member-c1.safetensors", "selection.json"):
            (place / name).write_text("new")


NEW = {
    **{f"ensemble/{name}": "new" for name in ("ensemble.json", "member-c1.safetensors", "selection.json")},
    **{f"ensemble/{name}": text for name, text in THEIRS.items()},
}


def test_a_new_choice_replaces_the_old_one_and_keeps_files_of_others(folder: RunFolder) -> None:
    replace(folder)
    assert content(folder) == NEW


def test_an_error_before_the_new_choice_is_complete_changes_nothing(folder: RunFolder) -> None:
    before = content(folder)
    with pytest.raises(OSError, match="No space"), choice.replacing_choice(folder) as place:
        (place / "selection.json").write_text("new")
        raise OSError(28, "No space left on device")
    assert content(folder) == before


class KilledError(BaseException):
    """What no handler of errors catches, as little as a kill."""


@pytest.mark.parametrize("after", range(20))
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_choice(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before, left = content(folder), [after]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not left[0]:
                raise KilledError
            left[0] -= 1
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for module, name in ((os, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir"), (Path, "unlink")):
            patch.setattr(module, name, counted(getattr(module, name)))
        patch.setattr(Path, "write_text", counted(Path.write_text))
        patch.setattr(Path, "mkdir", counted(Path.mkdir))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        try:
            replace(folder)
        except KilledError:
            pass
    with folder.locked():  # as every command that goes on with a run
        pass
    found = content(folder)
    assert found in (before, NEW) and (found == before) == (after < 6)


def test_a_complete_new_choice_counts_before_a_run_is_found_finished(folder: RunFolder) -> None:
    assert folder.finished
    folder.new_ensemble.mkdir()
    (folder.new_ensemble / "ensemble.json").write_text("new")
    folder.take_up_choice()
    assert not folder.finished and folder.ensemble_index.read_text() == "new"


def test_more_candidates_keep_files_of_others_and_forget_another_choice(folder: RunFolder) -> None:
    folder.new_ensemble.mkdir()
    (folder.new_ensemble / "ensemble.json").write_text("new")
    folder.take_back_choice()
    assert content(folder) == {f"ensemble/{name}": text for name, text in THEIRS.items()}
