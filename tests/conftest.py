"""One thread, no noise from imports, NNI's own files away from the user's home, and small things tests share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from nni_hypens import ImageData, _nni  # noqa: E402
from search_spaces import OneCell  # noqa: E402

torch.set_num_threads(1)
_nni.quiet_training()
_nni.quiet_logging()


collect_ignore = [
    str(path)
    for folder in ("support", "benchmarks")
    for path in Path(__file__).with_name(folder).glob("*.py")
    if not path.name.startswith("test_")
]
"""Modules without tests, which --doctest-modules would import."""


def pytest_configure(config: pytest.Config) -> None:
    """Warnings that our own lines cause are errors; Lightning's hints are silenced, as they are for a user."""
    config.addinivalue_line("filterwarnings", r"ignore:::pytorch_lightning\..*")
    for module in ("nni_hypens", "search_spaces"):
        config.addinivalue_line("filterwarnings", rf"error:::{module}\..*")


LONG = (
    "end_to_end/test_demo", "end_to_end/test_faults", "end_to_end/test_run", "end_to_end/test_trial_faults",
    "trials/test_live", "end_to_end/test_readme", "ensemble/test_export", "trials/test_loopback",
    "end_to_end/test_search_processes", "end_to_end/test_remote", "end_to_end/test_bad_inputs", "compare/test_methods",
    "compare/test_comparison", "run/test_adaptive_stage", "compare/test_searches", "compare/test_same_method",
    "search/test_strategy", "run/test_sample_stage", "end_to_end/test_packaging", "compare/test_bench",
)  # fmt: skip
"""Files that take longest, with the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin first: one that began last would leave the other processes idle until it ends."""
    places = {name: place for place, name in enumerate(LONG)}
    folder = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        if not item.path.is_relative_to(folder):  # a doctest of the package
            return len(LONG)
        return places.get(str(item.path.relative_to(folder).with_suffix("")), len(LONG))

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def nni_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """NNI keeps a list of experiments, and their files, in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def digits() -> ImageData:
    """A few of scikit-learn's digits: 256 for training, 128 for validation."""
    return ImageData("digits", train_size=256, validation_size=128, batch_size=64)


@pytest.fixture
def tiny_cell() -> OneCell:
    """The one-cell space for digits, two channels wide, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return OneCell(channels=2, in_channels=1)
