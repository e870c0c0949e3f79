"""Help, the version and mistyped words answer without torch, NNI and other libraries that take seconds to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.loaded import PATIENCE

HEAVY = ("torch", "torchvision", "torchmetrics", "lightning", "pytorch_lightning", "nni", "sklearn", "scipy", "pandas")
HEAVY += ("matplotlib", "numpy")
CODE = f"""import sys
from nni_hypens.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
sys.exit(code)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def ended(words: str, folder: Path, code: str = CODE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words.split()]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("", 0),
        ("--help", 0),
        ("--version", 0),
        ("run --help", 0),
        ("compare --help", 0),
        ("predict --help", 0),
        ("doctor --help", 0),
        ("run --membrs 3", 2),
        ("rum", 2),
        ("run --members 9", 2),
        ("run --selection greedi", 2),
        ("compare --seeds one", 2),
        ("run --print-settings", 0),
        ("--print-completion bash", 0),
    ],
)
def test_quick_commands_load_nothing_heavy(words: str, code: int, tmp_path: Path) -> None:
    done = ended(words, tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["loaded:"] and not list(tmp_path.iterdir())
    assert len(done.stderr.splitlines()) == (1 if code else 0)


def test_the_bare_command_prints_the_short_help(tmp_path: Path) -> None:
    text = ended("", tmp_path).stdout
    assert text.startswith("usage: nni-hypens") and "compare" in text and "examples:" not in text


@pytest.mark.parametrize(("quiet", "expected"), [("", ["loading"]), (" --quiet", [])])
def test_a_run_says_that_it_is_loading(quiet: str, expected: list[str], tmp_path: Path) -> None:
    """Before it loads: here it cannot."""
    code = f"import sys; sys.modules['nni_hypens._nni'] = None\n{CODE}"
    done = ended(f"run --data absent.npz{quiet}", tmp_path, code)
    assert [line.split()[0] for line in done.stderr.splitlines()] == [*expected, "nni-hypens:"]
    assert "nni_hypens._nni" in done.stderr and done.returncode == 1
