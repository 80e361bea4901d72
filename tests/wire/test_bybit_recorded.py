"""Messages Bybit really sent, and those its documentation shows, read to exact facts."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from aegis.core.errors import VenueProtocolError
from aegis.model.account import OrderReport, PositionReport, ProtectionRole, ReportSource
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import OrderSide, OrderStatus, OrderType, PositionSide
from aegis.venue.bybit import wire
from aegis.venue.bybit.frames import Answer, DataFrame, Reply, Unknown, convert, read_frame, rows_of
from aegis.venue.bybit.parse import (
    balance_report,
    execution,
    instrument,
    order_report,
    position_report,
    read_rest,
    read_row,
)
from aegis.venue.bybit.parse_market import MarketReader, closed_candles

MS = 1_000_000
BTC = instrument_id("BTCUSDT", Venue.BYBIT)
PRIVATE_TOPICS = {"order", "execution", "position", "wallet"}


def _messages(shared_data: Path, name: str) -> dict[str, dict[str, Any]]:
    path = shared_data / "wire" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    lines = path.read_text().splitlines()
    return {message["id"]: message for message in map(json.loads, lines)}


@pytest.fixture(scope="module")
def stream(shared_data: Path) -> dict[str, bytes]:
    """Return the stream messages by id, as they were on the wire."""
    messages = _messages(shared_data, "bybit_v5_ws.jsonl")
    return {key: _as_sent(message) for key, message in messages.items()}


@pytest.fixture(scope="module")
def answers(shared_data: Path) -> dict[str, dict[str, Any]]:
    """Return the content of `result` of the REST answers by id."""
    messages = _messages(shared_data, "bybit_v5_rest.jsonl")
    contents = {key: json.loads(message["raw"]) for key, message in messages.items()}
    return {key: content.get("result", content) for key, content in contents.items()}


def _as_sent(message: dict[str, Any]) -> bytes:
    """Return the message; one SDK wrote levels as objects, the venue sends [price, size]."""
    raw = message["raw"].encode()
    if message["source"]["repo"] != "hirokisan/bybit" or message["kind"] != "orderbook":
        return bytes(raw)
    content = json.loads(raw)
    for side in ("a", "b"):
        content["data"][side] = [[level["price"], level["size"]] for level in content["data"][side]]
    return orjson.dumps(content)


def _read(raw: bytes) -> list[Any]:
    """Return all that a stream message tells."""
    message = read_frame(raw)
    if not isinstance(message, DataFrame):
        return [message]
    if message.topic.partition(".")[0] in PRIVATE_TOPICS:
        return [read_row(message.topic, row, message.ts_event) for row in rows_of(message)]
    values = MarketReader().read(message, 1)
    return [values] if isinstance(values, Unknown) else list(values)


UNKNOWN_STREAM = {
    "e5d8a3e41736": "topic allLiquidation.ETHUSDT",
    "2cd24704e59e": "op order.create",
    "844f3af6a36d": "op order.amend",
    "adfce9f84749": "topic execution.fast",
    "dcebcb036540": "topic greeks",
    "7b793bf15472": "op order.create",
    "8cd18b69dd52": "op order.create",
    "50bb99759516": "order of category spot",
    "5ee01534c52e": "topic orderbook.50.BTCUSDT",
    "5784a4bea55d": "message without topic and op",
    "031323ab0296": "topic trade.linear.BTCUSDT",
    "8df4f5724c74": "topic spread.execution",
    "0467d99bf751": "wallet without USDT",
}


def test_every_stream_message_is_read_or_known_to_be_unknown(stream: dict[str, bytes]) -> None:
    """Every recorded message gives facts, or the typed Unknown that is expected of it."""
    unknown = {}
    for key, raw in stream.items():
        for value in _read(raw):
            if isinstance(value, Unknown):
                unknown[key] = value.what
    assert UNKNOWN_STREAM == unknown


@pytest.mark.parametrize(
    ("key", "reply"),
    [
        ("16a3d7c2401b", Reply(op="auth", ok=False, message="Invalid apikey", req_id="")),
        ("ab20b4b93eec", Reply(op="auth", ok=True, message="", req_id="")),
        ("2950878f13ee", Reply(op="ping", ok=True, message="pong", req_id="")),
        ("46f999bcb179", Reply(op="pong", ok=True, message="", req_id="")),
        ("2f2238b3ef88", Reply(op="subscribe", ok=True, message="subscribe", req_id="10001")),
    ],
)
def test_replies(stream: dict[str, bytes], key: str, reply: Reply) -> None:
    """Replies say whether what we asked for was done."""
    assert [reply] == _read(stream[key])


def test_a_quote(stream: dict[str, bytes]) -> None:
    """The recorded top of book."""
    assert [
        QuoteFrame(
            instrument_id=BTC,
            ts_event=1_677_322_353_682 * MS,
            ts_recv=1,
            bid=22975.10,
            bid_qty=261.537,
            ask=22975.40,
            ask_qty=131.388,
        )
    ] == _read(stream["83fb2be6753b"])


def test_a_mark(stream: dict[str, bytes]) -> None:
    """The documented tickers snapshot."""
    assert [
        MarkFrame(
            instrument_id=BTC,
            ts_event=1_673_272_861_686 * MS,
            ts_recv=1,
            mark=17217.33,
            last=17216.0,
        )
    ] == _read(stream["1e173f8eb098"])


def test_a_bar(stream: dict[str, bytes]) -> None:
    """The documented kline message: a bar still open."""
    (bar,) = _read(stream["c2b1bacd340b"])
    assert isinstance(bar, KlineFrame)
    candle = bar.candle
    assert (1_672_324_800_000 * MS, 300_000 * MS, 16649.5, 16677.0, 16608.0, 16677.0, 2.081) == (
        candle.open_ns,
        candle.timeframe_ns,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
    )
    assert (False, 1_672_324_988_882 * MS) == (bar.closed, bar.ts_event)


def test_public_trades(stream: dict[str, bytes]) -> None:
    """The documented public trades: side is the taker's."""
    assert [("Buy", 0.001, 16578.5), ("Sell", 0.001, 16578.5)] == [
        (trade.S, trade.v, trade.p) for trade in _read(stream["0e373e9be9cd"])
    ]


