"""Laws of the journal's codec: what is written reads back as it was, for every event type (R9)."""

import enum
import json
import string
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.core.event import Event, event_types
from aegis.journal.codec import Codec, Encoded
from aegis.journal.errors import CodecError
from aegis.model.fill import Fill
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.order import AttachedProtection, OrderRequest, OrderType, Purpose
from aegis.model.position import ProtectionPlan

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
def order_requests(draw: st.DrawFn) -> OrderRequest:
    """Draw requests of every kind the class allows."""
    purpose, kind = draw(st.sampled_from(Purpose)), draw(st.sampled_from(OrderType))
    close_position = draw(st.booleans())
    hints = get_type_hints(OrderRequest)
    entry = purpose is Purpose.ENTRY
    return OrderRequest(
        instrument_id=draw(IDS),
        client_order_id=draw(TEXTS),
        purpose=purpose,
        side=draw(of(hints["side"])),
        order_type=kind,
        qty=None if close_position else draw(POSITIVE),
        reduce_only=draw(st.booleans()) if entry else True,
        close_position=close_position,
        limit_price=draw(DECIMALS) if kind is OrderType.LIMIT else None,
        trigger_price=draw(DECIMALS) if kind.is_conditional else None,
        trigger_by=draw(of(hints["trigger_by"])),
        time_in_force=draw(of(hints["time_in_force"])),
        attached=draw(st.none() | of(AttachedProtection)) if entry else None,
    )


BY_HAND: dict[Any, st.SearchStrategy[Any]] = {
    int: INTS,
    str: TEXTS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    Decimal: DECIMALS,
    type(None): st.none(),
    InstrumentId: IDS,
    OrderRequest: order_requests(),
}
POSITIVE_FIELDS = {
    Fill: ("last_qty", "last_px"),
    Instrument: ("tick_size", "qty_step"),
    ProtectionPlan: ("stop_distance", "target_distance"),
}


@cache
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


def each_type(test: Callable[..., None]) -> Any:
    return pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda cls: cls.__name__)(test)


def test_the_events_of_the_model_are_among_the_types() -> None:
    """The enumeration below covers what it should."""
    names = {cls.__name__ for cls in EVENT_TYPES}

    assert {"HandlerFailed", "RunStarted", "FillBooked", "JournalFault"} <= names


@each_type
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_decode_undoes_encode_for_every_field(event_type: type[Event], data: st.DataObject) -> None:
    """R9: encode, then decode is the identity, also in how a Decimal is written."""
    event = data.draw(of(event_type))

    encoded = CODEC.encode(event)
    back = CODEC.decode(encoded)

    assert event == back
    assert type(event) is type(back)
    assert encoded == CODEC.encode(back)


@each_type
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@given(st.binary(max_size=60), st.sampled_from(EVENT_TYPES))
def test_bytes_that_are_no_event_raise_only_the_codecs_fault(
    payload: bytes, event_type: type[Event]
) -> None:
    """Whatever stands in a damaged row, the reader is told which type it was."""
    with pytest.raises(CodecError, match=event_type.__name__):
        CODEC.decode(Encoded(event_type.__name__, 1, payload))
