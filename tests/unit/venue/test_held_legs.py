"""The one leg of hedge mode that the bot sees (R41, R59): which, until when, and what it misses."""

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from aegis.core.clock import VirtualClock
from aegis.core.event import Event
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionMode,
    PositionReport,
    ProtectionRole,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.events import SecondLegFound, SecondLegGone
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderStatus, OrderType, PositionSide
from aegis.venue.legs import HeldLegs
from aegis.venue.position_modes import PositionModes

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
OURS, FOREIGN = "test-1-1-SF0", "web_7fK2"


def _loop() -> VirtualTimeLoop:
    loop = VirtualTimeLoop()
    loop.close()
    return loop


class Bench:
    """Legs of an account in hedge mode, and what they told."""

    def __init__(self, mode: PositionMode = PositionMode.HEDGE) -> None:
        self.events: list[Event] = []
        self.modes = PositionModes(Venue.BINANCE)
        self.modes.learn_all(mode)
        clock = VirtualClock(1_700_000_000_000_000_000, _loop())
        self.legs = HeldLegs(Venue.BINANCE, self.modes, clock, self.events.append)

    def told(self) -> list[str]:
        """Return the names of the events so far."""
        return [type(event).__name__ for event in self.events]


def row(leg: PositionSide | None, qty: str, at: int = 1) -> PositionReport:
    """Return a position row; *qty* is unsigned where *leg* signs it."""
    signed = Decimal(qty) * (1 if leg is None else leg.sign)
    return PositionReport(
        instrument_id=BTC,
        qty_signed=signed,
        entry_px_avg=Decimal(60000) if signed else None,
        ts_event=at,
        leg=leg,
    )


def fill(leg: PositionSide, *, opens: bool, client_order_id: str = FOREIGN) -> Fill:
    """Return an execution that opens or closes *leg*."""
    return Fill(
        instrument_id=BTC,
        fill_id="1",
        client_order_id=client_order_id,
        venue_order_id="1",
        side=leg.entry_side if opens else leg.exit_side,
        last_qty=Decimal("0.1"),
        last_px=Decimal(60000),
        fee=Decimal(0),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=1,
        leg=leg,
    )


def stop(leg: PositionSide, client_order_id: str = FOREIGN) -> OrderReport:
    """Return a resting stop of *leg*."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id=client_order_id,
        venue_order_id=f"{leg.value} {client_order_id}",
        conditional=True,
        status=OrderStatus.ACCEPTED,
        side=leg.exit_side,
        order_type=OrderType.STOP_MARKET,
        qty=Decimal("0.1"),
        filled_qty=Decimal(0),
        reduce_only=True,
        close_position=False,
        role=ProtectionRole.STOP,
        source=ReportSource.QUERY,
        ts_event=1,
        leg=leg,
    )


def snapshot(
    positions: Sequence[PositionReport], orders: Sequence[OrderReport] = ()
) -> VenueSnapshot:
    """Return a snapshot with these rows."""
    balance = BalanceReport(
        venue=Venue.BINANCE, wallet=Decimal(1), available=None, equity=None, ts_event=1
    )
    return VenueSnapshot(
        venue=Venue.BINANCE,
        ts_event=9,
        balance=balance,
        positions=tuple(positions),
        orders=tuple(orders),
    )


def test_one_open_leg_is_the_position() -> None:
    """The rows of the other leg and of both sides do not pass for a flat position."""
    bench = Bench()
    opened = row(LONG, "0.1")
    assert (opened,) == bench.legs.position(opened)
    assert () == bench.legs.position(row(SHORT, "0"))
    assert () == bench.legs.position(row(None, "0"))
    flat = row(LONG, "0", at=2)
    assert (flat,) == bench.legs.position(flat)
    assert [] == bench.told()


def test_a_second_leg_is_told_and_hidden_until_the_first_ends() -> None:
    """R41, R59: the book's position keeps its side; the other leg becomes one after it."""
    bench = Bench()
    legs = bench.legs
    legs.position(row(LONG, "0.1"))
    second = row(SHORT, "0.2")
    assert () == legs.position(second)
    assert (False, False) == (
        legs.takes_fill(fill(SHORT, opens=True)),
        legs.takes_order(stop(SHORT)),
    )
    assert (True, True) == (legs.takes_fill(fill(LONG, opens=False)), legs.takes_order(stop(LONG)))
    assert {BTC: second} == legs.second
    (found,) = bench.events
    assert isinstance(found, SecondLegFound)
    assert (Decimal("0.1"), Decimal("-0.2")) == (found.held_qty_signed, found.second_qty_signed)
    assert "BTCUSDT" in found.text
    assert "give the SHORT leg a stop, or close it" in found.text

    ended = row(LONG, "0", at=2)
    # Its time is that of the change, or it would pass for an overtaken message.
    assert (ended, row(SHORT, "0.2", at=2)) == legs.position(ended)
    assert ["SecondLegFound", "SecondLegGone"] == bench.told()
    # The last fill of the leg that ended may come after its flat row.
    assert legs.takes_fill(fill(LONG, opens=False))
    assert legs.takes_fill(fill(SHORT, opens=False))


