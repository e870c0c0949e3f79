"""Files of the report with one value changed at a time: there is a page, or one line that says what is wrong.

`NNI_HYPENS_MUTATIONS=1000` makes it a long run.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from nni_hypens.errors import InputError
from nni_hypens.report.page import write_report
from tests.support.fuzzed_run import Hangs, check, length, mutate, time_limit, without_drawing

SHORT = 20
FILES = ("config.yaml", "candidates.json", "results.json", "examples.json", "metrics.json", "history.csv", "base.json")


def test_every_changed_file_gives_a_page_or_one_line(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, tried = {}, length(SHORT)
    without_drawing(monkeypatch)
    for seed in range(tried):
        choose, place = random.Random(seed), tmp_path / str(seed)
        out, canary = Path(shutil.copytree(run_dir, place / "run")), place / "canary"
        canary.mkdir()
        # half of all mutations are of the results, which hold most of what the page shows
        what = mutate(out, canary, choose, ("results.json",) if choose.random() < 0.5 else FILES)
        try:
            with time_limit():
                write_report(out)
        except InputError as error:
            if not str(error) or len(str(error).splitlines()) != 1:
                faults[f"{seed}: {what}"] = str(error)
        except (Exception, Hangs) as error:
            faults[f"{seed}: {what}"] = f"{type(error).__name__}: {error!s:.100}"
        shutil.rmtree(place)
    check(faults, tried)
