from __future__ import annotations

import subprocess
import sys

import pytest

from nni_hypens._manager import MANAGER_ATTEMPTS, PatientManager


@pytest.mark.parametrize("first", ["nni_hypens._nni", "nni_hypens.search", "search_spaces"])
def test_nnis_own_strategies_are_there_after_ours(first: str) -> None:
    """Imported in the wrong order, NNI leaves placeholders for its one-shot strategies."""
    code = f"import {first}; from nni.nas.strategy import DARTS, RandomOneShot; DARTS(); RandomOneShot()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


class FailsAtFirst:
    """An experiment whose manager does not answer ``failures`` times."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.asked = failures, error, []

    def _start_nni_manager(self, port: int, debug: bool, tags: list[str]) -> None:
        self.asked.append((port, debug, tags))
        if len(self.asked) <= self.failures:
            raise self.error


class Patient(PatientManager, FailsAtFirst):
    pass


@pytest.mark.parametrize("error", [ConnectionError("refused"), ValueError("Expecting value: line 1 column 1 (char 0)")])
def test_a_manager_that_does_not_answer_in_time_is_started_again(error: Exception) -> None:
    experiment = Patient(2, error)
    experiment._start_nni_manager(1, False, tags=["a"])
    assert experiment.asked == [(1, False, ["a"])] * 3
    hopeless = Patient(99, error)
    with pytest.raises(type(error), match=str(error)[:8]):
        hopeless._start_nni_manager(1, False, tags=[])
    assert len(hopeless.asked) == MANAGER_ATTEMPTS
    taken = Patient(1, RuntimeError("Port 8080 is not idle"))
    with pytest.raises(RuntimeError, match="not idle"):
        taken._start_nni_manager(8080, False, tags=[])
    assert len(taken.asked) == 1
