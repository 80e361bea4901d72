"""The protection meter, from hand-made words of a listener."""

from decimal import Decimal

import pytest

from aegis.model.order import OrderSide, OrderType, PositionSide
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    Maker,
    OrderSpec,
)
from aegis.twin.meter import ProtectionMeter

MS = 1_000_000
S = 1_000 * MS
ZERO = Decimal(0)


class Venue:
    """Says hand-made things to a meter; times in ms."""

    def __init__(self) -> None:
        self.meter = ProtectionMeter()
        self._ids = 0

    def position(self, at_ms: int, qty: str) -> None:
        """Say that the position is *qty*."""
        position = EnginePosition(symbol="BTCUSDT", qty=Decimal(qty), updated_ns=at_ms * MS)
        self.meter.on_position(position, "ORDER")

    def order(
        self,
        at_ms: int,
        qty: str | None,
        *,
        side: OrderSide = OrderSide.SELL,
        kind: OrderType = OrderType.STOP_MARKET,
        reduce_only: bool = True,
        direction: int | None = None,
        bound: Bound = Bound.NONE,
        parent: EngineOrder | None = None,
    ) -> EngineOrder:
        """Say that an order exists: a conditional, or the child of *parent*."""
        self._ids += 1
        order = EngineOrder(
            order_id=self._ids,
            spec=OrderSpec(
                symbol="BTCUSDT",
                client_id="",
                side=side,
                order_type=kind,
                qty=None if qty is None else Decimal(qty),
                reduce_only=reduce_only and qty is not None,
                close_position=qty is None,
                trigger_price=Decimal(100) if kind is not OrderType.MARKET else None,
                trigger_direction=direction,
            ),
            status=EngineStatus.NEW if parent is not None else EngineStatus.UNTRIGGERED,
            made_by=Maker.USER,
            bound=bound,
            created_ns=at_ms * MS,
            updated_ns=at_ms * MS,
            parent=parent,
        )
        self.meter.on_order(order)
        return order

    def move(self, at_ms: int, order: EngineOrder, status: EngineStatus, filled: str = "0") -> None:
        """Say that an order changed."""
        order.status = status
        order.updated_ns = at_ms * MS
        order.filled_qty = Decimal(filled)
        if status in {EngineStatus.TRIGGERING, EngineStatus.TRIGGERED}:
            order.triggered_ns = order.triggered_ns or at_ms * MS
        self.meter.on_order(order)

    def naked_ms(self, now_ms: int) -> list[tuple[float, float]]:
        """Return the gaps of the last episode in ms."""
        gaps = self.meter.episodes(now_ms * MS)[-1].gaps
        return [(from_ns / MS, to_ns / MS) for from_ns, to_ns in gaps]


def test_the_time_from_fill_to_stop_is_unprotected() -> None:
    """Fill at 100 ms, stop at 350 ms, closed at 5 s: 250 ms, once."""
    venue = Venue()
    venue.position(100, "2")
    venue.order(350, None)
    venue.position(5_000, "0")

    (episode,) = venue.meter.episodes(9_000 * MS)
    assert (100 * MS, 5 * S, Decimal(2)) == (
        episode.opened_ns,
        episode.closed_ns,
        episode.qty_max,
    )
    assert (250 * MS, 250 * MS, 250 * MS) == (
        episode.unprotected_ns_total,
        episode.longest_gap_ns,
        episode.first_protected_after_ns,
    )
    assert PositionSide.LONG is episode.side
    assert ((100 * MS, 350 * MS),) == episode.gaps


def test_a_stop_in_the_same_instant_leaves_no_gap() -> None:
    """Armed with the fill: 0 ns, and no gap is listed."""
    venue = Venue()
    venue.position(100, "1")
    venue.order(100, "1", bound=Bound.STOP)

    assert [] == venue.naked_ms(500)
    assert 0 == venue.meter.episodes(500 * MS)[0].first_protected_after_ns


@pytest.mark.parametrize(
    ("order", "covers"),
    [
        ({"qty": None}, True),
        ({"qty": "2"}, True),
        ({"qty": "3"}, True),
        ({"qty": "1.9"}, False),
        ({"qty": "2", "reduce_only": False}, False),
        ({"qty": "2", "side": OrderSide.BUY}, False),
        ({"qty": None, "kind": OrderType.TAKE_PROFIT_MARKET}, False),
        ({"qty": "2", "bound": Bound.TARGET, "kind": OrderType.TAKE_PROFIT_MARKET}, False),
        ({"qty": "2", "direction": 1}, False),
        ({"qty": "2", "direction": -1, "kind": OrderType.TAKE_PROFIT_MARKET}, True),
        ({"qty": "0.5", "bound": Bound.STOP}, True),
    ],
)
def test_what_covers_a_long_of_two(order: dict[str, object], covers: bool) -> None:
    """Only a closing order that fires on the loss side, and large enough, covers."""
    venue = Venue()
    venue.position(0, "2")
    venue.order(0, **order)  # type: ignore[arg-type]  # a table row of keyword arguments

    assert covers is (venue.naked_ms(10) == [])


