"""What an adapter is built from: addresses, keys, transports, clock, chance, patience."""

import random
from collections.abc import Callable, Sequence

import attrs

from aegis.core.clock import Clock
from aegis.core.event import Event
from aegis.core.latch import HaltLatch, HaltView
from aegis.core.offload import Offload
from aegis.core.supervise import Supervisor
from aegis.core.transport import HttpExchange, StreamConnector
from aegis.venue.leverage import FRESH_S


@attrs.frozen(slots=True, kw_only=True)
class VenueAround:
    """
    Everything one adapter stands on.

    *base_url* and *ws_url* are scheme and host. *http* is the twin in this process, reached through
    *offload*; None opens real connections. *order_ws_url* is the whole address of the order socket,
    "": orders go by REST alone. *depth_streams*: bring order books too, where the adapter can.
    *leverage_fresh_s*: loop seconds a leverage that was read back is good for.
    *protective_weight_pct* of each request limit is kept for what protects positions. *halt* is
    read again before an entry leaves a second time (R73).
    """

    base_url: str
    ws_url: str
    api_key: str = attrs.field(repr=False)
    api_secret: str = attrs.field(repr=False)
    http: HttpExchange | None
    connector: StreamConnector
    offload: Offload
    publish: Callable[[Event], None]
    clock: Clock
    supervisor: Supervisor
    rng: random.Random
    timeframes_ns: Sequence[int]
    recv_window_ms: int
    request_timeout_s: float
    order_timeout_s: float | None = None
    order_ws_url: str = ""
    depth_streams: bool = False
    leverage_fresh_s: float = FRESH_S
    protective_weight_pct: int = 25
    halt: HaltView = attrs.field(factory=lambda: HaltLatch().view())

    @property
    def answer_timeout_s(self) -> float:
        """Return how long an order's answer is waited for, loop seconds."""
        return self.order_timeout_s or self.request_timeout_s
