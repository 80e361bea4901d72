"""What the doctor makes of facts: every verdict with its reason and its fix, pure."""

from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.app.doctor import checks
from aegis.app.doctor.checks import Finding, MarginFact, State, TimeSample
from aegis.app.doctor.plan import DoctorReport, VenueReport
from aegis.app.doctor.rights import KeyRights
from aegis.app.doctor.stop_path import far_stop
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionReport,
    ProtectionRole,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.model.order import OrderSide, OrderStatus, OrderType
from aegis.venue.second_opinion import MarketView

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
RULES = Instrument(
    instrument_id=BTC,
    tick_size=Decimal("0.10"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1000),
    market_qty_max=Decimal(120),
    notional_min=Decimal(50),
    leverage_max=125,
    maint_margin_rate=Decimal("0.004"),
    taker_fee_rate=Decimal("0.0005"),
    maker_fee_rate=Decimal("0.0002"),
    funding_interval_ns=1,
)


def sample(offset_ms: float, round_trip_ms: float = 20.0) -> TimeSample:
    """Return one look at the clock."""
    return TimeSample(offset_ms=offset_ms, round_trip_ms=round_trip_ms)


@pytest.mark.parametrize(
    ("offset_ms", "state"),
    [
        (0.0, State.OK),
        (500.0, State.OK),
        (-501.0, State.WARN),
        (5_000.0, State.WARN),
        (5_001.0, State.FAIL),
        (-7_200_000.0, State.FAIL),
    ],
)
def test_the_clock_is_warned_of_at_500_ms_and_refused_beyond_recv_window(
    offset_ms: float, state: State
) -> None:
    """Both ways alike."""
    assert state is checks.check_clock([sample(offset_ms)], 5_000).state


def test_the_clock_is_judged_by_the_quickest_answer() -> None:
    """A slow answer says little about the clock: half its round trip is doubt."""
    found = checks.check_clock([sample(9_000.0, 20_000.0), sample(3.0, 8.0)], 5_000)

    assert ("3 ms behind the venue, within 4 ms", State.OK) == (found.value, found.state)


def test_a_slow_line_is_a_warning() -> None:
    """Stops come late on it, which is for a person to know."""
    assert State.WARN is checks.check_network([sample(0, 1_500.0)]).state
    assert State.OK is checks.check_network([sample(0, 150.0), sample(0, 9_000.0), sample(0)]).state


def rights(trade: bool | None, withdraw: bool | None, ip: bool | None) -> KeyRights:
    """Return rights as a venue told them."""
    return KeyRights(can_trade=trade, can_withdraw=withdraw, ip_restricted=ip)


def test_an_unknown_right_is_never_a_tick() -> None:
    """Not told is unknown; the right to withdraw must be known before live trading."""
    for live in (True, False):
        found = checks.check_rights(rights(None, None, None), live=live)
        assert [State.UNKNOWN] * 3 == [each.state for each in found[1:]]
        assert live is not all(each.passes for each in found)


def test_rights_are_judged_each_alone() -> None:
    """Withdraw and no trade are crosses, no address binding is a warning."""
    found = {
        each.name: each.state for each in checks.check_rights(rights(False, True, False), live=True)
    }

    assert {
        "key": State.OK,
        "key may trade": State.FAIL,
        "key may not withdraw": State.FAIL,
        "key bound to addresses": State.WARN,
    } == found


def test_leverage_beyond_a_bracket_names_the_symbols() -> None:
    """R28: the lowest bracket of every symbol must allow it."""
    low = attrs.evolve(
        RULES, instrument_id=instrument_id("FILUSDT", Venue.BINANCE), leverage_max=50
    )

    assert State.OK is checks.check_leverage(50, [RULES, low]).state
    over = checks.check_leverage(75, [RULES, low])
    assert "leverage was 75x, the brackets allow FILUSDT 50x" == over.reason


def test_margin_modes() -> None:
    """Good is a tick, what the bot sets by itself a warning, the rest a cross."""
    states = [
        checks.check_margin(MarginFact(mode="m", good=good, settable=settable, fix="f")).state
        for good, settable in ((True, False), (False, True), (False, False))
    ]

    assert [State.OK, State.WARN, State.FAIL] == states


def test_filters_are_compared_as_numbers_and_only_where_told() -> None:
    """0.10 and 0.1 are the same tick; what ccxt does not tell is no mismatch (R27)."""
    same = MarketView(
        tick_size=Decimal("0.1"), qty_step=Decimal("1E-3"), qty_min=None, notional_min=None
    )
    other = attrs.evolve(same, qty_min=Decimal("0.01"), notional_min=Decimal(5))

    assert ["ccxt agrees: BTCUSDT"] == [
        each.value for each in checks.check_filters([RULES], {"BTCUSDT": same})
    ]
    (found,) = checks.check_filters([RULES], {"BTCUSDT": other})
    assert (
        "BTCUSDT: min qty was 0.001, ccxt says 0.01, min notional was 50, ccxt says 5"
        == found.reason
    )


def balance(available: str | None) -> BalanceReport:
    """Return a wallet."""
    return BalanceReport(
        venue=Venue.BINANCE,
        wallet=Decimal(100),
        available=None if available is None else Decimal(available),
        equity=None,
        ts_event=1,
    )


