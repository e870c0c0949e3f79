"""Let the seeds of a comparison share their searches, where an ensemble of searches would take too long.

    python -m tests.benchmarks.share_searches DIR --strategy darts --searches 5

An ensemble of five DARTS runs on each of five seeds needs 25 searches. This copies the first search of each seed to the
folders of the other seeds of the same data, as their searches 1, 2, ...: seed 0 gets those of seeds 1, 2, ..., seed 1
those of 2, 3, ..., and so on around. Each ensemble then has searches that do not depend on one another, and is charged
for all of them; but ensembles of different seeds have searches in common, and a search has seen another split into
training and validation images than the networks that are trained from it. Searches that are there stay.

Run it on a comparison that has a method with one search, then compare once more with the ensemble added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nni_hypens.errors import InputError
from nni_hypens.utils.files import read_json, write_json


def share(folder: Path, strategy: str, searches: int) -> list[Path]:
    """Copy searches between the cells of a comparison.

    Args:
        folder: Of the comparison.
        strategy: Name of the strategy, such as ``darts``.
        searches: How many searches each seed shall have, its own included.

    Returns:
        The files that were written, each with the seed that it came from under ``from``.

    Raises:
        InputError: No cell has a first search, or there are fewer seeds than searches.
    """
    cells: dict[str, dict[int, Path]] = {}
    for path in folder.glob(f"*/searches/{strategy}-0.json"):
        cell = path.parent.parent
        data, _, seed = cell.name.rpartition("-")
        cells.setdefault(data, {})[int(seed)] = cell / "searches"
    if not cells:
        raise InputError("strategy", strategy, f"one whose first search is in the cells of {folder}")
    written = []
    for data, folders in cells.items():
        seeds = sorted(folders)
        if len(seeds) < searches:
            raise InputError("searches", searches, f"at most {len(seeds)}, the seeds of {data}")
        for place, seed in enumerate(seeds):
            for index in range(1, searches):
                target = folders[seed] / f"{strategy}-{index}.json"
                other = seeds[(place + index) % len(seeds)]
                if not target.exists():
                    write_json(target, {**read_json(folders[other] / f"{strategy}-0.json"), "from": other})
                    written.append(target)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Let the seeds of a comparison share their searches.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the comparison")
    parser.add_argument("--strategy", default="darts", help="strategy whose searches are shared (default: darts)")
    parser.add_argument("--searches", type=int, default=5, help="searches that each seed shall have (default: 5)")
    arguments = parser.parse_args()
    for path in share(arguments.folder, arguments.strategy, arguments.searches):
        print(path)


if __name__ == "__main__":
    main()