def test_an_execution(stream: dict[str, bytes]) -> None:
    """The documented execution becomes exactly this fill."""
    assert [
        Fill(
            instrument_id=BTC,
            fill_id="0ab1bdf7-4219-438b-b30a-32ec863018f7",
            client_order_id="test-order-link-001",
            venue_order_id="9aac161b-8ed6-450d-9cab-c5cc67c21784",
            side=OrderSide.SELL,
            last_qty=Decimal("0.5"),
            last_px=Decimal("95900.1"),
            fee=Decimal("26.3725275"),
            liquidity=Liquidity.TAKER,
            origin=FillOrigin.ORDER,
            ts_event=1_746_270_400_353 * MS,
            # A sale that closed 0.5 is the long position's.
            leg=PositionSide.LONG,
        )
    ] == _read(stream["e368c5249186"])


def test_a_take_profit_order(stream: dict[str, bytes]) -> None:
    """The position's own target, waiting for its trigger."""
    assert [
        OrderReport(
            instrument_id=BTC,
            client_order_id="test-client-tp-001",
            venue_order_id="test-take-profit-001",
            conditional=True,
            status=OrderStatus.ACCEPTED,
            side=OrderSide.SELL,
            order_type=OrderType.TAKE_PROFIT_MARKET,
            qty=Decimal("0.500"),
            filled_qty=Decimal(0),
            reduce_only=True,
            close_position=False,
            role=ProtectionRole.TARGET,
            source=ReportSource.STREAM,
            ts_event=1_672_364_262_457 * MS,
            trigger_price=Decimal("55000.00"),
            position_bound=True,
        )
    ] == _read(stream["0878342799ae"])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            "31c5c261ce2e",
            (OrderStatus.FILLED, OrderType.LIMIT, "0.100", "30000.50", ProtectionRole.NONE),
        ),
        (
            "5bc81d9a34f8",
            (OrderStatus.ACCEPTED, OrderType.LIMIT, "0", None, ProtectionRole.NONE),
        ),
        (
            "dda6870bb688",
            (OrderStatus.ACCEPTED, OrderType.STOP_MARKET, "0", None, ProtectionRole.NONE),
        ),
    ],
)
def test_orders(stream: dict[str, bytes], key: str, expected: tuple[Any, ...]) -> None:
    """Filled, stop-limit and stop-market orders; none of these three is reduce-only."""
    (report,) = _read(stream[key])
    assert isinstance(report, OrderReport)
    price = None if report.average_px is None else str(report.average_px)
    assert expected == (
        report.status,
        report.order_type,
        str(report.filled_qty),
        price,
        report.role,
    )


