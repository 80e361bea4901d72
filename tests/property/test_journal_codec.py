"""Laws of the journal's codec: what is written reads back as it was, for every event type (R9)."""

import enum
import json
import string
from collections.abc import Callable
from decimal import Decimal
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aegis.core.event import Event, event_types
from aegis.journal.codec import Codec, Encoded
from aegis.journal.errors import CodecError
from aegis.model.fill import Fill
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.intent import ClosePosition, EnterPosition, PlaceProtection
from aegis.model.order import AttachedProtection, OrderRequest, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause, ProtectionPlan

CODEC = Codec()
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
POSITIVE = st.decimals(
    min_value=Decimal("1e-12"), max_value=Decimal("1e12"), allow_nan=False, allow_infinity=False
)
INTS = st.integers(-(2**63), 2**63 - 1)
# A venue's text may carry a lone surrogate, which has no UTF-8.
TEXTS = st.text(st.characters(), max_size=8) | st.just("\ud800")
SYMBOLS = st.text(string.ascii_uppercase + string.digits, min_size=1, max_size=12)
IDS = st.builds(InstrumentId, SYMBOLS, st.sampled_from(Venue))


@st.composite
def order_requests(draw: st.DrawFn, *, entry: bool | None = None) -> OrderRequest:
    """Draw requests of every kind the class allows; *entry*: only those that enter, or exit."""
    purposes = [p for p in Purpose if entry is None or (p is Purpose.ENTRY) == entry]
    purpose, kind = draw(st.sampled_from(purposes)), draw(st.sampled_from(OrderType))
    close_position = draw(st.booleans())
    hints = get_type_hints(OrderRequest)
    return OrderRequest(
        instrument_id=draw(IDS),
        client_order_id=draw(TEXTS),
        purpose=purpose,
        side=draw(of(hints["side"])),
        order_type=kind,
        qty=None if close_position else draw(POSITIVE),
        reduce_only=purpose is not Purpose.ENTRY or draw(st.booleans()),
        close_position=close_position,
        limit_price=draw(DECIMALS) if kind is OrderType.LIMIT else None,
        trigger_price=draw(DECIMALS) if kind.is_conditional else None,
        trigger_by=draw(of(hints["trigger_by"])),
        time_in_force=draw(of(hints["time_in_force"])),
        attached=draw(ATTACHED) if purpose is Purpose.ENTRY else None,
    )


@st.composite
def entering(draw: st.DrawFn) -> EnterPosition:
    """Draw entries whose side is that of their request."""
    request = draw(order_requests(entry=True))
    sides = [side for side in PositionSide if side.entry_side is request.side]
    return EnterPosition(
        request=request,
        side=draw(st.sampled_from(sides)),
        plan=draw(of(ProtectionPlan)),
        leverage=draw(INTS),
        mark_price=draw(DECIMALS),
        signal_price=draw(DECIMALS),
        signal_id=draw(TEXTS),
        expires_ns=draw(INTS),
    )


ATTACHED = st.deferred(lambda: st.none() | of(AttachedProtection))
BY_HAND: dict[Any, st.SearchStrategy[Any]] = {
    int: INTS,
    str: TEXTS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    Decimal: DECIMALS,
    type(None): st.none(),
    InstrumentId: IDS,
    OrderRequest: order_requests(),
    EnterPosition: entering(),
    PlaceProtection: st.builds(PlaceProtection, request=order_requests(entry=False)),
    ClosePosition: st.builds(
        ClosePosition, request=order_requests(entry=False), cause=st.sampled_from(CloseCause)
    ),
}
POSITIVE_FIELDS = {
    Fill: ("last_qty", "last_px"),
    Instrument: ("tick_size", "qty_step"),
    ProtectionPlan: ("stop_distance", "target_distance"),
}


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for any type an event's field may have."""
    if kind in BY_HAND:
        return BY_HAND[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return st.one_of([of(arg) for arg in args])
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(of(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(of(arg) for arg in args))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if not attrs.has(kind):
        raise TypeError(f"no strategy for {kind!r}: teach this test, and look at the codec")
    hints = get_type_hints(kind)
    positive = POSITIVE_FIELDS.get(kind, ())
    fields = {
        field.name: POSITIVE if field.name in positive else of(hints[field.name])
        for field in attrs.fields(kind)
    }
    return st.builds(kind, **fields)


EVENT_TYPES = event_types("aegis")
# No shrinking: an intent holds some fifty drawn values, and the type's name tells enough.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def each_type(test: Callable[..., None]) -> Any:
    return pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda cls: cls.__name__)(test)


def test_the_events_of_the_model_are_among_the_types() -> None:
    """The enumeration below covers what it should."""
    names = {cls.__name__ for cls in EVENT_TYPES}

    assert {"HandlerFailed", "RunStarted", "FillBooked", "JournalFault"} <= names


@each_type
@settings(
    max_examples=25, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow]
)
@given(data=st.data())
def test_decode_undoes_encode_for_every_field(event_type: type[Event], data: st.DataObject) -> None:
    """R9: encode, then decode is the identity, down to each value's kind and digits."""
    event = data.draw(of(event_type))

    encoded = CODEC.encode(event)
    back = CODEC.decode(encoded)

    assert event == back
    assert repr(event) == repr(back)
    assert encoded == CODEC.encode(back)


