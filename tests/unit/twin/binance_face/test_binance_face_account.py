"""Account, settings and market data through the Binance face."""

from decimal import Decimal
from typing import Any


def test_account_shows_the_position_everywhere_alike(rig: Any) -> None:
    """positionRisk v2 and v3, account v2 and v3 and balance agree about one position."""
    client = rig.client
    client.order(side="SELL", quantity="0.03")
    _, (risk3,) = client.call("GET", "/fapi/v3/positionRisk")
    _, (risk2,) = client.call("GET", "/fapi/v2/positionRisk")
    _, account2 = client.call("GET", "/fapi/v2/account")
    _, account3 = client.call("GET", "/fapi/v3/account")
    _, (balance,) = client.call("GET", "/fapi/v3/balance")
    assert "-0.030" == risk3["positionAmt"] == risk2["positionAmt"]
    assert not {"leverage", "marginType"} & set(risk3)
    assert ("20", "isolated") == (risk2["leverage"], risk2["marginType"])
    assert "-0.030" == account3["positions"][0]["positionAmt"]
    assert "-0.030" == account2["positions"][0]["positionAmt"]
    assert balance["balance"] == account3["totalWalletBalance"]
    assert balance["availableBalance"] == account2["availableBalance"]
    wallet = Decimal(balance["balance"])
    assert wallet - Decimal(risk3["isolatedWallet"]) == Decimal(balance["crossWalletBalance"])


def test_v3_lists_active_symbols_and_v2_all(rig: Any) -> None:
    """Flat symbols are in v2 alone; a resting order makes a symbol active (venues.md 2.4)."""
    client = rig.client
    assert (200, []) == client.call("GET", "/fapi/v3/positionRisk")
    assert 1 == len(client.call("GET", "/fapi/v2/positionRisk")[1])
    client.order(type="LIMIT", timeInForce="GTC", price="48000.0")
    assert 1 == len(client.call("GET", "/fapi/v3/positionRisk")[1])


def test_leverage_is_answered_also_when_unchanged_and_told(rig: Any) -> None:
    """The same leverage again is success; ACCOUNT_CONFIG_UPDATE comes on a change only."""
    client = rig.client
    frames = client.listen()
    expected = {"leverage": 5, "maxNotionalValue": "1000000", "symbol": "BTCUSDT"}
    for _ in range(2):
        answer = client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=5)
        assert (200, expected) == answer
    assert [{"s": "BTCUSDT", "l": 5}] == [frame["ac"] for frame in frames]
    refused = client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=126)
    assert -4028 == refused[1]["code"]


def test_margin_type_and_position_mode(rig: Any) -> None:
    """-4046 unchanged, -4048 with a position, -4059 unchanged mode, -4068 with a position."""
    client = rig.client
    margin = {"symbol": "BTCUSDT", "marginType": "ISOLATED"}
    assert -4046 == client.call("POST", "/fapi/v1/marginType", **margin)[1]["code"]
    mode = {"dualSidePosition": "False"}
    assert -4059 == client.call("POST", "/fapi/v1/positionSide/dual", **mode)[1]["code"]
    client.order()
    margin["marginType"] = "CROSSED"
    assert -4048 == client.call("POST", "/fapi/v1/marginType", **margin)[1]["code"]
    mode["dualSidePosition"] = "True"
    assert -4068 == client.call("POST", "/fapi/v1/positionSide/dual", **mode)[1]["code"]
    answer = client.call("GET", "/fapi/v1/positionSide/dual")
    assert (200, {"dualSidePosition": False}) == answer


def test_static_account_answers(rig: Any) -> None:
    """Configs, brackets and fees carry the instrument's own figures."""
    client = rig.client
    _, rate = client.call("GET", "/fapi/v1/commissionRate", symbol="BTCUSDT")
    assert ("0.0002", "0.0005") == (rate["makerCommissionRate"], rate["takerCommissionRate"])
    _, (config,) = client.call("GET", "/fapi/v1/symbolConfig", symbol="BTCUSDT")
    assert ("ISOLATED", 20) == (config["marginType"], config["leverage"])
    _, (bracket,) = client.call("GET", "/fapi/v1/leverageBracket")
    assert 0.004 == bracket["brackets"][0]["maintMarginRatio"]
    _, account = client.call("GET", "/fapi/v1/accountConfig")
    assert (False, False) == (account["dualSidePosition"], account["multiAssetsMargin"])


def test_exchange_info_carries_filters_as_strings(rig: Any) -> None:
    """Tick, step, minimum notional and market maximum are the engine's rules (venues.md 2.3)."""
    _, info = rig.client.raw("GET", "/fapi/v1/exchangeInfo", {}, key="")
    (symbol,) = info["symbols"]
    filters = {each["filterType"]: each for each in symbol["filters"]}
    assert "0.1" == filters["PRICE_FILTER"]["tickSize"]
    assert ("0.001", "120") == (
        filters["MARKET_LOT_SIZE"]["stepSize"],
        filters["MARKET_LOT_SIZE"]["maxQty"],
    )
    assert "100" == filters["MIN_NOTIONAL"]["notional"]
    assert rig.wall_ms == info["serverTime"]


def test_market_data_answers(rig: Any) -> None:
    """Books, prices, premium and candles come from the engine's market."""
    client = rig.client
    rig.pass_minutes(10.75)
    _, book = client.raw("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 5})
    _, top = client.raw("GET", "/fapi/v1/ticker/bookTicker", {"symbol": "BTCUSDT"})
    assert (book["bids"][0][0], book["asks"][0][0]) == (top["bidPrice"], top["askPrice"])
    assert 5 == len(book["bids"])
    _, prices = client.raw("GET", "/fapi/v1/ticker/price", {})
    assert "BTCUSDT" == prices[0]["symbol"]
    _, premium = client.raw("GET", "/fapi/v1/premiumIndex", {"symbol": "BTCUSDT"})
    assert premium["nextFundingTime"] > premium["time"]
    _, klines = client.raw(
        "GET", "/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 3}
    )
    assert [12, 12, 12] == [len(row) for row in klines]
    assert ["50000.0", "50000.0", "50000.0"] == [row[1] for row in klines]
    assert klines[-1][0] + 59_999 == klines[-1][6]
    refused = client.raw("GET", "/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7m"})
    assert -1120 == refused[1]["code"]


def test_clocks_wall_time_for_requests_market_time_for_data(rig: Any) -> None:
    """serverTime is the wall clock; book and order times are the market clock (design.md)."""
    rig.engine.advance(rig.engine.now_ns + 60_000_000_000)
    _, answer = rig.client.raw("GET", "/fapi/v1/time", {})
    _, book = rig.client.raw("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT"})
    assert rig.wall_ms == answer["serverTime"]
    assert rig.wall_ms + 60_000 == book["E"]
