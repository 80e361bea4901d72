"""What must hold before Bybit is traded, and how a failed check says what to do."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueProtocolError, VenueRefused
from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.account import PositionMode
from aegis.model.instrument import Venue
from aegis.venue.bybit import startup
from aegis.venue.bybit.errors import classify
from aegis.venue.bybit.rest import BybitRest
from aegis.venue.calls import CallRunner

NOW_NS = 1_700_000_000_000_000_000
ISOLATED = {"marginMode": "ISOLATED_MARGIN", "unifiedMarginStatus": 5}
CROSS = {"marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 5}


class Routed:
    """Answers by path; a path with several answers gives them in turn, the last for ever."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self._answers = answers
        self.paths: list[str] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.paths.append(request.path)
        queue = self._answers[request.path]
        content = queue.pop(0) if len(queue) > 1 else queue[0]
        body = {"retCode": 0, "retMsg": "OK", "result": content}
        if isinstance(content, tuple):
            body = {"retCode": content[0], "retMsg": content[1], "result": {}}
        return HttpResponse(status=200, body=orjson.dumps(body))


def _run(exchange: Routed, act: Callable[[BybitRest, VirtualClock], Any]) -> Any:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(NOW_NS, loop)
        rest = BybitRest(
            base_url="http://twin.invalid",
            api_key="the-key",
            api_secret="the-secret",
            http=exchange,
            offload=InlineOffload(),
            runner=CallRunner(
                venue=Venue.BYBIT,
                publish=lambda _event: None,
                clock=clock,
                classify=lambda error, operation, client_order_id: classify(
                    error, operation, client_order_id, wall_ns=clock.wall_ns
                ),
            ),
            recv_window_ms=5000,
            request_timeout_s=3.0,
        )
        return await act(rest, clock)

    return run_virtual(main())


def _check_account(infos: list[Any], answer: Any = None) -> list[str]:
    exchange = Routed({"/v5/account/info": infos, "/v5/account/set-margin-mode": [answer or {}]})
    _run(exchange, lambda rest, _clock: startup.check_account(rest))
    return exchange.paths


def test_isolated_margin_is_left_alone_and_cross_is_switched() -> None:
    """The account is switched to isolated margin once, and read back."""
    assert ["/v5/account/info"] == _check_account([ISOLATED])
    switched = ["/v5/account/info", "/v5/account/set-margin-mode", "/v5/account/info"]
    assert switched == _check_account([CROSS, ISOLATED])
    assert switched == _check_account([CROSS, ISOLATED], (110026, "not modified"))


@pytest.mark.parametrize(
    ("infos", "answer", "message"),
    [
        ([CROSS], (3400045, "Set margin mode failed"), "set the account to isolated margin"),
        ([CROSS], None, "it stayed REGULAR_MARGIN"),
        ([CROSS | {"unifiedMarginStatus": 1}], None, "upgrade it"),
    ],
    ids=["refused", "not done", "classic"],
)
def test_an_account_that_cannot_be_isolated_is_refused(
    infos: list[Any], answer: Any, message: str
) -> None:
    """The refusal says how to mend it."""
    with pytest.raises(VenueRefused, match=message):
        _check_account(infos, answer)


def _mode(rows: list[dict[str, Any]]) -> PositionMode:
    exchange = Routed({"/v5/position/list": [{"list": rows}]})
    mode: PositionMode = _run(exchange, lambda rest, _clock: startup.position_mode(rest, "BTCUSDT"))
    return mode


def _row(index: int, leverage: str = "10") -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "side": "",
        "size": "0",
        "positionIdx": index,
        "leverage": leverage,
    }


def test_the_position_mode_is_read_from_the_rows() -> None:
    """R41: index 0 is one-way mode, 1 and 2 are hedge mode."""
    assert PositionMode.ONE_WAY is _mode([_row(0)])
    assert PositionMode.HEDGE is _mode([_row(1), _row(2)])


@pytest.mark.parametrize(
    ("rows", "told"),
    [([], "no position row"), ([_row(0), _row(1)], "positionIdx"), ([_row(3)], "positionIdx")],
    ids=["nothing", "both modes", "no mode"],
)
def test_a_mode_that_is_not_told_is_not_assumed(rows: list[dict[str, Any]], told: str) -> None:
    """R43: no answer is no answer."""
    with pytest.raises(VenueProtocolError, match=told):
        _mode(rows)


