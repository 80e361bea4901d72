"""
The event bus: one total order for the whole bot.

publish() is synchronous, never waits and never drops. Events are delivered in the order they were
published, each to all its subscribers in wiring order before the next one begins; what a handler
publishes waits its turn. Listeners to everything (journal, ops) hear of an event once all its
consequences have been handled, in the same order and before publish() returns: what they do never
stands between a price and an order. What must await sits in shells and comes back as events.
"""

import functools
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import attrs
from loguru import logger

from aegis.core.clock import Clock
from aegis.core.errors import bounded_repr, bounded_text
from aegis.core.event import Event, HandlerFailed, is_event_type

E = TypeVar("E", bound=Event)

EVENT_REPR_CHARS_MAX: Final = 2_000
_TRACEBACK_CHARS_MAX: Final = 8_000


@attrs.frozen(kw_only=True)
class BusStats:
    """
    What passed the bus so far, by name of the event type.

    published: delivered or being delivered. unheard: no typed subscriber was called, wildcard
    listeners not counted (R7). handler_failures: handlers and listeners that raised.
    """

    published: dict[str, int]
    unheard: dict[str, int]
    handler_failures: int


@attrs.frozen(kw_only=True)
class ContractReport:
    """
    Where producers and consumers do not meet, both sorted by name.

    unheard: produced, and nobody subscribed. unfed: subscribed, and nobody produces it.
    """

    unheard: list[str]
    unfed: list[str]


_Handler = Callable[[Any], None]


@attrs.define(eq=False)
class _Route:
    """The handlers of one event type, merged beforehand for every key that has its own."""

    wired: list[tuple[object | None, _Handler]] = attrs.field(factory=list)
    critical: list[_Handler] = attrs.field(factory=list)
    unkeyed: tuple[_Handler, ...] = ()
    by_key: dict[object, tuple[_Handler, ...]] = attrs.field(factory=dict)
    published: int = 0
    unheard: int = 0

    def add(self, handler: _Handler, key: object | None, *, critical: bool) -> None:
        """Append in wiring order; a delivery under way keeps the tuple it began with."""
        self.wired.append((key, handler))
        if critical:
            self.critical.append(handler)
        self.unkeyed = self._merged(None)
        self.by_key = {key: self._merged(key) for key, _ in self.wired if key is not None}

    def _merged(self, wanted: object | None) -> tuple[_Handler, ...]:
        return tuple(handler for key, handler in self.wired if key is None or key == wanted)


class _ToMake(Event):
    """Stands in the queue for an event that is made when its listeners hear of it."""

    __slots__ = ("event_type", "make")
    event_type: type[Event]
    make: Callable[[], Event]

    def __init__(self, event_type: type[Event], make: Callable[[], Event]) -> None:
        object.__setattr__(self, "event_type", event_type)
        object.__setattr__(self, "make", make)


