"""Run folders with one value or file changed at a time: every command does its work, or says in one line what is wrong.

`NNI_HYPENS_MUTATIONS=1000` makes it a long run.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from nni_hypens.run.folder import RunFolder
from tests.support.fuzzed_run import check, everything, fault, length, make_whole_run, mutate, without_drawing

SHORT = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole_run(tmp_path_factory.mktemp("whole") / "run")


def commands(out: Path, image: Path) -> list[tuple[str | Path, ...]]:
    """Those that read what another person's folder holds."""
    folder = ("--out", out, "--quiet")
    return [
        ("report", *folder), ("leaderboard", out), ("select", *folder), ("predict", out, image),
        ("run", "--resume", *folder), ("search", "--resume", *folder),
        ("sample", *folder), ("train", *folder), ("evaluate", *folder),
    ]  # fmt: skip


def test_the_folder_is_whole(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    (out / "report.html").unlink()
    for words in commands(out, whole.parent / "image.npy"):
        assert fault(*words) is None, words
    assert (out / "report.html").stat().st_size > 10_000


def test_every_command_reads_a_changed_folder_or_says_what_is_wrong(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, tried = {}, length(SHORT)
    without_drawing(monkeypatch)
    for seed in range(tried):
        choose = random.Random(seed)
        place = tmp_path / str(seed)
        out, canary = Path(shutil.copytree(whole, place / "run")), place / "canary"
        canary.mkdir()
        kind = choose.random()
        if kind < 0.5:
            (out / "report.html").unlink()
        if tried > SHORT and kind < 0.25:  # a long run also chooses and measures anew, which takes longer
            RunFolder(out).take_back_choice()
        what = mutate(out, canary, choose)
        before = everything(canary)
        for words in commands(out, whole.parent / "image.npy"):
            if words[0] in ("run", "train") and not RunFolder(out).done("evaluate"):
                continue  # what is damaged would be trained anew, which is right and takes minutes
            found = fault(*words)
            if found is not None:
                faults[f"{seed}: {what}: {words[0]}"] = found
        if everything(canary) != before:
            faults[f"{seed}: {what}"] = "files outside the folder were changed"
        shutil.rmtree(place)
    check(faults, tried)
