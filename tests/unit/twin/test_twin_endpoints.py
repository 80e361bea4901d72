"""Both faces answer every endpoint a client needs, and enforce limits where the shape says so."""

from decimal import Decimal

import pytest

from aegis.core.transport import HttpRequest
from aegis.twin.boot import Twin, TwinShape, VenueName, build_twin, generated_market

WALL_MS = 1_763_640_000_000

BINANCE = """
GET ping, GET time, GET exchangeInfo, GET depth, GET ticker/bookTicker, GET premiumIndex,
GET klines, POST listenKey, PUT listenKey, DELETE listenKey, POST order, GET order, PUT order,
DELETE order, POST batchOrders, PUT batchOrders, DELETE batchOrders, GET openOrders, GET allOrders,
DELETE allOpenOrders, POST algoOrder, GET algoOrder, DELETE algoOrder, GET openAlgoOrders,
GET allAlgoOrders, DELETE algoOpenOrders, GET userTrades, GET income, GET v2/positionRisk,
GET v3/positionRisk, GET v2/account, GET v3/account, GET v2/balance, GET v3/balance, POST leverage,
POST marginType, GET positionSide/dual, POST positionSide/dual, GET leverageBracket,
GET commissionRate, GET symbolConfig, GET accountConfig, POST countdownCancelAll
"""
BYBIT = """
GET market/time, GET market/instruments-info, GET market/tickers, GET market/orderbook,
GET market/kline, GET market/recent-trade, GET market/funding/history, GET market/risk-limit,
POST order/create, POST order/amend, POST order/cancel, POST order/cancel-all, GET order/realtime,
GET order/history, POST order/create-batch, POST order/amend-batch, POST order/cancel-batch,
GET execution/list, GET position/list, POST position/trading-stop, POST position/set-leverage,
POST position/switch-mode, GET position/closed-pnl, GET account/wallet-balance, GET account/info,
GET account/fee-rate, POST account/set-margin-mode, GET user/query-api, GET asset/coin/query-info
"""


def twin_of(*, limits_enforced: bool = False) -> Twin:
    """Return a twin of both venues on a made-up day."""
    market = generated_market(1, days=1, venues=("binance", "bybit"))
    shape = TwinShape(
        seed=1,
        wallet=Decimal(1000),
        spread_bps=1.0,
        depth_usdt=5_000.0,
        quote_interval_ns=None,
        limits_enforced=limits_enforced,
    )
    return build_twin(
        market,
        shape,
        start_ns=market.start_ns,
        wall_ms=lambda: WALL_MS,
        api_key="key",
        api_secret="secret",
    )


def requests_of(venue: VenueName) -> list[tuple[str, str]]:
    """Return method and path of every endpoint of the venue's list."""
    listed = (BINANCE if venue == "binance" else BYBIT).replace("\n", " ").split(",")
    made = []
    for entry in listed:
        method, name = entry.split()
        prefix = "/v5/" if venue == "bybit" else "/fapi/" if name[0] == "v" else "/fapi/v1/"
        made.append((method, prefix + name))
    return made


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_no_endpoint_of_the_minimum_lists_is_unknown(venue: VenueName) -> None:
    """Whatever else it says to an empty request, it is not 404 (venues.md 7)."""
    face = twin_of().faces[venue]
    unknown = [
        (method, path)
        for method, path in requests_of(venue)
        if face.http(HttpRequest(method=method, target=path, headers={})).status == 404
    ]

    assert [] == unknown


@pytest.mark.parametrize(
    ("venue", "path", "count", "status"),
    [("binance", "/fapi/v1/time", 2401, 429), ("bybit", "/v5/market/time", 601, 403)],
)
def test_the_shape_switches_limits_on(venue: VenueName, path: str, count: int, status: int) -> None:
    """With limits_enforced one request too many is refused, without it is answered (R31)."""
    request = HttpRequest(method="GET", target=path, headers={})
    told = []
    for enforced in (True, False):
        face = twin_of(limits_enforced=enforced).faces[venue]
        for _ in range(count - 1):
            face.http(request)
        told.append(face.http(request).status)

    assert [status, 200] == told
