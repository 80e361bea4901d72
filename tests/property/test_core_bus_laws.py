"""Laws of the event bus: one total order, exactly once, nothing swallowed."""

from collections.abc import Callable

import attrs
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock
from aegis.core.event import Event, HandlerFailed


@attrs.frozen(slots=True, kw_only=True)
class Stepped(Event):
    """One step of a random program: *path* says which, *spawn* what its handler publishes."""

    path: tuple[int, ...]
    key: str
    spawn: tuple["Stepped", ...]

    @property
    def routing_key(self) -> object | None:
        return self.key


KEYS = st.sampled_from("abc")


@attrs.frozen
class _Handler:
    key: str | None
    fails: bool


HANDLERS = st.lists(
    st.builds(_Handler, key=st.none() | KEYS, fails=st.booleans()), min_size=0, max_size=6
)
TREES: st.SearchStrategy[list[tuple[str, list[object]]]] = st.lists(
    st.recursive(
        st.tuples(KEYS, st.just([])),
        lambda inner: st.tuples(KEYS, st.lists(inner, max_size=3)),
        max_leaves=8,
    ),
    max_size=4,
)


def build(tree: object, path: tuple[int, ...]) -> Stepped:
    assert isinstance(tree, tuple)
    key, branches = tree
    spawn = tuple(build(branch, (*path, number)) for number, branch in enumerate(branches))
    return Stepped(ts_event=0, ts_recv=0, path=path, key=key, spawn=spawn)


def published_order(root: Stepped) -> list[Stepped]:
    """Return breadth first: what a handler publishes waits for all published before it."""
    order = [root]
    for event in order:
        order.extend(event.spawn)
    return order


@given(HANDLERS, TREES)
def test_every_event_reaches_every_handler_of_its_key_once_and_in_order(
    handlers: list[_Handler], trees: list[tuple[str, list[object]]]
) -> None:
    """R7: failing handlers stop nobody, and each failure is told exactly once."""
    bus = EventBus(ManualClock(0))
    calls: list[tuple[int, tuple[int, ...]]] = []
    numbered: list[tuple[int, Event]] = []
    faults: list[HandlerFailed] = []

    def make(number: int, handler: _Handler) -> Callable[[Stepped], None]:
        def handle(event: Stepped) -> None:
            calls.append((number, event.path))
            if handler.fails:
                raise ValueError(str(number))

        return handle

    def spawn(event: Stepped) -> None:
        for child in event.spawn:
            bus.publish(child)

    bus.subscribe(HandlerFailed, faults.append)
    bus.subscribe(Stepped, spawn)
    for number, handler in enumerate(handlers):
        bus.subscribe(Stepped, make(number, handler), key=handler.key)
    bus.listen_all(lambda seq, event: numbered.append((seq, event)))

    roots = [build(tree, (number,)) for number, tree in enumerate(trees)]
    for root in roots:
        bus.publish(root)

    expected = [event for root in roots for event in published_order(root)]
    expected_calls = [
        (number, event.path)
        for event in expected
        for number, handler in enumerate(handlers)
        if handler.key in (None, event.key)
    ]
    assert [event for _, event in numbered if isinstance(event, Stepped)] == expected
    assert [seq for seq, _ in numbered] == list(range(1, len(numbered) + 1))
    assert calls == expected_calls
    failed = [number for number, _ in expected_calls if handlers[number].fails]
    assert [int(fault.error) for fault in faults] == failed
    assert bus.stats.handler_failures == len(failed)
