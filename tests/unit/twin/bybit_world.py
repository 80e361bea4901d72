"""
The world of the Bybit face's tests: an instrument, a tape of minutes, an engine on it, a face with
a wall clock that stands still, and signed requests to it.
"""

import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any, Final

import numpy as np

from aegis.core.transport import HttpRequest
from aegis.model.market import MINUTE_NS
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.venue_rules import BYBIT_RULES
from aegis.twin.tape.model import CandleTape, TapeReport
from aegis.twin.tape.path import PricePath

WALL_MS: Final = 1_763_640_000_000
START_NS: Final = 1_700_006_400 * 10**9
KEY: Final = "twin-key"
SECRET: Final = "twin-secret"

BTC: Final = TwinInstrument(
    symbol="BTCUSDT",
    base="BTC",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(100),
    market_qty_max=Decimal(50),
    notional_min=Decimal(5),
    leverage_max=100,
    maint_margin_rate=Decimal("0.005"),
    taker_fee_rate=Decimal("0.00055"),
    maker_fee_rate=Decimal("0.0002"),
    funding_interval_ns=480 * MINUTE_NS,
    liquidation_fee_rate=Decimal("0.005"),
)


def tape_of(closes: list[float]) -> CandleTape:
    """Make a tape of minutes that begin at 1000 and end at *closes*, without wicks."""
    opens = [1000.0, *closes[:-1]]
    return CandleTape(
        symbol="BTCUSDT",
        timeframe_ns=MINUTE_NS,
        open_ns=START_NS + np.arange(len(closes), dtype=np.int64) * MINUTE_NS,
        open=np.array(opens),
        high=np.maximum(opens, closes),
        low=np.minimum(opens, closes),
        close=np.array(closes, dtype=np.float64),
        volume=np.full(len(closes), 5.0),
        mark=None,
        funding=None,
        venue=None,
        label="made",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="made", rows_read=0, rows_kept=0, rows_played=0),
    )


def engine_of(*closes: float, instrument: TwinInstrument = BTC, **options: Any) -> TwinEngine:
    """Start an engine on such a tape."""
    return TwinEngine(
        rules=BYBIT_RULES,
        instruments={"BTCUSDT": instrument},
        paths={"BTCUSDT": PricePath(tape_of(list(closes)))},
        start_ns=START_NS,
        seed=7,
        **options,
    )


def face_of(engine: TwinEngine, **options: Any) -> BybitFace:
    """Put a face on an engine, the wall clock standing still."""
    return BybitFace(engine, api_key=KEY, api_secret=SECRET, wall_ms=lambda: WALL_MS, **options)


def sign(text: str, secret: str = SECRET) -> str:
    """Sign as the venue's documentation says."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def log_in_args(*, key: str = KEY, secret: str = SECRET, ahead_ms: int = 1000) -> list[str | int]:
    """Return the arguments of a stream's log-in."""
    expires = WALL_MS + ahead_ms
    return [key, expires, sign(f"GET/realtime{expires}", secret)]


def ask(face: BybitFace, method: str, target: str, payload: str) -> dict[str, Any]:
    """Send a signed request, *payload* being its query or its body; return the envelope."""
    headers = {
        "x-bapi-api-key": KEY,
        "x-bapi-timestamp": str(WALL_MS),
        "x-bapi-recv-window": "5000",
        "x-bapi-sign": sign(f"{WALL_MS}{KEY}5000{payload}"),
    }
    body = payload.encode() if method == "POST" else b""
    answer = face.http(HttpRequest(method=method, target=target, headers=headers, body=body))
    envelope: dict[str, Any] = json.loads(answer.body)
    return envelope


def post(face: BybitFace, path: str, **body: object) -> dict[str, Any]:
    """Send a signed request that must succeed; return its result."""
    raw = json.dumps({"category": "linear", "symbol": "BTCUSDT", **body})
    envelope = ask(face, "POST", path, raw)
    assert 0 == envelope["retCode"], envelope
    return dict(envelope["result"])


def enter(face: BybitFace, **changes: object) -> str:
    """Buy 1 BTC at market, protected; return the orderId."""
    order = {
        "side": "Buy",
        "orderType": "Market",
        "qty": "1",
        "orderLinkId": "aegis-1-EN",
        "stopLoss": "950",
        "takeProfit": "1100",
        "slTriggerBy": "MarkPrice",
        "tpTriggerBy": "MarkPrice",
        **changes,
    }
    return str(post(face, "/v5/order/create", **order)["orderId"])
