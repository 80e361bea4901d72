"""Claims about aegis.core.bus: one total order, every handler called, no failure lost."""

import functools

import attrs
import pytest

from aegis.core.bus import ContractReport, EventBus
from aegis.core.clock import ManualClock
from aegis.core.event import Event, HandlerFailed


@attrs.frozen(slots=True, kw_only=True)
class Rang(Event):
    """An event with a number, routed by bell."""

    number: int
    bell: str = "front"

    @property
    def routing_key(self) -> object | None:
        return self.bell


@attrs.frozen(slots=True, kw_only=True)
class Opened(Event):
    """A second type."""

    number: int


def rang(number: int, bell: str = "front") -> Rang:
    return Rang(ts_event=1, ts_recv=2, number=number, bell=bell)


def opened(number: int) -> Opened:
    return Opened(ts_event=1, ts_recv=2, number=number)


def make_bus() -> tuple[EventBus, list[HandlerFailed]]:
    double_faults: list[HandlerFailed] = []
    return EventBus(ManualClock(7), on_double_fault=double_faults.append), double_faults


def boom(event: Event) -> None:
    """Fail on any event."""
    raise ValueError(f"boom on {type(event).__name__}")


def test_an_event_published_by_a_handler_waits_for_the_present_one() -> None:
    """Run to completion: all handlers see the first event before anyone sees its consequence."""
    bus, _ = make_bus()
    seen: list[str] = []
    bus.subscribe(Rang, lambda event: bus.publish(opened(event.number)))
    bus.subscribe(Rang, lambda event: seen.append(f"rang {event.number}"))
    bus.subscribe(Opened, lambda event: seen.append(f"opened {event.number}"))

    bus.publish(rang(1))
    bus.publish(rang(2))

    assert seen == ["rang 1", "opened 1", "rang 2", "opened 2"]
    assert bus.seq == 4


def test_keyed_and_unkeyed_handlers_are_called_in_wiring_order() -> None:
    """A key narrows what arrives and does not change the order."""
    bus, _ = make_bus()
    seen: list[str] = []
    bus.subscribe(Rang, lambda _: seen.append("a, front"), key="front")
    bus.subscribe(Rang, lambda _: seen.append("b, all"))
    bus.subscribe(Rang, lambda _: seen.append("c, back"), key="back")
    bus.subscribe(Rang, lambda _: seen.append("d, front"), key="front")

    bus.publish(rang(1, "front"))
    bus.publish(rang(2, "back"))
    bus.publish(rang(3, "cellar"))

    assert seen == ["a, front", "b, all", "d, front", "b, all", "c, back", "b, all"]


def test_listeners_get_every_event_with_its_number_after_the_typed_handlers() -> None:
    """The journal sees the total order."""
    bus, _ = make_bus()
    seen: list[object] = []
    bus.listen_all(lambda seq, event: seen.append((seq, event)))
    bus.subscribe(Rang, lambda _: seen.append("typed"))

    bus.publish(rang(1))
    bus.publish(opened(2))

    assert ["typed", (1, rang(1)), (2, opened(2))] == seen


def test_a_failing_handler_is_told_and_stops_nobody() -> None:
    """R7: the failure is an event with handler, event and traceback, and is counted."""
    bus, double_faults = make_bus()
    seen: list[int] = []
    faults: list[HandlerFailed] = []
    bus.subscribe(HandlerFailed, faults.append)
    bus.subscribe(Rang, boom, critical=True)
    bus.subscribe(Rang, lambda event: seen.append(event.number))

    bus.publish(rang(5))

    assert seen == [5]
    assert bus.stats.handler_failures == 1
    (fault,) = faults
    assert fault.handler.endswith("boom")
    assert (
        fault.event_type,
        fault.error_type,
        fault.error,
        fault.critical,
        fault.ts_event,
    ) == ("Rang", "ValueError", "boom on Rang", True, 7)
    assert repr(rang(5)) == fault.event_repr
    assert "in boom" in fault.traceback
    assert double_faults == []


def test_a_failure_is_not_critical_unless_the_subscription_is() -> None:
    """Only the way out of a position is marked."""
    bus, _ = make_bus()
    faults: list[HandlerFailed] = []
    bus.subscribe(HandlerFailed, faults.append)
    bus.subscribe(Rang, lambda _: None, critical=True)
    bus.subscribe(Rang, functools.partial(boom))

    bus.publish(rang(1))

    assert [fault.critical for fault in faults] == [False]
    assert faults[0].handler.startswith("partial of ")


def test_a_failing_listener_is_told_too() -> None:
    """R7: wildcard listeners are no exception."""
    bus, double_faults = make_bus()
    faults: list[HandlerFailed] = []
    bus.subscribe(HandlerFailed, faults.append)
    bus.listen_all(lambda _seq, event: boom(event))

    bus.publish(rang(1))

    assert [fault.error for fault in faults] == ["boom on Rang"]
    # The listener failed once more, on the HandlerFailed itself.
    assert [fault.error for fault in double_faults] == ["boom on HandlerFailed"]
    assert bus.stats.handler_failures == 2


def test_a_fault_handler_that_fails_does_not_recurse() -> None:
    """It is counted and handed over, once."""
    bus, double_faults = make_bus()
    bus.subscribe(HandlerFailed, boom)
    bus.subscribe(Rang, boom)

    bus.publish(rang(1))

    assert [fault.event_type for fault in double_faults] == ["HandlerFailed"]
    assert bus.stats.handler_failures == 2


