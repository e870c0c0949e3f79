from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from nni_hypens.errors import InputError
from nni_hypens.search.schedule import BASE, HYPERNETWORK, WARMUP, Schedule
from nni_hypens.search.settings import SearchSettings


@given(
    end=st.integers(1, 200),
    warmup=st.none() | st.integers(0, 60),
    base=st.none() | st.integers(0, 60),
    given_base=st.booleans(),
)
def test_schedule_has_every_phase_in_order(end: int, warmup: int | None, base: int | None, given_base: bool) -> None:
    try:
        schedule = Schedule.plan(end, warmup, base, given_base)
    except InputError as error:
        assert "max_epochs" in str(error) and (warmup or 0) + (base or 0) >= end
        return
    phases = [schedule.phase(epoch) for epoch in range(end)]
    assert phases == sorted(phases, key=[WARMUP, BASE, HYPERNETWORK].index) and phases[-1] == HYPERNETWORK
    assert phases.count(WARMUP) == warmup or warmup is None
    assert phases.count(BASE) == (0 if given_base else base) or base is None
    if warmup is None and base is None and end > 2:
        assert (WARMUP in phases) and (BASE in phases) != given_base
    for phase in set(phases):
        progress = [schedule.progress(epoch) for epoch in range(end) if phases[epoch] == phase]
        assert progress == sorted(progress) and progress[0] == 0 and (len(progress) == 1 or progress[-1] == 1)


def test_defaults_of_the_schedule() -> None:
    assert Schedule.plan(60, None, None, False) == Schedule(12, 30, 60)
    assert Schedule.plan(60, None, None, True) == Schedule(12, 12, 60)
    with pytest.raises(InputError, match="warmup_epochs"):
        Schedule.plan(10, 5, 5, False)
    with pytest.raises(InputError, match="max_epochs"):
        Schedule.plan(None, None, None, False)


def test_settings_anneal_the_path_temperature_no_lower_than_its_gradient_lives() -> None:
    temperature = SearchSettings().temperature
    assert [temperature.at(progress) for progress in (0, 0.5, 1)] == pytest.approx([1.0, 0.65, 0.3])


def test_phases_by_epoch() -> None:
    schedule = Schedule.plan(6, 1, 2, False)
    assert [schedule.phase(epoch) for epoch in range(6)] == [WARMUP, BASE, BASE] + [HYPERNETWORK] * 3
    assert [schedule.progress(epoch) for epoch in range(6)] == [0, 0, 1, 0, 0.5, 1]
    assert Schedule.plan(2, 0, 0, False) == Schedule(0, 0, 2)
    assert Schedule.plan(3, 1, 99, True) == Schedule(1, 1, 3)  # a base that is given needs no epochs
    for end in (0, -1):
        with pytest.raises(InputError, match=f"^max_epochs: got {end}"):
            Schedule.plan(end, None, None, False)


@pytest.mark.parametrize("given_base", [True, False])
def test_defaults_fit_any_length_and_only_what_is_given_can_contradict(given_base: bool) -> None:
    assert Schedule.plan(1, None, None, given_base) == Schedule(0, 0, 1)
    assert Schedule.plan(2, None, None, given_base) == Schedule(1, 1, 2)
    assert Schedule.plan(3, None, None, given_base) == Schedule(1, 1 if given_base else 2, 3)
    assert Schedule.plan(6, 5, None, given_base) == Schedule(5, 5, 6)
    for warmup, base, message in (
        (6, None, "^warmup_epochs: got 6 of search_epochs=6"),
        (None, 7, "^base_epochs: got 7 of search_epochs=6"),
        (3, 3, r"^warmup_epochs \+ base_epochs: got 3 \+ 3 of search_epochs=6"),
    ):
        if not given_base or base is None:
            with pytest.raises(InputError, match=message):
                Schedule.plan(6, warmup, base, given_base, "search_epochs")