def test_quantities_add_up_and_an_add_opens_a_gap() -> None:
    """Two reduce-only stops cover their sum; growing beyond it is a gap until resized."""
    venue = Venue()
    venue.position(0, "-2")
    venue.order(0, "1", side=OrderSide.BUY)
    venue.order(40, "1", side=OrderSide.BUY)
    venue.position(100, "-3")
    venue.order(130, "3", side=OrderSide.BUY)

    assert [(0, 40), (100, 130)] == venue.naked_ms(500)
    assert PositionSide.SHORT is venue.meter.episodes(0)[0].side


def test_replacing_by_canceling_first_is_a_gap_and_placing_first_is_none() -> None:
    """The order of the two steps is what counts."""
    venue = Venue()
    venue.position(0, "1")
    first = venue.order(0, "1")
    venue.move(100, first, EngineStatus.CANCELED)
    second = venue.order(160, "1")
    venue.order(200, "1")
    venue.move(201, second, EngineStatus.CANCELED)

    assert [(100, 160)] == venue.naked_ms(500)


def test_triggering_covers_for_two_seconds() -> None:
    """A stop stuck in TRIGGERING is no cover after 2 s, whoever asks and whenever."""
    venue = Venue()
    venue.position(0, "1")
    stop = venue.order(0, None)
    venue.move(1_000, stop, EngineStatus.TRIGGERING)

    assert [] == venue.naked_ms(2_900)
    assert () == venue.meter.summary(2_900 * MS).currently_unprotected
    assert [(3_000, 4_000)] == venue.naked_ms(4_000)
    assert ("BTCUSDT",) == venue.meter.summary(4_000 * MS).currently_unprotected
    venue.position(5_000, "0")
    assert [(3_000, 5_000)] == venue.naked_ms(9_000)


def test_a_late_fill_of_a_triggered_order_does_not_hide_the_gap() -> None:
    """The order is already FILLED when the meter hears of it again, 5 s after its trigger."""
    venue = Venue()
    venue.position(0, "1")
    stop = venue.order(0, "1", bound=Bound.STOP)
    venue.move(1_000, stop, EngineStatus.TRIGGERED)
    venue.move(6_000, stop, EngineStatus.FILLED, filled="1")
    venue.position(6_000, "0")

    assert [(3_000, 6_000)] == venue.naked_ms(9_000)


def test_the_market_order_of_a_stop_covers_while_it_works() -> None:
    """The child covers what is left of it; dropped half filled, the rest is unprotected."""
    venue = Venue()
    venue.position(0, "2")
    stop = venue.order(0, None)
    venue.move(1_000, stop, EngineStatus.TRIGGERING)
    child = venue.order(1_200, "2", kind=OrderType.MARKET, parent=stop)
    venue.move(1_200, child, EngineStatus.PARTIALLY_FILLED, filled="1")
    venue.position(1_200, "1")
    venue.move(1_200, child, EngineStatus.EXPIRED, filled="1")
    venue.move(1_200, stop, EngineStatus.TRIGGERED)
    venue.move(1_200, stop, EngineStatus.FILLED, filled="1")

    assert [(1_200, 2_000)] == venue.naked_ms(2_000)


def test_a_flip_ends_one_episode_and_begins_another() -> None:
    """The long's stop does not cover the short."""
    venue = Venue()
    venue.position(0, "1")
    venue.order(0, "1")
    venue.position(100, "-1")

    first, second = venue.meter.episodes(150 * MS)
    assert (100 * MS, 0, None) == (
        first.closed_ns,
        first.unprotected_ns_total,
        second.closed_ns,
    )
    assert (PositionSide.SHORT, 50 * MS, None) == (
        second.side,
        second.unprotected_ns_total,
        second.first_protected_after_ns,
    )


def test_the_summary_ranks_episodes() -> None:
    """Of 0 to 99 ms unprotected the middle is 49, the 99th hundredth 98, the most 99."""
    venue = Venue()
    for delay in range(100):
        start = delay * 1_000
        venue.position(start, "1")
        stop = venue.order(start + delay, "1")
        venue.position(start + 500, "0")
        venue.move(start + 500, stop, EngineStatus.CANCELED)

    summary = venue.meter.summary(200 * S)
    assert (100, 100, 49 * MS, 98 * MS, 99 * MS, ()) == (
        summary.count,
        summary.protected_count,
        summary.p50_ns,
        summary.p99_ns,
        summary.max_ns,
        summary.currently_unprotected,
    )


def test_nothing_traded_is_an_empty_summary() -> None:
    """No episode, no number above zero."""
    summary = ProtectionMeter().summary(0)

    assert (0, 0, 0, 0) == (summary.count, summary.protected_count, summary.p50_ns, summary.max_ns)
