"""The judge of health: a loop that turns is not enough, the way out must work (R87)."""

import attrs

from aegis.core.clock import NS_PER_S
from aegis.model.instrument import InstrumentId, Venue
from aegis.ops.health import (
    CLOSING_MAX_NS,
    LAG_MAX_NS,
    NAKED_MAX_NS,
    PROTECT_STUCK_MAX_NS,
    ExitState,
    HealthFacts,
    HealthJudge,
)

BTC = InstrumentId(symbol="BTCUSDT", venue=Venue.BINANCE)
QUIET = HealthFacts(lag_ns=0, exits=(), protect_depths=(("BINANCE", 0),))


def _position(*, naked_ns: int | None = None, closing: bool = False) -> ExitState:
    return ExitState(position_id="p1", instrument_id=BTC, naked_ns=naked_ns, closing=closing)


def test_a_quiet_bot_is_well() -> None:
    """Nothing open, nothing under way, the loop on time (R87)."""
    assert HealthJudge().look(QUIET, 0).ok


def test_a_late_loop_is_unwell() -> None:
    """A loop that is later than the deadlines it must keep cannot protect (R87)."""
    judge = HealthJudge()
    assert judge.look(attrs.evolve(QUIET, lag_ns=LAG_MAX_NS), 0).ok
    found = judge.look(attrs.evolve(QUIET, lag_ns=LAG_MAX_NS + 1), 0)
    assert found.problems == ("the loop was 5.0 s late",)


def test_a_position_naked_beyond_every_deadline_is_unwell() -> None:
    """No stop for a minute means that neither protecting nor closing works (R45, R87)."""
    judge = HealthJudge()
    for naked_ns, ok in ((None, True), (NAKED_MAX_NS, True), (NAKED_MAX_NS + 1, False)):
        facts = attrs.evolve(QUIET, exits=(_position(naked_ns=naked_ns),))
        assert judge.look(facts, 0).ok is ok


def test_a_close_that_never_ends_is_unwell_and_a_new_one_counts_anew() -> None:
    """The failure that stayed green for 18 hours: exits that do not succeed (R71, R87)."""
    judge = HealthJudge()
    closing = attrs.evolve(QUIET, exits=(_position(closing=True),))
    assert judge.look(closing, 0).ok
    assert judge.look(closing, CLOSING_MAX_NS).ok
    late = judge.look(closing, CLOSING_MAX_NS + 10 * NS_PER_S)
    assert late.problems == ("BTCUSDT-PERP.BINANCE is being closed for 130 s",)
    assert judge.look(QUIET, CLOSING_MAX_NS + 11 * NS_PER_S).ok
    assert judge.look(closing, CLOSING_MAX_NS + 12 * NS_PER_S).ok


def test_a_protective_lane_that_never_empties_is_unwell() -> None:
    """Requests that neither succeed nor fail are as bad as none (R87)."""
    judge = HealthJudge()
    busy = attrs.evolve(QUIET, protect_depths=(("BINANCE", 3), ("BYBIT", 0)))
    assert judge.look(busy, 0).ok
    stuck = judge.look(busy, PROTECT_STUCK_MAX_NS + NS_PER_S)
    assert stuck.problems == ("BINANCE: 3 protective requests wait, never none for 61 s",)
    assert judge.look(QUIET, PROTECT_STUCK_MAX_NS + 2 * NS_PER_S).ok
    assert judge.look(busy, PROTECT_STUCK_MAX_NS + 3 * NS_PER_S).ok
