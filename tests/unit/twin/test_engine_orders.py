"""The twin's engine: market and limit orders, reduce-only, filters, margin, accounts."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from aegis.model.order import TimeInForce
from aegis.twin.engine.api import Reason, Refused

if TYPE_CHECKING:
    from tests.unit.twin.conftest import EngineRig

MakeRig = Callable[..., "EngineRig"]


def refusal(place: Callable[[], object]) -> Reason:
    """Return why *place* was refused."""
    with pytest.raises(Refused) as caught:
        place()
    return caught.value.reason


def test_market_order_takes_the_ask_and_pays_the_taker_fee(make_engine_rig: MakeRig) -> None:
    """A buy fills at the ask, the fee leaves the wallet, the margin is held (R33, R34)."""
    rig = make_engine_rig()
    order = rig.order("BUY", "0.1")
    ask = Decimal(str(rig.engine.quote("BTCUSDT").ask))

    assert ("FILLED", ask) == (order.status.value, order.average_px)
    assert Decimal(10_000) - ask * Decimal("0.1") * Decimal("0.0005") == rig.engine.wallet
    assert ask * Decimal("0.1") / 20 == rig.position.margin
    assert [
        "order 1 NEW",
        "fill 1 0.1",
        "order 1 FILLED",
        "income COMMISSION",
        "position 0.1 ORDER",
        "balance ORDER",
    ] == rig.log.lines


def test_large_market_order_fills_level_by_level_and_drops_the_rest(
    make_engine_rig: MakeRig,
) -> None:
    """Depth within the band is taken at several prices; what is left expires (Binance)."""
    rig = make_engine_rig(depth_usdt=2_000.0, wallet=Decimal(1_000_000))
    order = rig.order("BUY", "10")

    assert ("EXPIRED", True) == (order.status.value, Decimal(1) < order.filled_qty < 10)
    prices = [fill.price for fill in rig.engine.fills()]
    assert sorted(prices) == prices
    assert len(set(prices)) == 20
    assert order.filled_qty == sum(fill.qty for fill in rig.engine.fills())


def test_bybit_cancels_what_it_cannot_fill(make_engine_rig: MakeRig) -> None:
    """The same rest ends CANCELED there (venues.md 3.3)."""
    rig = make_engine_rig("bybit", depth_usdt=2_000.0, wallet=Decimal(1_000_000))

    assert "CANCELED" == rig.order("BUY", "10").status.value


def test_crossing_through_flat_closes_and_opens(make_engine_rig: MakeRig) -> None:
    """Selling 3 against a long of 1 realizes the long and opens a short of 2 at the fill price."""
    rig = make_engine_rig()
    rig.order("BUY", "0.1")
    entry = rig.position.entry_px
    rig.order("SELL", "0.3")
    fill = rig.engine.fills()[-1]

    assert Decimal("-0.2") == rig.position.qty
    assert fill.price == rig.position.entry_px
    assert Decimal("0.1") == fill.closed_qty
    assert (fill.price - entry) * Decimal("0.1") == fill.realized_pnl
    assert Decimal(10_000) + sum(r.amount for r in rig.engine.income()) == rig.engine.wallet


def test_limit_rests_and_fills_as_maker_when_the_path_crosses(make_engine_rig: MakeRig) -> None:
    """A buy below the market waits, then fills whole at its price for the maker fee."""
    rig = make_engine_rig(prices=(50_000.0, 50_000.0, 49_000.0, 49_000.0))
    order = rig.order("BUY", "0.1", "LIMIT", limit_price=49_500)
    reserved = Decimal(10_000) - rig.engine.available()
    assert ("NEW", Decimal("247.5")) == (order.status.value, reserved)
    rig.at(90)
    assert "NEW" == order.status.value
    rig.at(120)

    fill = rig.engine.fills()[-1]
    assert (True, Decimal(49_500), Decimal("0.99")) == (fill.maker, fill.price, fill.fee)
    assert "FILLED" == order.status.value


@pytest.mark.parametrize(
    ("fields", "status", "filled"),
    [
        ({"limit_price": 51_000}, "FILLED", "0.1"),
        ({"limit_price": 49_000, "time_in_force": TimeInForce.IOC}, "EXPIRED", "0"),
        ({"limit_price": 51_000, "post_only": True}, "EXPIRED", "0"),
        ({"limit_price": 49_000, "post_only": True}, "NEW", "0"),
        ({"limit_price": 49_000, "fill_or_kill": True}, "EXPIRED", "0"),
        ({"limit_price": 51_000, "fill_or_kill": True}, "FILLED", "0.1"),
    ],
)
def test_limit_kinds(
    make_engine_rig: MakeRig, fields: dict[str, Any], status: str, filled: str
) -> None:
    """GTC takes then rests, IOC drops its rest, post-only never takes, FOK is all or nothing."""
    order = make_engine_rig().order("BUY", "0.1", "LIMIT", **fields)

    assert (status, Decimal(filled)) == (order.status.value, order.filled_qty)


@pytest.mark.parametrize(
    ("qty", "kind", "fields", "reason"),
    [
        ("0", "MARKET", {}, Reason.QTY_NOT_POSITIVE),
        ("0.0005", "MARKET", {}, Reason.QTY_BELOW_MIN),
        ("0.0105", "MARKET", {}, Reason.QTY_OFF_STEP),
        ("121", "MARKET", {}, Reason.QTY_ABOVE_MAX),
        ("1001", "LIMIT", {"limit_price": 50_000}, Reason.QTY_ABOVE_MAX),
        ("0.001", "LIMIT", {"limit_price": 49_000}, Reason.NOTIONAL_BELOW_MIN),
        ("0.1", "LIMIT", {"limit_price": 49_000.05}, Reason.PRICE_OFF_TICK),
        ("0.1", "LIMIT", {"limit_price": 0}, Reason.PRICE_NOT_POSITIVE),
        ("119", "MARKET", {}, Reason.MARGIN_SHORT),
        ("0.1", "MARKET", {"reduce_only": True}, Reason.REDUCE_ONLY_REJECTED),
        (None, "MARKET", {"close_position": True}, Reason.NO_POSITION),
        ("0.1", "MARKET", {"close_position": True}, Reason.CLOSE_POSITION_WITH_QTY),
    ],
)
def test_refusals_change_nothing(
    make_engine_rig: MakeRig, qty: str | None, kind: str, fields: dict[str, Any], reason: Reason
) -> None:
    """Each broken rule has its reason and leaves no order behind (R26, R27)."""
    rig = make_engine_rig()

    assert reason is refusal(lambda: rig.order("BUY", qty, kind, **fields))
    assert ([], []) == (list(rig.engine.all_orders()), rig.log.lines)


def test_client_ids_are_unique_as_the_venue_counts(make_engine_rig: MakeRig) -> None:
    """Binance: among open orders only; Bybit: for ever (venues.md 2.3, 3.3)."""
    for venue, once in (("binance", False), ("bybit", True)):
        rig = make_engine_rig(venue)
        resting = rig.order("BUY", "0.1", "LIMIT", limit_price=49_000, client_id="same")
        again = partial(rig.order, "BUY", "0.1", "LIMIT", limit_price=49_000, client_id="same")
        assert Reason.DUPLICATE_CLIENT_ID is refusal(again)
        rig.engine.cancel(resting)
        if once:
            assert Reason.DUPLICATE_CLIENT_ID is refusal(again)
        else:
            assert "NEW" == again().status.value
        assert rig.engine.find(client_id="same") is not None


def test_reduce_only_is_trimmed_to_the_position(make_engine_rig: MakeRig) -> None:
    """Too large a reduce-only order closes what is there and no more."""
    rig = make_engine_rig()
    rig.order("BUY", "0.1")
    order = rig.order("SELL", "0.5", reduce_only=True)

    assert (Decimal("0.1"), "FILLED") == (order.filled_qty, order.status.value)
    assert Decimal(0) == rig.position.qty


def test_resting_reduce_only_limits_crowd_out_a_close(make_engine_rig: MakeRig) -> None:
    """A full-size reduce-only LIMIT blocks every reduce-only close on Binance (-4118)."""
    for venue in ("binance", "bybit"):
        rig = make_engine_rig(venue)
        rig.order("BUY", "0.1")
        limit = rig.order("SELL", "0.1", "LIMIT", limit_price=52_000, reduce_only=True)
        if venue == "binance":
            close = partial(rig.order, "SELL", "0.1", reduce_only=True)
            assert Reason.REDUCE_ONLY_CROWDED is refusal(close)
            rig.engine.cancel(limit)
        rig.order("SELL", "0.1", reduce_only=True)
        assert Decimal(0) == rig.position.qty
        assert limit.status.value == "CANCELED"


def test_amend_moves_a_limit_and_may_take(make_engine_rig: MakeRig) -> None:
    """A limit amended over the ask fills; the same figures again are NOT_MODIFIED."""
    rig = make_engine_rig()
    order = rig.order("BUY", "0.1", "LIMIT", limit_price=49_000)

    def amend(price: int) -> None:
        rig.engine.amend(order, qty=None, limit_price=Decimal(price), trigger_price=None)

    assert Reason.NOT_MODIFIED is refusal(lambda: amend(49_000))
    amend(49_100)
    assert ("NEW", Decimal(49_100)) == (order.status.value, order.spec.limit_price)
    amend(51_000)
    assert "FILLED" == order.status.value
    assert Reason.ORDER_NOT_FOUND is refusal(lambda: amend(50_000))


def test_leverage_and_margin_type(make_engine_rig: MakeRig) -> None:
    """Leverage has bounds, frees margin when raised, and is not cut under a position on Binance."""
    rig = make_engine_rig()
    engine = rig.engine
    assert Reason.LEVERAGE_UNCHANGED is refusal(lambda: engine.set_leverage("BTCUSDT", 20))
    assert Reason.LEVERAGE_INVALID is refusal(lambda: engine.set_leverage("BTCUSDT", 126))
    rig.order("BUY", "0.1")
    before = rig.position.margin
    engine.set_leverage("BTCUSDT", 40)
    assert before / 2 == rig.position.margin
    assert Reason.HAS_POSITION is refusal(lambda: engine.set_leverage("BTCUSDT", 10))
    cross = partial(engine.set_isolated, "BTCUSDT", isolated=False)
    assert Reason.HAS_POSITION is refusal(cross)
    rig.order("SELL", "0.1", reduce_only=True)
    cross()
    assert Reason.MARGIN_TYPE_UNCHANGED is refusal(cross)


def test_liquidation_takes_the_margin_and_no_more(make_engine_rig: MakeRig) -> None:
    """At the liquidation price all orders go, the venue closes, and the loss is the margin."""
    rig = make_engine_rig(prices=(50_000.0, 50_000.0, 45_000.0, 45_000.0))
    rig.order("BUY", "0.1")
    stop = rig.stop(40_000)
    margin, wallet = rig.position.margin, rig.engine.wallet
    rig.at(180)

    last = rig.engine.all_orders()[-1]
    assert ("LIQUIDATION", "FILLED", "") == (last.made_by, last.status, last.spec.client_id)
    assert (Decimal(0), "EXPIRED") == (rig.position.qty, stop.status.value)
    assert margin == wallet - rig.engine.wallet
    assert {"REALIZED_PNL", "LIQUIDATION_FEE", "COMMISSION"} == {
        row.kind for row in rig.engine.income()
    }


def test_funding_is_paid_by_longs_at_its_instant(make_engine_rig: MakeRig) -> None:
    """Payment = signed qty x mark x rate; isolated margin carries it (venues.md 6)."""
    rig = make_engine_rig(basis=10.0, funding=((90_000_000_000, 0.0001),))
    rig.order("BUY", "0.1")
    wallet, margin = rig.engine.wallet, rig.position.margin
    assert (Decimal("0.0001"), 90_000_000_000) == (
        rig.engine.funding_rate("BTCUSDT")[0],
        rig.engine.funding_rate("BTCUSDT")[1] - rig.engine.now_ns,
    )
    rig.at(89)
    assert wallet == rig.engine.wallet
    rig.at(90)

    paid = Decimal("0.1") * Decimal(50_010) * Decimal("0.0001")
    assert (wallet - paid, margin - paid) == (rig.engine.wallet, rig.position.margin)
    assert ["income FUNDING_FEE", "position 0.1 FUNDING_FEE", "balance FUNDING_FEE"] == (
        rig.log.lines[-3:]
    )


def test_an_empty_book_fills_nothing(make_engine_rig: MakeRig) -> None:
    """With the depth gone a market order is refused (Binance) or canceled unfilled (Bybit)."""

    @attrs.define
    class Empty:
        def trigger_stuck(self, order: object) -> bool:
            return False

        def extra_trigger_latency_ns(self, order: object) -> int:
            return 0

        def depth_factor(self, symbol: str) -> float:
            return 0.0

    rig = make_engine_rig(faults=Empty())
    assert Reason.NO_LIQUIDITY is refusal(lambda: rig.order("BUY", "0.1"))
    order = make_engine_rig("bybit", faults=Empty()).order("BUY", "0.1")
    assert ("CANCELED", Decimal(0)) == (order.status.value, order.filled_qty)
