"""
The way one venue is brought up: connect, snapshot, reconcile, protect, history, streams (R88).

It is tried until it succeeds. Where the venue answers and cannot be looked at as a whole, what
earlier runs left open there is told and protected by the journal's word, while it is asked again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import attrs

from aegis.core.clock import NS_PER_S, Clock
from aegis.core.errors import Problem, VenueError, VenueRefused
from aegis.core.event import Event
from aegis.core.log import room_logger
from aegis.data.actor import DataActor
from aegis.exit.actor import START_REASON, ExitActor
from aegis.model.account import PositionMode
from aegis.model.booked import BookedSince
from aegis.model.events import (
    OrderReported,
    SnapshotReported,
    VenueConnected,
    VenueUnavailable,
)
from aegis.model.instrument import Instrument, Venue
from aegis.model.ports import TellsInParts, VenueGateway
from aegis.model.restored import OpenBook
from aegis.trade.actor import TradeActor

RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
RETRY_OPEN_MAX_S: Final = 5.0
"""A venue where something of ours is open is asked again at least so often."""
START_OVERLAP_NS: Final = 5 * NS_PER_S
"""Venue and machine do not agree on the time to the millisecond."""
HEARD_OVERLAP_NS: Final = 60 * NS_PER_S
"""The newest rows before a kill may be lost: so much before the journal's last word is asked."""

log = room_logger("app")


@attrs.frozen(slots=True, kw_only=True)
class StartParts:
    """What a start needs of the bot around it. *history_bars*: bars to ask for, by timeframe."""

    clock: Clock
    rng: random.Random
    publish: Callable[[Event], None]
    data: DataActor
    trade: TradeActor
    exit: ExitActor
    history_bars: Mapping[int, int]


Gate = Callable[[], Awaitable[Sequence[Problem]]]
"""Ask what keeps a venue from being traded; raises VenueError while it cannot be asked."""


