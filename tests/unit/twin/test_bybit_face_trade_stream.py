"""/v5/trade refuses in the venue's words, tells its limits, and stands behind the fault seam."""

import json
from decimal import Decimal
from typing import Any

import attrs
import pytest
from tests.unit.twin.bybit_world import BTC, KEY, SECRET, WALL_MS, engine_of, face_of, log_in_args

from aegis.core.transport import HttpRequest, HttpResponse

LIMIT = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Buy",
    "orderType": "Limit",
    "qty": "0.1",
    "price": "900",
    "orderLinkId": "one",
}

WIDE = attrs.evolve(BTC, qty_max=Decimal(1000), market_qty_max=Decimal(500))


class Seam:
    """A fault seam with one answer for the next request, or one fault after it."""

    def __init__(self) -> None:
        self.early: HttpResponse | None = None
        self.late: OSError | None = None
        self.seen: list[str] = []

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Note the request and answer in the venue's place."""
        self.seen.append(request.path)
        early, self.early = self.early, None
        return early

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Fail where told to."""
        if self.late is not None:
            raise self.late
        return response


class Trade:
    """One connection of a client."""

    def __init__(self, seam: Seam | None = None) -> None:
        self.engine = engine_of(1000.0, 1000.0, 1000.0, instrument=WIDE)
        face = face_of(self.engine, faults=seam)
        self.frames: list[dict[str, Any]] = []
        self.closed: list[str] = []
        session = face.open_stream(
            "/v5/trade",
            send=lambda raw: self.frames.append(json.loads(raw)),
            close=self.closed.append,
        )
        assert session is not None
        self.session = session
        self._requests = 0

    def tell(self, **message: object) -> dict[str, Any]:
        """Send a message and return the answer, {} when there was none."""
        before = len(self.frames)
        self.session.on_message(json.dumps(message))
        return self.frames[before] if len(self.frames) > before else {}

    def log_in(self, *, key: str = KEY, secret: str = SECRET, ahead_ms: int = 1000) -> int:
        """Authenticate and return the code."""
        args = log_in_args(key=key, secret=secret, ahead_ms=ahead_ms)
        return int(self.tell(op="auth", args=args)["retCode"])

    def order(self, op: str, *, stamp_ms: int = WALL_MS, **changed: object) -> dict[str, Any]:
        """Ask for *op* with the limit order, changed."""
        self._requests += 1
        return self.tell(
            reqId=str(self._requests),
            header={"X-BAPI-TIMESTAMP": str(stamp_ms), "X-BAPI-RECV-WINDOW": "5000"},
            op=op,
            args=[{**LIMIT, **changed}],
        )


def test_the_log_in_is_refused_in_the_venue_s_words() -> None:
    """Key, signature, expiry, twice (venues.md 3.2)."""
    assert 10003 == Trade().log_in(key="another")
    assert 10004 == Trade().log_in(secret="another")
    assert 10002 == Trade().log_in(ahead_ms=-1)
    twice = Trade()
    assert [0, 20001] == [twice.log_in(), twice.log_in()]


def test_orders_are_refused_in_the_venue_s_words() -> None:
    """Time, parameters, duplicates, unknown orders, operations (venues.md 3.7, 3.8)."""
    trade = Trade()
    assert 10005 == trade.order("order.create")["retCode"]
    assert 0 == trade.log_in()
    codes = [
        trade.order("order.create", stamp_ms=WALL_MS - 6000)["retCode"],
        trade.order("order.create", stamp_ms=WALL_MS + 1000)["retCode"],
        trade.order("order.create", qty="none")["retCode"],
        trade.order("order.create")["retCode"],
        trade.order("order.create")["retCode"],
        trade.order("order.amend", price="901")["retCode"],
        trade.order("order.cancel", orderLinkId="other")["retCode"],
        trade.order("order.cancel")["retCode"],
        trade.order("order.dance")["retCode"],
        trade.order("order.create", qty="400", orderLinkId="two", orderType="Market")["retCode"],
    ]
    assert [10002, 10002, 10001, 0, 110072, 0, 110001, 0, 10404, 110007] == codes


def test_answers_and_refusals_tell_the_limits() -> None:
    """Every answer about an order carries the headers REST would (venues.md 3.7)."""
    trade = Trade()
    assert 0 == trade.log_in()
    told = [trade.order("order.create")["header"]["X-Bapi-Limit-Status"] for _ in range(2)]
    assert ["9", "8"] == told


def test_the_fault_seam_answers_in_the_venue_s_place() -> None:
    """A body of the venue's becomes the answer; a status that is none becomes a retCode."""
    seam = Seam()
    trade = Trade(seam)
    assert 0 == trade.log_in()
    seam.early = HttpResponse(
        status=200, body=b'{"retCode":10000,"retMsg":"Server Timeout","result":{}}'
    )
    timed_out = trade.order("order.create")
    assert (10000, "1") == (timed_out["retCode"], timed_out["reqId"])
    seam.early = HttpResponse(status=502, body=b"bad gateway")
    assert 10016 == trade.order("order.create")["retCode"]
    seam.early = HttpResponse(status=403, body=b"access too frequent")
    assert 10429 == trade.order("order.cancel")["retCode"]
    assert ["/v5/order/create", "/v5/order/create", "/v5/order/cancel"] == seam.seen
    assert 0 == trade.order("order.create")["retCode"]


@pytest.mark.parametrize(
    ("fault", "closed"), [(TimeoutError("slow"), []), (ConnectionResetError("cut"), ["cut"])]
)
def test_a_lost_answer_leaves_its_order(fault: OSError, closed: list[str]) -> None:
    """The order stands, the answer does not come; a cut ends the connection."""
    seam = Seam()
    trade = Trade(seam)
    assert 0 == trade.log_in()
    seam.late = fault
    assert {} == trade.order("order.create")
    assert closed == trade.closed
    seam.late = None
    assert 110072 == trade.order("order.create")["retCode"]