def test_a_second_leg_that_ends_lifts_what_it_caused() -> None:
    """Entries may go on, and the held leg was never touched."""
    bench = Bench()
    bench.legs.position(row(LONG, "0.1"))
    bench.legs.position(row(SHORT, "0.2"))
    bench.legs.position(row(SHORT, "0.3", at=2))
    assert ["SecondLegFound"] == bench.told()
    assert () == bench.legs.position(row(SHORT, "0", at=3))
    assert isinstance(bench.events[-1], SecondLegGone)
    assert {} == bench.legs.second


def test_the_fill_of_an_entry_names_the_leg_before_its_row_comes() -> None:
    """R41: fills come ahead of positions; the other leg's flat row must not end the entry."""
    bench = Bench()
    assert bench.legs.takes_fill(fill(SHORT, opens=True, client_order_id="test-1-1-EN0"))
    assert () == bench.legs.position(row(LONG, "0"))
    assert not bench.legs.takes_fill(fill(LONG, opens=True))
    assert bench.legs.takes_fill(fill(LONG, opens=True, client_order_id=OURS))


def test_an_older_row_changes_nothing() -> None:
    """Rows may be reordered; the newest of each leg counts."""
    bench = Bench()
    bench.legs.position(row(LONG, "0.1", at=5))
    assert () == bench.legs.position(row(LONG, "0", at=4))
    bench.legs.position(row(SHORT, "0.1", at=5))
    assert ["SecondLegFound"] == bench.told()


def test_a_start_with_two_legs_holds_the_one_with_our_orders() -> None:
    """R88: after a crash the leg is ours where our stops rest, however large the other one is."""
    rows = (row(LONG, "5"), row(SHORT, "0.1"))
    ours, foreign = stop(SHORT, OURS), stop(LONG)
    bench = Bench()
    seen = bench.legs.snapshot(snapshot(rows, (ours, foreign)))
    assert ((rows[1],), (ours,)) == (seen.positions, seen.orders)
    assert ["SecondLegFound"] == bench.told()
    larger = Bench().legs.snapshot(snapshot(rows, (foreign,)))
    assert ((rows[0],), (foreign,)) == (larger.positions, larger.orders)
    assert (row(LONG, "1"),) == Bench().legs.snapshot(
        snapshot((row(SHORT, "1"), row(LONG, "1")))
    ).positions


def test_a_snapshot_is_the_whole_truth() -> None:
    """R12, R88: a leg it does not hold has ended, whatever was told before."""
    bench = Bench()
    bench.legs.position(row(LONG, "0.1"))
    bench.legs.position(row(SHORT, "0.1"))
    seen = bench.legs.snapshot(snapshot([row(SHORT, "0.1", at=3)]))
    assert (row(SHORT, "0.1", at=3),) == seen.positions
    assert ["SecondLegFound", "SecondLegGone"] == bench.told()
    assert () == bench.legs.snapshot(snapshot([])).positions
    assert bench.legs.takes_order(stop(LONG))


def test_one_way_mode_passes_untouched() -> None:
    """Fills carry a leg on Bybit in both modes; without hedge mode nothing is hidden."""
    bench = Bench(PositionMode.ONE_WAY)
    net = row(None, "-0.1")
    assert (net,) == bench.legs.position(net)
    assert bench.legs.takes_fill(fill(LONG, opens=True))
    assert bench.legs.takes_fill(fill(SHORT, opens=True))
    assert () == bench.legs.position(row(LONG, "0"))
    whole = snapshot([net])
    assert whole == bench.legs.snapshot(whole)


def test_an_open_leg_corrects_the_mode() -> None:
    """R41: the mode was changed while the bot ran; the next order must name its leg."""
    bench = Bench(PositionMode.ONE_WAY)
    assert (row(LONG, "0.1"),) == bench.legs.position(row(LONG, "0.1"))
    assert bench.modes.hedged("BTCUSDT")


def test_two_legs_before_the_mode_was_read_are_two_legs() -> None:
    """R88: the check before a live start asks for the account first."""
    legs = HeldLegs(Venue.BINANCE, PositionModes(Venue.BINANCE), VirtualClock(1, _loop()), print)
    seen = legs.snapshot(snapshot((row(LONG, "5"), row(SHORT, "0.1"))))
    assert (row(LONG, "5"),) == seen.positions
    assert (row(SHORT, "0.1"),) == tuple(legs.second.values())


@given(
    st.lists(
        st.tuples(st.sampled_from([LONG, SHORT]), st.integers(min_value=0, max_value=2)),
        max_size=12,
    )
)
def test_what_is_shown_is_always_one_leg_and_never_flat_while_one_is_open(
    rows: list[tuple[PositionSide, int]],
) -> None:
    """Law: after any rows the last position shown is an open leg exactly when one is open."""
    bench = Bench()
    shown: PositionReport | None = None
    open_legs: dict[PositionSide, int] = {}
    for at, (leg, qty) in enumerate(rows):
        for each in bench.legs.position(row(leg, str(qty), at=at)):
            shown = each
        open_legs[leg] = qty
    is_open = any(open_legs.values())
    assert is_open is (shown is not None and shown.qty_signed != 0)
    if is_open:
        assert shown is not None
        assert shown.leg is not None
        assert open_legs[shown.leg] == abs(shown.qty_signed)
    assert (sum(qty > 0 for qty in open_legs.values()) == 2) is bool(bench.legs.second)
