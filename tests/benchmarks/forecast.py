"""How well adaptive training foresees the networks that it has not trained, with and without their sizes.

    python -m tests.benchmarks.forecast DIR=3x32x32 [DIR=CxHxW ...] [--out FILE.json]

Each DIR is the folder of a comparison (``nni-hypens compare --out DIR``) on the one-cell space, with the shape of an
image. In each of its cells, with all architectures that any method has trained there, the forecast is fitted on K of
them drawn at random and asked about the others: Spearman's correlation with the mean validation NLL of their networks,
mean over many draws. Beside it, that of FLOPs alone, which needs no training, over all of them.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from scipy.stats import spearmanr

from nni_hypens.proposals.forecast import architecture_features, predicted_nll, trait_features
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.utils.files import read_json
from nni_hypens.utils.runtime import versions
from search_spaces import OneCell

RESULTS = Path(__file__).parent / "results" / "forecast.json"
KNOWN, DRAWS, FEWEST = (3, 6, 12), 40, 20


def cell_rows(cell: Path, settings: dict[str, Any], shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """One row for each number of known architectures; none where the cell has trained few."""
    space = OneCell(**settings["space_args"], in_channels=shape[0])
    structure, size = EdgeStructure.from_space(space), NetworkSize(space, shape)
    networks: dict[Any, list[dict[str, Any]]] = {}
    for path in sorted(cell.glob("networks/*.json")):
        record = read_json(path)
        if record["nll"] is not None:
            networks.setdefault(structure.key(record["architecture"]), []).append(record)
    if len(networks) < FEWEST:
        return []
    samples = [group[0]["architecture"] for group in networks.values()]
    nll = np.array([np.mean([one["nll"] for one in group]) for group in networks.values()])
    sizes = [size(sample) for sample in samples]
    features, _ = architecture_features(structure, samples)
    with_sizes = np.column_stack([features, trait_features(features, dict(enumerate(sizes)))])
    generator, rows = np.random.default_rng(0), []
    for known in KNOWN:
        found: dict[str, list[float]] = {"edges": [], "edges and sizes": []}
        for _ in range(DRAWS):
            order = generator.permutation(len(samples))
            owner, others = order[:known], order[known:]
            for name, inputs in (("edges", features), ("edges and sizes", with_sizes)):
                expected, _ = predicted_nll(inputs, owner, nll[owner])
                found[name].append(float(spearmanr(expected[others], nll[others]).statistic))
        row = {"cell": cell.name, "architectures": len(samples), "known": known}
        row |= {name: float(np.mean(values)) for name, values in found.items()}
        rows.append(row | {"FLOPs alone": float(-spearmanr([flops for _, flops in sizes], nll).statistic)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR=CHANNELSxHEIGHTxWIDTH")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows, comparisons = [], {}
    for given in arguments.folders:
        folder, _, text = str(given).partition("=")
        channels, height, width = map(int, text.split("x"))
        settings = read_json(Path(folder) / "comparison.json")
        comparisons[text] = settings
        for cell in sorted(path for path in Path(folder).iterdir() if (path / "networks").is_dir()):
            rows += cell_rows(cell, settings, (channels, height, width))
            print(*rows[-len(KNOWN) :], sep="\n", flush=True)
    means = {
        str(known): {
            name: float(np.mean([row[name] for row in rows if row["known"] == known]))
            for name in ("edges", "edges and sizes")
        }
        for known in KNOWN
    }
    shapes = " ".join(f"DIR={str(given).partition('=')[2]}" for given in arguments.folders)
    content = {"command": f"python -m tests.benchmarks.forecast {shapes}", "seed": 0, "draws": DRAWS,
               "versions": versions(), "mean": means, "rows": rows, "comparisons": comparisons}  # fmt: skip
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