class VenueStart:
    """Bring one venue up, once."""

    def __init__(
        self,
        gateway: VenueGateway,
        symbols: Sequence[str],
        left: OpenBook,
        parts: StartParts,
        on_connected: Callable[[Venue, tuple[Instrument, ...]], None],
        gate: Gate | None = None,
    ) -> None:
        """
        *left*: what earlier runs left open, on any venue. *on_connected* hears what is traded or
        held there once the venue was looked at. *gate*: what must hold before it is traded, asked
        at each try; None: nothing. What a person can mend is then waited for.
        """
        self._gate = gate
        self._gateway = gateway
        self._symbols = tuple(symbols)
        self._parts = parts
        self._left_here = modes_left(left, gateway.venue)
        self._began_ns: int | None = None
        self._is_unseen = False
        self._booked_missing_ns: int | None = None
        self._on_connected = on_connected

    async def run(self) -> None:
        """
        Return when the venue is up.

        Raises:
            VenueRefused: the same request would fail again, nothing of ours is open there, and
                there is no gate.

        """
        delay_s = RETRY_FIRST_S
        is_open = bool(self._left_here)
        while True:
            # Where something of ours is open its stop may be gone: it is asked for soon.
            delay_s_max = RETRY_OPEN_MAX_S if is_open else RETRY_MAX_S
            try:
                if await self._attempt():
                    return
            except VenueRefused as error:
                self._unavailable(error)
                if not is_open and self._gate is None:
                    raise
                # Only a person mends that; and yet what is open there is not given up.
                delay_s_max = RETRY_OPEN_MAX_S if self._is_unseen else RETRY_MAX_S
            except VenueError as error:
                self._unavailable(error)
            await asyncio.sleep(delay_s * (1 - 0.2 * self._parts.rng.random()))
            delay_s = min(delay_s_max, delay_s * 2)

    async def _attempt(self) -> bool:
        """Try once; return False when it failed and was told."""
        gateway = self._gateway
        if self._is_unseen:
            # One question, before everything is asked anew.
            _ = await gateway.snapshot()
        began_ns = self._parts.clock.now_ns() - START_OVERLAP_NS
        self._began_ns = began_ns if self._began_ns is None else self._began_ns
        try:
            instruments = await gateway.connect(self._symbols)
            await self._pass_gate()
            snapshot = await gateway.snapshot()
        except VenueError as error:
            if not await self._protect_unseen(error):
                raise
            return False
        known = {instrument.instrument_id for instrument in instruments}
        strangers = tuple(
            report.instrument_id.symbol
            for report in snapshot.positions
            if report.qty_signed != 0 and report.instrument_id not in known
        )
        if strangers:
            # Found outside the settings: protected too, never traded.
            everything = await gateway.connect(self._symbols, held=strangers)
            instruments = tuple(
                attrs.evolve(each, tradable=each.tradable and each.instrument_id in known)
                for each in everything
            )
        self._on_connected(gateway.venue, instruments)
        self._connected(instruments)
        if await self._resume():
            # What was booked meanwhile is known now: compared is what stands after it.
            snapshot = await gateway.snapshot()
        self._parts.publish(
            SnapshotReported(
                ts_event=snapshot.ts_event,
                ts_recv=self._parts.clock.now_ns(),
                snapshot=snapshot,
                reason=START_REASON,
            )
        )
        data = self._parts.data
        await data.warm_up({gateway.venue: gateway}, instruments, self._parts.history_bars)
        await gateway.start_streams(instruments, data)
        # Between the first look and the stream's opening a stop may have fired.
        await self._take_booked(self._began_ns)
        return True

    async def _pass_gate(self) -> None:
        problems = await self._gate() if self._gate is not None else ()
        if problems:
            told = "; ".join(
                f"{each.name} was {each.value}, allowed: {each.allowed}: {each.fix}"
                for each in problems
            )
            venue = self._gateway.venue.value
            raise VenueRefused("START_CHECK", told, venue=venue, operation="start check")

    def _connected(self, instruments: tuple[Instrument, ...]) -> None:
        now = self._parts.clock.now_ns()
        self._parts.publish(
            VenueConnected(
                ts_event=now,
                ts_recv=now,
                venue=self._gateway.venue,
                capabilities=self._gateway.capabilities,
                instruments=instruments,
            )
        )

    # --- a venue that cannot be looked at --------------------------------------------------------

    async def _protect_unseen(self, error: VenueError) -> bool:
        """
        Tell what the journal says is open, and every part of the venue's state to be had, once.

        Return False when nothing is open there, it was done, or the venue does not answer at all.
        """
        gateway, parts = self._gateway, self._parts
        if self._is_unseen or not self._left_here or not isinstance(gateway, TellsInParts):
            return False
        try:
            instruments = await gateway.connect_unseen(self._left_here)
        except VenueError as failed:
            log.warning(f"{gateway.venue.value}: what is open there cannot be protected: {failed}")
            return False
        self._is_unseen = True
        self._connected(
            tuple(
                attrs.evolve(i, tradable=i.tradable and i.instrument_id.symbol in self._symbols)
                for i in instruments
            )
        )
        since_ns = self._since_ns()
        if since_ns is not None:
            try:
                booked = await gateway.booked_since(since_ns)
            except VenueError:
                # Told as a failed call. What went on stays unknown; a stop can only reduce.
                booked = BookedSince(fills=(), fundings=())
                self._booked_missing_ns = since_ns
            parts.trade.resume(gateway, booked)
        await self._tell_orders(gateway)
        self._unavailable(error)
        try:
            await gateway.open_account_stream()
        except VenueError as failed:
            self._unavailable(failed)
        return True

    async def _tell_orders(self, gateway: TellsInParts) -> None:
        try:
            orders = await gateway.resting_orders()
        except VenueError:
            return
        parts = self._parts
        now = parts.clock.now_ns()
        for report in orders:
            parts.publish(OrderReported(ts_event=report.ts_event, ts_recv=now, report=report))
        parts.exit.on_orders_listed(self._gateway.venue)

    # --- an earlier run --------------------------------------------------------------------------

    def _since_ns(self) -> int | None:
        heard_ns = self._parts.trade.heard_ns(self._gateway.venue)
        if heard_ns is None:
            return None
        return min(heard_ns, self._parts.clock.now_ns()) - HEARD_OVERLAP_NS

    async def _resume(self) -> bool:
        """Take up what earlier runs left on the venue; return whether there was anything."""
        gateway, since_ns = self._gateway, self._since_ns()
        if since_ns is not None:
            self._parts.trade.resume(gateway, await gateway.booked_since(since_ns))
            return True
        if not self._is_unseen:
            return False
        # Taken up before it could be looked at: what happened since is asked for now.
        missing_ns = self._booked_missing_ns
        assert self._began_ns is not None, gateway.venue
        since_ns = self._began_ns if missing_ns is None else min(missing_ns, self._began_ns)
        self._parts.trade.take_booked(await gateway.booked_since(since_ns))
        self._booked_missing_ns = None
        return True

    async def _take_booked(self, since_ns: int) -> None:
        """Ask until the venue answers: its streams are open, and must not be opened twice."""
        delay_s, gateway = RETRY_FIRST_S, self._gateway
        while True:
            try:
                booked = await gateway.booked_since(since_ns)
            except VenueError as error:
                log.warning(f"{gateway.venue.value}: fills since the start are not known: {error}")
                await asyncio.sleep(delay_s * (1 - 0.2 * self._parts.rng.random()))
                delay_s = min(RETRY_MAX_S, delay_s * 2)
            else:
                self._parts.trade.take_booked(booked)
                return

    def _unavailable(self, error: VenueError) -> None:
        now = self._parts.clock.now_ns()
        self._parts.publish(
            VenueUnavailable(
                ts_event=now,
                ts_recv=now,
                venue=self._gateway.venue,
                stage=error.operation,
                error=str(error),
            )
        )


def modes_left(left: OpenBook, venue: Venue) -> dict[str, PositionMode]:
    """
    Return where earlier runs left a position or an entry on *venue*, with its position mode. Pure.

    The mode is what its fills named. One without a fill is taken as its neighbors are: a wrong
    guess is refused by the venue and changes nothing.
    """
    modes: dict[str, PositionMode] = {}
    here = [one for one in left.positions if one.opening.instrument_id.venue is venue]
    for one in here:
        for fill in one.fills:
            mode = PositionMode.ONE_WAY if fill.leg is None else PositionMode.HEDGE
            modes[one.opening.instrument_id.symbol] = mode
    usual = next(iter(modes.values()), PositionMode.ONE_WAY)
    entered = [entry.command.request.instrument_id for entry in left.entries]
    for instrument in (*(one.opening.instrument_id for one in here), *entered):
        if instrument.venue is venue:
            _ = modes.setdefault(instrument.symbol, usual)
    return modes
