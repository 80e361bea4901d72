"""The soak's judge finds what it is there to find: each kind of fault, planted, is told."""

from decimal import Decimal
from typing import Any

import attrs
import pytest
from soak.books import Journal, compare, doubled_orders, fill_number, oversized
from soak.bound import bound_of, spans_of

from aegis.model.events import FillBooked
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide, PositionSide
from aegis.model.position import PositionView
from aegis.settings import AegisConfig

S = 1_000_000_000
BTC = instrument_id("BTCUSDT", Venue.BINANCE)


def fill_row(number: int, side: str, closed: str, realized: str, at_s: int) -> dict[str, Any]:
    """Return a fill of 1 at 100 as the twin reports it."""
    return {
        "fill_id": number,
        "order_id": number,
        "client_id": f"ab12-1-1-EN{number}",
        "symbol": "BTCUSDT",
        "side": side,
        "qty": "1",
        "price": "100",
        "fee": "0.05",
        "closed_qty": closed,
        "realized_pnl": realized,
        "ts_ns": at_s * S,
    }


def report(*, gaps: tuple[tuple[int, int], ...] = (), orders: Any = ()) -> dict[str, Any]:
    """Return a twin's report of one position that was opened at 10 s and closed at 90 s."""
    return {
        "now_ns": 100 * S,
        "venues": {
            "binance": {
                "income": {},
                "fills": [fill_row(1, "BUY", "0", "0", 10), fill_row(2, "SELL", "1", "7", 90)],
                "orders": list(orders),
                "positions": [],
                "episodes": [
                    {
                        "symbol": "BTCUSDT",
                        "opened_ns": 10 * S,
                        "closed_ns": 90 * S,
                        "qty_max": "1",
                        "unprotected_ns": 0,
                        "gaps": [[a * S, b * S] for a, b in gaps],
                    }
                ],
            }
        },
    }


def booked(number: int, side: OrderSide, realized: str, price: str = "100") -> FillBooked:
    """Return a fill of 1 as the bot books it."""
    fill = Fill(
        instrument_id=BTC,
        fill_id=str(number),
        client_order_id=f"ab12-1-1-EN{number}",
        venue_order_id=str(number),
        side=side,
        last_qty=Decimal(1),
        last_px=Decimal(price),
        fee=Decimal("0.05"),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=0,
    )
    view = PositionView(
        position_id="ab12-1-1",
        instrument_id=BTC,
        side=PositionSide.LONG,
        qty=Decimal(0 if side is OrderSide.SELL else 1),
        qty_opened=Decimal(1),
        entry_px_avg=Decimal(100),
        first_fill_px=Decimal(100),
        plan=None,
        leverage=5,
        realized_pnl=Decimal(realized),
        fees=Decimal("0.1"),
        funding=Decimal(0),
        opened_ns=0,
        adopted=False,
        trace_id="t",
    )
    return FillBooked(ts_event=0, ts_recv=0, fill=fill, position=view, purpose="ENTRY")


OPENING = booked(1, OrderSide.BUY, "0")
CLOSING = booked(2, OrderSide.SELL, "7")


def journal(*fills: FillBooked) -> Journal:
    """Return a journal with *fills* and nothing else."""
    return Journal(
        runs=1,
        started_ns=(0,),
        stopped_ns=None,
        fills=fills,
        opened=(),
        closed=(),
        submitted=(),
        mismatches=(),
        funding=(),
        violations=(),
        chain_broken_at=None,
        open_now={},
    )


def test_equal_books_have_no_fault() -> None:
    """Both fills once, the money the same."""
    (books,) = compare(report(), journal(OPENING, CLOSING), until_ns=100 * S)
    assert (2, 2, 0) == (books.made, books.booked, books.taken_over)
    assert ((), (), (), ()) == (books.lost, books.doubled, books.altered, books.invented)
    assert books.money_agrees


