from __future__ import annotations

import subprocess
import sys

CODE = """
import os, sys, torch, pytorch_lightning, torchmetrics  # without them NNI is loaded soon
for first in sys.argv[1:]:
    assert "nni" not in sys.modules
    child = os.fork()
    if child == 0:
        try:
            __import__(first)
            from nni.nas.strategy import DARTS, RandomOneShot
            DARTS(), RandomOneShot()
        except BaseException as error:
            print(first, repr(error), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_nnis_own_strategies_are_there_after_ours() -> None:
    """Imported in the wrong order, NNI leaves placeholders for its one-shot strategies."""
    firsts = ("nni_hypens._nni", "nni_hypens.search", "search_spaces")
    command = [sys.executable, "-W", "ignore", "-c", CODE, *firsts]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert said.stdout == "", said
