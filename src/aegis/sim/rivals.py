"""The law of two bots on one account: while another Aegis has an order there, no entry leaves."""

from collections.abc import Iterator
from typing import Final

from aegis.core.clock import NS_PER_S, format_ns
from aegis.model.events import OrderSubmitted
from aegis.model.order import Purpose
from aegis.sim.bounds import CUT, LATE, LOST, UNSENT, UNTOLD
from aegis.sim.evidence import Evidence

SEEN_NS: Final = NS_PER_S
"""From the other's order until its message has halted entries, and what was leaving has left."""
IDLE_LOOKS: Final = 5
"""While nothing is open on a venue every fifth steady look is taken (docs/protection.md)."""
HIDES: Final = LOST | UNSENT | UNTOLD | LATE | CUT
"""What keeps the message, or the look in its place, from the bot."""


def rivals_ignored(evidence: Evidence) -> Iterator[str]:
    """No entry leaves from when a second instance was told of until a person stopped it."""
    look_ns = round(evidence.config.reconcile_interval_s * NS_PER_S)
    entries = [
        event for event in evidence.events(OrderSubmitted) if event.request.purpose is Purpose.ENTRY
    ]
    for venue, from_ns, to_ns in evidence.log.rivals_seen(evidence.end_ns):
        hidden = bool(evidence.struck(venue, HIDES, (from_ns - look_ns, to_ns)))
        hidden = hidden or any(a <= to_ns and b >= from_ns for a, b in evidence.windows(venue))
        since_ns = from_ns + SEEN_NS + (IDLE_LOOKS + 1) * look_ns * hidden
        for event in entries:
            if since_ns <= event.ts_recv < to_ns:
                yield (
                    f"{event.request.client_order_id} left at {format_ns(event.ts_recv)}, beside "
                    f"another Aegis on {venue} since {format_ns(from_ns)}"
                )
