"""Every recorded Binance message becomes an exact fact or a typed Unknown."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aegis.core.errors import VenueProtocolError
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionReport,
    ProtectionRole,
    ReportSource,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.market import Candle, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import OrderSide, OrderStatus, OrderType, PositionSide
from aegis.venue.binance import wire
from aegis.venue.binance.frames import Ack, Notice, Unknown, row
from aegis.venue.binance.parse import UserFact, parse_user
from aegis.venue.binance.parse_market import parse_klines, parse_market
from aegis.venue.binance.parse_rest import (
    fill_of,
    parse_algo_order,
    parse_balance,
    parse_exchange_info,
    parse_instrument,
    parse_order,
    parse_positions,
    parse_symbol_configs,
    parse_trades,
)

SEEN_NS = 1
MINUTE_NS = 60_000_000_000


def messages(shared_data: Path, file: str) -> list[dict[str, Any]]:
    """Return the recorded messages of one file."""
    lines = (shared_data / "wire" / file).read_text().splitlines()
    return [json.loads(line) for line in lines]


def by_id(shared_data: Path, file: str, message_id: str) -> bytes:
    """Return the text of one recorded message."""
    found = [each["raw"] for each in messages(shared_data, file) if each["id"] == message_id]
    assert len(found) == 1
    return str(found[0]).encode()


def lifecycle(shared_data: Path, sequence: str) -> list[UserFact]:
    """Return the facts of one recorded order life, in order."""
    file = messages(shared_data, "binance_usdm_order_lifecycles.jsonl")
    steps = sorted(
        (each for each in file if each["sequence"] == sequence), key=lambda each: each["seq_no"]
    )
    return [fact for step in steps for fact in parse_user(step["raw"].encode(), SEEN_NS)]


def on(symbol: str) -> InstrumentId:
    """Return the instrument."""
    return instrument_id(symbol, Venue.BINANCE)


def test_a_limit_order_that_fills_gives_accepted_fill_filled(shared_data: Path) -> None:
    """A recorded order life gives each state once and its execution with the fee (R32)."""
    accepted = OrderReport(
        instrument_id=on("ACHUSDT"),
        client_order_id="WgLUfog03IeNEactrAJNDS",
        venue_order_id="4903999096",
        conditional=False,
        status=OrderStatus.ACCEPTED,
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        qty=Decimal(800),
        filled_qty=Decimal(0),
        reduce_only=False,
        close_position=False,
        role=ProtectionRole.NONE,
        source=ReportSource.STREAM,
        ts_event=1772461923867_000_000,
    )
    fill = Fill(
        instrument_id=on("ACHUSDT"),
        fill_id="258307413",
        client_order_id="WgLUfog03IeNEactrAJNDS",
        venue_order_id="4903999096",
        side=OrderSide.BUY,
        last_qty=Decimal(800),
        last_px=Decimal("0.00661"),
        fee=Decimal("0.002644"),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=1772461923867_000_000,
        realized_pnl=Decimal(0),
    )
    filled = OrderReport(
        instrument_id=on("ACHUSDT"),
        client_order_id="WgLUfog03IeNEactrAJNDS",
        venue_order_id="4903999096",
        conditional=False,
        status=OrderStatus.FILLED,
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        qty=Decimal(800),
        filled_qty=Decimal(800),
        reduce_only=False,
        close_position=False,
        role=ProtectionRole.NONE,
        source=ReportSource.STREAM,
        ts_event=1772461923867_000_000,
        average_px=Decimal("0.00661"),
    )
    assert [accepted, fill, filled] == lifecycle(shared_data, "WebSocketFutureLimitSubmittedFilled")


def test_a_stop_that_is_canceled_gives_accepted_canceled(shared_data: Path) -> None:
    """A canceled stop is told by the algo service alone, with its trigger price."""
    facts = lifecycle(shared_data, "WebSocketFutureStopMarketSubmittedCanceled")
    assert [
        (True, OrderStatus.ACCEPTED, OrderType.STOP_MARKET, Decimal("0.006847"), Decimal(800)),
        (True, OrderStatus.CANCELED, OrderType.STOP_MARKET, Decimal("0.006847"), Decimal(800)),
    ] == [
        (fact.conditional, fact.status, fact.order_type, fact.trigger_price, fact.qty)
        for fact in facts
        if isinstance(fact, OrderReport)
    ]
    # It does not reduce only, so it is nobody's protection.
    assert {ProtectionRole.NONE} == {fact.role for fact in facts if isinstance(fact, OrderReport)}


def test_an_old_style_stop_that_expires_tells_why(shared_data: Path) -> None:
    """A stop-limit still seen on the order channel expires with the venue's reason."""
    facts = lifecycle(shared_data, "WebSocketFutureStopLimitSubmittedExpired")
    first, second, third = facts
    assert isinstance(first, OrderReport)
    assert isinstance(second, OrderReport)
    assert isinstance(third, Notice)
    assert (OrderStatus.ACCEPTED, OrderStatus.EXPIRED) == (first.status, second.status)
    assert (OrderType.LIMIT, Decimal("0.00171")) == (second.order_type, second.trigger_price)
    assert "er 8" == second.reject_code
    assert third.text.startswith("1000CATUSDT order 2046679736: Due to the order could not")


