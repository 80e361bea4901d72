"""
Faults by rule: what a test wants broken between a client and a face, and how often.

`Wire` is a `FaultSeam`: it stands at requests and answers, of REST and of the order socket alike.
`Frames` stands at the streams a face opens. A rule counts what it struck, so that a test can show
that its fault happened.
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
from aegis.twin.face_api import StreamSession

T = TypeVar("T")
Send = Callable[[bytes], None]
ORDER_SOCKETS: Final = frozenset({"/ws-fapi/v1", "/v5/trade"})


@attrs.frozen(slots=True, kw_only=True)
class Asked:
    """
    One request, by REST or by the order socket alike.

    *kind*: entry, close, stop, target, protection (Bybit's trading-stop), cancel, positions,
    orders, or other.
    """

    path: str
    kind: str
    params: Mapping[str, str]


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
}


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
        kind = "close" if params.get("reduceOnly", "").lower() == "true" else "entry"
    return Asked(path=request.path, kind=kind, params=params)


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


@attrs.define(slots=True, kw_only=True)
class FrameRule:
    """What happens to frames that pass *test*; *act* gets the frame and the way on."""

    test: Callable[[bytes], bool]
    act: Callable[[bytes, Send], None]
    hits: int = 0
    is_on: bool = True

    def takes(self, frame: bytes) -> bool:
        """Say whether this fault strikes *frame*, and count it."""
        taken = self.is_on and self.test(frame)
        self.hits += taken
        return taken

    def end(self) -> None:
        """Let frames pass again."""
        self.is_on = False


def _drop(_frame: bytes, _send: Send) -> None:
    pass


def _double(frame: bytes, send: Send) -> None:
    send(frame)
    send(frame)


class _Heard:
    """A session that also writes down what it is sent."""

    def __init__(self, session: StreamSession, hear: Callable[[str], None]) -> None:
        self._session = session
        self._hear = hear

    def on_message(self, text: str) -> None:
        self._hear(text)
        self._session.on_message(text)

    def on_closed(self) -> None:
        self._session.on_closed()


class Frames:
    """The frames of one face's streams, order socket included, on their way to the bot."""

    ORDERS: Final = (b'"ORDER_TRADE_UPDATE"', b'"TRADE_LITE"', b'"topic":"order"')
    FILLS: Final = (b'"ORDER_TRADE_UPDATE"', b'"TRADE_LITE"', b'"topic":"execution"')
    ACCOUNT: Final = (
        *(b'"ACCOUNT_UPDATE"', b'"ORDER_TRADE_UPDATE"', b'"ALGO_UPDATE"', b'"TRADE_LITE"'),
        *(b'"topic":"order"', b'"topic":"position"', b'"topic":"execution"', b'"topic":"wallet"'),
    )

    def __init__(self, face: Any, loop: asyncio.AbstractEventLoop, wire: Wire) -> None:
        """*wire* says how much later the answers of the order socket come."""
        self._open_stream = face.open_stream
        self._loop = loop
        self._wire = wire
        self._rules: list[FrameRule] = []
        self._closes: list[tuple[str, Callable[[str], None]]] = []
        self._sessions: list[StreamSession] = []
        self.is_down = False
        """No stream opens while this is set."""
        self.sent: list[tuple[str, str]] = []
        """Path and text of every message the bot sent on a stream."""
        face.open_stream = self._opened

    def _opened(
        self, target: str, *, send: Send, close: Callable[[str], None]
    ) -> StreamSession | None:
        if self.is_down:
            return None
        path = target.partition("?")[0]
        answers = path in ORDER_SOCKETS

        def sieve(frame: bytes) -> None:
            late_s = self._wire.take_late_s() if answers else 0.0
            rule = next((rule for rule in self._rules if rule.takes(frame)), None)
            if rule is not None:
                rule.act(frame, send)
            elif late_s:
                _ = self._loop.call_later(late_s, send, frame)
            else:
                send(frame)

        session: StreamSession | None = self._open_stream(target, send=sieve, close=close)
        if session is None:
            return None
        self._closes.append((path, close))
        self._sessions.append(session)
        return _Heard(session, lambda text: self.sent.append((path, text)))

    def cut(self, path: str) -> None:
        """End the newest stream whose path begins with *path*, from the venue's side."""
        next(close for each, close in reversed(self._closes) if each.startswith(path))("cut")

    def cut_all(self, path: str = "") -> int:
        """End every stream whose path begins with *path*; return how many there ever were."""
        closes = [close for each, close in self._closes if each.startswith(path)]
        for close in closes:
            close("cut")
        return len(closes)

    def leave(self) -> None:
        """Let the venue see that the client of all these streams is gone, and stand aside."""
        for session in self._sessions:
            session.on_closed()

    def act_on(
        self, test: Callable[[bytes], bool], act: Callable[[bytes, Send], None]
    ) -> FrameRule:
        """Hand frames that pass *test* to *act* with the way on."""
        rule = FrameRule(test=test, act=act)
        self._rules.append(rule)
        return rule

    def drop(self, *marks: bytes) -> FrameRule:
        """Lose frames that hold one of *marks*."""
        return self._add(marks, _drop)

    def drop_if(self, test: Callable[[bytes], bool]) -> FrameRule:
        """Lose frames that pass *test*."""
        rule = FrameRule(test=test, act=_drop)
        self._rules.append(rule)
        return rule

    def double(self, *marks: bytes) -> FrameRule:
        """Deliver them twice."""
        return self._add(marks, _double)

    def delay(self, seconds: float, *marks: bytes) -> FrameRule:
        """Deliver them *seconds* of loop time later: frames of other kinds overtake them."""

        def later(frame: bytes, send: Send) -> None:
            _ = self._loop.call_later(seconds, send, frame)

        return self._add(marks, later)

    def _add(self, marks: tuple[bytes, ...], act: Callable[[bytes, Send], None]) -> FrameRule:
        rule = FrameRule(test=lambda frame: any(mark in frame for mark in marks), act=act)
        self._rules.append(rule)
        return rule


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
