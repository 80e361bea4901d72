"""Which kills differ: what lasts, what is under way, and how long a point may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.clock import NS_PER_S
from aegis.core.errors import ConfigError
from aegis.sim.crash_entry import chosen
from aegis.sim.crash_probe import Flight, Kill, Mark, State
from aegis.sim.crash_run import DEAD_S, SPAN_NS, kills_of
from aegis.sim.crash_scenarios import LENGTH_S, SCENARIOS, Deed

START_NS = 1_000 * NS_PER_S


def flight(number: int, *, changes: bool) -> Flight:
    """Return a request under way."""
    return Flight(number=number, due_ns=START_NS, act=lambda: None, changes=changes)


def mark(number: int, state: State, *flying: Flight, at_ns: int = START_NS, last: int = -1) -> Mark:
    """Return the marks from *number* to *last*."""
    return Mark(number=number, last=max(number, last), at_ns=at_ns, state=state, flying=flying)


def names(marks: list[Mark]) -> list[str]:
    """Return the kills of *marks* as the command names them, in the order of marks."""
    found = sorted(kills_of(marks), key=lambda kill: (kill.number, kill.sent))
    return [kill.name for kill in found]


def test_what_is_under_way_makes_no_difference_when_it_is_lost() -> None:
    """Two points that differ in reads under way alone are killed once."""
    reads = flight(1, changes=False)
    assert ["0"] == names([mark(0, (1, 1, 0)), mark(4, (1, 1, 0), reads)])


def test_a_request_that_would_change_something_also_arrives() -> None:
    """Killed while it is under way, it may have left: both are tried (R49)."""
    entry = flight(1, changes=True)
    marks = [mark(0, (1, 1, 0)), mark(4, (1, 1, 0), entry), mark(6, (1, 2, 3))]
    assert ["0", "4+sent", "6"] == names(marks)


def test_a_commit_makes_a_point_of_its_own() -> None:
    """Before and after a commit of the journal are two places."""
    assert ["0", "1"] == names([mark(0, (1, 0, 0)), mark(1, (2, 0, 0))])


def test_a_long_idle_stretch_is_several_points() -> None:
    """Every kill of a point lies before the next process starts."""
    late_ns = START_NS + SPAN_NS + 1
    assert ["0", "9"] == names([mark(0, (1, 0, 0)), mark(9, (1, 0, 0), at_ns=late_ns)])


steps = st.lists(
    st.tuples(st.sampled_from("cavi"), st.integers(0, 3 * SPAN_NS // 2), st.booleans()),
    min_size=1,
    max_size=40,
)


@given(steps)
def test_every_mark_lies_within_exactly_one_kill_without_requests(
    made: list[tuple[str, int, bool]],
) -> None:
    """Kills cover all marks, each has one state, and all lie before the start that follows."""
    state, at_ns, marks = [0, 0, 0], START_NS, []
    for number, (what, passed_ns, in_flight) in enumerate(made):
        at_ns += passed_ns
        if what in "cav":
            state["cav".index(what)] += 1
        flying = (flight(number, changes=True),) if in_flight else ()
        marks.append(mark(number, (state[0], state[1], state[2]), *flying, at_ns=at_ns))
    lost = [kill for kill in kills_of(marks) if not kill.sent]
    covered = [number for kill in lost for number in range(kill.number, kill.last + 1)]
    assert list(range(len(made))) == covered
    for kill in lost:
        inside = marks[kill.number : kill.last + 1]
        assert {kill.state} == {each.state for each in inside}
        assert all(each.at_ns < kill.back_ns for each in inside)
        assert kill.back_ns == kill.at_ns + round(DEAD_S * NS_PER_S)
    assert sum(flying for _, _, flying in made) == sum(kill.sent for kill in kills_of(marks))


def test_a_kill_is_named_by_its_mark() -> None:
    """The name is what the command takes to repeat it."""
    kill = Kill(number=7, last=9, sent=True, at_ns=0, back_ns=1, state=(0, 0, 0))
    assert "7+sent" == kill.name


@pytest.mark.parametrize(
    ("named", "count"),
    [("entry@bybit", 1), ("entry", 3), ("entry,stop", 5), ("@binance+bybit", 1), ("all", 31)],
)
def test_scenarios_are_chosen_by_name_and_venue(named: str, count: int) -> None:
    """A name, a venue or both."""
    assert count == len(chosen(named))


def test_a_scenario_that_is_not_there_is_refused() -> None:
    """With the names there are."""
    with pytest.raises(ConfigError, match="break-even"):
        chosen("nothing")


@pytest.mark.parametrize("key", sorted(SCENARIOS))
def test_a_scenario_leaves_time_to_settle(key: str) -> None:
    """What outlives its position by 120 s is a violation, so that the end lies later."""
    scenario = SCENARIOS[key]
    assert scenario.window[1] + 120 + DEAD_S < LENGTH_S
    assert scenario.signals or any(act.deed is Deed.OPEN_BY_HAND for act in scenario.acts)
    assert scenario.plan().hours * 3600 == pytest.approx(LENGTH_S)
