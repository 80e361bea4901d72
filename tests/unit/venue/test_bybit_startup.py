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


@pytest.mark.parametrize("ahead_ms", [-3999, 0, 899])
def test_a_clock_within_the_window_passes(ahead_ms: int) -> None:
    """The measured offset is returned, in ns."""
    time = {"timeNano": str(NOW_NS - ahead_ms * 1_000_000)}
    exchange = Routed({"/v5/market/time": [time]})
    assert ahead_ms * 1_000_000 == _run(
        exchange, lambda rest, clock: startup.check_clock(rest, clock, 5000)
    )


@pytest.mark.parametrize("ahead_ms", [-4000, 900, 3_600_000])
def test_a_clock_outside_the_window_is_refused(ahead_ms: int) -> None:
    """Requests would be refused for their time: said at the start, with the offset."""
    time = {"timeNano": str(NOW_NS - ahead_ms * 1_000_000)}
    exchange = Routed({"/v5/market/time": [time]})
    with pytest.raises(VenueRefused, match=f"clock was {ahead_ms} ms ahead"):
        _run(exchange, lambda rest, clock: startup.check_clock(rest, clock, 5000))


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


def _check_one_way(rows: list[dict[str, Any]]) -> None:
    exchange = Routed({"/v5/position/list": [{"list": rows}]})
    _run(exchange, lambda rest, _clock: startup.check_one_way(rest, "BTCUSDT"))


def _row(index: int, leverage: str = "10") -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "side": "",
        "size": "0",
        "positionIdx": index,
        "leverage": leverage,
    }


def test_hedge_mode_is_refused_with_the_fix() -> None:
    """R41: position indices 1 and 2 are hedge mode."""
    _check_one_way([_row(0)])
    with pytest.raises(VenueRefused, match="switch it to one-way mode"):
        _check_one_way([_row(1), _row(2)])


def test_a_mode_that_is_not_told_is_not_assumed() -> None:
    """R43: no row is no answer."""
    with pytest.raises(VenueProtocolError, match="no position row"):
        _check_one_way([])


@pytest.mark.parametrize("leverage", ["", "12.5"])
def test_leverage_that_is_not_told_whole_is_an_error(leverage: str) -> None:
    """R28: what is read back is a whole number or it is not known."""
    exchange = Routed({"/v5/position/list": [{"list": [_row(0, leverage)]}]})
    with pytest.raises(VenueProtocolError, match="no whole leverage"):
        _run(exchange, lambda rest, _clock: startup.leverage_of(rest, "BTCUSDT"))


def test_a_limit_at_the_start_is_waited_for() -> None:
    """Fee rates may be asked 5 times a second: throttled calls are tried again."""
    instrument = {
        "symbol": "BTCUSDT",
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "quoteCoin": "USDT",
        "fundingInterval": 480,
        "leverageFilter": {"maxLeverage": "100"},
        "priceFilter": {"tickSize": "0.1"},
        "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001"},
    }
    tiers = [
        {"riskLimitValue": value, "maintenanceMargin": rate, "maxLeverage": "50"}
        for value, rate in (("900000", "0.01"), ("200000", "0.005"))
    ]
    fee = {"symbol": "BTCUSDT", "takerFeeRate": "0.0006", "makerFeeRate": "0.0001"}
    exchange = Routed(
        {
            "/v5/market/instruments-info": [{"list": [instrument]}],
            "/v5/market/risk-limit": [{"list": [{"symbol": "BTCUSDT"} | tier for tier in tiers]}],
            "/v5/account/fee-rate": [(10006, "Too many visits!"), {"list": [fee]}],
        }
    )
    (rules,) = _run(exchange, lambda rest, _clock: startup.load_instruments(rest, ["BTCUSDT"]))
    assert ("0.005", 50, "0.0006") == (
        str(rules.maint_margin_rate),
        rules.leverage_max,
        str(rules.taker_fee_rate),
    )
