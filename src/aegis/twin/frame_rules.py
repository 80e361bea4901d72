"""
Faults of streams: what a test wants lost, doubled, late, cut or dead between a face and its client.

`Frames` stands at the streams a face opens, order socket included. A rule counts what it struck.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs

from aegis.twin.face_api import StreamSession
from aegis.twin.fault_rules import Wire

Send = Callable[[bytes], None]
ORDER_SOCKETS: Final = frozenset({"/ws-fapi/v1", "/v5/trade"})
RECENT_MAX: Final = 20
"""Account frames of each stream that are remembered, to be delivered again."""
REPLAY_AFTER_S: Final = 0.5
"""After a stream is open again: the client has logged in and subscribed by then."""


@attrs.define(slots=True, kw_only=True)
class FrameRule:
    """What happens to frames that pass *test*; *act* gets the frame and the way on."""

    test: Callable[[bytes], bool]
    act: Callable[[bytes, Send], None]
    path: str = ""
    """Strikes streams whose path begins so."""
    hits: int = 0
    is_on: bool = True

    def takes(self, frame: bytes, path: str = "") -> bool:
        """Say whether this fault strikes *frame* of the stream at *path*, and count it."""
        taken = self.is_on and path.startswith(self.path) and self.test(frame)
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


class _Line:
    """One stream between face and client: frames pass the rules, messages are written down."""

    def __init__(
        self, frames: "Frames", path: str, send: Send, close: Callable[[str], None]
    ) -> None:
        self._frames = frames
        self.path: Final = path
        self.send: Final = send
        self.close: Final = close
        self.session: StreamSession | None = None
        self.is_dead = False
        """Nothing passes any more, either way, and neither side knows."""
        self.on_swallowed: Callable[[str], None] | None = None
        self.recent: Final[deque[bytes]] = deque(maxlen=RECENT_MAX)

    def sieve(self, frame: bytes) -> None:
        """Let a frame of the face pass, or do to it what a rule says."""
        if not self.is_dead:
            self._frames.pass_on(self, frame)

    def on_message(self, text: str) -> None:
        """Take what the client sends."""
        if self.is_dead:
            if self.on_swallowed is not None:
                self.on_swallowed(text)
            return
        self._frames.sent.append((self.path, text))
        assert self.session is not None
        self.session.on_message(text)

    def on_closed(self) -> None:
        """Let the face see that the client is gone."""
        assert self.session is not None
        self.session.on_closed()


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
        self._lines: list[_Line] = []
        self._refusing: list[tuple[str, Callable[[str], None]]] = []
        self._again: dict[str, list[bytes]] = {}
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
        told = next((tell for prefix, tell in self._refusing if path.startswith(prefix)), None)
        if told is not None:
            told(path)
            return None
        line = _Line(self, path, send, close)
        session: StreamSession | None = self._open_stream(target, send=line.sieve, close=close)
        if session is None:
            return None
        line.session = session
        self._lines.append(line)
        for prefix in [each for each in self._again if path.startswith(each)]:
            for frame in self._again.pop(prefix):
                _ = self._loop.call_later(REPLAY_AFTER_S, send, frame)
        return line

    def pass_on(self, line: _Line, frame: bytes) -> None:
        """Hand a frame of *line* on as the rules say."""
        late_s = self._wire.take_late_s() if line.path in ORDER_SOCKETS else 0.0
        if any(mark in frame for mark in self.ACCOUNT):
            line.recent.append(frame)
        rule = next((rule for rule in self._rules if rule.takes(frame, line.path)), None)
        if rule is not None:
            rule.act(frame, line.send)
        elif late_s:
            _ = self._loop.call_later(late_s, line.send, frame)
        else:
            line.send(frame)

    def cut(self, path: str) -> None:
        """End the newest stream whose path begins with *path*, from the venue's side."""
        next(line for line in reversed(self._lines) if line.path.startswith(path)).close("cut")

    def cut_all(self, path: str = "") -> int:
        """End every stream whose path begins with *path*; return how many there ever were."""
        lines = [line for line in self._lines if line.path.startswith(path)]
        for line in lines:
            line.close("cut")
        return len(lines)

    def refuse(self, path: str, tell: Callable[[str], None]) -> Callable[[], None]:
        """Open no stream whose path begins with *path*; return what ends that."""
        refusal = (path, tell)
        self._refusing.append(refusal)
        return lambda: self._refusing.remove(refusal)

    def half_open(self, path: str, found_s: float, tell: Callable[[str], None]) -> bool:
        """
        Let the newest stream at *path* die without a word; *tell* hears each message it swallows.

        Its client's ping finds it after *found_s*, which is the connector's and not simulated.
        Return whether there is one.
        """
        line = next((each for each in reversed(self._lines) if each.path.startswith(path)), None)
        if line is None or line.is_dead:
            return False
        line.is_dead, line.on_swallowed = True, tell
        _ = self._loop.call_later(found_s, line.close, "no pong")
        return True

    def replay(self, path: str) -> int:
        """
        Cut the stream at *path*; the next one there tells the last account frames once more.

        Return how many those are.
        """
        line = next((each for each in reversed(self._lines) if each.path.startswith(path)), None)
        if line is None or not line.recent:
            return 0
        self._again[path] = list(line.recent)
        line.close("cut")
        return len(line.recent)

    def leave(self) -> None:
        """Let the venue see that the client of all these streams is gone, and stand aside."""
        for line in self._lines:
            line.on_closed()

    def act_on(
        self, test: Callable[[bytes], bool], act: Callable[[bytes, Send], None], path: str = ""
    ) -> FrameRule:
        """Hand frames that pass *test*, of streams at *path*, to *act* with the way on."""
        rule = FrameRule(test=test, act=act, path=path)
        self._rules.append(rule)
        return rule

    def drop(self, *marks: bytes) -> FrameRule:
        """Lose frames that hold one of *marks*."""
        return self._add(marks, _drop)

    def drop_if(self, test: Callable[[bytes], bool]) -> FrameRule:
        """Lose frames that pass *test*."""
        return self.act_on(test, _drop)

    def double(self, *marks: bytes) -> FrameRule:
        """Deliver them twice."""
        return self._add(marks, _double)

    def delay(self, seconds: float, *marks: bytes) -> FrameRule:
        """Deliver them *seconds* of loop time later: frames of other kinds overtake them."""

        def later(frame: bytes, send: Send) -> None:
            _ = self._loop.call_later(seconds, send, frame)

        return self._add(marks, later)

    def _add(self, marks: tuple[bytes, ...], act: Callable[[bytes, Send], None]) -> FrameRule:
        return self.act_on(lambda frame: any(mark in frame for mark in marks), act)