# By kind of the recording: which facts may come out of it on the stream it belongs to.
USER_KINDS: dict[str, tuple[type, ...]] = {
    "ACCOUNT_CONFIG_UPDATE": (Notice,),
    "ACCOUNT_UPDATE": (BalanceReport, PositionReport, Unknown),
    "ALGO_UPDATE": (OrderReport,),
    "ORDER_TRADE_UPDATE": (OrderReport, Fill),
    "CONDITIONAL_ORDER_TRIGGER_REJECT": (Notice,),
    "TRADE_LITE": (),
}
MARKET_KINDS: dict[str, type] = {
    "bookTicker": QuoteFrame,
    "markPriceUpdate": MarkFrame,
    "kline": KlineFrame,
    "depthUpdate": DepthFrame,
    "wsapi_response": Ack,
    "client_request": Ack,
}


@pytest.mark.parametrize("file", ["binance_usdm_ws.jsonl", "binance_usdm_order_lifecycles.jsonl"])
def test_every_stream_message_is_a_fact_or_a_typed_unknown(shared_data: Path, file: str) -> None:
    """No recorded message raises, on either stream; known kinds give the facts they must."""
    for message in messages(shared_data, file):
        raw, kind = message["raw"].encode(), message["kind"]
        facts = parse_user(raw, SEEN_NS)
        market = parse_market(raw, SEEN_NS)
        if kind in USER_KINDS:
            assert all(isinstance(fact, USER_KINDS[kind]) for fact in facts), message["id"]
            assert bool(facts) == bool(USER_KINDS[kind]), message["id"]
            assert isinstance(market, Unknown), message["id"]
        else:
            assert MARKET_KINDS.get(kind, Unknown) is type(market), message["id"]
            assert [Ack if kind in {"wsapi_response", "client_request"} else Unknown] == [
                type(fact) for fact in facts
            ], message["id"]


def test_recorded_liquidation_and_deleveraging_are_named(shared_data: Path) -> None:
    """The venue's own orders are told apart by their ids, and only executions are fills."""
    origins = {}
    for message in messages(shared_data, "binance_usdm_ws.jsonl"):
        if message["kind"] == "ORDER_TRADE_UPDATE":
            facts = parse_user(message["raw"].encode(), SEEN_NS)
            fills = [fact for fact in facts if isinstance(fact, Fill)]
            origins[message["id"]] = [(fill.origin, fill.last_qty, fill.fill_id) for fill in fills]
    assert {
        "02b22a000826": [(FillOrigin.ORDER, Decimal("0.050"), "4455667788")],
        "140d7a4ea292": [(FillOrigin.ORDER, Decimal("1.000"), "9988776655")],
        "24152d48eccb": [(FillOrigin.ORDER, Decimal("0.010"), "12346002")],
        "4185c09cc513": [(FillOrigin.ADL, Decimal("1.000"), "2233445566")],
        "587fd356072a": [(FillOrigin.LIQUIDATION, Decimal("0.020"), "12346003")],
        "74629308cd3e": [(FillOrigin.ORDER, Decimal("0.001"), "12345678")],
        "90aa39af4e9a": [],
        "9356989c21de": [],
        "9b8fca450009": [(FillOrigin.ADL, Decimal("1.000"), "2233445566")],
        "c472d060ce52": [],
        "c71f9c630fb7": [],
    } == origins


