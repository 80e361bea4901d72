"""Faults between the bot and a venue: requests, answers, connections, streams, frames."""

from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import orjson

from aegis.core.clock import NS_PER_S
from aegis.core.transport import HttpResponse
from aegis.sim.answers import server_error
from aegis.sim.draw import ACCOUNT_STREAMS, ORDER_SOCKETS
from aegis.sim.ground import Begin, End, Ground
from aegis.sim.kinds import Fault, Kind
from aegis.twin.binance.face import BinanceFace
from aegis.twin.fault_rules import Asked, Rule, Wire
from aegis.twin.frame_rules import Frames, Send

HUNG_S: Final = 10.0
"""How long a request without an answer keeps its caller, who gives up before."""
HALF_OPEN_S: Final = 10.0
"""When a connector's ping finds a peer that is gone (docs/design.md, silence)."""


def lose(ground: Ground, wire: Wire) -> NoReturn:
    """Let the newest request hang."""
    if ground.offload.in_call:
        wire.hold(HUNG_S)
    raise TimeoutError("no answer, by a fault")


# --- requests ------------------------------------------------------------------------------------


def _request(ground: Ground, _number: int, fault: Fault) -> End:
    wire, kind = ground.wires[fault.venue], fault.kind
    takes = ground.takes(fault, fault.target)
    if kind is Kind.REQUEST_LOST:
        rule = Rule(match=takes, times=None, before=lambda: lose(ground, wire))
    elif kind is Kind.ANSWER_LOST:
        rule = Rule(match=takes, times=None, after=lambda _: lose(ground, wire))
    elif kind in {Kind.ANSWER_LATE, Kind.EVENT_FIRST}:
        rule = Rule(match=takes, times=None, after=partial(_later, wire, fault.seconds))
    else:
        answer = server_error(fault)
        rule = Rule(match=takes, times=None, after=lambda _: answer)
    return wire.add(rule).end


def _later(wire: Wire, seconds: float, answer: HttpResponse) -> HttpResponse:
    wire.hold(seconds)
    return answer


def _reset(ground: Ground, _number: int, fault: Fault) -> End:
    takes = ground.takes(fault, fault.target)

    def reset(_answer: HttpResponse | None = None) -> NoReturn:
        raise ConnectionResetError("the connection was reset, by a fault")

    is_before = fault.kind is Kind.RESET_BEFORE
    before, after = (reset, None) if is_before else (None, reset)
    return (
        ground.wires[fault.venue].add(Rule(match=takes, times=None, before=before, after=after)).end
    )


def _unreachable(text: str) -> Callable[[], NoReturn]:
    def refuse() -> NoReturn:
        raise ConnectionRefusedError(f"{text}, by a fault")

    return refuse


def _connect(ground: Ground, _number: int, fault: Fault) -> End:
    # What goes by an open socket needs no connection.
    struck = ground.takes(fault, fault.target)
    rule = Rule(
        match=lambda asked: not asked.by_socket and struck(asked),
        times=None,
        before=_unreachable("connection refused"),
    )
    return ground.wires[fault.venue].add(rule).end


def _no_name(ground: Ground, _number: int, fault: Fault) -> End:
    """Let no new connection be made: requests by REST and new streams fail, open ones live on."""

    def takes(asked: Asked) -> bool:
        if asked.by_socket:
            return False
        ground.strike(fault, asked.kind)
        return True

    rule = Rule(match=takes, times=None, before=_unreachable("name not resolved"))
    _ = ground.wires[fault.venue].add(rule)
    open_again = ground.frames[fault.venue].refuse("", lambda path: ground.strike(fault, path))
    ground.strike(fault, f"{fault.for_s:.0f} s")
    now_ns = ground.clock.now_ns()
    over_ns = now_ns + round(fault.for_s * NS_PER_S)
    ground.log.unnamed.append((fault.venue, now_ns, over_ns))

    def end() -> None:
        rule.end()
        open_again()

    return end


# --- streams -------------------------------------------------------------------------------------


def _cut(ground: Ground, _number: int, fault: Fault) -> End:
    count = ground.frames[fault.venue].cut_all(fault.target)
    if count:
        ground.strike(fault, fault.target or "every stream")
    return None


def _refuse_stream(ground: Ground, _number: int, fault: Fault) -> End:
    frames = ground.frames[fault.venue]
    open_again = frames.refuse(fault.target, lambda path: ground.strike(fault, path))
    if frames.cut_all(fault.target):
        ground.strike(fault, f"{fault.target} cut")
    return open_again


