"""
Faults by rule: what a test wants broken between a client and a face, and how often.

`Wire` is a `FaultSeam`: it stands at requests and answers, of REST and of the order socket alike.
`Frames` (frame_rules) stands at the streams a face opens. A rule counts what it struck, so that a
test can show that its fault happened.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qs

import attrs
import orjson

from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.boot import VenueName

T = TypeVar("T")


@attrs.frozen(slots=True, kw_only=True)
class Asked:
    """
    One request, by REST or by the order socket alike.

    *kind*: entry, close, stop, target, protection (Bybit's trading-stop), cancel, positions,
    orders, balance, or other.
    """

    path: str
    kind: str
    params: Mapping[str, str]
    method: str = ""
    by_socket: bool = False


_KINDS: Final = {
    ("DELETE", "/fapi/v1/algoOrder"): "cancel",
    ("DELETE", "/fapi/v1/order"): "cancel",
    ("GET", "/fapi/v3/positionRisk"): "positions",
    ("GET", "/fapi/v1/openAlgoOrders"): "orders",
    ("GET", "/fapi/v1/openOrders"): "orders",
    ("POST", "/v5/order/cancel"): "cancel",
    ("POST", "/v5/position/trading-stop"): "protection",
    ("GET", "/v5/position/list"): "positions",
    ("GET", "/v5/order/realtime"): "orders",
    ("GET", "/fapi/v3/balance"): "balance",
    ("GET", "/fapi/v2/balance"): "balance",
    ("GET", "/v5/account/wallet-balance"): "balance",
}
_CLOSING_LEGS: Final = frozenset({("SELL", "LONG"), ("BUY", "SHORT")})


def _asked(request: HttpRequest) -> Asked:
    params: dict[str, str] = {k: v[0] for k, v in parse_qs(request.query).items()}
    if request.body.startswith(b"{"):
        told = orjson.loads(request.body)
        inner = told.get("params", told)
        inner = inner["args"][0] if isinstance(inner.get("args"), list) else inner
        params |= {key: str(value) for key, value in inner.items()}
    else:
        params |= {k: v[0] for k, v in parse_qs(request.body.decode()).items()}
    kind = _KINDS.get((request.method, request.path), "other")
    if (request.method, request.path) == ("POST", "/fapi/v1/algoOrder"):
        kind = "stop" if params["type"].startswith("STOP") else "target"
    elif request.method == "POST" and request.path in {"/fapi/v1/order", "/v5/order/create"}:
        # In hedge mode Binance is told the leg, and that alone says what closes (venues.md 1.3).
        leg = (params.get("side", ""), params.get("positionSide", ""))
        reduces = params.get("reduceOnly", "").lower() == "true" or leg in _CLOSING_LEGS
        kind = "close" if reduces else "entry"
    return Asked(
        path=request.path,
        kind=kind,
        params=params,
        method=request.method,
        # A request by socket has no HTTP headers.
        by_socket=not request.headers,
    )


Match = str | Callable[[Asked], bool]


@attrs.define(slots=True, kw_only=True)
class Rule:
    """One fault: what it takes, how often at most, and how often it did."""

    match: Match
    times: int | None
    before: Callable[[], HttpResponse] | None = None
    after: Callable[[HttpResponse], HttpResponse] | None = None
    hits: int = 0
    is_on: bool = True

    def takes(self, asked: Asked) -> bool:
        """Say whether this fault strikes *asked*, and count it."""
        if not self.is_on or (self.times is not None and self.hits >= self.times):
            return False
        taken = self.match == asked.kind if isinstance(self.match, str) else self.match(asked)
        self.hits += taken
        return taken

    def end(self) -> None:
        """Let it strike no more."""
        self.is_on = False


def _raise(error: Exception) -> NoReturn:
    raise error


class Wire:
    """The fault seam of one face: rules over requests and answers; the first that takes acts."""

    def __init__(self, venue: VenueName) -> None:
        self._venue = venue
        self._rules: list[Rule] = []
        self.asked: list[Asked] = []
        self._late_s = 0.0

    def lose_request(self, match: Match, *, times: int | None = None) -> Rule:
        """Lose requests before they reach the venue."""
        return self._add(Rule(match=match, times=times, before=lambda: _raise(TimeoutError())))

    def lose_answer(self, match: Match, *, times: int | None = None) -> Rule:
        """Let requests act and lose their answers."""
        return self._add(Rule(match=match, times=times, after=lambda _: _raise(TimeoutError())))

    def spoil_answer(self, match: Match, how: str, *, times: int | None = None) -> Rule:
        """Let requests act, and lose the answer (*how* "lost") or answer with that HTTP status."""
        if how == "lost":
            return self.lose_answer(match, times=times)
        response = HttpResponse(status=int(how), body=b"Bad Gateway")
        return self._add(Rule(match=match, times=times, after=lambda _: response))

    def refuse(
        self, match: Match, code: int, text: str, *, status: int = 0, times: int | None = None
    ) -> Rule:
        """Refuse requests with *code*, so that they have no effect; *status* 0: the usual one."""
        is_binance = self._venue == "binance"
        told = {"code": code, "msg": text} if is_binance else {"retCode": code, "retMsg": text}
        body = orjson.dumps(told if is_binance else {**told, "result": {}, "retExtInfo": {}})
        response = HttpResponse(status=status or (400 if is_binance else 200), body=body)
        return self._add(Rule(match=match, times=times, before=lambda: response))

    def fail(self, match: Match, status: int, *, times: int | None = None) -> Rule:
        """Answer with a bare HTTP error in the venue's place."""
        response = HttpResponse(status=status, body=b"Bad Gateway")
        return self._add(Rule(match=match, times=times, before=lambda: response))

    def change(
        self, match: Match, change: Callable[[Any], Any], *, times: int | None = None
    ) -> Rule:
        """Let requests act, and answer what *change* makes of the decoded answer."""

        def changed(response: HttpResponse) -> HttpResponse:
            body = orjson.dumps(change(orjson.loads(response.body)))
            return attrs.evolve(response, body=body)

        return self._add(Rule(match=match, times=times, after=changed))

    def slow(self, match: Match, seconds: float, *, times: int | None = None) -> Rule:
        """Let requests act at once and be answered *seconds* of loop time later."""

        def later(response: HttpResponse) -> HttpResponse:
            self._late_s = seconds
            return response

        return self._add(Rule(match=match, times=times, after=later))

    def take_late_s(self) -> float:
        """Return how much later the newest answer arrives, once: who carries it waits so long."""
        late_s, self._late_s = self._late_s, 0.0
        return late_s

    def empty(self, match: Match = "positions", *, times: int | None = None) -> Rule:
        """Answer queries with an empty list."""
        if self._venue == "binance":
            return self.change(match, lambda _: [], times=times)
        return self.change(match, lambda told: {**told, "result": {"list": []}}, times=times)

    def hold(self, seconds: float) -> None:
        """Let the newest answer, or the word that there is none, come *seconds* later."""
        self._late_s = seconds

    def add(self, rule: Rule) -> Rule:
        """Add a fault made elsewhere."""
        return self._add(rule)

    def _add(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    # The seam; `FaultSeam` of the twin.

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Answer in the venue's place, or let the request through."""
        asked = _asked(request)
        self.asked.append(asked)
        rules = (rule for rule in self._rules if rule.before is not None)
        rule = next((rule for rule in rules if rule.takes(asked)), None)
        return None if rule is None or rule.before is None else rule.before()

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Return what the client gets to see."""
        asked = _asked(request)
        rules = (rule for rule in self._rules if rule.after is not None)
        rule = next((rule for rule in rules if rule.takes(asked)), None)
        return response if rule is None or rule.after is None else rule.after(response)


class SlowOffload(InlineOffload):
    """Calls whose answer a fault delays: the caller waits, the lane is free meanwhile."""

    def __init__(
        self, before_s: float, after_s: float, *, wires: Callable[[], Iterable[Wire]]
    ) -> None:
        super().__init__(before_s, after_s)
        self._wires = wires

    async def __call__(self, fn: Callable[[], T], *, lane: str = "default") -> T:
        late_s = 0.0

        def call() -> T:
            nonlocal late_s
            value = fn()
            late_s = sum(wire.take_late_s() for wire in self._wires())
            return value

        value = await super().__call__(call, lane=lane)
        if late_s:
            await asyncio.sleep(late_s)
        return value