def test_free_margin_asks_for_the_smallest_position_of_the_cheapest_symbol() -> None:
    """55 USDT of notional at 5x and a tenth for fees; unknown stays unknown."""
    costs = {"BTCUSDT": Decimal(90), "ETHUSDT": Decimal(55)}

    assert State.OK is checks.check_free_margin(balance("12.10"), costs, 5).state
    short = checks.check_free_margin(balance("12.09"), costs, 5)
    assert (State.FAIL, "available were 12.09 USDT, the smallest position needs 12.10") == (
        short.state,
        short.reason,
    )
    assert State.UNKNOWN is checks.check_free_margin(balance(None), costs, 5).state
    assert State.UNKNOWN is checks.check_free_margin(balance("12"), {}, 5).state


def snapshot_with(*orders: OrderReport, stop_price: Decimal | None = None) -> VenueSnapshot:
    """Return a long of 0.3 BTC with *orders* around it."""
    position = PositionReport(
        instrument_id=BTC,
        qty_signed=Decimal("0.3"),
        entry_px_avg=Decimal(60_000),
        ts_event=1,
        stop_price=stop_price,
    )
    return VenueSnapshot(
        venue=Venue.BINANCE,
        ts_event=1,
        balance=balance("1"),
        positions=(position,),
        orders=orders,
    )


def order(qty: str | None, role: ProtectionRole, side: OrderSide = OrderSide.SELL) -> OrderReport:
    """Return a resting conditional order."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id="x",
        venue_order_id="1",
        conditional=True,
        status=OrderStatus.ACCEPTED,
        side=side,
        order_type=OrderType.STOP_MARKET,
        qty=None if qty is None else Decimal(qty),
        filled_qty=Decimal(0),
        reduce_only=True,
        close_position=qty is None,
        role=role,
        source=ReportSource.QUERY,
        ts_event=1,
    )


@pytest.mark.parametrize(
    ("around", "state"),
    [
        (snapshot_with(), State.FAIL),
        (snapshot_with(order("0.2", ProtectionRole.STOP)), State.FAIL),
        (
            snapshot_with(order("0.2", ProtectionRole.STOP), order("0.1", ProtectionRole.STOP)),
            State.OK,
        ),
        (snapshot_with(order("0.3", ProtectionRole.TARGET)), State.FAIL),
        (snapshot_with(order("0.3", ProtectionRole.STOP, OrderSide.BUY)), State.FAIL),
        (snapshot_with(order(None, ProtectionRole.STOP)), State.OK),
        (snapshot_with(stop_price=Decimal(59_000)), State.OK),
    ],
)
def test_a_position_is_protected_by_stops_for_all_of_it(
    around: VenueSnapshot, state: State
) -> None:
    """Only stops on the closing side count, to the full quantity (R88)."""
    assert [state] == [each.state for each in checks.check_positions(around)]


def test_what_an_earlier_visit_left_is_named() -> None:
    """By the mark in its id; orders of others are nobody's business here."""
    theirs = order("0.3", ProtectionRole.STOP)
    ours = attrs.evolve(theirs, client_order_id="doct-t85s01-1-SM0")

    assert [] == checks.check_leftovers(snapshot_with(theirs))
    (found,) = checks.check_leftovers(snapshot_with(theirs, ours))
    assert (State.WARN, "an earlier visit left doct-t85s01-1-SM0 on BTCUSDT") == (
        found.state,
        found.reason,
    )


@given(
    mark=st.decimals("0.01", "200000", places=2),
    tick=st.sampled_from(["0.1", "0.01", "0.0001"]),
    step=st.sampled_from(["0.001", "0.1", "1"]),
    least=st.sampled_from([None, "5", "50"]),
)
def test_a_far_stop_fits_the_filters_and_is_far(
    mark: Decimal, tick: str, step: str, least: str | None
) -> None:
    """On the grid, at least the smallest quantity and notional, never above 70 % of the mark."""
    mark = max(mark, 10 * Decimal(tick))
    rules = attrs.evolve(
        RULES,
        tick_size=Decimal(tick),
        qty_step=Decimal(step),
        qty_min=Decimal(step),
        notional_min=None if least is None else Decimal(least),
    )
    stop = far_stop(rules, mark, "doct-1-1-SM0")

    assert stop.qty is not None
    assert stop.trigger_price is not None
    assert 0 < stop.trigger_price <= mark * Decimal("0.7")
    assert Decimal(0) == stop.trigger_price % rules.tick_size == stop.qty % rules.qty_step
    assert stop.qty >= rules.qty_min
    assert stop.qty * stop.trigger_price >= (rules.notional_min or 0)
    assert (True, OrderSide.SELL) == (stop.reduce_only, stop.side)


@pytest.mark.parametrize(
    ("findings", "reachable", "code"),
    [
        ((checks.ok("a", "b"), checks.warn("a", "b", "c")), True, 0),
        ((checks.unknown("a", "b", needed=False),), True, 0),
        ((checks.unknown("a", "b"),), True, 1),
        ((checks.fail("a", "b", "c"),), True, 1),
        ((checks.fail("a", "b", "c"),), False, 3),
    ],
)
def test_exit_codes(findings: tuple[Finding, ...], reachable: bool, code: int) -> None:
    """0 clean or warned, 1 crossed or unknown where it matters, 3 unreachable; the worst counts."""
    good = VenueReport(venue=Venue.BYBIT, base_url="u", reachable=True, findings=())
    this = VenueReport(venue=Venue.BINANCE, base_url="u", reachable=reachable, findings=findings)

    assert code == DoctorReport(mode="live", at_ns=1, venues=(good, this)).exit_code
