"""
Messages apart: stream envelopes, replies to our requests, REST answers, rows. Pure.

What the rows say is read in parse.py and parse_market.py. Malformed bytes raise VenueProtocolError
and nothing else; what is well-formed but not known to us is a typed `Unknown`, which is counted and
never fatal.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs
import msgspec

from aegis.core.clock import NS_PER_MS
from aegis.core.errors import VenueProtocolError
from aegis.venue.bybit import wire
from aegis.venue.bybit.errors import VENUE, code_text

T = TypeVar("T")

_REPLY_OPS: Final = frozenset({"auth", "subscribe", "unsubscribe", "ping", "pong"})
_ENVELOPE: Final = msgspec.json.Decoder(wire.Envelope)
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])


@attrs.frozen(slots=True, kw_only=True)
class Unknown:
    """Something well-formed that the bot has no use for; *what* names its kind, for counting."""

    what: str


@attrs.frozen(slots=True, kw_only=True)
class Reply:
    """The answer to a request of ours on a stream, pongs included."""

    op: str
    ok: bool
    message: str
    req_id: str


@attrs.frozen(slots=True, kw_only=True)
class DataFrame:
    """A pushed message: *topic* as the venue named it, *data* undecoded, *ts_event* ns UTC."""

    topic: str
    is_snapshot: bool
    ts_event: int
    data: msgspec.Raw


@attrs.frozen(slots=True, kw_only=True)
class Answer:
    """The result of a successful call."""

    operation: str
    result: Mapping[str, Any]

    def read(self, shape: type[T]) -> T:
        """
        Return the result as *shape*, a Struct of wire.py.

        Raises:
            VenueProtocolError: when it is not of that shape.

        """
        return convert(self.result, shape, self.operation)


def unreadable(payload: object, detail: str, operation: str) -> VenueProtocolError:
    """Return the fault for *payload*; raised by the caller, where the place is known."""
    return VenueProtocolError(payload, detail, venue=VENUE, operation=operation)


def decode(decoder: "msgspec.json.Decoder[T]", raw: bytes | msgspec.Raw, operation: str) -> T:
    """
    Return what *decoder* makes of *raw*.

    Raises:
        VenueProtocolError: whatever is wrong with the bytes.

    """
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError) as error:
        raise unreadable(bytes(raw), str(error), operation) from error


def convert(value: object, shape: type[T], operation: str) -> T:
    """
    Return decoded JSON *value* as *shape*.

    Raises:
        VenueProtocolError: when it is not of that shape.

    """
    try:
        return msgspec.convert(value, shape, strict=False)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError) as error:
        raise unreadable(value, str(error), operation) from error


def read_frame(raw: bytes) -> Reply | DataFrame | Unknown:
    """
    Return what kind of message *raw* is.

    Raises:
        VenueProtocolError: when it is none.

    """
    envelope = decode(_ENVELOPE, raw, "stream frame")
    if envelope.topic:
        return DataFrame(
            topic=envelope.topic,
            is_snapshot=envelope.type != "delta",
            ts_event=(envelope.ts or envelope.creation_time) * NS_PER_MS,
            data=envelope.data,
        )
    if envelope.op in _REPLY_OPS:
        return Reply(
            op=envelope.op,
            ok=_succeeded(envelope),
            message=envelope.ret_msg_snake or envelope.ret_msg_camel or "",
            req_id="" if envelope.req_id is None else str(envelope.req_id),
        )
    return Unknown(what=f"op {envelope.op}" if envelope.op else "message without topic and op")


def rows_of(frame: DataFrame) -> Sequence[msgspec.Raw]:
    """
    Return the rows of a private frame, each to be read by itself: one bad row spoils no other.

    Raises:
        VenueProtocolError: when the data are not a list.

    """
    return decode(_ROWS, frame.data, f"stream {frame.topic}")


def _succeeded(envelope: wire.Envelope) -> bool:
    if envelope.success is not None:
        return envelope.success
    # Pongs of the private stream carry neither (venues.md 3.1).
    return envelope.ret_code is None or code_text(envelope.ret_code) == "0"