def test_positions_of_the_stream(stream: dict[str, bytes]) -> None:
    """A short without stop; a flat row of hedge mode is Unknown and not a position."""
    assert [
        PositionReport(
            instrument_id=instrument_id("ETHUSDT", Venue.BYBIT),
            qty_signed=Decimal("-0.01"),
            entry_px_avg=Decimal("3641.075"),
            ts_event=1_762_199_125_472 * MS,
            mark_price=Decimal("3641.33"),
            liquidation_price=Decimal("51764.83003276"),
            leverage=30,
        )
    ] == _read(stream["f2d90018ab28"])


def test_a_bare_position_row(stream: dict[str, bytes]) -> None:
    """A single position row without its envelope."""
    report = read_row("position", msgspec.Raw(stream["5784a4bea55d"]), 0)
    assert isinstance(report, PositionReport)
    assert (Decimal("0.1"), Decimal(50000), None, None) == (
        report.qty_signed,
        report.entry_px_avg,
        report.stop_price,
        report.target_price,
    )


def test_wallets(stream: dict[str, bytes]) -> None:
    """A debt is a negative balance, and orders and positions count against what is free."""
    (debt,) = _read(stream["2dffd74de9ae"])
    (tight,) = _read(stream["db34d113a572"])
    assert Decimal("-620.53813709") == debt.wallet
    assert (Decimal("100.0"), Decimal("-20.0"), Decimal("100.0")) == (
        tight.wallet,
        tight.available,
        tight.equity,
    )


def _rows(content: dict[str, Any]) -> list[dict[str, object]]:
    return convert(content, wire.Page, "recorded").list


def test_orders_of_rest(answers: dict[str, dict[str, Any]]) -> None:
    """Realtime and history answers: null prices are not told, and no status is guessed."""

    def read(key: str) -> list[tuple[str, str, str, str]]:
        found = []
        for row in _rows(answers[key]):
            report = read_rest(
                row, wire.OrderRow, lambda r: order_report(r, ReportSource.QUERY, 0), key
            )
            assert isinstance(report, OrderReport)
            found.append(
                (
                    report.client_order_id,
                    report.status.name,
                    str(report.filled_qty),
                    report.reject_code,
                )
            )
        return found

    assert [("test-000005", "ACCEPTED", "0.00", "")] == read("1f3d751006f1")
    assert [
        ("client-open-1", "ACCEPTED", "0", ""),
        ("client-open-2", "ACCEPTED", "0", ""),
    ] == read("db2a99609692")
    assert [("client-1", "CANCELED", "0", "")] == read("d935fa4a4b33")
    assert [("O-20251001-164609-APEX-000-49", "REJECTED", "0.005", "INSUFFICIENT_MARGIN")] == read(
        "573a93c5378f"
    )


def test_positions_of_rest(answers: dict[str, dict[str, Any]]) -> None:
    """Long, short and flat rows with stop and target, where "0.00" is none."""
    found = []
    for row in _rows(answers["23a752b51359"]):
        report = read_rest(row, wire.PositionRow, lambda r: position_report(r, 0), "recorded")
        assert isinstance(report, PositionReport)
        found.append((report.qty_signed, report.stop_price, report.target_price))
    assert [
        (Decimal("0.5"), Decimal("48000.00"), Decimal("55000.00")),
        (Decimal("-5.0"), Decimal("3100.00"), Decimal("2800.00")),
        (Decimal(0), None, None),
    ] == found