class EventBus:
    """
    Deliver events to the handlers subscribed to exactly their type.

    A handler that raises does not stop the others: the exception becomes a HandlerFailed event.
    Only Exception is caught; what is stronger (a canceled task, an interrupt) leaves publish(), and
    events that waited are delivered by the next publish().
    """

    def __init__(
        self,
        clock: Clock,
        *,
        on_double_fault: Callable[[HandlerFailed], None] | None = None,
    ) -> None:
        """
        Make a bus whose HandlerFailed events carry the time of *clock*.

        on_double_fault: gets each HandlerFailed that nobody could handle, because its handler
        failed itself or because nobody listens; without it they go to the log as critical.
        """
        self.seq = 0
        self._clock = clock
        self._on_double_fault = on_double_fault or _log_double_fault
        self._routes: dict[type[Event], _Route] = {_ToMake: _Route(unkeyed=(_pass_by,))}
        self._listeners: tuple[Callable[[int, Event], None], ...] = ()
        self._queue: deque[Event] = deque()
        self._untold: deque[tuple[int, Event]] = deque()
        self._delivering = False
        self._handler_failures = 0

    def subscribe(
        self,
        event_type: type[E],
        handler: Callable[[E], None],
        *,
        key: object | None = None,
        critical: bool = False,
    ) -> None:
        """
        Call *handler* with each event of exactly *event_type*, in wiring order.

        key: only events whose routing_key equals it. critical: marks the HandlerFailed of this
        handler, for everything on the way out of a position.

        Raises:
            TypeError: if *event_type* was not declared as an event.

        """
        if not is_event_type(event_type):
            raise TypeError(f"{event_type!r} is not an event declared with attrs.frozen")
        self._route(event_type).add(handler, key, critical=critical)

    def listen_all(self, handler: Callable[[int, Event], None]) -> None:
        """Call *handler* with (seq, event) for every event, after the handlers of all it led to."""
        self._listeners = (*self._listeners, handler)

    def tell(self, event_type: type[E], make: Callable[[], E]) -> None:
        """
        Publish what *make* returns in its place in the order, but make it only for the listeners.

        For events that nobody else hears and whose words take time; *make* must depend on nothing
        that may change meanwhile. With a typed subscriber it is made at once.
        """
        if self._route(event_type).wired:
            self.publish(make())
        else:
            self.publish(_ToMake(event_type, make))

    def publish(self, event: Event) -> None:
        """
        Deliver *event*, or queue it behind the one being delivered.

        Without a delivery under way all its consequences have been delivered on return.
        """
        if self._delivering:
            self._queue.append(event)
            return
        queue = self._queue
        if queue:  # left behind by an interrupt: they were published first
            queue.append(event)
            event = queue.popleft()
        self._delivering = True
        untold = self._untold
        # One flat loop: a method per event would cost a third of the whole dispatch.
        try:
            while True:
                self.seq = seq = self.seq + 1
                try:
                    route = self._routes[type(event)]
                except KeyError:
                    route = self._route(type(event))
                route.published += 1
                handlers = route.unkeyed
                if route.by_key:
                    handlers = route.by_key.get(event.routing_key, handlers)
                if not handlers:
                    self._unheard(route, event)
                for handler in handlers:
                    try:
                        handler(event)
                    except Exception as error:  # noqa: BLE001 - becomes a HandlerFailed event (R7)
                        self._failed(event, handler, error, critical=handler in route.critical)
                untold.append((seq, event))
                if not queue:
                    self._tell_listeners(untold)
                    if not queue:
                        return
                event = queue.popleft()
        finally:
            self._delivering = False

    def _tell_listeners(self, untold: deque[tuple[int, Event]]) -> None:
        while untold:
            seq, event = untold.popleft()
            if isinstance(event, _ToMake):
                made = self._made(event)
                if made is None:
                    continue
                event = made
            for listener in self._listeners:
                try:
                    listener(seq, event)
                except Exception as error:  # noqa: BLE001 - becomes a HandlerFailed event (R7)
                    self._failed(event, listener, error, critical=False)

    def _made(self, stand_in: _ToMake) -> Event | None:
        route = self._route(stand_in.event_type)
        route.published += 1
        route.unheard += 1
        try:
            return stand_in.make()
        except Exception as error:  # noqa: BLE001 - becomes a HandlerFailed event (R7)
            self._failed(stand_in, stand_in.make, error, critical=False)
            return None

    @property
    def stats(self) -> BusStats:
        """Return a snapshot of the counters."""
        published: dict[str, int] = {}
        unheard: dict[str, int] = {}
        for event_type, route in self._routes.items():
            if event_type is _ToMake:
                continue
            name = event_type.__name__
            if route.published:
                published[name] = published.get(name, 0) + route.published
            if route.unheard:
                unheard[name] = unheard.get(name, 0) + route.unheard
        return BusStats(
            published=published, unheard=unheard, handler_failures=self._handler_failures
        )

    def contract_report(self, produced: Iterable[type[Event]]) -> ContractReport:
        """
        Compare what producers declare with what is subscribed, for the check at start (R8).

        Wildcard listeners count as nobody; HandlerFailed is produced by the bus itself.
        """
        fed = {*produced, HandlerFailed}
        heard = {event_type for event_type, route in self._routes.items() if route.wired}
        return ContractReport(
            unheard=sorted(event_type.__name__ for event_type in fed - heard),
            unfed=sorted(event_type.__name__ for event_type in heard - fed),
        )

    def _route(self, event_type: type[Event]) -> _Route:
        route = self._routes.get(event_type)
        if route is None:
            route = self._routes[event_type] = _Route()
        return route

    def _unheard(self, route: _Route, event: Event) -> None:
        route.unheard += 1
        if isinstance(event, HandlerFailed) and not self._listeners:
            self._on_double_fault(event)

    def _failed(
        self, event: Event, handler: Callable[..., object], error: Exception, *, critical: bool
    ) -> None:
        self._handler_failures += 1
        now_ns = self._clock.now_ns()
        told = "".join(traceback.format_exception(error))
        fault = HandlerFailed(
            ts_event=now_ns,
            ts_recv=now_ns,
            handler=_qualified_name(handler),
            event_type=_type_of(event).__name__,
            event_repr=_repr_of(event),
            error_type=type(error).__name__,
            error=bounded_text(_message(error)),
            traceback=told[-_TRACEBACK_CHARS_MAX:],
            critical=critical,
        )
        if isinstance(event, HandlerFailed):
            # Publishing it would call the same failing handler again, for ever.
            self._on_double_fault(fault)
        else:
            self._queue.append(fault)


def _type_of(event: Event) -> type[Event]:
    return event.event_type if isinstance(event, _ToMake) else type(event)


def _repr_of(event: Event) -> str:
    if isinstance(event, _ToMake):
        return "<not made>"
    return bounded_repr(event, EVENT_REPR_CHARS_MAX)


def _pass_by(_event: Event) -> None:
    """Handle an event that is not made yet: its listeners hear it later."""


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a broken __str__ must not hide the fault itself
        return f"<{type(error).__name__} whose str raised {type(broken).__name__}>"


def _qualified_name(handler: object) -> str:
    if isinstance(handler, functools.partial):
        return f"partial of {_qualified_name(handler.func)}"
    owner = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{getattr(owner, '__module__', '?')}.{getattr(owner, '__qualname__', '?')}"


def _log_double_fault(fault: HandlerFailed) -> None:
    logger.bind(room="core").critical(
        "{} failed on {} and nobody handled it: {}: {}\n{}",
        fault.handler,
        fault.event_type,
        fault.error_type,
        fault.error,
        fault.traceback,
    )
