"""How CPU time and memory of each step of a run grow: with candidates, with the size of images, with classes.

    python -m tests.benchmarks.scaling [--steps report weights] [--most candidates=300] [--again]

Each point is measured in a process of its own with one thread: first the input is made, then the step is repeated up to
three times, and the lowest time counts. The memory is the peak during the step above what the process held before it.
A step that takes longer than `LIMIT_S` is ended, and one that would take longer, judged by the two points before, is
not tried, nor is anything larger. Results are written after each point, so a run that was interrupted
continues where it was.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import psutil

from tests.benchmarks.scaling_steps import BATCH, IMAGES, MEMBERS, STEPS_OF_A_RUN, VALUES, Point

RESULTS = Path(__file__).parent / "results" / "scaling.json"
LIMIT_S, LIMIT_GB, REPEATS, ENOUGH_S = 60, 10, 3, 2
"""Most CPU seconds and gigabytes of a point; repetitions of it, and CPU seconds after which it is not repeated."""


def key(step: str, axis: str, value: int) -> str:
    """Where the results have a point."""
    return f"{step} {axis} {value}"


def measured(step: str, point: Point, begun: Callable[[], None]) -> dict[str, Any]:
    """Measure a point in this process: `seconds` of each repetition, and `extra_mb`.

    Args:
        step: Key of the step.
        point: Its sizes.
        begun: Called once the input is made.

    Raises:
        MemoryError: It takes more than `LIMIT_GB`.
    """
    call = STEPS_OF_A_RUN[step].make(point)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts at what is held now
    before, seconds = _peak_mb(), list[float]()
    begun()
    first = time.process_time()
    while not seconds or (len(seconds) < REPEATS and time.process_time() - first < ENOUGH_S):
        start = time.process_time()
        own = call()
        seconds.append(time.process_time() - start if own is None else own)
    return {"seconds": seconds, "extra_mb": _peak_mb() - before, "held_mb": before}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure_here(step: str, point: Point, answer: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GB * 2**30, resource.RLIM_INFINITY))
    try:
        answer.send(measured(step, point, lambda: answer.send(time.process_time())))
    except MemoryError:
        answer.send({"cut": f"more than {LIMIT_GB} GB"})
    except ValueError as error:  # InputError is one: the step itself refuses the size
        answer.send({"cut": f"refused: {error}"})


def measure(step: str, point: Point) -> dict[str, Any]:
    """Measure a point in a process of its own; `cut` says why there is nothing."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_measure_here, args=(step, point, there))
    child.start()
    there.close()
    assert child.pid is not None
    used, found = psutil.Process(child.pid).cpu_times, None
    try:
        found = here.recv()
        while isinstance(found, float):  # CPU seconds at the begin; a timer in the child would make its clock coarse
            if here.poll(0.2):
                found = here.recv()
            elif sum(used()[:2]) - found > LIMIT_S:
                child.kill()
                found = {"cut": f"more than {LIMIT_S} CPU seconds"}
    except EOFError:
        child.join()
        raise RuntimeError(f"{step} {point}: its process ended with {child.exitcode}") from None
    child.join()
    assert isinstance(found, dict)
    return found


def points(steps: list[str]) -> Iterator[tuple[str, str, int]]:
    """Step, what grows, and its value; small ones first."""
    for place in range(max(map(len, VALUES.values()))):
        for step in steps:
            for axis in STEPS_OF_A_RUN[step].must:
                if place < len(VALUES[axis]):
                    yield step, axis, VALUES[axis][place]


def run(results: dict[str, Any], steps: list[str], most: dict[str, int], out: Path) -> None:
    """Measure what `results` lack, and write them after each point."""
    found = results["points"]
    for step, axis, value in points(steps):
        name = key(step, axis, value)
        if name in found or value > most.get(axis, value):
            continue
        smaller = {other: found.get(key(step, axis, other), {}) for other in VALUES[axis] if other < value}
        if any("cut" in one for one in smaller.values()):
            continue
        foreseen = forecast({other: min(one["seconds"]) for other, one in smaller.items() if one}, value)
        if foreseen > LIMIT_S:
            found[name] = {"cut": f"about {foreseen:.0f} CPU seconds, by the points before"}
        else:
            found[name] = measure(step, Point(**{axis: value}))
        print(name, _said(found[name]), flush=True)
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def forecast(seconds: dict[int, float], value: int) -> float:
    """CPU seconds at a larger value, on the line through the last two points in logarithms; 0 for fewer points."""
    if len(seconds) < 2:
        return 0.0
    (low, before), (high, last) = list(seconds.items())[-2:]
    slope = math.log(last / before) / math.log(high / low)
    return float(last * (value / high) ** slope)


def _said(found: dict[str, Any]) -> str:
    if "cut" in found:
        return f"cut off: {found['cut']}"
    return f"{min(found['seconds']):.4f} s, {found['extra_mb']:.1f} MB"


def _limit(text: str) -> tuple[str, int]:
    axis, _, value = text.partition("=")
    if axis not in VALUES or not value.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected one of {', '.join(VALUES)}, = and a whole number")
    return axis, int(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", nargs="+", choices=STEPS_OF_A_RUN, default=list(STEPS_OF_A_RUN), metavar="STEP")
    parser.add_argument("--most", nargs="+", type=_limit, default=[], metavar="WHAT=VALUE", help="no larger points")
    parser.add_argument("--again", action="store_true", help="measure these steps again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    from nni_hypens.utils.runtime import machine, versions

    import_all()
    settings = {"images": IMAGES, "members": MEMBERS, "batch": BATCH, "limit_s": LIMIT_S, "limit_gb": LIMIT_GB}
    found = json.loads(arguments.out.read_text(encoding="utf-8"))["points"] if arguments.out.exists() else {}
    if arguments.again:
        found = {name: row for name, row in found.items() if name.split()[0] not in arguments.steps}
    results = {"settings": settings, "machine": machine(), "versions": versions(), "points": found}
    run(results, arguments.steps, dict(arguments.most), arguments.out)


def import_all() -> None:
    """Import what the steps use once, so that a child process does not import it again."""
    import torch

    import nni_hypens.report.page  # noqa: F401
    import nni_hypens.run.evaluation  # noqa: F401
    import nni_hypens.search.strategy  # noqa: F401
    import search_spaces  # noqa: F401
    import tests.support.report_fixture  # noqa: F401

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
