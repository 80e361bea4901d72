"""A rig for the Binance face: a hand-made market, the real engine, a signing client, one stream."""

import hashlib
import hmac
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.binance.face import BinanceFace
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.venue_rules import BINANCE_RULES
from aegis.twin.face_api import StreamSession
from aegis.twin.tape.model import MINUTE_NS, CandleTape, TapeReport
from aegis.twin.tape.path import PricePath

KEY, SECRET = "twinkey", "twinsecret"
START_NS = 1_760_000_000 * 1_000_000_000 // MINUTE_NS * MINUTE_NS

# Open, high, low, close of one-minute bars. Price stands at 50 000 for ten minutes, falls to
# 49 000 in the eleventh, stands there for ten, and is back at 52 000 in the end.
BARS = (
    *[(50_000.0, 50_000.0, 50_000.0, 50_000.0)] * 10,
    (50_000.0, 50_000.0, 49_000.0, 49_000.0),
    *[(49_000.0, 49_000.0, 49_000.0, 49_000.0)] * 10,
    (49_000.0, 52_000.0, 49_000.0, 52_000.0),
    *[(52_000.0, 52_000.0, 52_000.0, 52_000.0)] * 5,
)


def instrument(symbol: str = "BTCUSDT") -> TwinInstrument:
    """Return rules like BTCUSDT's."""
    return TwinInstrument(
        symbol=symbol,
        base=symbol.removesuffix("USDT"),
        tick_size=Decimal("0.10"),
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=Decimal(1000),
        market_qty_max=Decimal(120),
        notional_min=Decimal(100),
        leverage_max=125,
        maint_margin_rate=Decimal("0.004"),
        taker_fee_rate=Decimal("0.0005"),
        maker_fee_rate=Decimal("0.0002"),
        funding_interval_ns=8 * 60 * MINUTE_NS,
        liquidation_fee_rate=Decimal("0.0125"),
    )


def tape(symbol: str = "BTCUSDT") -> CandleTape:
    """Return the hand-made market."""
    columns = np.array(BARS)
    bars = len(BARS)
    return CandleTape(
        symbol=symbol,
        timeframe_ns=MINUTE_NS,
        open_ns=START_NS + np.arange(bars, dtype=np.int64) * MINUTE_NS,
        open=columns[:, 0],
        high=columns[:, 1],
        low=columns[:, 2],
        close=columns[:, 3],
        volume=np.full(bars, 12.5),
        mark=None,
        funding=None,
        venue=None,
        label="hand-made",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="hand-made", rows_read=bars, rows_kept=bars, rows_played=bars),
    )


class Client:
    """Signs and sends requests as an SDK does, and reads one user stream."""

    def __init__(self, face: BinanceFace, wall_ms: Callable[[], int]) -> None:
        self.face = face
        self.wall_ms = wall_ms
        self.frames: list[dict[str, Any]] = []
        self.last: HttpResponse = HttpResponse(status=0, body=b"")

    def raw(
        self, method: str, path: str, params: dict[str, Any], *, key: str = KEY
    ) -> tuple[int, Any]:
        """Send *params* unsigned and return (status, answer)."""
        query = urlencode(params)
        target = f"{path}?{query}" if query else path
        self.last = self.face.http(
            HttpRequest(method=method, target=target, headers={"x-mbx-apikey": key})
        )
        return self.last.status, json.loads(self.last.body)

    def call(self, method: str, path: str, **params: Any) -> tuple[int, Any]:
        """Send *params* signed, in the body of a POST, and return (status, answer)."""
        text = urlencode({"recvWindow": 5000, **params, "timestamp": self.wall_ms()})
        text += f"&signature={sign(text)}"
        in_body = method in {"POST", "PUT"}
        self.last = self.face.http(
            HttpRequest(
                method=method,
                target=path if in_body else f"{path}?{text}",
                headers={"x-mbx-apikey": KEY},
                body=text.encode() if in_body else b"",
            )
        )
        return self.last.status, json.loads(self.last.body)

    def order(self, **params: Any) -> tuple[int, Any]:
        """POST order with BTCUSDT, BUY, MARKET, 0.02 unless told otherwise."""
        defaults = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.02"}
        return self.call("POST", "/fapi/v1/order", **(defaults | params))

    def stop(self, **params: Any) -> tuple[int, Any]:
        """POST algoOrder: a SELL STOP_MARKET with closePosition at 49 500 unless told otherwise."""
        defaults: dict[str, Any] = {
            "algoType": "CONDITIONAL",
            "symbol": "BTCUSDT",
            "side": "SELL",
            "type": "STOP_MARKET",
            "triggerPrice": "49500.0",
            "workingType": "MARK_PRICE",
        }
        if "quantity" not in params:
            defaults["closePosition"] = "true"
        return self.call("POST", "/fapi/v1/algoOrder", **(defaults | params))

    def open_stream(self, target: str) -> tuple[list[dict[str, Any]], StreamSession]:
        """Open a stream and return the growing list of its frames, and its session."""
        frames: list[dict[str, Any]] = []
        session = self.face.open_stream(
            target, send=lambda raw: frames.append(json.loads(raw)), close=lambda _: None
        )
        assert session is not None, target
        return frames, session

    def listen(self) -> list[dict[str, Any]]:
        """Open the user stream and return the growing list of its frames."""
        _, answer = self.raw("POST", "/fapi/v1/listenKey", {})
        frames, _ = self.open_stream(f"/private/ws?listenKey={answer['listenKey']}")
        return frames


def sign(text: str) -> str:
    """Return the hex HMAC-SHA256 of *text*."""
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


class Rig:
    """Engine, face and client on one clock that moves when told to."""

    def __init__(self, faults: Any = None) -> None:
        self.wall_ms = START_NS // 1_000_000
        self.clock_ms: Callable[[], int] | None = None
        self.engine = TwinEngine(
            rules=BINANCE_RULES,
            instruments={"BTCUSDT": instrument()},
            paths={"BTCUSDT": PricePath(tape())},
            start_ns=START_NS,
            seed=7,
            options=EngineOptions(quote_interval_ns=1_000_000_000),
        )
        self.face = BinanceFace(
            self.engine,
            api_key=KEY,
            api_secret=SECRET,
            wall_ms=self.now_wall_ms,
            faults=faults,
        )
        self.client = Client(self.face, self.now_wall_ms)

    def now_wall_ms(self) -> int:
        """Return the wall clock: *clock_ms* where a test sets one, else *wall_ms*."""
        return self.wall_ms if self.clock_ms is None else self.clock_ms()

    def pass_minutes(self, minutes: float) -> None:
        """Let time pass on both clocks."""
        to_ns = self.engine.now_ns + round(minutes * MINUTE_NS)
        self.engine.advance(to_ns)
        self.wall_ms = to_ns // 1_000_000


@pytest.fixture
def rig() -> Rig:
    """Return a fresh rig."""
    return Rig()


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    """Return the maker of rigs."""
    return Rig
