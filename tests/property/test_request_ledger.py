"""The laws of the request-weight ledger: who may spend what, whatever comes (R31)."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from aegis.core.clock import NS_PER_S
from aegis.venue.weights import PoolLimit, WeightLedger

MINUTE: Final = PoolLimit(name="minute", limit=100, window_ns=60 * NS_PER_S)
SECOND: Final = PoolLimit(name="second", limit=10, window_ns=NS_PER_S)
OWN: Final = PoolLimit(name="own", limit=7, window_ns=5 * NS_PER_S, shared=False)
POOLS: Final = (MINUTE, SECOND, OWN)
COSTS: Final = {
    "order": (("second", 1), ("minute", 1)),
    "poll": (("minute", 40),),
    "fee": (("own", 1), ("minute", 2)),
    "free": (),
}
START_NS: Final = 1_700_000_000 * NS_PER_S

Step = tuple[str, bool, int]
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from([*COSTS, "unknown"]),
        st.booleans(),
        st.integers(0, 7 * NS_PER_S) | st.just(0),
    ),
    max_size=80,
)
PERCENT: Final = st.integers(0, 80)


def ledger_of(percent: int) -> WeightLedger:
    """Return an empty ledger."""
    return WeightLedger(POOLS, COSTS, cost_default=(("minute", 5),), protective_pct=percent)


def cost_of(operation: str) -> dict[str, int]:
    """Return what an operation takes of each pool."""
    return dict(COSTS.get(operation, (("minute", 5),)))


@given(steps=STEPS, percent=PERCENT)
def test_nobody_spends_beyond_his_share(steps: list[Step], percent: int) -> None:
    """Ordinary requests end at their share, protective ones at the venue's own limit."""
    ledger, now_ns = ledger_of(percent), START_NS
    for operation, protective, step_ns in steps:
        now_ns += step_ns
        if ledger.take(operation, now_ns, protective=protective):
            continue
        for pool in cost_of(operation):
            ordinary_max, limit = ledger.limits(pool)
            assert ledger.used(pool, now_ns) <= (limit if protective else ordinary_max)


@given(steps=STEPS, percent=PERCENT, paused=st.booleans())
def test_what_protects_leaves_while_the_venue_has_room(
    steps: list[Step], percent: int, *, paused: bool
) -> None:
    """Neither what others spent of their share nor a pause holds a protective request back."""
    ledger, now_ns = ledger_of(percent), START_NS
    if paused:
        ledger.pause(START_NS + 3600 * NS_PER_S)
    for operation, protective, step_ns in steps:
        now_ns += step_ns
        room = all(
            ledger.used(pool, now_ns) + cost <= ledger.limits(pool)[1]
            for pool, cost in cost_of(operation).items()
        )
        wait_ns = ledger.take(operation, now_ns, protective=protective)
        if protective:
            assert room == (wait_ns == 0)
        elif paused:
            assert START_NS + 3600 * NS_PER_S - now_ns == wait_ns


@given(steps=STEPS, percent=PERCENT)
def test_a_refused_request_is_free_and_told_when_to_come_again(
    steps: list[Step], percent: int
) -> None:
    """A wait ends with the window that is full, and what was not sent is not charged."""
    ledger, now_ns = ledger_of(percent), START_NS
    for operation, protective, step_ns in steps:
        now_ns += step_ns
        before = {pool.name: ledger.used(pool.name, now_ns) for pool in POOLS}
        wait_ns = ledger.take(operation, now_ns, protective=protective)
        after = {pool.name: ledger.used(pool.name, now_ns) for pool in POOLS}
        if wait_ns:
            assert before == after
            ends = [pool.window_ns - now_ns % pool.window_ns for pool in POOLS]
            assert wait_ns in ends
        else:
            spent = cost_of(operation)
            assert {pool: used + spent.get(pool, 0) for pool, used in before.items()} == after


@given(steps=STEPS, told=st.integers(0, 200), late_ns=st.integers(0, 120 * NS_PER_S))
def test_the_venues_count_corrects_upwards_and_within_its_window(
    steps: list[Step], told: int, late_ns: int
) -> None:
    """A header never frees what is on its way, and one of an old window says nothing of this."""
    ledger, now_ns = ledger_of(25), START_NS
    for operation, protective, step_ns in steps:
        now_ns += step_ns
        _ = ledger.take(operation, now_ns, protective=protective)
    before = ledger.used("minute", now_ns)
    ledger.correct("minute", told, sent_ns=now_ns - late_ns, now_ns=now_ns)
    same_window = (now_ns - late_ns) // MINUTE.window_ns == now_ns // MINUTE.window_ns
    assert (max(before, told) if same_window else before) == ledger.used("minute", now_ns)


@given(steps=STEPS, ban_s=st.integers(1, 300))
def test_a_ban_lets_nothing_leave(steps: list[Step], ban_s: int) -> None:
    """Sending makes a ban longer: not even what protects is sent."""
    ledger, now_ns = ledger_of(25), START_NS
    until_ns = START_NS + ban_s * NS_PER_S
    ledger.ban(until_ns)
    ledger.pause(START_NS)
    for operation, protective, step_ns in steps:
        now_ns += step_ns
        wait_ns = ledger.take(operation, now_ns, protective=protective)
        if now_ns < until_ns:
            assert until_ns - now_ns == wait_ns


def test_a_full_endpoint_holds_ordinary_requests_of_that_endpoint_alone() -> None:
    """10006 closes one pool: ordinary ones till its reset, protective ones till the next window."""
    ledger = ledger_of(25)
    ledger.close_pools("order", START_NS + 3 * NS_PER_S, START_NS)
    assert NS_PER_S == ledger.take("order", START_NS, protective=True)
    assert 0 == ledger.take("poll", START_NS, protective=False)
    later_ns = START_NS + NS_PER_S
    assert 0 == ledger.take("order", later_ns, protective=True)
    assert 2 * NS_PER_S == ledger.take("order", later_ns, protective=False)


def test_the_limits_of_the_venue_in_use_rule() -> None:
    """exchangeInfo and headers tell the numbers; nonsense and unknown pools are passed over."""
    ledger = ledger_of(25)
    ledger.set_limit("minute", 1000)
    ledger.set_limit("second", 0)
    ledger.set_limit("nobody", 5)
    assert ((750, 1000), (7, 10), (7, 7)) == tuple(
        ledger.limits(name) for name in ("minute", "second", "own")
    )
