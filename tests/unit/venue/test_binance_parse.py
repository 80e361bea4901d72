"""What frames of the user stream mean, where no recording shows it."""

import json
from decimal import Decimal
from typing import Any

import pytest

from aegis.core.errors import VenueProtocolError
from aegis.model.account import OrderReport, ProtectionRole
from aegis.model.events import FundingReported
from aegis.model.fill import Fill
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderStatus
from aegis.venue.binance.frames import Ack, ListenKeyLost, Unknown
from aegis.venue.binance.parse import UserFact, funding_id, parse_user

STOP_ID = "test-1-1-SF0"


def facts(event: dict[str, Any]) -> tuple[UserFact, ...]:
    """Parse one event, seen at 9."""
    return parse_user(json.dumps(event).encode(), 9)


def algo(status: str, **changes: Any) -> dict[str, Any]:
    """Return an ALGO_UPDATE of a closePosition stop (shape: venues.md 1.4)."""
    order = {
        "caid": STOP_ID,
        "aid": 2000000547321628,
        "at": "CONDITIONAL",
        "o": "STOP_MARKET",
        "s": "ACHUSDT",
        "S": "SELL",
        "ps": "BOTH",
        "q": "0",
        "X": status,
        "ai": "",
        "tp": "0.006659",
        "cp": True,
        "R": True,
    }
    return {"e": "ALGO_UPDATE", "T": 1, "E": 2, "o": {**order, **changes}}


def child(execution: str, status: str, **changes: Any) -> dict[str, Any]:
    """Return an ORDER_TRADE_UPDATE of the market order a stop became."""
    order = {
        "s": "ACHUSDT",
        "c": STOP_ID,
        "S": "SELL",
        "o": "MARKET",
        "q": "800",
        "ap": "0",
        "sp": "0",
        "x": execution,
        "X": status,
        "i": 4904005884,
        "l": "0",
        "z": "0",
        "L": "0",
        "n": "0",
        "N": "USDT",
        "T": 1,
        "t": 0,
        "m": False,
        "R": True,
        "ot": "MARKET",
        "ps": "BOTH",
        "cp": False,
        "rp": "0",
        "si": 2000000547321628,
        "ss": -1,
        "st": "ALGO_CONDITION",
        "er": "0",
    }
    return {"e": "ORDER_TRADE_UPDATE", "T": 1, "E": 2, "o": {**order, **changes}}


def test_the_life_of_a_stop_that_fills_in_two_parts() -> None:
    """The order of events of venues.md 1.4 gives one order, two fills in its name, one FILLED."""
    sequence = [
        algo("NEW"),
        algo("TRIGGERING"),
        child("NEW", "NEW"),
        child("TRADE", "PARTIALLY_FILLED", l="760", z="760", L="0.00666", t=258307945, n="0.0025"),
        child("TRADE", "FILLED", l="40", z="800", L="0.00666", ap="0.00666", t=258307946),
        algo("TRIGGERED", ai="4904005884", ap="0", aq="0", act="MARKET"),
        algo("FINISHED", ai="4904005884", ap="0.00666", aq="800", act="MARKET"),
    ]
    told = [fact for event in sequence for fact in facts(event)]
    fills = [fact for fact in told if isinstance(fact, Fill)]
    reports = [fact for fact in told if isinstance(fact, OrderReport)]
    assert [(STOP_ID, "258307945", Decimal(760)), (STOP_ID, "258307946", Decimal(40))] == [
        (fill.client_order_id, fill.fill_id, fill.last_qty) for fill in fills
    ]
    assert [
        OrderStatus.ACCEPTED,
        OrderStatus.TRIGGERING,
        OrderStatus.TRIGGERING,
        OrderStatus.FILLED,
    ] == [report.status for report in reports]
    assert {(True, STOP_ID, None, ProtectionRole.STOP, True)} == {
        (each.conditional, each.client_order_id, each.qty, each.role, each.close_position)
        for each in reports
    }
    assert Decimal(800) == reports[-1].filled_qty
    # Fills come before the algo service says so.
    assert told.index(fills[-1]) < told.index(reports[-1])


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (algo("FINISHED", aq="0", ap="0"), OrderStatus.CANCELED),
        (algo("FINISHED", aq="5", ap="0"), OrderStatus.PARTIALLY_FILLED),
        (algo("TRIGGERED", aq="5", ap="2"), OrderStatus.PARTIALLY_FILLED),
        (algo("CANCELED"), OrderStatus.CANCELED),
        (algo("EXPIRED"), OrderStatus.EXPIRED),
        (algo("REJECTED", rm="Reduce Only reject"), OrderStatus.REJECTED),
    ],
)
def test_ends_of_a_conditional_order(event: dict[str, Any], status: OrderStatus) -> None:
    """FINISHED is filled only with a quantity and a price; otherwise it was canceled (R32)."""
    (report,) = facts(event)
    assert isinstance(report, OrderReport)
    assert status is report.status
    assert event["o"].get("rm", "") == report.reject_message


