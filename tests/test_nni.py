from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("first", ["nni_hypens._nni", "nni_hypens.search", "search_spaces"])
def test_nnis_own_strategies_are_there_after_ours(first: str) -> None:
    """Imported in the wrong order, NNI leaves placeholders for its one-shot strategies."""
    code = f"import {first}; from nni.nas.strategy import DARTS, RandomOneShot; DARTS(); RandomOneShot()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
