"""The committed notebook has complete outputs, and it runs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.loaded import PATIENCE

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "demo.ipynb"
FIGURES = 6
FEWER = {
    'ImageData("digits")': 'ImageData("digits", train_size=208, batch_size=16)',
    "epochs=60": "epochs=6",
    "epochs=20": "epochs=8",
    "epochs=15": "epochs=1",
    "    concurrency=2": "    candidates=4, stress_images=16",
}
"""What the test takes in place of the notebook's: it shows that each cell runs, and not how good the networks are."""


def texts(notebook: dict[str, Any]) -> str:
    """All text that the cells print or show."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return "\n".join("".join(part) for part in parts)


def check(notebook: dict[str, Any]) -> None:
    """Every code cell ran in order without errors and shows what the text describes."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES
    said = texts(notebook)
    low, high = map(float, re.search(r"suggested lam: (\S+) to (\S+);", said).groups())
    assert 0 <= low <= high < 4
    assert re.search(r"EnsembleResult\('runs/demo': 3 members, test accuracy \d\d\.\d\d%", said)
    for name in ("deep ensemble", "random", "best member"):
        assert re.search(rf"^{name}( +\d\.\d{{4}}){{6}}$", said, re.MULTILINE), "three seeds, two measures"
        assert re.search(rf"NLL against {name}: [+-]\d+\.\d% on average, .* lower on [0-3] of 3", said)


def test_committed_outputs() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    notebook = json.loads(text)
    check(notebook)
    assert not re.search(r"/(root|tmp|home)/", texts(notebook))
    seconds = float(re.search(r"^(\d+) s in all", texts(notebook), re.MULTILINE)[1])
    assert seconds < 600  # a few minutes on two idle cores, more beside other jobs


@pytest.mark.examples
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the notebook needs nbformat, nbclient and ipykernel")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for given, fewer in FEWER.items():
        assert any(given in cell.source for cell in code), given
        for cell in code:
            cell.source = cell.source.replace(given, fewer)
    assert not [cell.source for cell in code if re.search(r"epochs=\d\d", cell.source)]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    place = {"metadata": {"path": str(tmp_path)}}
    times = {"timeout": PATIENCE, "startup_timeout": PATIENCE}
    nbclient.NotebookClient(notebook, kernel_name="python3", resources=place, **times).execute()
    check(notebook)
