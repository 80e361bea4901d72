"""
Hedge mode for a bot that holds one position per instrument: which of a symbol's two legs it sees.

The leg that is open is the position. When both are open, the one that was held first stays the
position; of the other nothing reaches the book, which counts by instrument: its reports, orders
and fills stay here. It is told as a second leg, and becomes the position as soon as the held one
ended. Facts of one-way mode pass untouched.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

import attrs

from aegis.core.clock import Clock
from aegis.core.event import Event
from aegis.model.account import OrderReport, PositionMode, PositionReport, VenueSnapshot
from aegis.model.events import SecondLegFound, SecondLegGone
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import PositionSide
from aegis.model.order_id import parse_client_order_id
from aegis.venue.position_modes import PositionModes


class HeldLegs:
    """Let pass what is of the leg the bot holds; *publish* gets second legs that come and go."""

    def __init__(
        self,
        venue: Venue,
        modes: PositionModes,
        clock: Clock,
        publish: Callable[[Event], None],
    ) -> None:
        self._venue = venue
        self._modes = modes
        self._clock = clock
        self._publish = publish
        self._legs: dict[InstrumentId, dict[PositionSide, PositionReport]] = {}
        self._held: dict[InstrumentId, PositionSide] = {}
        self._released: dict[InstrumentId, PositionSide] = {}
        self._second: dict[InstrumentId, PositionReport] = {}

    @property
    def second(self) -> Mapping[InstrumentId, PositionReport]:
        """Return the legs that are open beside the held ones, as last told."""
        return dict(self._second)

    def takes_fill(self, fill: Fill) -> bool:
        """Say whether *fill* is of the held leg; the first one that opens a leg makes it held."""
        if fill.leg is None or not self._hedged(fill.instrument_id):
            return True
        held = self._held.get(fill.instrument_id)
        if held is None and fill.side is fill.leg.entry_side:
            self._held[fill.instrument_id] = fill.leg
        return self.would_take(fill)

    def would_take(self, fill: Fill) -> bool:
        """Say whether *fill* is of the held leg, or ended the one held before; changes nothing."""
        held = self._held.get(fill.instrument_id)
        if fill.leg is None or held in (None, fill.leg) or _is_ours(fill.client_order_id):
            return True
        return (
            fill.side is fill.leg.exit_side
            and self._released.get(fill.instrument_id) is fill.leg
            and not self._is_open(fill.instrument_id, fill.leg)
        )

    def takes_order(self, report: OrderReport) -> bool:
        """Say whether *report* is of the held leg, or an order of ours."""
        held = self._held.get(report.instrument_id)
        return report.leg in (None, held) or held is None or _is_ours(report.client_order_id)

    def position(self, report: PositionReport) -> tuple[PositionReport, ...]:
        """Return what *report* means for the one position the bot sees, oldest first."""
        leg, instrument = report.leg, report.instrument_id
        if not self._fits(report):
            return ()
        if leg is None:
            return (report,)
        legs = self._legs.setdefault(instrument, {})
        known = legs.get(leg)
        if known is not None and known.ts_event > report.ts_event:
            return ()
        legs[leg] = report
        told = self._told(report, leg)
        self._judge(instrument)
        return told

    def _told(self, report: PositionReport, leg: PositionSide) -> tuple[PositionReport, ...]:
        instrument = report.instrument_id
        held = self._held.get(instrument)
        if report.qty_signed != 0:
            held = self._held.setdefault(instrument, leg)
            return (report,) if held is leg else ()
        if held is None:
            return (report,)
        if held is not leg:
            return ()
        self._released[instrument] = leg
        if self._is_open(instrument, leg.opposite):
            self._held[instrument] = leg.opposite
            # It becomes the position now: by its own time it would count as overtaken.
            other = self._legs[instrument][leg.opposite]
            return report, attrs.evolve(other, ts_event=max(other.ts_event, report.ts_event))
        del self._held[instrument]
        return (report,)

    def snapshot(self, snapshot: VenueSnapshot) -> VenueSnapshot:
        """Return *snapshot* with the held legs and their orders alone; it is the whole truth."""
        rows: dict[InstrumentId, dict[PositionSide, PositionReport]] = {}
        kept: list[PositionReport] = []
        for report in snapshot.positions:
            if not self._fits(report):
                continue
            if report.leg is None:
                kept.append(report)
            else:
                rows.setdefault(report.instrument_id, {})[report.leg] = report
        for instrument in [*rows, *(one for one in self._legs if one not in rows)]:
            kept += self._whole(instrument, rows.get(instrument, {}), snapshot)
            self._judge(instrument)
        orders = tuple(order for order in snapshot.orders if self.takes_order(order))
        return attrs.evolve(snapshot, positions=tuple(kept), orders=orders)

    def _whole(
        self,
        instrument: InstrumentId,
        legs: dict[PositionSide, PositionReport],
        snapshot: VenueSnapshot,
    ) -> tuple[PositionReport, ...]:
        self._legs[instrument] = dict(legs)
        opened = [leg for leg, report in legs.items() if report.qty_signed != 0]
        held = self._held.get(instrument)
        if held not in opened:
            if held is not None:
                self._released[instrument] = held
                del self._held[instrument]
            if opened:
                self._held[instrument] = _chosen(legs, snapshot)
        shown = self._held.get(instrument)
        if shown is not None:
            return (legs[shown],)
        # Flat on both legs is flat once.
        return tuple(legs.values())[:1]

    def _fits(self, report: PositionReport) -> bool:
        """Say whether *report* is of the symbol's mode; an open row tells what the mode is."""
        hedge = report.leg is not None
        symbol = report.instrument_id.symbol
        if hedge is self._hedged(report.instrument_id):
            return True
        if report.qty_signed == 0:
            # A flat row of the other mode is no position, and must not pass for a flat one.
            return False
        self._modes.learn(symbol, PositionMode.HEDGE if hedge else PositionMode.ONE_WAY)
        return True

    def _hedged(self, instrument: InstrumentId) -> bool:
        return self._modes.known(instrument.symbol) is PositionMode.HEDGE

    def _is_open(self, instrument: InstrumentId, leg: PositionSide) -> bool:
        report = self._legs.get(instrument, {}).get(leg)
        return report is not None and report.qty_signed != 0

    def _judge(self, instrument: InstrumentId) -> None:
        held = self._held.get(instrument)
        second = None
        if held is not None and self._is_open(instrument, held.opposite):
            second = self._legs[instrument][held.opposite]
        before = self._second.get(instrument)
        now_ns = self._clock.now_ns()
        if second is not None:
            self._second[instrument] = second
            if before is None or before.leg is not second.leg:
                assert held is not None
                own = self._legs[instrument].get(held)
                held_qty = Decimal(0) if own is None else own.qty_signed
                self._publish(
                    SecondLegFound(
                        ts_event=now_ns,
                        ts_recv=now_ns,
                        instrument_id=instrument,
                        held_qty_signed=held_qty,
                        second_qty_signed=second.qty_signed,
                    )
                )
        elif before is not None:
            del self._second[instrument]
            self._publish(SecondLegGone(ts_event=now_ns, ts_recv=now_ns, instrument_id=instrument))


def _is_ours(client_order_id: str) -> bool:
    return parse_client_order_id(client_order_id) is not None


def _chosen(legs: Mapping[PositionSide, PositionReport], snapshot: VenueSnapshot) -> PositionSide:
    """Return the leg to hold when nothing was held: where orders of ours rest, else the larger."""
    opened = {leg: report for leg, report in legs.items() if report.qty_signed != 0}
    instrument = next(iter(opened.values())).instrument_id
    ours = {
        order.leg
        for order in snapshot.orders
        if order.instrument_id == instrument and _is_ours(order.client_order_id)
    }
    # LONG before SHORT where nothing else decides: the same choice at every start.
    return max(
        sorted(opened, key=lambda leg: leg.value),
        key=lambda leg: (leg in ours, abs(opened[leg].qty_signed)),
    )
