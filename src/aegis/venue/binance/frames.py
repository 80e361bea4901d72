"""
From bytes to wire Structs: the one place that decodes, and the frames that are no market or account
fact. Malformed bytes raise VenueProtocolError and nothing else.
"""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import attrs
import msgspec
from loguru import logger

from aegis.core.errors import VenueProtocolError
from aegis.model.instrument import Venue
from aegis.venue.binance import wire

S = TypeVar("S")

NS_PER_MS: Final = 1_000_000
# No price, quantity or balance is near this; beyond it Decimal arithmetic raises by itself.
_MAGNITUDE_MAX: Final = 30

_MARKET: Final[msgspec.json.Decoder[wire.MarketFrame]] = msgspec.json.Decoder(
    wire.MarketFrame, strict=False
)
_USER: Final[msgspec.json.Decoder[wire.UserFrame]] = msgspec.json.Decoder(
    wire.UserFrame, strict=False
)
_ENVELOPE: Final = msgspec.json.Decoder(wire.Envelope, strict=False)
_MARKET_KINDS: Final = frozenset({"bookTicker", "markPriceUpdate", "kline", "depthUpdate"})
_USER_KINDS: Final = frozenset(
    {
        "ORDER_TRADE_UPDATE",
        "ALGO_UPDATE",
        "ACCOUNT_UPDATE",
        "TRADE_LITE",
        "ACCOUNT_CONFIG_UPDATE",
        "MARGIN_CALL",
        "listenKeyExpired",
        "CONDITIONAL_ORDER_TRIGGER_REJECT",
    }
)


@attrs.frozen(slots=True)
class Unknown:
    """A well-formed message of a kind we have no use for; counted, logged once per kind."""

    kind: str


class UnknownCounter:
    """Count what the bot has no use for; the first of each kind is logged."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, unknown: Unknown) -> None:
        """Count *unknown* by its kind."""
        self.counts[unknown.kind] += 1
        if self.counts[unknown.kind] == 1:
            logger.warning("binance sent something unknown: {}", unknown.kind)


@attrs.frozen(slots=True)
class Notice:
    """A message for people: logged, acted upon by nobody."""

    kind: str
    text: str
    leverage: tuple[str, int] | None = attrs.field(default=None, eq=False)
    """Symbol and its new leverage, where that is what the message tells."""


@attrs.frozen(slots=True)
class Ack:
    """The answer to a control frame of ours; *error* is "" when it was accepted."""

    request_id: str
    error: str


@attrs.frozen(slots=True)
class ListenKeyLost:
    """The listen key expired: the socket stays open and tells nothing any more."""


def market_frame(frame: bytes) -> wire.MarketFrame | Ack | Unknown:
    """
    Decode a frame of /public or /market, wrapped or bare.

    Raises:
        VenueProtocolError: not JSON, or a known kind with unreadable fields.

    """
    try:
        return _MARKET.decode(frame)
    except (ValueError, RecursionError) as error:
        return _otherwise(frame, error, _MARKET, _MARKET_KINDS, "market frame")


def user_frame(frame: bytes) -> wire.UserFrame | Ack | Unknown:
    """
    Decode a frame of /private, wrapped or bare.

    Raises:
        VenueProtocolError: not JSON, or a known kind with unreadable fields.

    """
    try:
        return _USER.decode(frame)
    except (ValueError, RecursionError) as error:
        return _otherwise(frame, error, _USER, _USER_KINDS, "user frame")


def _otherwise(
    frame: bytes,
    error: Exception,
    decoder: msgspec.json.Decoder[S],
    kinds: frozenset[str],
    operation: str,
) -> S | Ack | Unknown:
    # The bare event is decoded in one step; only what is not one comes here.
    try:
        envelope = _ENVELOPE.decode(frame)
        if envelope.kind is None and bytes(envelope.data):
            return _wrapped(envelope.data, decoder, kinds, frame, operation)
    except (ValueError, RecursionError) as second:
        raise not_understood(frame, str(second), operation) from second
    if envelope.kind in kinds:
        raise not_understood(frame, str(error), operation) from error
    if envelope.kind is not None:
        return Unknown(envelope.kind)
    refusal = bytes(envelope.error).decode()
    if envelope.id is None and not refusal and envelope.code is None:
        return Unknown("object without a kind")
    if refusal not in {"", "null"}:
        return Ack(str(envelope.id), refusal)
    if envelope.code is not None:
        return Ack(str(envelope.id), f"{envelope.code} {envelope.message}")
    return Ack(str(envelope.id), "")


def _wrapped(
    data: msgspec.Raw,
    decoder: msgspec.json.Decoder[S],
    kinds: frozenset[str],
    frame: bytes,
    operation: str,
) -> S | Unknown:
    if bytes(data).lstrip().startswith(b"["):
        return Unknown("array")
    try:
        return decoder.decode(data)
    except ValueError as error:
        kind = _ENVELOPE.decode(data).kind
        if kind in kinds:
            raise not_understood(frame, str(error), operation) from error
        return Unknown(kind or "object without a kind")


def row(value: object, row_type: type[S], operation: str) -> S:
    """
    Turn one object of a REST answer into *row_type*.

    Raises:
        VenueProtocolError: a field is missing or unreadable.

    """
    try:
        return msgspec.convert(value, row_type, strict=False)
    except (ValueError, RecursionError) as error:
        raise not_understood(value, str(error), operation) from error


def rows(value: object, row_type: type[S], operation: str) -> Sequence[S]:
    """Turn a REST answer that is an array into *row_type*; raises as `row` does."""
    listed: Any = list[row_type]  # type: ignore[valid-type]  # a type made at run time
    converted: Sequence[S] = row(value, listed, operation)
    return converted


def not_understood(payload: object, detail: str, operation: str) -> VenueProtocolError:
    """Return the fault for *payload*."""
    return VenueProtocolError(payload, detail, venue=Venue.BINANCE.value, operation=operation)


def checked(value: Decimal | None, name: str, payload: object, operation: str) -> Decimal:
    """
    Return *value* when it is a number we can count with.

    Raises:
        VenueProtocolError: it is missing, NaN, infinite, or of an absurd magnitude.

    """
    if value is None:
        raise not_understood(payload, f"{name} is missing", operation)
    if not value.is_finite() or abs(value.adjusted()) > _MAGNITUDE_MAX:
        raise not_understood(payload, f"{name} was {value}", operation)
    return value


def above_zero(value: Decimal | None, name: str, payload: object, operation: str) -> Decimal | None:
    """Return *value* when > 0, None when it is missing or 0; raises as `checked` does."""
    if value is None:
        return None
    number = checked(value, name, payload, operation)
    if number < 0:
        raise not_understood(payload, f"{name} was {value}", operation)
    return number if number > 0 else None