def test_a_fault_nobody_listens_to_is_handed_over() -> None:
    """R7: without any subscriber a failure still does not vanish."""
    bus, double_faults = make_bus()
    bus.subscribe(Rang, boom)

    bus.publish(rang(1))

    assert [fault.event_type for fault in double_faults] == ["Rang"]


def test_an_interrupt_passes_and_leaves_nothing_behind_undelivered() -> None:
    """BaseException is not ours to catch; what waited goes out first with the next publish."""
    bus, _ = make_bus()
    seen: list[int] = []

    def interrupted(event: Rang) -> None:
        bus.publish(opened(event.number))
        if event.number == 1:
            raise KeyboardInterrupt

    bus.subscribe(Rang, interrupted)
    bus.subscribe(Opened, lambda event: seen.append(event.number))

    with pytest.raises(KeyboardInterrupt):
        bus.publish(rang(1))
    bus.publish(rang(2))

    assert seen == [1, 2]


def test_events_without_a_typed_subscriber_are_counted() -> None:
    """R7: unheard is counted per type, by key too, whether or not a wildcard listens."""
    bus, _ = make_bus()
    bus.listen_all(lambda _seq, _event: None)
    bus.subscribe(Rang, lambda _: None, key="front")

    bus.publish(rang(1, "front"))
    bus.publish(rang(2, "back"))
    bus.publish(opened(3))

    assert bus.stats.published == {"Rang": 2, "Opened": 1}
    assert bus.stats.unheard == {"Rang": 1, "Opened": 1}


def test_a_subscription_made_during_delivery_begins_with_the_next_event() -> None:
    """The set of handlers of an event is fixed when its delivery begins."""
    bus, _ = make_bus()
    seen: list[int] = []

    def wire(event: Rang) -> None:
        if event.number == 1:
            bus.subscribe(Rang, lambda later: seen.append(later.number))

    bus.subscribe(Rang, wire)

    bus.publish(rang(1))
    bus.publish(rang(2))

    assert seen == [2]


def test_the_contract_report_names_both_kinds_of_mismatch() -> None:
    """R8: found at start, not in the night; wildcards do not count as consumers."""
    bus, _ = make_bus()
    bus.listen_all(lambda _seq, _event: None)
    bus.subscribe(Rang, lambda _: None)

    report = bus.contract_report([Opened])

    assert ContractReport(unheard=["HandlerFailed", "Opened"], unfed=["Rang"]) == report


def test_only_declared_events_can_be_subscribed() -> None:
    """A class without the decorator would never be published as itself."""
    bus, _ = make_bus()

    with pytest.raises(TypeError, match="int"):
        bus.subscribe(int, lambda _: None)  # type: ignore[type-var]


def test_a_huge_or_broken_repr_does_not_hide_the_fault() -> None:
    """The event in a HandlerFailed is bounded to 2,000 characters."""
    bus, _ = make_bus()
    faults: list[HandlerFailed] = []
    bus.subscribe(HandlerFailed, faults.append)
    bus.subscribe(Rang, boom)

    bus.publish(rang(1, "x" * 9_000))

    assert len(faults[0].event_repr) == 2_000


def test_listeners_hear_after_all_consequences_and_in_the_order_of_the_bus() -> None:
    """What journal and ops do never stands between a cause and its effect."""
    bus, _ = make_bus()
    heard: list[str] = []
    bus.subscribe(Rang, lambda event: bus.publish(opened(event.number)))
    bus.subscribe(Opened, lambda event: heard.append("handled"))
    bus.listen_all(lambda seq, event: heard.append(f"{seq} {type(event).__name__}"))

    bus.publish(rang(1))

    assert ["handled", "1 Rang", "2 Opened"] == heard


def test_what_only_listeners_hear_is_made_for_them_alone_and_keeps_its_place() -> None:
    """tell() has the words put together after the handlers, and counts like publish()."""
    bus, _ = make_bus()
    heard: list[str] = []

    def make() -> Opened:
        heard.append("made")
        return opened(5)

    def on_rang(event: Rang) -> None:
        if event.number == 1:
            bus.tell(Opened, make)
            bus.publish(rang(2))
        heard.append(f"handled {event.number}")

    bus.subscribe(Rang, on_rang)
    bus.listen_all(lambda seq, event: heard.append(f"{seq} {type(event).__name__}"))

    bus.publish(rang(1))

    assert ["handled 1", "handled 2", "1 Rang", "made", "2 Opened", "3 Rang"] == heard
    assert ({"Rang": 2, "Opened": 1}, {"Opened": 1}) == (bus.stats.published, bus.stats.unheard)


def test_what_is_told_to_a_typed_subscriber_is_made_at_once() -> None:
    """A handler gets its event in turn, however it was given to the bus."""
    bus, _ = make_bus()
    heard: list[int] = []
    bus.subscribe(Opened, lambda event: heard.append(event.number))

    bus.tell(Opened, lambda: opened(5))

    assert [5] == heard


def test_an_event_that_cannot_be_made_is_a_failure_like_any_other() -> None:
    """The maker's exception becomes a HandlerFailed of the type it was to make (R7)."""
    bus, _ = make_bus()
    failed: list[HandlerFailed] = []
    bus.subscribe(HandlerFailed, failed.append)

    def make() -> Opened:
        raise ValueError("no words")

    bus.tell(Opened, make)

    assert [("Opened", "no words")] == [(each.event_type, each.error) for each in failed]
