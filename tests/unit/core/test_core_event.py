"""Claims about aegis.core.event: construction is strict, and the list of types is complete."""

import gc

import attrs
import pytest

from aegis.core.event import Event, HandlerFailed, event_types, is_event_type


@attrs.frozen(slots=True, kw_only=True)
class LampLit(Event):
    """A concrete event of these tests."""

    watts: int


@attrs.frozen(slots=True, kw_only=True)
class _LampBase(Event):
    lamp: str

    @property
    def routing_key(self) -> object | None:
        return self.lamp


@attrs.frozen(slots=True, kw_only=True)
class LampBroke(_LampBase):
    """A concrete event with a base in between."""


class Undeclared(Event):
    """A subclass that forgot the decorator."""


def test_an_unknown_field_raises_at_construction() -> None:
    """R8: a misspelled field is found where the event is made."""
    with pytest.raises(TypeError, match="wats"):
        LampLit(ts_event=1, ts_recv=2, watts=3, wats=4)  # type: ignore[call-arg]


def test_a_missing_field_raises_at_construction() -> None:
    """R8: no field has a silent default."""
    with pytest.raises(TypeError, match="ts_recv"):
        LampLit(ts_event=1, watts=3)  # type: ignore[call-arg]


def test_an_event_cannot_be_changed() -> None:
    """Every subscriber sees the event the producer made."""
    event = LampLit(ts_event=1, ts_recv=2, watts=3)

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.watts = 4  # type: ignore[misc]


def test_routing_key_is_none_unless_a_type_has_its_own() -> None:
    """Only types that say so are routed by key."""
    assert LampLit(ts_event=1, ts_recv=2, watts=3).routing_key is None
    assert LampBroke(ts_event=1, ts_recv=2, lamp="hall").routing_key == "hall"


def test_event_types_lists_each_concrete_type_once() -> None:
    """Bases, undeclared classes and the unslotted twins attrs leaves behind are not in the list."""
    gc.collect()
    names = [cls.__name__ for cls in event_types()]

    assert sorted(names) == names
    assert names.count("LampLit") == names.count("LampBroke") == 1
    assert not {"_LampBase", "Event", "Undeclared"} & set(names)


def test_event_types_can_be_limited_to_a_package() -> None:
    """The contract check sees the product's types and not those of tests."""
    types = event_types("aegis")

    assert HandlerFailed in types
    assert LampLit not in types


def test_an_undeclared_subclass_is_not_an_event_type() -> None:
    """A forgotten decorator can be found out."""
    assert is_event_type(LampLit)
    assert not is_event_type(Undeclared)
    assert not is_event_type(int)