@each_type
@settings(
    max_examples=3, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_missing_or_an_unknown_field_is_refused(
    event_type: type[Event], data: st.DataObject
) -> None:
    """R8, R9: no field has a default on the way back, none is passed over."""
    encoded = CODEC.encode(data.draw(of(event_type)))
    fields = json.loads(encoded.payload)
    name = data.draw(st.sampled_from(sorted(fields)))

    lacking = {key: value for key, value in fields.items() if key != name}
    with pytest.raises(CodecError, match=f"lacks {name}"):
        CODEC.decode(attrs.evolve(encoded, payload=json.dumps(lacking).encode()))
    with pytest.raises(CodecError, match="has no field surplus"):
        CODEC.decode(attrs.evolve(encoded, payload=json.dumps({**fields, "surplus": 1}).encode()))


@pytest.mark.parametrize(
    ("event_type", "name", "value"),
    [
        ("AlertRaised", "message", 7),
        ("AlertRaised", "ts_event", "7"),
        ("AlertRaised", "ts_event", True),
        ("AlertRaised", "ts_event", 7.0),
        ("VenueProtected", "venue", "KRAKEN"),
        ("VenueProtected", "venue", None),
        ("DayStarted", "equity", 1.5),
        ("DayStarted", "equity", "much"),
        ("FeedStale", "instrument_id", "BTCUSDT"),
        ("HeartbeatEmitted", "lines", "text"),
        ("HeartbeatEmitted", "lines", [1]),
        ("WarmupFinished", "bars", ["1m"]),
        ("WarmupFinished", "bars", [["1m"]]),
        ("PositionOpened", "position", []),
        ("IntentProposed", "intent", {"command": {"@type": "Nothing"}}),
        ("CandleClosed", "from_history", 1),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(
    event_type: str, name: str, value: object
) -> None:
    """R8: nothing is coerced on the way back, and the reader is told where it stands."""
    cls = next(cls for cls in EVENT_TYPES if cls.__name__ == event_type)
    fields = dict.fromkeys(field.name for field in attrs.fields(cls)) | {name: value}

    with pytest.raises(CodecError, match=rf"\$\.{name}"):
        CODEC.decode(Encoded(event_type, 1, json.dumps(fields).encode()))


def test_an_unknown_type_or_version_is_refused() -> None:
    """R8: a row of another program version is not guessed at."""
    with pytest.raises(CodecError, match="Gone: is not an event type of aegis"):
        CODEC.decode(Encoded("Gone", 1, b"{}"))
    with pytest.raises(CodecError, match="schema version was 2, this program reads 1"):
        CODEC.decode(Encoded("AlertRaised", 2, b"{}"))


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from(EVENT_TYPES))
def test_bytes_that_are_no_event_raise_only_the_codecs_fault(
    payload: bytes, event_type: type[Event]
) -> None:
    """Whatever stands in a damaged row, the reader is told which type it was."""
    with pytest.raises(CodecError, match=event_type.__name__):
        CODEC.decode(Encoded(event_type.__name__, 1, payload))