def test_a_fill_that_was_not_booked_is_lost_with_its_money() -> None:
    """Lost while a bot ran, unseen while none did; what it made explains the difference."""
    (books,) = compare(report(), journal(OPENING), until_ns=100 * S)
    assert (1, 0) == (len(books.lost), len(books.unseen))
    assert (Decimal(-7), False, True) == (
        books.realized_off,
        books.money_agrees,
        books.money_explained,
    )
    (dead,) = compare(report(), journal(OPENING), dead=[(80 * S, 95 * S)], until_ns=100 * S)
    assert (0, 1) == (len(dead.lost), len(dead.unseen))


def test_what_was_filled_after_the_end_is_not_asked_for() -> None:
    """The bot cannot know what happened once it had stopped."""
    (books,) = compare(report(), journal(OPENING), until_ns=50 * S)
    assert (1, ()) == (books.made, books.lost)


@pytest.mark.parametrize(
    ("fills", "fault"),
    [
        ((OPENING, OPENING, CLOSING), "doubled"),
        ((booked(1, OrderSide.BUY, "0", price="101"), CLOSING), "altered"),
        ((OPENING, CLOSING, booked(9, OrderSide.BUY, "0")), "invented"),
    ],
)
def test_a_fill_booked_wrongly_is_told(fills: tuple[FillBooked, ...], fault: str) -> None:
    """Twice, with another price, or out of nowhere."""
    (books,) = compare(report(), journal(*fills), until_ns=100 * S)
    assert 1 == len(getattr(books, fault))


def test_a_second_entry_of_a_position_is_told() -> None:
    """As an order sent again, and as a position that two orders built."""
    own = {"made_by": "USER", "parent_id": None}
    orders = [{**own, "client_id": f"ab12-1-1-EN{attempt}"} for attempt in (1, 2, 2)]
    assert [
        "BINANCE ab12-1-1-EN2 x2",
        "BINANCE entry of ab12-1-1 x3",
    ] == doubled_orders(report(orders=orders))
    doubled = report()
    doubled["venues"]["binance"]["fills"].append(fill_row(3, "BUY", "0", "0", 12))
    assert 1 == len(oversized(doubled, journal()))
    assert [] == oversized(report(), journal())


def test_the_market_order_of_a_fired_stop_is_no_double() -> None:
    """It carries its stop's client id (venues.md 2.4)."""
    stop = {"made_by": "USER", "parent_id": None, "client_id": "ab12-1-1-SF1"}
    assert [] == doubled_orders(report(orders=[stop, {**stop, "parent_id": 1}]))


def test_a_span_is_judged_without_the_time_nothing_could_pass() -> None:
    """60 s of tape are 1 s of wall at 60x; outages and dead time are taken off once."""
    bound = attrs.evolve(bound_of(AegisConfig(), "BINANCE"), hard=0.0)
    long_s = 60 * (int(bound.seconds) + 2)
    told = report(gaps=((10, 10 + long_s),))
    (span,) = spans_of(told, 60.0, outages={})
    assert span.beyond(bound)
    half = (10 * S, (10 + long_s // 2) * S)
    (excused,) = spans_of(told, 60.0, outages={"BINANCE": [half, half]}, dead=[])
    assert span.length_s / 2 == excused.outage_s
    assert not excused.beyond(bound)


def test_the_bound_follows_the_settings() -> None:
    """Its hard deadline and its time-outs are the configured ones (docs/protection.md)."""
    usual = bound_of(AegisConfig(), "BINANCE")
    longer = bound_of(AegisConfig(protection_hard_ms=5000), "BINANCE")
    slower = bound_of(AegisConfig(order_timeout_s=3.0), "BINANCE")
    assert pytest.approx(usual.seconds + 2.0) == longer.seconds
    assert pytest.approx(usual.seconds + 3.0) == slower.seconds
    assert usual.seconds < bound_of(AegisConfig(), "BYBIT").seconds


def test_fills_are_matched_by_the_engines_number() -> None:
    """Binance tells it as the trade id, Bybit within the execId."""
    assert 4711 == fill_number("BINANCE", "4711")
    assert 4711 == fill_number("BYBIT", "a1b2c3d4-e000-4000-8000-000000001267")