def test_a_finished_stop_without_its_quantity_is_not_understood() -> None:
    """Whether it filled is not told, so nothing is believed."""
    with pytest.raises(VenueProtocolError, match="finished without a filled quantity"):
        facts(algo("FINISHED"))


def test_unknown_states_are_named_and_fills_are_kept() -> None:
    """A state or type added by the venue costs the report, never the fill."""
    assert (Unknown("ALGO_UPDATE STOP_MARKET PAUSED"),) == facts(algo("PAUSED"))
    event = child(
        "TRADE", "HALF_FILLED", o="ICEBERG", l="1", z="1", L="2", t=5, si=0, st=None, c="ours"
    )
    fill, unknown = facts(event)
    assert isinstance(fill, Fill)
    assert Unknown("ORDER_TRADE_UPDATE ICEBERG HALF_FILLED") == unknown


def test_filled_without_price_is_not_filled() -> None:
    """FILLED needs a quantity and a price (R32)."""
    event = child("NEW", "FILLED", z="800", ap="0", si=0, st=None)
    (report,) = facts(event)
    assert isinstance(report, OrderReport)
    assert OrderStatus.PARTIALLY_FILLED is report.status
    with pytest.raises(VenueProtocolError, match="a trade without quantity or price"):
        facts(child("TRADE", "FILLED", l="800", L="0", z="800"))


def test_a_fee_in_another_asset_is_counted_from_above() -> None:
    """A fee in BNB is not 0 USDT: the full taker rate stands in, and it is said."""
    fill, unknown = facts(
        child("TRADE", "FILLED", l="100", z="100", L="2", ap="2", t=5, n="0.0001", N="BNB")
    )
    assert isinstance(fill, Fill)
    assert Decimal("0.1") == fill.fee
    assert Unknown("fee in BNB, counted at the full rate") == unknown


def test_funding_is_booked_with_its_symbol() -> None:
    """Isolated funding names its symbol by position or by field; the amount keeps its sign."""
    position = {"s": "BTCUSDT", "pa": "1", "ep": "2", "mt": "isolated", "ps": "BOTH"}
    account = {
        "m": "FUNDING_FEE",
        "B": [{"a": "USDT", "wb": "100", "cw": "100", "bc": "-0.25"}],
        "P": [position],
    }
    booked = [
        fact
        for fact in facts({"e": "ACCOUNT_UPDATE", "T": 3, "E": 4, "a": account})
        if isinstance(fact, FundingReported)
    ]
    assert [
        FundingReported(
            ts_event=3_000_000,
            ts_recv=9,
            venue=Venue.BINANCE,
            instrument_id=instrument_id("BTCUSDT", Venue.BINANCE),
            amount=Decimal("-0.25"),
            funding_id="0-BTCUSDT",
        )
    ] == booked
    del account["P"]
    unnamed = facts({"e": "ACCOUNT_UPDATE", "T": 3, "E": 4, "a": account})
    assert [None] == [f.instrument_id for f in unnamed if isinstance(f, FundingReported)]
    named = facts({"e": "ACCOUNT_UPDATE", "T": 3, "E": 4, "a": {**account, "S": "ETHUSDT"}})
    assert ["0-ETHUSDT"] == [f.funding_id for f in named if isinstance(f, FundingReported)]


@pytest.mark.parametrize("off_ms", [-15_000, -1, 0, 7, 15_000])
def test_a_payment_has_one_name_though_stream_and_list_differ_in_time(off_ms: int) -> None:
    """R77: on the hour, +-15 s (venues.md 6); looked up after it was told, it is booked once."""
    hour_ms = 3_600_000
    assert funding_id("BTCUSDT", 16 * hour_ms) == funding_id("BTCUSDT", 16 * hour_ms + off_ms)
    assert funding_id("BTCUSDT", 16 * hour_ms) != funding_id("BTCUSDT", 17 * hour_ms + off_ms)


def test_frames_about_the_stream_itself() -> None:
    """Expiry of the key and answers to control frames are told apart from account facts."""
    expired = {"e": "listenKeyExpired", "E": "1736996475556", "listenKey": "k"}
    assert (ListenKeyLost(),) == facts(expired)
    assert (ListenKeyLost(),) == facts({"stream": "k", "data": expired})
    assert (Ack("1", ""),) == facts({"result": None, "id": 1})
    (refused,) = facts({"error": {"code": 2, "msg": "bad"}, "id": 2})
    assert isinstance(refused, Ack)
    assert "bad" in refused.error


def test_an_open_position_without_a_price_is_not_understood() -> None:
    """A position whose entry price is missing is no flat one (R43)."""
    position = {"s": "BTCUSDT", "pa": "1", "ep": "0", "mt": "isolated", "ps": "BOTH"}
    with pytest.raises(VenueProtocolError, match="an open position without entry price"):
        facts({"e": "ACCOUNT_UPDATE", "T": 3, "E": 4, "a": {"m": "ORDER", "P": [position]}})
