"""Every space of NNI's hub through EdgeNES, and through NNI's own DARTS and RandomOneShot where it ends in an instance.

    python tests/benchmarks/hub_spaces.py [--out FILE.json]

For EdgeNES each column is a step that ``tests/space_checks.py`` takes and checks; for NNI's strategies a search of two
steps, then ``export_top_models(formatter="instance")``, and whether the weights of that network are the supernet's.
Prints the README's table.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
OUT = Path(__file__).parent / "results" / "hub_spaces.json"
HEAD = "| space, built small | edges | search, lams, freezing, training, dict | instance | RandomOneShot | NNI DARTS |"


def edgenes(name: str, folder: str) -> dict[str, Any]:
    """The space through EdgeNES."""
    from nni_hypens import InputError
    from tests.support.space_checks import HUB, check_space

    try:
        return check_space(HUB[name], folder)
    except InputError as error:
        return {"refused": str(error)}


def one_shot(name: str, strategy: Any, folder: str) -> dict[str, str]:
    """The space through a strategy of NNI: how far it comes, and what the instance's weights are."""
    from tests.support.space_checks import HUB, run

    try:
        experiment = run(HUB[name](), strategy, folder, (3, 32, 32), steps=2, epochs=1)
    except Exception as error:
        return {"search": "fails", "reason": first_line(error)}
    try:
        network = experiment.export_top_models(1, formatter="instance")[0]
    except Exception as error:
        return {"search": "works", "instance": "fails", "reason": first_line(error)}
    return {"search": "works", "instance": "inherits" if inherits(network, strategy.supernet) else "new weights"}


def first_line(error: Exception) -> str:
    """Type and text of an error, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def inherits(network: Any, supernet: Any) -> bool:
    """Whether each weight of a network (of two dimensions or more) is a weight of the supernet, or a slice of one:
    the first channels, the middle of the kernel."""
    sources = [parameter for parameter in supernet.parameters() if parameter.dim() > 1]
    return all(
        any(slice_equals(source, weight) for source in sources if source.dim() == weight.dim())
        for weight in network.parameters()
        if weight.dim() > 1
    )


def slice_equals(source: Any, weight: Any) -> bool:
    """Whether ``weight`` is the slice of ``source`` that NNI's mixed operations take."""
    if any(large < small for large, small in zip(source.shape, weight.shape, strict=True)):
        return False
    kernel = range(2, 4) if source.dim() == 4 else ()
    starts = [(source.shape[dim] - size) // 2 if dim in kernel else 0 for dim, size in enumerate(weight.shape)]
    where = tuple(slice(start, start + size) for start, size in zip(starts, weight.shape, strict=True))
    return bool((source[where] == weight).all())


def table(spaces: dict[str, Any]) -> str:
    """The README's table, in Markdown."""
    lines = [HEAD, "|" + "---|" * 6]
    for name, row in spaces.items():
        ours = row["edgenes"]
        cells = ["-", "refused", "-"] if "refused" in ours else [str(ours["edges"]), "works", "inherits"]
        for strategy in ("random", "darts"):
            found = row[strategy]
            cells.append("search fails" if found["search"] == "fails" else found["instance"])
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(OUT))
    arguments = parser.parse_args()
    os.environ["HOME"] = tempfile.mkdtemp()  # NNI keeps a list of experiments there
    from nni_hypens._nni import quiet_logging, quiet_training

    quiet_training()
    quiet_logging(logging.ERROR)
    warnings.filterwarnings("ignore")
    import torch
    from nni.nas.strategy import DARTS, RandomOneShot

    from tests.support.space_checks import HUB

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    spaces: dict[str, Any] = {}
    for name in HUB:
        folder = tempfile.mkdtemp()
        torch.manual_seed(0)
        spaces[name] = {
            "edgenes": edgenes(name, folder),
            "random": one_shot(name, RandomOneShot(), folder),
            "darts": one_shot(name, DARTS(), folder),
        }
        print(f"{name}: {json.dumps(spaces[name])}", file=sys.stderr, flush=True)
    Path(arguments.out).write_text(json.dumps({"spaces": spaces}, indent=2) + "\n", encoding="utf-8")
    print(table(spaces))


if __name__ == "__main__":
    main()