def test_executions_of_rest(answers: dict[str, dict[str, Any]]) -> None:
    """Recorded and documented executions, maker and taker."""
    fills = []
    for key in ("5c2bcbfc7890", "c679ca8a2dd3"):
        for row in _rows(answers[key]):
            fill = read_rest(row, wire.ExecutionRow, execution, "recorded")
            assert isinstance(fill, Fill)
            fills.append((fill.side.name, str(fill.last_px), str(fill.fee), fill.liquidity.name))
    assert [
        ("SELL", "26816.8", "0.1609008", "TAKER"),
        ("BUY", "50000.00", "0.0150", "MAKER"),
        ("SELL", "3000.00", "0.9000", "TAKER"),
    ] == fills


def test_wallets_of_rest(answers: dict[str, dict[str, Any]]) -> None:
    """The recorded account has a USDT wallet, the documented one has none."""
    recorded, documented = (
        read_rest(
            _rows(answers[key])[0], wire.WalletRow, lambda r: balance_report(r, 0), "recorded"
        )
        for key in ("bc254c48eb60", "33e1566d5180")
    )
    assert not isinstance(recorded, Unknown)
    assert (Decimal("1439.61537267"), Decimal("1339.61537267")) == (
        recorded.wallet,
        recorded.available,
    )
    assert Unknown(what="wallet without USDT") == documented


def test_every_recorded_linear_instrument(answers: dict[str, dict[str, Any]]) -> None:
    """All 214 recorded linear instruments have rules that can be traded by."""
    tiers = [convert(row, wire.RiskRow, "recorded") for row in _rows(answers["130c6c2a7d33"])]
    fee = wire.FeeRow(symbol="", taker_fee_rate="0.0006", maker_fee_rate="0.0001")
    rows = _rows(answers["b55eb773d8e9"]["LinearInverse"])
    rules = {
        str(row["symbol"]): read_rest(
            row, wire.InstrumentRow, lambda r: instrument(r, tiers[0], fee), "recorded"
        )
        for row in rows
    }
    assert 214 == len(rules)
    bitcoin = rules["BTCUSDT"]
    assert (Decimal("0.10"), Decimal("0.001"), Decimal("100.000"), 100, None, True) == (
        bitcoin.tick_size,
        bitcoin.qty_step,
        bitcoin.qty_max,
        bitcoin.leverage_max,
        bitcoin.notional_min,
        bitcoin.tradable,
    )
    assert Decimal("0.005") == bitcoin.maint_margin_rate


def test_an_instrument_before_its_launch_is_not_tradable(
    answers: dict[str, dict[str, Any]],
) -> None:
    """PreLaunch contracts are listed and must not be traded."""
    (row,) = _rows(answers["4ecb92d57047"])
    risk = wire.RiskRow(
        symbol="", risk_limit_value="1", maintenance_margin="0.1", max_leverage="3.00"
    )
    fee = wire.FeeRow(symbol="", taker_fee_rate="0.0006", maker_fee_rate="0.0001")
    rules = read_rest(row, wire.InstrumentRow, lambda r: instrument(r, risk, fee), "recorded")
    assert (False, 3) == (rules.tradable, rules.leverage_max)


def test_bars_of_rest(answers: dict[str, dict[str, Any]]) -> None:
    """The documented kline answer, newest first, becomes bars oldest first."""
    answer = Answer(operation="get_kline", result=answers["25273a433af1"])
    hour_ns = 3_600_000 * MS
    candles = closed_candles(answer, BTC, hour_ns, 1_670_612_400_000 * MS)
    assert [1_670_601_600_000, 1_670_605_200_000, 1_670_608_800_000] == [
        candle.open_ns // MS for candle in candles
    ]
    assert 17055.5 == candles[-1].close


@pytest.mark.parametrize("key", ["7bb9ae46a8e3", "b542b6ad439f"], ids=["options", "spot"])
def test_instruments_of_other_markets_are_refused(
    answers: dict[str, dict[str, Any]], key: str
) -> None:
    """R13: a row that is not a linear contract is not mistaken for one."""
    (row,) = _rows(answers[key])
    with pytest.raises(VenueProtocolError):
        convert(row, wire.InstrumentRow, "recorded")
