"""
Events to canonical bytes and back, without loss: decode(encode(event)) == event, always (R9).

There is no list of fields here: what an event declares is what is written. Bytes are JSON with
sorted keys; Decimals are text as they are (1.0 is not 1.00), instruments their text form, a union
of classes carries the class name under "@type". Reading is as strict as construction: an unknown
type or schema version, a missing or an unknown field, or a value of another kind raises.
"""

import enum
import json
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import attrs
import cattrs
import orjson
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from aegis.core.errors import InvariantError, bounded_repr
from aegis.core.event import Event, event_types
from aegis.journal.errors import CodecError
from aegis.model.events import PRIORITY_EVENTS
from aegis.model.instrument import InstrumentId

TYPE_KEY: Final = "@type"
"""Names the class of a member of a union; no field can be called so."""

_In = Callable[[Any, Any], Any]

_NOT_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@attrs.frozen(slots=True, kw_only=True)
class JournalFault(Event):
    """
    Stands in the journal for an event that could not be encoded (R75).

    It has the place (seq) of the event it replaces; *event_repr* is bounded.
    """

    event_type: str
    error: str
    event_repr: str


@attrs.frozen(slots=True)
class Encoded:
    """An event as it is stored: its type's name, the version of its shape, canonical JSON."""

    type: str
    schema_version: int
    payload: bytes


class Codec:
    """Encode and decode every event type declared in *package*; use one per thread of work."""

    def __init__(self, package: str = "aegis") -> None:
        self._package = package
        self._converter = _converter()
        # Naming them here also makes sure that the events of the model have been imported.
        self._types: dict[str, type[Event]] = {cls.__name__: cls for cls in PRIORITY_EVENTS}
        self._learn()

    def encode(self, event: Event) -> Encoded:
        """
        Return *event* in its canonical form.

        Raises:
            CodecError: when the type is not known or a value has no lossless form.
        """
        return self.encode_fields(event)[0]

    def encode_fields(self, event: Event) -> tuple[Encoded, dict[str, Any]]:
        """Return *event* encoded, and the plain fields its bytes were made from."""
        cls = type(event)
        name = cls.__name__
        if self._type_of(name) is not cls:
            raise CodecError(name, f"is not an event type of {self._package}")
        try:
            fields: dict[str, Any] = self._converter.unstructure(event, cls)
        except Exception as error:
            raise CodecError(name, f"{type(error).__name__}: {error}") from error
        try:
            payload = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        except TypeError as error:
            payload = self._escaped(event, fields, error)
        return Encoded(name, cls.schema_version, payload), fields

    def decode(self, encoded: Encoded) -> Event:
        """
        Return the event *encoded* was made from.

        Raises:
            CodecError: says which field was missing, unknown or of the wrong kind.
        """
        cls = self._type_of(encoded.type)
        if cls is None:
            raise CodecError(encoded.type, f"is not an event type of {self._package}")
        if encoded.schema_version != cls.schema_version:
            raise CodecError(
                encoded.type,
                f"schema version was {encoded.schema_version}, this program reads "
                f"{cls.schema_version}",
            )
        try:
            fields = _loads(encoded.payload)
        except ValueError as error:
            raise CodecError(encoded.type, f"payload is not JSON: {error}") from error
        try:
            event: Event = self._converter.structure(fields, cls)
        except Exception as error:
            told = cattrs.transform_error(error, path="$", format_exception=_told)
            raise CodecError(encoded.type, "; ".join(told)) from error
        return event

    def _escaped(self, event: Event, fields: dict[str, Any], cause: TypeError) -> bytes:
        # A lone surrogate, as a venue's text may carry one, has no UTF-8 but does have an escape.
        name = type(event).__name__
        try:
            payload = json.dumps(
                fields, sort_keys=True, separators=(",", ":"), allow_nan=False
            ).encode()
            back = self.decode(Encoded(name, type(event).schema_version, payload))
        except (TypeError, ValueError, CodecError) as error:
            raise CodecError(name, f"has no JSON form: {cause}; {error}") from error
        if back != event:
            raise CodecError(name, f"does not survive encoding: {cause}")
        return payload

    def _type_of(self, name: str) -> type[Event] | None:
        found = self._types.get(name)
        if found is None:  # declared after this codec was made
            self._learn()
            found = self._types.get(name)
        return found

    def _learn(self) -> None:
        for cls in event_types(self._package):
            known = self._types.setdefault(cls.__name__, cls)
            if known is not cls:
                raise InvariantError(f"two event types are called {cls.__name__}")