def _half_open(ground: Ground, _number: int, fault: Fault) -> End:
    def swallowed(_text: str) -> None:
        ground.strike(fault, f"{fault.target} swallowed a message")

    if ground.frames[fault.venue].half_open(fault.target, HALF_OPEN_S, swallowed):
        ground.strike(fault, fault.target)
    return None


def _replay(ground: Ground, _number: int, fault: Fault) -> End:
    path = fault.target or ACCOUNT_STREAMS[fault.venue]
    count = ground.frames[fault.venue].replay(path)
    if count:
        ground.strike(fault, f"{path} {count} frames")
    return None


def _expire_key(ground: Ground, _number: int, fault: Fault) -> End:
    face = ground.twin.faces["binance"]
    assert isinstance(face, BinanceFace)
    face.expire_listen_key()
    ground.strike(fault, "the listen key")
    return None


# --- frames --------------------------------------------------------------------------------------


def _is_account(frame: bytes) -> bool:
    return any(mark in frame for mark in Frames.ACCOUNT)


def _twice(frame: bytes, send: Send) -> None:
    send(frame)
    send(frame)


def _swallow(_frame: bytes, _send: Send) -> None:
    pass


def _frames(ground: Ground, _number: int, fault: Fault) -> End:
    def late(frame: bytes, send: Send) -> None:
        _ = ground.loop.call_later(fault.seconds, send, frame)

    def reordered(frame: bytes, send: Send) -> None:
        # Each by a time of its own: they overtake one another, on one stream and across streams.
        _ = ground.loop.call_later(ground.rng.uniform(0, fault.seconds), send, frame)

    acts = {
        Kind.FRAMES_LOST: _swallow,
        Kind.FRAMES_TWICE: _twice,
        Kind.FRAMES_LATE: late,
        Kind.FRAMES_REORDERED: reordered,
    }
    return struck_frames(ground, fault, _is_account, acts[fault.kind])


def _silence(ground: Ground, _number: int, fault: Fault) -> End:
    return struck_frames(ground, fault, lambda _frame: True, _swallow, path=fault.target)


def _answers_twice(ground: Ground, _number: int, fault: Fault) -> End:
    path = ORDER_SOCKETS[fault.venue]
    return struck_frames(ground, fault, _is_answer, _twice, path=path)


def _is_answer(frame: bytes) -> bool:
    """Say whether this answers a request that was sent by the order socket."""
    told = orjson.loads(frame)
    return isinstance(told, dict) and ("id" in told or "reqId" in told)


def struck_frames(
    ground: Ground,
    fault: Fault,
    test: Callable[[bytes], bool],
    act: Callable[[bytes, Send], None],
    *,
    path: str = "",
) -> End:
    """Strike the frames that pass *test* by the fault's share, and log each."""

    def struck(frame: bytes) -> bool:
        if not test(frame) or ground.rng.random() >= fault.share:
            return False
        ground.strike(fault, frame[:60].decode(errors="replace"))
        return True

    return ground.frames[fault.venue].act_on(struck, act, path).end


BEGIN: Final[dict[Kind, Begin]] = {
    Kind.ANSWER_LOST: _request,
    Kind.REQUEST_LOST: _request,
    Kind.ANSWER_LATE: _request,
    Kind.EVENT_FIRST: _request,
    Kind.ERROR_AFTER: _request,
    Kind.UNKNOWN_AFTER: _request,
    Kind.ANSWER_TWICE: _answers_twice,
    Kind.CONNECT_REFUSED: _connect,
    Kind.RESET_BEFORE: _reset,
    Kind.RESET_AFTER: _reset,
    Kind.NAME_UNRESOLVED: _no_name,
    Kind.STREAM_CUT: _cut,
    Kind.DAY_CLOSE: _cut,
    Kind.STREAM_REFUSED: _refuse_stream,
    Kind.STREAM_SILENT: _silence,
    Kind.STREAM_HALF_OPEN: _half_open,
    Kind.FRAMES_LOST: _frames,
    Kind.FRAMES_TWICE: _frames,
    Kind.FRAMES_LATE: _frames,
    Kind.FRAMES_REORDERED: _frames,
    Kind.FRAMES_REPLAYED: _replay,
    Kind.KEY_EXPIRED: _expire_key,
}
