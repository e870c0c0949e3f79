from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import os, sys, torch, pytorch_lightning, torchmetrics  # without them NNI is loaded soon
for first in sys.argv[1:]:
    assert "nni" not in sys.modules
    child = os.fork()
    if child == 0:
        try:
            __import__(first)
            from nni.nas.strategy import DARTS, RandomOneShot
            DARTS(arc_learning_rate=0.1), RandomOneShot(filter=None)  # a placeholder takes no arguments
        except BaseException as error:
            print(first, repr(error), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_nnis_own_strategies_are_there_after_ours() -> None:
    """Imported in the wrong order, NNI leaves placeholders for its one-shot strategies."""
    firsts = ("nni_hypens._nni", "nni_hypens.search.strategy", "nni_hypens.run.plan", "search_spaces")
    command = [sys.executable, "-W", "ignore", "-c", CODE, *firsts]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert said.stdout == "", said


def test_every_module_imports_nnis_strategies_before_its_oneshot_package() -> None:
    for path in (Path(__file__).parents[1] / "nni_hypens").rglob("*.py"):
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        uses = [place for place, line in enumerate(lines) if line.startswith("from nni.nas.oneshot")]
        before = [place for place, line in enumerate(lines) if line.startswith("import nni.nas.strategy")]
        assert not uses or (before and before[0] < uses[0]), path
