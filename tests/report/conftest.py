"""A made-up run folder, and what the report reads from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nni_hypens.report.content import RunContent, read_run
from tests.support.report_fixture import make_run_folder


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that no test may change."""
    return make_run_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def run(run_dir: Path) -> RunContent:
    return read_run(run_dir)


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    """A run folder that a test may change."""
    return Path(shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html")))
