"""The tally against events built by hand: conservation, money, unprotected time, unknowns."""

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S
from aegis.model.events import FrameRejected, FundingReported
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide
from aegis.model.position import CloseCause
from aegis.ops.tally import Tally, nearest_rank

if TYPE_CHECKING:
    from tests.unit.ops.conftest import Maker

MS = 1_000_000
BTC = instrument_id("BTCUSDT", Venue.BINANCE)


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0.01, 1.0))
def test_nearest_rank_is_a_measured_value_that_covers_its_share(
    values: list[int], share: float
) -> None:
    """The percentile is one of the values, and at least that share is not above it (R45)."""
    found = nearest_rank(values, share)

    assert found in values
    assert sum(1 for value in values if value <= found) >= share * len(values)


def test_nothing_measured_is_none() -> None:
    """Without a position there is no percentile, and no 0 in its place (R80)."""
    assert None is nearest_rank([], 0.99)


def test_positions_are_conserved(bus: EventBus, make: "Maker") -> None:
    """Opened + adopted = closed + active, by position id (R76)."""
    tally = Tally(bus)

    bus.publish(make.opened("a"))
    bus.publish(make.opened("b", adopted=True))
    bus.publish(make.opened("c"))
    bus.publish(make.closed("a", cause=CloseCause.SL, net="-4"))

    assert (2, 1, 1, 2) == (tally.opened, tally.adopted, tally.closed_count, tally.active)
    assert tally.ever_open == tally.closed_count + tally.active
    assert {CloseCause.SL: 1} == dict(tally.closed)


def test_fills_found_after_an_end_count_once(bus: EventBus, make: "Maker") -> None:
    """R77: what was realized before the end is not counted again with a late fill."""
    tally = Tally(bus)
    bus.publish(make.opened("ab12-1-5"))
    sold = make.booked(side=OrderSide.SELL, qty="0.02", realized="3", fee="1")
    bus.publish(sold)
    bus.publish(attrs.evolve(make.closed("ab12-1-5"), position=sold.position))
    bus.publish(make.booked(side=OrderSide.SELL, qty="0", realized="5", fee="1"))

    assert {Venue.BINANCE: Decimal(5)} == tally.realized


def test_a_close_of_what_never_opened_is_noticed(bus: EventBus, make: "Maker") -> None:
    """A position that closes twice, or never opened, breaks conservation and is counted (R76)."""
    tally = Tally(bus)

    bus.publish(make.opened("a"))
    bus.publish(make.closed("a"))
    bus.publish(make.closed("a"))

    assert 1 == tally.closed_unknown


def test_only_the_first_confirmation_of_our_own_positions_is_timed(
    bus: EventBus, make: "Maker"
) -> None:
    """Repeats do not count twice; how long an adopted position stood before us is unknown (R45)."""
    tally = Tally(bus)

    bus.publish(make.opened("a"))
    bus.publish(make.opened("b", adopted=True))
    bus.publish(make.confirmed("a", 8 * MS))
    bus.publish(make.confirmed("a", 900 * MS))
    bus.publish(make.confirmed("b", 70 * MS))

    assert [8 * MS] == tally.naked_ns
    assert (2, 2) == (tally.confirmed, tally.ever_open)


def test_a_position_closed_before_its_stop_was_seen_stays_unprotected(
    bus: EventBus, make: "Maker"
) -> None:
    """It counts as opened, never as confirmed: percentiles alone would hide it (R45)."""
    tally = Tally(bus)

    bus.publish(make.opened("a"))
    bus.publish(make.closed("a", cause=CloseCause.UNPROTECTED))

    assert (0, 1, 1) == (tally.confirmed, tally.ever_open, tally.closed_unconfirmed)


def test_income_is_realized_minus_fees_plus_funding(bus: EventBus, make: "Maker") -> None:
    """The same fills and bookings as the venue's, each counted once (R77)."""
    tally = Tally(bus)
    funding = FundingReported(
        **make.at, venue=Venue.BINANCE, instrument_id=BTC, amount=Decimal("-0.3"), funding_id="9"
    )

    bus.publish(make.booked(side=OrderSide.BUY, qty="0.031", realized="0", fee="1.5"))
    bus.publish(make.booked(side=OrderSide.SELL, qty="0", realized="17", fee="1.6"))
    bus.publish(funding)
    bus.publish(funding)

    assert Decimal("13.6") == tally.income(Venue.BINANCE)


def test_the_net_of_unseen_fills_is_unknown(bus: EventBus, make: "Maker") -> None:
    """A close without an exit price adds nothing to the PnL and is counted apart (R80)."""
    tally = Tally(bus)

    bus.publish(make.closed("a", net="16.9"))
    bus.publish(make.closed("b", net="0", exit_px=None))

    assert {Venue.BINANCE: Decimal("16.9")} == tally.net_pnl
    assert 1 == tally.net_unknown[Venue.BINANCE]


def test_reconnects_do_not_count_the_first_opening(bus: EventBus, make: "Maker") -> None:
    """A stream opens once and reconnects after that, whatever its downtime says (R9)."""
    tally = Tally(bus)

    for _ in range(3):
        bus.publish(make.stream_opened())

    assert 2 == tally.reconnects[Venue.BINANCE]
    told_ns = make.stream_opened().ts_recv
    assert 2 == tally.reconnects_last_hour(told_ns)
    assert 0 == tally.reconnects_last_hour(told_ns + 3600 * NS_PER_S)


def test_refused_frames_follow_the_highest_count_told(bus: EventBus, make: "Maker") -> None:
    """Counts are told doubling, per reason: the newest stands for those before it (R5)."""
    tally = Tally(bus)

    for reason, count in (("crossed", 1), ("crossed", 2), ("crossed", 4), ("late", 1)):
        bus.publish(
            FrameRejected(**make.at, instrument_id=BTC, frame="quote", reason=reason, count=count)
        )

    assert 5 == tally.frames_rejected


def test_the_way_to_an_entry_is_counted(bus: EventBus, make: "Maker") -> None:
    """Signals, entry intents and denials by guard; closes are no entries (R67)."""
    tally = Tally(bus)

    bus.publish(make.signal())
    bus.publish(make.proposed())
    bus.publish(make.close_intent())
    bus.publish(make.denied())
    bus.publish(make.api())
    bus.publish(make.api(ok=True))

    assert (1, 1, {"exposure": 1}) == (tally.signals, tally.entry_intents, dict(tally.denied))
    assert (2, 1) == (tally.api_calls[Venue.BINANCE], tally.api_errors[Venue.BINANCE])