@pytest.mark.parametrize("leverage", ["", "12.5"])
def test_leverage_that_is_not_told_whole_is_an_error(leverage: str) -> None:
    """R28: what is read back is a whole number or it is not known."""
    exchange = Routed({"/v5/position/list": [{"list": [_row(0, leverage)]}]})
    with pytest.raises(VenueProtocolError, match="no whole leverage"):
        _run(exchange, lambda rest, _clock: startup.leverage_of(rest, "BTCUSDT"))


def test_a_limit_at_the_start_is_waited_for() -> None:
    """Fee rates may be asked 5 times a second: throttled calls are tried again."""
    exchange = _listing([_rules("BTCUSDT")])
    loaded = _run(exchange, lambda rest, _clock: startup.load_instruments(rest, ["BTCUSDT"]))
    (rules,) = loaded.instruments
    assert ("0.005", 50, "0.0006") == (
        str(rules.maint_margin_rate),
        rules.leverage_max,
        str(rules.taker_fee_rate),
    )


def _rules(symbol: str, status: str = "Trading") -> dict[str, Any]:
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "status": status,
        "quoteCoin": "USDT",
        "fundingInterval": 480,
        "leverageFilter": {"maxLeverage": "100"},
        "priceFilter": {"tickSize": "0.1"},
        "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001"},
    }


def _listing(instruments: list[dict[str, Any]]) -> Routed:
    """Return a venue that lists *instruments*, and has one tier and fee for all of them."""
    symbols = [each["symbol"] for each in instruments]
    tiers = [
        {"riskLimitValue": value, "maintenanceMargin": rate, "maxLeverage": "50"}
        for value, rate in (("900000", "0.01"), ("200000", "0.005"))
    ]
    fees = [
        {"symbol": symbol, "takerFeeRate": "0.0006", "makerFeeRate": "0.0001"} for symbol in symbols
    ]
    risks = [{"symbol": symbol} | tier for symbol in symbols for tier in tiers]
    return Routed(
        {
            "/v5/market/instruments-info": [{"list": instruments}],
            "/v5/market/risk-limit": [{"list": risks}],
            "/v5/account/fee-rate": [(10006, "Too many visits!"), {"list": fees}],
        }
    )


@pytest.mark.parametrize(
    ("instruments", "status"),
    [
        ([_rules("BTCUSDT")], "not listed"),
        ([_rules("BTCUSDT"), _rules("OLDUSDT", "Closed")], "Closed"),
        ([_rules("OLDUSDT", "Delivering"), _rules("BTCUSDT")], "Delivering"),
    ],
    ids=["unknown", "closed", "delivering"],
)
def test_one_bad_symbol_does_not_stop_the_others(
    instruments: list[dict[str, Any]], status: str
) -> None:
    """S2: what cannot be traded is left out with its status and a fix, the rest is traded."""
    loaded = _run(
        _listing(instruments),
        lambda rest, _clock: startup.load_instruments(rest, ["OLDUSDT", "BTCUSDT"]),
    )
    assert ["BTCUSDT"] == [each.instrument_id.symbol for each in loaded.instruments]
    (left_out,) = loaded.left_out
    assert ("OLDUSDT", status) == (left_out.symbol, left_out.status)
    assert "symbols" in left_out.fix


def test_a_position_in_a_symbol_that_does_not_trade_is_brought_all_the_same() -> None:
    """R88: what carries a position must be protected, traded or not."""
    loaded = _run(
        _listing([_rules("OLDUSDT", "Delivering"), _rules("BTCUSDT")]),
        lambda rest, _clock: startup.load_instruments(rest, ["BTCUSDT", "OLDUSDT"], ["OLDUSDT"]),
    )
    assert [("BTCUSDT", True), ("OLDUSDT", False)] == [
        (each.instrument_id.symbol, each.tradable) for each in loaded.instruments
    ]
    assert () == loaded.left_out


def test_without_any_good_symbol_the_venue_is_refused_in_one_line() -> None:
    """All bad: one line that names each of them."""
    with pytest.raises(VenueRefused, match=r"no symbol is left: A \(not listed\).*; B \(Closed\)"):
        _run(
            _listing([_rules("B", "Closed")]),
            lambda rest, _clock: startup.load_instruments(rest, ["A", "B"]),
        )