def test_recorded_algo_updates_trigger(shared_data: Path) -> None:
    """TRIGGERED with nothing filled yet still counts as triggering."""
    statuses = [
        fact.status
        for message_id in ("82d4190a6f95", "dd24a118d81f")
        for fact in parse_user(by_id(shared_data, "binance_usdm_ws.jsonl", message_id), SEEN_NS)
        if isinstance(fact, OrderReport)
    ]
    assert [OrderStatus.TRIGGERING, OrderStatus.TRIGGERING] == statuses


def test_a_recorded_account_update_keeps_hedge_legs_apart(shared_data: Path) -> None:
    """A leg of a hedge position never passes for the net position (R41)."""
    facts = parse_user(by_id(shared_data, "binance_usdm_ws.jsonl", "9794528f2a12"), SEEN_NS)
    assert (
        PositionReport(
            instrument_id=on("BTCUSDT"),
            qty_signed=Decimal(0),
            entry_px_avg=None,
            ts_event=1564745798939_000_000,
            isolated=True,
        ),
        PositionReport(
            instrument_id=on("BTCUSDT"),
            qty_signed=Decimal(20),
            entry_px_avg=Decimal("6563.6"),
            ts_event=1564745798939_000_000,
            isolated=True,
            leg=PositionSide.LONG,
        ),
        PositionReport(
            instrument_id=on("BTCUSDT"),
            qty_signed=Decimal(-10),
            entry_px_avg=Decimal("6563.8"),
            ts_event=1564745798939_000_000,
            isolated=True,
            leg=PositionSide.SHORT,
        ),
        BalanceReport(
            venue=Venue.BINANCE,
            wallet=Decimal("122624.12345678"),
            available=None,
            equity=None,
            ts_event=1564745798939_000_000,
        ),
    ) == facts


def test_recorded_market_frames_are_exact(shared_data: Path) -> None:
    """Wrapped and bare frames give the same kinds of fact, number for number."""
    quote = parse_market(by_id(shared_data, "binance_usdm_ws.jsonl", "020afa814b8a"), SEEN_NS)
    assert (
        QuoteFrame(
            instrument_id=on("KEEPUSDT"),
            ts_event=1626992742700_000_000,
            ts_recv=SEEN_NS,
            bid=0.2463,
            bid_qty=3155.0,
            ask=0.2464,
            ask_qty=317.0,
        )
        == quote
    )
    mark = parse_market(by_id(shared_data, "binance_usdm_ws.jsonl", "9a1eb3b720c4"), SEEN_NS)
    assert (
        MarkFrame(
            instrument_id=on("BTCUSDT"),
            ts_event=1562305380000_000_000,
            ts_recv=SEEN_NS,
            mark=11794.15,
        )
        == mark
    )
    bar = parse_market(by_id(shared_data, "binance_usdm_ws.jsonl", "9b4dd23956ae"), SEEN_NS)
    assert (
        KlineFrame(
            ts_event=1638747660000_000_000,
            ts_recv=SEEN_NS,
            candle=Candle(
                instrument_id=on("BTCUSDT"),
                timeframe_ns=MINUTE_NS,
                open_ns=1638747660000_000_000,
                open=0.001,
                high=0.0025,
                low=0.001,
                close=0.002,
                volume=1000.0,
            ),
            closed=True,
        )
        == bar
    )


REST = "binance_usdm_rest.jsonl"


def test_a_recorded_finished_stop_is_filled(shared_data: Path) -> None:
    """FINISHED with a filled quantity and price is FILLED (R32), in the stop's own name."""
    report = parse_algo_order(
        json.loads(by_id(shared_data, REST, "0cec0e759373")), ReportSource.QUERY
    )
    assert (
        OrderReport(
            instrument_id=on("BTCUSDT"),
            client_order_id="x-yHjDKm8h7cd1bf4f-9ce3-4d55-b9f",
            venue_order_id="1000001270850379",
            conditional=True,
            status=OrderStatus.FILLED,
            side=OrderSide.BUY,
            order_type=OrderType.STOP_MARKET,
            qty=Decimal("0.002"),
            filled_qty=Decimal("0.002"),
            reduce_only=True,
            close_position=False,
            role=ProtectionRole.STOP,
            source=ReportSource.QUERY,
            ts_event=1775461936135_000_000,
            average_px=Decimal("69067.6"),
            trigger_price=Decimal("69080.2"),
        )
        == report
    )


