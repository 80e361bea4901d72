"""
The stop path, tried: a far reduce-only stop is placed, asked for, seen, canceled, seen canceled.

The order is far below the market, reduces only, and is on a symbol without a position, so that it
could not trade even if it were left. Nothing is left: `clean_up` looks after every id that was
sent, whatever happened in between, and touches no other order.
"""

import asyncio
from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from aegis.app.doctor.checks import (
    INSTALLATION,
    Finding,
    State,
    fail,
    ok,
    smallest_qty,
    unknown,
    warn,
)
from aegis.app.doctor.listening import Ear, heard
from aegis.app.doctor.questions import AmendsStops, Questions
from aegis.core.clock import NS_PER_S, Clock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    VenueError,
    VenueRefused,
    VenueThrottled,
)
from aegis.model.account import OrderReport
from aegis.model.instrument import Instrument
from aegis.model.intent import CancelProtection
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, Purpose
from aegis.model.order_id import client_order_id, position_id_of
from aegis.model.ports import VenueGateway

FAR: Final = Decimal("0.7")
"""Of the mark price."""
_CLEAN_UP_TRIES: Final = 4
_CLEAN_UP_PAUSE_S: Final = 0.5
_CLEAN_UP_PAUSE_S_MAX: Final = 65.0
"""Where a limit of requests says how long: a window of a minute and a little."""
_QUERY_PAUSE_S: Final = 0.5


def far_stop(
    instrument: Instrument, mark: Decimal, order_id: str, *, close_position: bool = False
) -> OrderRequest:
    """Return a stop that sells far below *mark*: the smallest quantity, or whatever is open."""
    tick = instrument.tick_size
    trigger = (mark * FAR / tick).to_integral_value(ROUND_FLOOR) * tick
    return OrderRequest(
        instrument_id=instrument.instrument_id,
        client_order_id=order_id,
        purpose=Purpose.STOP_FLOOR if close_position else Purpose.STOP_MOVING,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=None if close_position else smallest_qty(instrument, trigger),
        reduce_only=True,
        close_position=close_position,
        trigger_price=trigger,
    )


