"""Laws of the evidence about resting orders: repeated, late and shuffled reports change nothing."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from aegis.core.clock import ManualClock
from aegis.exit.resting import RestingOrders
from aegis.model.account import OrderReport, PositionReport, ProtectionRole, ReportSource
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide, OrderStatus, OrderType

BTC = instrument_id("BTCUSDT", Venue.BYBIT)
WORKING = (OrderStatus.ACCEPTED, OrderStatus.TRIGGERING, OrderStatus.PARTIALLY_FILLED)
ENDS = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED)


def report(
    key: str, status: OrderStatus, *, price: int = 98, ts: int = 1, bound: bool = False
) -> OrderReport:
    """Return a report of a stop for one unit."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id="" if bound else key,
        venue_order_id=key,
        conditional=True,
        status=status,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=Decimal(1),
        filled_qty=Decimal(0),
        reduce_only=True,
        close_position=False,
        role=ProtectionRole.STOP,
        source=ReportSource.STREAM,
        ts_event=ts,
        trigger_price=Decimal(price),
        position_bound=bound,
    )


@given(
    late=st.lists(st.sampled_from((*WORKING, *ENDS)), max_size=8),
    before=st.lists(st.sampled_from(WORKING), max_size=4),
    end=st.sampled_from(ENDS),
)
def test_nothing_after_the_end_brings_an_order_back(
    before: list[OrderStatus], end: OrderStatus, late: list[OrderStatus]
) -> None:
    """Once its end was reported an order rests no more, whatever comes later (R3, R49)."""
    resting = RestingOrders(ManualClock(0))
    other = report("ab12-1-1-SF1", OrderStatus.ACCEPTED)
    resting.note(other)
    for status in (*before, end):
        resting.note(report("ab12-1-1-SM1", status))
    for status in late:
        assert not resting.note(report("ab12-1-1-SM1", status))

    assert ["ab12-1-1-SF1"] == [r.key for r in resting.of(BTC)]


@given(statuses=st.lists(st.sampled_from(WORKING), min_size=1).flatmap(st.permutations))
def test_order_of_working_reports_does_not_matter(statuses: list[OrderStatus]) -> None:
    """The farthest state told is the one believed, in any order and any number of times."""
    resting = RestingOrders(ManualClock(0))
    for status in statuses:
        resting.note(report("ab12-1-1-SM1", status))

    assert [max(statuses, key=lambda s: s.rank)] == [r.status for r in resting.of(BTC)]


@given(
    words=st.lists(
        st.tuples(st.booleans(), st.sampled_from([None, 90, 95, 98])), min_size=1, max_size=6
    ),
    data=st.data(),
)
def test_latest_word_about_the_position_s_own_stop_counts(
    words: list[tuple[bool, int | None]], data: st.DataObject
) -> None:
    """Rows and child orders, arriving in any order: the venue's latest word wins (R3)."""
    told: list[OrderReport | PositionReport] = []
    price: int | None = None
    for ts, (as_row, wanted) in enumerate(words, start=1):
        price = wanted if as_row or wanted is not None else price
        if as_row:
            told.append(
                PositionReport(
                    instrument_id=BTC,
                    qty_signed=Decimal(1),
                    entry_px_avg=Decimal(100),
                    ts_event=ts,
                    stop_price=None if wanted is None else Decimal(wanted),
                )
            )
        elif wanted is not None:
            told.append(report("uuid", OrderStatus.ACCEPTED, price=wanted, ts=ts, bound=True))
    resting = RestingOrders(ManualClock(0))
    for word in data.draw(st.permutations(told)):
        if isinstance(word, PositionReport):
            resting.note_position(word)
        else:
            resting.note(word)

    expected = [] if price is None else [Decimal(price)]
    assert expected == [r.trigger_price for r in resting.of(BTC)]
