"""
Orders on our account that this process did not send: a person's, or another Aegis's (R86, R88).

A person may trade by hand: told once. Two bots on one account cannot both be right about what is
open there: entries stop everywhere until an operator has looked.
"""

from collections.abc import Callable
from typing import Final

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.model.account import OrderReport
from aegis.model.events import (
    EntriesResumed,
    ForeignOrderFound,
    OrderReported,
    RunStarted,
    SnapshotReported,
)
from aegis.model.instrument import InstrumentId
from aegis.model.order_id import DOCTOR_INSTALLATION, OrderTag, parse_client_order_id

VENUES_OWN: Final = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""Beginnings of the ids Binance gives its own orders (venues.md 2.5, 6); Bybit's have none."""
KEPT_MAX: Final = 10_000


def is_anothers(tag: OrderTag, installation: str, run: int) -> bool:
    """
    Say whether an order of Aegis's form was sent by another process than this one.

    *run* is this process's number: one that is not over yet cannot be an earlier run of ours. The
    run's own orders are known by name and never asked about here.
    """
    return tag.installation != installation or tag.run > run


class Strangers:
    """Look at every order reported on the account."""

    def __init__(self, bus: EventBus, clock: Clock, halt: Callable[[str], None]) -> None:
        """*halt* stops all entries for a reason until an operator lifts it."""
        self._bus = bus
        self._clock = clock
        self._halt = halt
        self._installation = ""
        self._run = 0
        self._told: dict[tuple[InstrumentId, str], None] = {}
        self._others: set[str] = set()
        bus.subscribe(RunStarted, self.on_run_started)
        bus.subscribe(OrderReported, self.on_order_reported)
        bus.subscribe(SnapshotReported, self.on_snapshot_reported)
        bus.subscribe(EntriesResumed, self.on_entries_resumed)

    def on_run_started(self, event: RunStarted) -> None:
        """Keep who we are."""
        self._installation, self._run = event.installation, event.run

    def on_entries_resumed(self, event: EntriesResumed) -> None:
        """
        Take an operator's word for the orders there are; a new one of the other bot halts again.

        What an Aegis that is gone has left resting may protect what is open, so it must not keep
        entries halted for ever.
        """
        if event.scope == "all":
            self._others.clear()

    def on_order_reported(self, event: OrderReported) -> None:
        """Look at an order the venue told of."""
        self._look(event.report)

    def on_snapshot_reported(self, event: SnapshotReported) -> None:
        """Look at everything that rests."""
        for report in event.snapshot.orders:
            self._look(report)

    def _look(self, report: OrderReport) -> None:
        name = report.client_order_id
        if not self._installation or not name or name.startswith(VENUES_OWN):
            return
        tag = parse_client_order_id(name)
        if tag is not None and not is_anothers(tag, self._installation, self._run):
            return
        key = (report.instrument_id, name)
        if key in self._told:
            return
        self._told[key] = None
        if len(self._told) > KEPT_MAX:
            del self._told[next(iter(self._told))]
        is_bots = tag is not None and tag.installation != DOCTOR_INSTALLATION
        now = self._clock.now_ns()
        self._bus.publish(
            ForeignOrderFound(
                ts_event=report.ts_event,
                ts_recv=now,
                instrument_id=report.instrument_id,
                client_order_id=name,
                whose=_whose(tag),
                status=report.status.value,
                reduce_only=report.reduce_only or report.close_position,
            )
        )
        if tag is not None and is_bots and not report.status.is_terminal:
            self._stop(tag, report)

    def _stop(self, tag: OrderTag, report: OrderReport) -> None:
        other = _name(tag)
        if other not in self._others:
            self._others.add(other)
            self._halt(
                f"another Aegis, {other}, trades on this {report.instrument_id.venue.value} "
                f"account (order {report.client_order_id}): stop one of the two, then aegis resume"
            )


def _whose(tag: OrderTag | None) -> str:
    if tag is None:
        return "a person or another program"
    is_doctor = tag.installation == DOCTOR_INSTALLATION
    return "aegis doctor" if is_doctor else f"another Aegis, {_name(tag)}"


def _name(tag: OrderTag) -> str:
    return f"installation {tag.installation} run {tag.run}"
