"""
The root of all events on the bus, and the one event the bus itself produces.

An event is a fact in the past tense: frozen, keyword-only, complete at construction. Every type is
declared with `@attrs.frozen(kw_only=True)`, so that an unknown or a missing field raises TypeError
where the event is made and not where it is read (R8).
"""

from typing import ClassVar

import attrs


@attrs.frozen(slots=True, kw_only=True)
class Event:
    """
    Something that happened, with when it happened and when we saw it.

    ts_event: when it happened at its source, integer nanoseconds UTC.
    ts_recv: when this process saw it, integer nanoseconds UTC; never subtracted from a venue's time
    without the measured offset.
    """

    schema_version: ClassVar[int] = 1

    ts_event: int
    ts_recv: int

    @property
    def routing_key(self) -> object | None:
        """Return what keyed subscribers are looked up by; None: only unkeyed ones are called."""
        return None


@attrs.frozen(slots=True, kw_only=True)
class HandlerFailed(Event):
    """
    A subscriber raised while it handled an event; the other subscribers were still called (R7).

    handler: qualified name. event_repr: at most 2,000 characters. critical: the subscription was
    declared critical, which is the case for everything on the way out of a position.
    """

    handler: str
    event_type: str
    event_repr: str
    error_type: str
    error: str
    traceback: str
    critical: bool


def event_types(package: str = "") -> list[type[Event]]:
    """
    Return all concrete event types, sorted by name, then by module.

    A type that other event types derive from is a base and not concrete. With *package* only types
    whose module lies in it are returned (`"aegis"` leaves out the types tests declare).
    """
    found = {
        cls
        for cls in _descendants(Event)
        if not any(_is_declared(child) for child in cls.__subclasses__())
    }
    if package:
        found = {cls for cls in found if f"{cls.__module__}.".startswith(f"{package}.")}
    return sorted(found, key=lambda cls: (cls.__name__, cls.__module__))


def is_event_type(cls: type) -> bool:
    """Return whether *cls* is an event type that was itself declared with attrs."""
    return issubclass(cls, Event) and _is_declared(cls)


def _descendants(root: type[Event]) -> list[type[Event]]:
    found: list[type[Event]] = []
    for child in root.__subclasses__():
        if _is_declared(child):
            found.append(child)
        found.extend(_descendants(child))
    return found


def _is_declared(cls: type) -> bool:
    # attrs builds a second class to add slots; the first one lingers among __subclasses__ until
    # it is collected, and lacks this attribute of its own.
    return "__attrs_attrs__" in cls.__dict__