def test_a_finished_stop_that_hides_its_quantity_is_not_understood(shared_data: Path) -> None:
    """Filled or canceled cannot be told without the filled quantity: neither is assumed."""
    answer = json.loads(by_id(shared_data, REST, "407deefafe1a")) | {"updateTime": 1}
    with pytest.raises(VenueProtocolError, match="finished without a filled quantity"):
        parse_algo_order(answer, ReportSource.QUERY)


def test_recorded_order_rows_are_read(shared_data: Path) -> None:
    """Answers and lists of the order endpoint give accepted orders; R32 holds for the others."""
    placed = parse_order(json.loads(by_id(shared_data, REST, "2bc0a61af7b3")), ReportSource.ANSWER)
    assert (OrderStatus.ACCEPTED, "testOrder123", "12345678") == (
        placed.status,
        placed.client_order_id,
        placed.venue_order_id,
    )
    (resting,) = json.loads(by_id(shared_data, REST, "1a50753c4c7d"))
    trailing = parse_order(resting, ReportSource.QUERY)
    assert (OrderType.STOP_MARKET, ProtectionRole.NONE) == (trailing.order_type, trailing.role)
    # A fragment says FILLED with nothing executed: that is no fill.
    hollow = parse_order(json.loads(by_id(shared_data, REST, "c7ed9754f772")), ReportSource.QUERY)
    assert OrderStatus.ACCEPTED is hollow.status


def test_recorded_account_answers_are_read(shared_data: Path) -> None:
    """Balance, positions, leverage and executions give what stands in them."""
    balance = parse_balance(json.loads(by_id(shared_data, REST, "55010eb3035b")), Decimal(1), 7)
    assert (Decimal("122607.35137903"), Decimal("23.72469206"), Decimal("122608.35137903")) == (
        balance.wallet,
        balance.available,
        balance.equity,
    )
    configs = parse_symbol_configs(json.loads(by_id(shared_data, REST, "4e4bc3e9922a")))
    assert (21, False) == (configs["BTCUSDT"].leverage, configs["BTCUSDT"].isolated)
    legs, _ = parse_positions(json.loads(by_id(shared_data, REST, "f711bb5bf359")), configs)
    assert [(PositionSide.LONG, Decimal("0.001")), (PositionSide.SHORT, Decimal(0))] == [
        (each.leg, each.qty_signed) for each in legs
    ]
    (trade,) = parse_trades(json.loads(by_id(shared_data, REST, "5fc75f294253")))
    fill = fill_of(trade, "ours")
    assert ("698759", Decimal("0.002"), Decimal("7819.01"), Decimal("-0.07819010")) == (
        fill.fill_id,
        fill.last_qty,
        fill.last_px,
        fill.fee,
    )


def test_the_recorded_exchange_rules_make_an_instrument(shared_data: Path) -> None:
    """Tick and step come from the filters, not from the precisions (venues.md 2.3)."""
    listed = parse_exchange_info(json.loads(by_id(shared_data, REST, "8e11143bf96f")))
    commission = row(
        json.loads(by_id(shared_data, REST, "89bbbf48a87e")), wire.CommissionRow, "commission"
    )
    tier = wire.BracketRow(bracket=1, initial_leverage=125, maint_margin_ratio=Decimal("0.004"))
    bitcoin = parse_instrument(listed["BTCUSDT"], tier, commission, 8)
    assert (
        Decimal("0.10"),
        Decimal("0.001"),
        Decimal("0.001"),
        Decimal(1000),
        Decimal(10),
        125,
        Decimal("0.0005"),
        True,
    ) == (
        bitcoin.tick_size,
        bitcoin.qty_step,
        bitcoin.qty_min,
        bitcoin.market_qty_max,
        bitcoin.notional_min,
        bitcoin.leverage_max,
        bitcoin.taker_fee_rate,
        bitcoin.tradable,
    )
    assert not any(
        parse_instrument(each, tier, commission, 8).tradable
        for each in listed.values()
        if each.contract_type != "PERPETUAL"
    )


def test_recorded_klines_are_read(shared_data: Path) -> None:
    """A kline row's first six columns make a bar."""
    answer = json.loads(by_id(shared_data, REST, "c8b92c2766ca"))
    (bar,) = parse_klines(answer, on("BTCUSDT"), MINUTE_NS)
    assert (1607444700000_000_000, 18879.99, 18900.0) == (bar.open_ns, bar.open, bar.high)