def _loads(payload: bytes) -> object:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return json.loads(payload.decode())


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
        converter.register_unstructure_hook(kind, _plain(kind))
    converter.register_unstructure_hook(float, _float_out)
    converter.register_structure_hook(float, _float_in)
    converter.register_unstructure_hook(Decimal, _decimal_out)
    converter.register_structure_hook(Decimal, _decimal_in)
    converter.register_unstructure_hook(InstrumentId, _instrument_out)
    converter.register_structure_hook(InstrumentId, _instrument_in)
    converter.register_structure_hook_factory(attrs.has, _class_in)
    converter.register_unstructure_hook_factory(attrs.has, _class_out)
    converter.register_structure_hook_factory(_is_class_union, _union_in)
    converter.register_unstructure_hook_factory(_is_class_union, _union_out)
    without_tuples = converter.copy()

    def tuple_in(kind: Any) -> _In:
        inner = without_tuples.get_structure_hook(kind)

        def structure(value: Any, _: object) -> Any:
            _require_lists(value, kind)
            return inner(value, kind)

        return structure

    converter.register_structure_hook_factory(_is_tuple, tuple_in)
    return converter


def _class_in(cls: type[Any], converter: cattrs.Converter) -> _In:
    inner = make_dict_structure_fn(cls, converter)
    names = frozenset(field.name for field in attrs.fields(cls))

    def structure(value: Any, _: object) -> Any:
        _require_fields(cls.__name__, value, names)
        return inner(value, cls)

    return structure


def _class_out(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any], dict[str, Any]]:
    return make_dict_unstructure_fn(cls, converter)


def _union_in(union: Any, converter: cattrs.Converter) -> _In:
    members = {member.__name__: member for member in get_args(union)}

    def structure(value: Any, _: object) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"must be an object, was {bounded_repr(value, 80)}")
        cls = members.get(value.get(TYPE_KEY, ""))
        if cls is None:
            raise ValueError(f"{TYPE_KEY} was {value.get(TYPE_KEY)!r}, must be {list(members)}")
        return converter.structure({k: v for k, v in value.items() if k != TYPE_KEY}, cls)

    return structure


def _union_out(union: Any, converter: cattrs.Converter) -> Callable[[Any], dict[str, Any]]:
    members = get_args(union)

    def unstructure(value: Any) -> dict[str, Any]:
        if type(value) not in members:
            raise TypeError(f"must be one of {union}, was {bounded_repr(value, 80)}")
        return {TYPE_KEY: type(value).__name__, **converter.unstructure(value)}

    return unstructure


def _is_class_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and all(map(attrs.has, get_args(kind)))


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _require_lists(value: object, kind: Any) -> None:
    # A text would pass for a tuple of its letters.
    if not isinstance(value, list):
        raise TypeError(f"must be a list, was {bounded_repr(value, 80)}")
    for inner in filter(_is_tuple, get_args(kind)[:1]):
        for item in value:
            _require_lists(item, inner)


def _require_fields(name: str, value: object, names: frozenset[str]) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be an object, was {bounded_repr(value, 80)}")
    missing, unknown = sorted(names - value.keys()), sorted(value.keys() - names)
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if unknown:
        raise ValueError(f"{name} has no field {', '.join(unknown)}")


def _exactly(kind: type) -> _In:
    def structure(value: object, target: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"must be {kind.__name__}, was {bounded_repr(value, 80)}")
        # A StrEnum is a str to the dispatch, and equal to its text: it must not stay text.
        return value if target is kind else target(value)

    return structure


def _plain(kind: type) -> Callable[[Any], Any]:
    # A value of another kind than declared would be written well and never read back.
    def unstructure(value: object) -> Any:
        if type(value) is kind:
            return value
        if isinstance(value, enum.Enum):
            value = value.value
        if not isinstance(value, kind):
            raise TypeError(f"must be {kind.__name__}, was {bounded_repr(value, 80)}")
        return kind(value)

    return unstructure


def _float_out(value: object) -> float | str:
    if not isinstance(value, int | float):
        raise TypeError(f"must be a number, was {bounded_repr(value, 80)}")
    number = float(value)
    # JSON has no infinity; orjson would write null, which reads back as "not told".
    return number if math.isfinite(number) else str(number)


def _float_in(value: object, _: object) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"must be a number, was {bounded_repr(value, 80)}")
    return float(value)


def _decimal_out(value: object) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"must be Decimal, was {bounded_repr(value, 80)}")
    return str(value)


def _decimal_in(value: object, _: object) -> Decimal:
    if not isinstance(value, str):
        raise TypeError(f"must be a decimal as text, was {bounded_repr(value, 80)}")
    try:
        return Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"must be a decimal as text, was {value[:80]!r}") from error


@lru_cache(maxsize=4096)
def _instrument_out(value: InstrumentId) -> str:
    text = str(value)
    if InstrumentId.parse(text) != value:
        raise ValueError(f"instrument {text!r} does not read back as itself")
    return text


def _instrument_in(value: object, _: object) -> InstrumentId:
    if not isinstance(value, str):
        raise TypeError(f"must be SYMBOL-PERP.VENUE, was {bounded_repr(value, 80)}")
    return InstrumentId.parse(value)


def _told(error: BaseException, _: type | None) -> str:
    return f"{error}" if str(error) else type(error).__name__
