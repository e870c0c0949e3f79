"""The section on going on of the pool's page, from the rows of `tests.benchmarks.pool_going_on`."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.map_trained_text import percent_text
from tests.benchmarks.pool_tables import Results, by_cell, found_or_none, one, signed, with_error


def going_on_table(results: Results) -> str:
    """A line for each number and each schedule."""
    most = max((row["schedule"] for cell in results["cells"].values() for row in _schedules(cell)), default=1)

    def of_schedule(schedule: int, text: Callable[[Results], str]) -> Callable[[Results], str]:
        return lambda cell: found_or_none(one(_schedules(cell), schedule=schedule), text)

    def change(row: Results) -> str:
        return f"{signed(100 * row['change']['mean'])} ± {100 * row['change']['se']:.1f}"

    def kin(row: Results) -> str:
        return with_error(row["kin"], digits=2)

    lines: list[tuple[str, Callable[[Results], str]]] = [
        ("networks", lambda cell: str(cell["going_on"].get("networks", 0))),
        ("temperature after the first schedule", of_schedule(2, lambda row: f"{row['temperature']:.2f}")),
    ]
    lines += [(f"change by schedule {number}, %", of_schedule(number, change)) for number in range(2, most + 1)]
    lines += [
        (
            "gain of a network and itself one schedule before",
            of_schedule(2, lambda row: with_error(row["kin"], digits=2)),
        ),
        ("adaptive training that may go on, against one that may not", _adaptive),
        ("networks that it went on with", _gone_on),
    ]
    return by_cell(results, "", lines)


def say_going_on(results: Results) -> str:
    """Where adaptive training that may go on is better."""
    found = [cell["going_on"]["adaptive"] for cell in results["cells"].values() if cell["going_on"]]
    better, worse = sum(row["high"] < 0 for row in found), sum(row["low"] > 0 for row in found)
    return (
        f"Adaptive training that may go on is clearly better than one that may not in {better} and clearly worse in "
        f"{worse} of {len(found)} columns."
    )


def _schedules(cell: Results) -> list[Results]:
    rows: list[Results] = cell["going_on"].get("schedules", [])
    return rows


def _adaptive(cell: Results) -> str:
    found = cell["going_on"].get("adaptive")
    return "-" if found is None else percent_text(found["difference"], found["low"], found["high"])


def _gone_on(cell: Results) -> str:
    found = cell["going_on"].get("adaptive")
    return "-" if found is None else f"{found['gone_on']:.1f}"
