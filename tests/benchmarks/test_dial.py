"""The benchmark of the dial: its summary, and that it goes on where it stopped."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def dial(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parent / "dial.py"
    spec = importlib.util.spec_from_file_location("benchmark_dial", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spec.loader.exec_module(module)
    return module


def fake_run(space: str, regularizer: str, seed: int, epochs: int) -> dict[str, Any]:
    n_edges = 4 if space == "one_cell" else 16
    answer = [quarter / 4 for quarter in range(4 * n_edges + 1)]
    numbers = {"error": 0.2 + 0.1 * seed, "error_share": 0.1 * seed, "spearman": 1 - 0.1 * seed, "low": 0.5 * seed}
    names = {"space": space, "regularizer": regularizer, "seed": seed, "epochs": epochs, "n_edges": n_edges}
    return {**names, **numbers, "high": n_edges - seed, "answer": answer, "cpu_s": 1.0}


def test_goes_on_where_it_stopped(dial: ModuleType, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    asked: list[tuple] = []

    def run(*arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return fake_run(*arguments)

    monkeypatch.setattr(dial, "run", run)
    out = tmp_path / "dial.json"
    monkeypatch.setattr("sys.argv", ["dial.py", "--seeds", "2", "--epochs", "3", "--out", str(out)])
    with pytest.raises(KeyboardInterrupt):
        dial.main()
    assert len(json.loads(out.read_text())["runs"]) == 4
    dial.main()
    assert len(asked) == 9 and len(set(asked)) == 8  # only what was cut short is run again
    content = json.loads(out.read_text())
    assert len(content["runs"]) == 8 and content["mean_error"] == pytest.approx(0.25)
    row = content["summary"][0]
    worst = [row["seeds"], row["worst_error"], row["spearman"], row["low"], row["high"]]
    assert worst == pytest.approx([2, 0.3, 0.9, 0.5, 3])
    assert (tmp_path / "dial.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "| SharedEdges | OneCell, C=8, 4 edges | 0.250 | 5.0% | 0.300 | 0.900 | 0.50, 3.00 |" in capsys.readouterr().out
    )
