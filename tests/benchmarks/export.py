"""Answers of the exported ONNX file against the loop over eager members: both on one thread, in turns, in one run.

    python tests/benchmarks/export.py [--rounds 15] [--out tests/benchmarks/results/export.json]

The loop gets images that are scaled and normalised already, in the faster of two memory layouts, and ends with average
and temperature; the file gets raw images. CPU seconds of the thread, the median of all rounds: wall time would be that
of whatever else the machine does. `pt2` is the PT2 file in plain torch, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
OUT = Path(__file__).parent / "results" / "export.json"
BATCHES = (1, 256)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "OneCell, C=8, 8x8": ("one_cell", {}),
    "hub DARTS, width 8, 3 cells, 32x32": ("darts", {"width": 8, "num_classes": 10}),
}


def measure(name: str, arguments: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Milliseconds of each way at each batch size, for three members of one space."""
    import numpy as np
    import onnxruntime
    import torch

    from nni_hypens.ensemble.export import export_ensemble

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.support.deployed import random_ensemble

    torch.set_num_threads(1)
    ensemble = random_ensemble(name, members=3, **arguments)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: export_ensemble(ensemble, Path(folder) / f"model.{kind}", kind) for kind in ("onnx", "pt2")}
        session = onnxruntime.InferenceSession(str(files["onnx"].path), options)
        module = torch.export.load(files["pt2"].path).module()
    spec, rows = ensemble.info.input_spec, {}
    for batch in BATCHES:
        shape = (batch, spec["height"], spec["width"], spec["channels"])
        raw = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
        scaled = (torch.from_numpy(raw) / spec["scale"] - torch.tensor(spec["mean"])) / torch.tensor(spec["std"])
        last = scaled.permute(0, 3, 1, 2)
        first, given = last.contiguous(), torch.from_numpy(raw)
        ways = {
            "eager": lambda x=first: ensemble(x),
            "eager_channels_last": lambda x=last: ensemble(x),
            "onnx": lambda x=raw: session.run(None, {"images": x})[0],
            "pt2": lambda x=given: module(x),
        }
        times = in_turns(ways, rounds if batch > 1 else 10 * rounds)
        eager = min(times["eager"], times["eager_channels_last"])
        with torch.no_grad():
            difference = float(np.abs(ways["onnx"]() - ways["eager"]().numpy()).max())
        rows[str(batch)] = {
            **{f"{way}_ms": 1000 * seconds for way, seconds in times.items()},
            "ratio": eager / times["onnx"],
            "ratio_pt2": eager / times["pt2"],
            "difference": difference,
        }
    return {"members": 3, "folded": files["onnx"].folded, "batches": rows}


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each way; every round runs each once."""
    import torch

    times: dict[str, list[float]] = {way: [] for way in ways}
    with torch.no_grad():
        for turn in range(rounds + 2):
            for way, run in ways.items():
                begin = time.thread_time()
                run()
                if turn >= 2:  # the first rounds allocate
                    times[way].append(time.thread_time() - begin)
    return {way: statistics.median(values) for way, values in times.items()}


def table(results: dict[str, Any]) -> str:
    """Rows of the README."""
    lines = [
        "| three members, one thread | images at once | loop over eager members | onnxruntime | times faster |",
        "|---|---|---|---|---|",
    ]
    for title, case in results.items():
        for batch, row in case["batches"].items():
            eager = min(row["eager_ms"], row["eager_channels_last_ms"])
            lines.append(f"| {title} | {batch} | {eager:.2f} ms | {row['onnx_ms']:.2f} ms | {row['ratio']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    from nni_hypens import _nni

    _nni.quiet_logging()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    results = {title: measure(name, extra, arguments.rounds) for title, (name, extra) in CASES.items()}
    arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