class StopPath:
    """One try on one flat instrument; call `clean_up` in a finally."""

    def __init__(
        self,
        gateway: VenueGateway,
        questions: Questions,
        ear: Ear,
        clock: Clock,
        instrument: Instrument,
        mark: Decimal,
        *,
        user_stream: bool,
        patience_s: float,
    ) -> None:
        """*user_stream*: whether it is open; *patience_s*: loop seconds an answer may take."""
        self._gateway = gateway
        self._questions = questions
        self._ear = ear
        self._instrument = instrument
        self._mark = mark
        self._user_stream = user_stream
        self._patience_s = patience_s
        # Ids are never used twice on one account: the run is the second it began.
        self._position_id = position_id_of(INSTALLATION, clock.wall_ns() // NS_PER_S, 1)
        self._deaf = False
        self._count = 0
        self._open: dict[str, bool] = {}
        """Ids sent and not refused: whether the venue said that it took the order."""
        self.rests_flat: bool | None = None
        """Whether a reduce-only stop rested without a position, None while unknown."""

    def _next_id(self) -> str:
        order_id = client_order_id(self._position_id, Purpose.STOP_MOVING, self._count)
        self._count += 1
        # Before it is sent: from here on it is looked after.
        self._open[order_id] = False
        return order_id

    async def try_stop(self) -> list[Finding]:
        """Walk the whole path once and say how each step went."""
        order_id = self._next_id()
        request = far_stop(self._instrument, self._mark, order_id)
        sent_s = asyncio.get_running_loop().time()
        placed = await self._place(request)
        found = [placed]
        if not self.rests_flat:
            return found
        found.append(await self._query(order_id))
        seen = await self._see(
            "stop: seen", order_id, lambda status: status.is_working, sent_s, "working"
        )
        found.append(seen)
        self._deaf = seen.state is State.FAIL
        if isinstance(self._questions, AmendsStops):
            found.append(await self._amend(request, self._questions))
        sent_s = asyncio.get_running_loop().time()
        canceled = await self._cancel(order_id)
        found.append(canceled)
        if canceled.passes:
            found.append(
                await self._see(
                    "stop: seen canceled",
                    order_id,
                    lambda status: status.is_terminal,
                    sent_s,
                    "canceled",
                )
            )
        return found

    async def try_close_position(self) -> bool | None:
        """Say whether a closePosition stop may rest without a position; None when unknown."""
        request = far_stop(self._instrument, self._mark, self._next_id(), close_position=True)
        try:
            await self._gateway.place(request)
        except VenueRefused as refusal:
            del self._open[request.client_order_id]
            return False if refusal.refusal is Refusal.NO_POSITION else None
        except VenueError:
            return None
        self._open[request.client_order_id] = True
        return True

    async def _place(self, request: OrderRequest) -> Finding:
        name = "stop: place"
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        where = f"{request.instrument_id.symbol} sell stop at {request.trigger_price}"
        try:
            await self._gateway.place(request)
        except VenueRefused as refusal:
            del self._open[request.client_order_id]
            if refusal.refusal is Refusal.NO_POSITION:
                self.rests_flat = False
                return warn(
                    name,
                    f"the venue takes no stop without a position ({refusal.code} "
                    f"{refusal.message}): the rest of the path could not be tried flat",
                    "nothing to mend: the first entry will show it",
                )
            return fail(
                name,
                f"the venue refused the {where}: {refusal.code} {refusal.message}",
                "no position could be protected: do not trade here until a stop is taken; look "
                "at the key's rights and the venue's notices",
            )
        except OrderOutcomeUnknown as error:
            return await self._resolve(name, request, error)
        except VenueError as error:
            return unknown(name, error)
        self.rests_flat = self._open[request.client_order_id] = True
        return ok(name, f"{where}, {1000 * (loop.time() - began_s):.0f} ms")

    async def _resolve(
        self, name: str, request: OrderRequest, error: OrderOutcomeUnknown
    ) -> Finding:
        report = await self._ask_until_known(request.client_order_id)
        if isinstance(report, OrderReport) and report.status.is_working:
            self.rests_flat = self._open[request.client_order_id] = True
            return warn(
                name, f"the answer was lost ({error}); the stop rests", "look at the network"
            )
        return unknown(name, error)

    async def _query(self, order_id: str) -> Finding:
        name = "stop: query"
        report = await self._ask_until_known(order_id)
        if isinstance(report, VenueError):
            return unknown(name, report)
        if report is None:
            return fail(
                name,
                f"the venue did not know {order_id} for {self._patience_s:g} s after taking it",
                "its order queries lag or fail: do not trade until they are right",
            )
        return ok(name, report.status.value)

    async def _amend(self, request: OrderRequest, questions: AmendsStops) -> Finding:
        """Move the trigger by one tick and look whether it moved: a capability, not a need."""
        name, order_id = "stop: amend", request.client_order_id
        assert request.trigger_price is not None
        wanted = request.trigger_price - self._instrument.tick_size
        symbol = self._instrument.instrument_id.symbol
        try:
            await questions.amend_stop(symbol, order_id, wanted)
        except VenueRefused as refusal:
            return warn(
                name,
                f"the trigger could not be moved: {refusal.code} {refusal.message}",
                "report it: the adapter's capability table says it can",
            )
        except VenueError as error:
            return unknown(name, error, needed=False)
        report = await self._ask(order_id)
        if not isinstance(report, OrderReport):
            return unknown(name, report or "the venue did not know the order", needed=False)
        if report.trigger_price != wanted:
            told = f"the trigger was {report.trigger_price} after it was moved to {wanted}"
            return warn(name, told, "report it: amended in place is what the adapter counts on")
        return ok(name, f"moved in place to {wanted}")

    async def _ask_until_known(self, order_id: str) -> OrderReport | VenueError | None:
        """Ask again while the venue says it does not know the order: its queries lag."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience_s
        while True:
            answer = await self._ask(order_id)
            if answer is not None or loop.time() >= until_s:
                return answer
            await asyncio.sleep(_QUERY_PAUSE_S)

    async def _ask(self, order_id: str) -> OrderReport | VenueError | None:
        try:
            return await self._gateway.query(
                self._instrument.instrument_id, order_id, conditional=True
            )
        except VenueError as error:
            return error

    async def _see(
        self,
        name: str,
        order_id: str,
        wanted: Callable[[OrderStatus], bool],
        sent_s: float,
        word: str,
    ) -> Finding:
        if not self._user_stream:
            why = "the user stream did not open"
            return unknown(name, why, fix="mend the user stream first", follows=True)
        if self._deaf:
            why = "the user stream told nothing of the stop before"
            return unknown(name, why, fix="mend the user stream first", follows=True)
        ear = self._ear
        await heard(lambda: ear.told_s(order_id, wanted) is not None, self._patience_s)
        told_s = ear.told_s(order_id, wanted)
        if told_s is not None:
            return ok(name, f"on the user stream, {1000 * (told_s - sent_s):.0f} ms after sending")
        return fail(
            name,
            f"the user stream was open and silent: {order_id} is {word}, and nothing said so "
            f"within {self._patience_s:g} s",
            "fills would go unnoticed: make a new key, look for a proxy that cuts WebSockets, "
            "and run the doctor again",
        )

    async def _cancel(self, order_id: str) -> Finding:
        name = "stop: cancel"
        try:
            await self._gateway.cancel(self._command(order_id))
        except VenueThrottled as error:
            # Not sent: the line clean-up says whether it rests.
            return unknown(name, error)
        except VenueError as error:
            return fail(name, f"{order_id} could not be canceled: {error}", "see the line clean-up")
        return ok(name, "accepted")

    def _command(self, order_id: str) -> CancelProtection:
        return CancelProtection(
            instrument_id=self._instrument.instrument_id, client_order_id=order_id
        )

    async def clean_up(self) -> Finding:
        """Make sure that no order of this try rests, and say so, or name the one that does."""
        left: dict[str, str] = {}
        for order_id, taken in self._open.items():
            why = await self._make_sure(order_id, taken=taken)
            if why:
                left[order_id] = why
        name, symbol = "clean-up", self._instrument.instrument_id.symbol
        if left:
            told = "; ".join(f"{order_id}: {why}" for order_id, why in left.items())
            return fail(
                name,
                f"AN ORDER OF THE DOCTOR MAY STILL REST on {symbol}: {told}",
                f"cancel {', '.join(left)} on the venue's site; it reduces only, and is far away",
            )
        return ok(name, f"nothing of the doctor's rests, orders sent: {self._count}")

    async def _make_sure(self, order_id: str, *, taken: bool) -> str:
        """Return why the order may still rest, "" when it surely does not."""
        why, pause_s = "the venue says nothing of it", _CLEAN_UP_PAUSE_S
        for attempt in range(_CLEAN_UP_TRIES):
            if attempt:
                await asyncio.sleep(pause_s)
            pause_s = _CLEAN_UP_PAUSE_S
            try:
                rests = await self._rests(order_id)
                if rests is False:
                    return ""
                await self._gateway.cancel(self._command(order_id))
                why = "it was canceled, and is not told as canceled"
            except VenueRefused as refusal:
                if refusal.refusal is Refusal.NOT_FOUND and not taken and attempt:
                    # Never taken, not in the list, unknown to query and cancel, asked twice.
                    return ""
                why = str(refusal)
            except VenueThrottled as error:
                # Worth waiting for: to be sure that nothing rests.
                why = str(error)
                pause_s = min(error.retry_after_s or _CLEAN_UP_PAUSE_S, _CLEAN_UP_PAUSE_S_MAX)
            except VenueError as error:
                why = str(error)
        return why

    async def _rests(self, order_id: str) -> bool | None:
        """Say whether the order rests; None: the venue does not know it, which proves nothing."""
        snapshot = await self._gateway.snapshot()
        if any(order.client_order_id == order_id for order in snapshot.orders):
            return True
        report = await self._gateway.query(
            self._instrument.instrument_id, order_id, conditional=True
        )
        return None if report is None else report.status.is_working
