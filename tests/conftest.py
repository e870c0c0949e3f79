"""One thread, no noise from imports, and NNI's own files away from the user's home."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402

from nni_hypens import _compat  # noqa: E402

torch.set_num_threads(1)
_compat.quiet_training()
_compat.quiet_logging()


@pytest.fixture(autouse=True, scope="session")
def nni_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """NNI keeps a list of experiments, and their files, in the home folder."""
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
