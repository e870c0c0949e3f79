"""A comparison on pools: its rows, its folder and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nni_hypens import InputError
from nni_hypens.compare.comparison import COLUMNS
from nni_hypens.compare.page import write_comparison_page
from nni_hypens.compare.pool_comparison import PoolComparison, run_pool_comparison
from nni_hypens.utils.progress import Progress
from tests.support.pools import made_up, peers_after

METHODS = ("adaptive_random", "random_pool", "random_deep_ensemble")
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pools") / "made_up.npz"
    made_up((3, 1, 3) + (1,) * 9, batch=64).save(path)
    return path


def compared(file: Path, **changes: Any) -> PoolComparison:
    given = {"files": [file], "seeds": [0, 1, 2], "methods": METHODS, "sizes": (2, 3), "networks": 6}
    return PoolComparison(**{**given, **changes})


def test_the_same_seeds_give_the_same_rows_within_the_budget(file: Path, tmp_path: Path) -> None:
    first = run_pool_comparison(compared(file), tmp_path / "one", QUIET)
    second = run_pool_comparison(compared(file, seeds=[2, 1, 0]), tmp_path / "two", QUIET)
    again = run_pool_comparison(compared(file), tmp_path / "one", QUIET)
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(first, again)
    assert (tmp_path / "one" / "results.csv").read_text() == (tmp_path / "two" / "results.csv").read_text()
    assert list(first) == list(COLUMNS) and len(first) == 3 * 2 * 3
    assert set(first["data"]) == {"made_up"}
    assert first["budget_s"].unique() == pytest.approx([6 * (1 + 1.1 / 2)])
    dearest = 1 + 1.1  # a training is begun if one of the method's average cost fits
    assert (first["total_s"] <= first["budget_s"] + dearest).all() and (first["search_s"] == 0).all()
    assert (first[first["method"] == "random_pool"]["networks"] >= 5).all()
    assert first[first["method"] == "random_pool"]["nll"].nunique() > 3  # another seed, other networks


def test_the_page_tells_what_the_pool_is(file: Path, tmp_path: Path) -> None:
    run_pool_comparison(compared(file, seeds=[0, 1], sizes=[2]), tmp_path / "out", QUIET, "a command")
    page = write_comparison_page(tmp_path / "out", "adaptive_random").read_text()
    for text in ("Pool made_up", "settings: batch", "search_spaces:OneCell", str(file), "a command", "95% interval"):
        assert text in page


def test_peers_are_compared_where_a_pool_has_them(file: Path, tmp_path: Path) -> None:
    methods = ["random_pool", "snapshots", "residual_ensemble", "darts_deep_ensemble"]
    made_up((1,) * 8, peers=peers_after(8)).save(tmp_path / "peers.npz")
    table = run_pool_comparison(compared(tmp_path / "peers.npz", methods=methods), tmp_path / "out", QUIET)
    assert set(table["method"]) == set(methods) and len(table) == 3 * 2 * 4
    searched = table["method"] == "darts_deep_ensemble"
    assert set(table[searched]["search_s"]) <= {2.5, 4.0} and (table[~searched]["search_s"] == 0).all()
    page = write_comparison_page(tmp_path / "out", "random_pool").read_text()
    assert "DeepEns of DARTS" in page and "snapshots, networks" in page
    for sizes, without in (((2, 3), file), ((6,), tmp_path / "peers.npz")):  # none, and too few
        with pytest.raises(
            InputError, match=r"^pool: got .*, where `snapshots` has [05] networks; expected [36] or more"
        ):
            run_pool_comparison(compared(without, methods=methods, sizes=sizes), tmp_path / "refused", QUIET)
    assert not (tmp_path / "refused").exists()


def test_a_folder_holds_one_comparison(file: Path, tmp_path: Path) -> None:
    run_pool_comparison(compared(file, seeds=[0], sizes=[2]), tmp_path / "out", QUIET)
    for name, value in (("seeds", [0, 1]), ("networks", 7), ("methods", ["random_pool"])):
        changed = compared(file, **{"seeds": [0], "sizes": [2], name: value})
        with pytest.raises(InputError, match=f"^{name}: .* or another folder"):
            run_pool_comparison(changed, tmp_path / "out", QUIET)
    other = file.parent / "other" / file.name
    made_up((2,) * 12).save(other)
    with pytest.raises(InputError, match=r"^pools: .* or another folder"):
        run_pool_comparison(compared(other, seeds=[0], sizes=[2]), tmp_path / "out", QUIET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": []}, "pool"),
        ({"files": [Path("a/x.npz"), Path("b/x.npz")]}, "pool"),
        ({"seeds": [0, 0]}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"sizes": [1]}, "sizes"),
        ({"methods": []}, "methods"),
        ({"methods": ["darts"]}, "methods"),
        ({"networks": 2}, "networks: got 2; expected .* 3"),
    ],
)
def test_bad_comparisons_are_refused(change: dict[str, Any], message: str, file: Path) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        compared(file, **change)


def test_a_pool_too_small_for_the_members_is_refused(tmp_path: Path) -> None:
    made_up((4, 4, 1), diverged=[8]).save(tmp_path / "few.npz")
    with pytest.raises(InputError, match=r"^pool: got .*few.npz with 2 architectures .*; expected 3 or more"):
        run_pool_comparison(compared(tmp_path / "few.npz"), tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()
