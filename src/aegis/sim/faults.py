"""
Carrying a plan out: each fault is begun when its time comes, and ended when it is over.

What each kind does stands in the files by where it strikes: `transport_faults`, `venue_faults`,
`account_faults`, `process_faults`, `market_faults`. Each has a table `BEGIN`.
"""

from collections.abc import Iterable
from typing import Final

from aegis.sim import (
    account_faults,
    market_faults,
    process_faults,
    transport_faults,
    venue_faults,
)
from aegis.sim.ground import Begin, Crashed, Ground, Log, SimOffload, Strike
from aegis.sim.kinds import MARKET, Fault, Kind

__all__ = ["BEGIN", "Carrier", "Crashed", "Log", "SimOffload", "Strike"]

BEGIN: Final[dict[Kind, Begin]] = {
    **transport_faults.BEGIN,
    **venue_faults.BEGIN,
    **account_faults.BEGIN,
    **process_faults.BEGIN,
    **market_faults.BEGIN,
}
assert set(BEGIN) == set(Kind), f"not carried out: {sorted(set(Kind) - set(BEGIN))}"
ENDLESS: Final = frozenset({Kind.CRASH_AT_REQUEST, Kind.SECOND_INSTANCE})
"""Faults that wait for their moment, or whose end outlives the process they struck."""


class Carrier(Ground):
    """The faults of one process life, armed on its loop."""

    def arm(self, faults: Iterable[Fault], origin_ns: int) -> None:
        """Begin what is under way, and set the timers for what is to come."""
        self.origin_ns = origin_ns
        now_s = self.now_s()
        for number, fault in enumerate(faults):
            is_over = fault.at_s + fault.for_s < now_s and fault.kind not in ENDLESS
            if not is_over and number not in self.log.spent:
                delay_s = max(0.0, fault.at_s - now_s)
                _ = self.loop.call_later(delay_s, self._begin, number, fault)

    def _begin(self, number: int, fault: Fault) -> None:
        if (fault.for_s == 0 or fault.kind in MARKET) and fault.kind not in ENDLESS:
            self.log.spent.add(number)
        end = BEGIN[fault.kind](self, number, fault)
        if end is not None:
            left_s = fault.at_s + fault.for_s - self.now_s()
            _ = self.loop.call_later(max(0.0, left_s), end)
