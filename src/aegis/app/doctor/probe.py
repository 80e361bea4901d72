"""
One venue examined: real gateway, real streams, one far stop; facts in, findings of checks.py out.

What cannot be asked is told as such, and what comes after it is still asked where that makes sense:
without a venue that answers, or a key it takes, the rest is not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeVar

import attrs

from aegis.app.doctor import checks
from aegis.app.doctor.checks import Finding, TimeSample
from aegis.app.doctor.listening import Ear, heard
from aegis.app.doctor.plan import DoctorPlan, DoctorVenue, VenueReport
from aegis.app.doctor.questions import questions_for
from aegis.app.doctor.rights import KEY_REFUSED, TIME_REFUSED, KeyRights, key_rights
from aegis.app.doctor.stop_path import StopPath
from aegis.core.clock import NS_PER_MS
from aegis.core.errors import VenueError, VenueRefused, VenueThrottled, VenueUnreachable
from aegis.core.offload import Offload
from aegis.model.account import VenueSnapshot
from aegis.model.instrument import Instrument, InstrumentId
from aegis.model.ports import VenueGateway
from aegis.settings import key_names
from aegis.venue.order_socket import ORDER_STREAM

T = TypeVar("T")

TIME_SAMPLES: Final = 5
_SOCKET_PREFIX: Final = "ws "
_LANE: Final = "second opinion"
_FIRST: Final = "the user stream, which is opened first, did not open"


@attrs.frozen(slots=True, kw_only=True)
class _Market:
    """What is known once the account could be read."""

    instruments: tuple[Instrument, ...]
    snapshot: VenueSnapshot
    marks: Mapping[InstrumentId, Decimal]


class Examination:
    """One visit to one venue."""

    def __init__(
        self,
        plan: DoctorPlan,
        venue: DoctorVenue,
        gateway: VenueGateway,
        ear: Ear,
        offload: Offload,
    ) -> None:
        self._plan = plan
        self._venue = venue
        self._gateway = gateway
        self._questions = questions_for(gateway)
        self._ear = ear
        self._offload = offload
        self._found: list[Finding] = []

    async def run(self) -> VenueReport:
        """Ask everything; close nothing."""
        reachable = await self._network()
        if reachable and await self._key():
            await self._account()
        return VenueReport(
            venue=self._venue.venue,
            base_url=self._venue.base_url,
            reachable=reachable,
            findings=tuple(self._found),
        )

    # --- before the account ----------------------------------------------------------------------

    async def _network(self) -> bool:
        clock, samples = self._plan.clock, list[TimeSample]()
        try:
            for _ in range(TIME_SAMPLES):
                before_ns, began_ns = clock.wall_ns(), clock.mono_ns()
                theirs_ns = await self._questions.server_time_ns()
                took_ns = clock.mono_ns() - began_ns
                offset_ns = theirs_ns - (before_ns + took_ns // 2)
                samples.append(
                    TimeSample(offset_ms=offset_ns / NS_PER_MS, round_trip_ms=took_ns / NS_PER_MS)
                )
            await self._questions.prepare()
        except VenueUnreachable as error:
            fix = "look at the line, the address, and the venue's status page (maintenance?)"
            self._found.append(checks.fail("network", f"no answer: {error.detail}", fix))
            return False
        except VenueError as error:
            self._found.append(checks.unknown("network", error))
            return True
        self._found.append(checks.check_network(samples))
        self._found.append(checks.check_clock(samples, self._plan.config.recv_window_ms))
        return True

    async def _key(self) -> bool:
        if not (self._venue.api_key and self._venue.api_secret):
            testnet = self._plan.mode == "testnet"
            names = key_names(self._venue.venue.value.lower(), testnet=testnet)
            fix = f"set {' and '.join(names)} in .env"
            self._found.append(checks.fail("key", "none is set", fix))
            return False
        rights = await self._rights()
        if isinstance(rights, Finding):
            self._found.append(rights)
            why = "the venue took no signed call"
            self._found.append(checks.unknown("everything else", why, follows=True))
            return False
        live = self._plan.mode == "live"
        self._found.extend(checks.check_rights(rights, live=live))
        return True

    async def _rights(self) -> KeyRights | Finding:
        try:
            return await key_rights(self._gateway)
        except VenueRefused as refusal:
            if refusal.code in TIME_REFUSED:
                why = f"requests are refused for their time ({refusal.code}: {refusal.message})"
                return checks.unknown("key", why, fix="mend the clock first")
            if refusal.code in KEY_REFUSED:
                return checks.fail(
                    "key",
                    f"the venue refused it: {refusal.code} {refusal.message}",
                    "look whether key and secret belong together and to this environment (test "
                    "keys are not live keys), and whether the key expired or is bound to another "
                    "address",
                )
            return checks.unknown("key", refusal)
        except VenueError as error:
            return checks.unknown("key", error)

    # --- the account -----------------------------------------------------------------------------

    async def _account(self) -> None:
        margin = await self._asked("margin mode", self._questions.margin)
        if margin is not None:
            self._found.append(checks.check_margin(margin))
        instruments = await self._instruments(self._venue.symbols)
        if not instruments:
            return
        traded = [each.instrument_id.symbol for each in instruments]
        hedged = await self._asked("position mode", lambda: self._questions.hedged(traded))
        if hedged is not None:
            self._found.append(checks.check_position_mode(hedged))
        self._found.append(checks.check_leverage(self._plan.config.leverage, instruments))
        await self._filters(instruments)
        snapshot = await self._asked("open positions", self._gateway.snapshot)
        if snapshot is None:
            return
        self._found.extend(checks.check_positions(snapshot))
        self._found.extend(checks.check_second_legs(self._questions.second_legs()))
        self._found.extend(checks.check_leftovers(snapshot))
        marks = await self._marks(instruments)
        self._money(instruments, snapshot, marks)
        user_stream = await self._streams(instruments)
        market = _Market(instruments=instruments, snapshot=snapshot, marks=marks)
        await self._stop_path(market, user_stream=user_stream)

    async def _asked(self, name: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await ask()
        except VenueError as error:
            self._found.append(checks.unknown(name, error))
            return None

    async def _instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        fix = "set the setting symbols to what this venue lists"
        if not symbols:
            self._found.append(checks.fail("symbols", "none is configured", fix))
            return ()
        try:
            loaded = await self._questions.instruments(symbols)
        except VenueRefused as refusal:
            self._found.append(checks.fail("symbols", refusal.message, fix))
            return ()
        except VenueError as error:
            self._found.append(checks.unknown("symbols", error))
            return ()
        told = ", ".join(each.instrument_id.symbol for each in loaded.instruments)
        self._found.append(checks.ok("symbols", f"listed and tradable: {told}"))
        for out in loaded.left_out:
            reason = f"{out.symbol} is left out: {out.status}"
            self._found.append(checks.warn("symbols", reason, out.fix))
        return loaded.instruments

    async def _filters(self, instruments: Sequence[Instrument]) -> None:
        ask, venue = self._plan.second_opinion, self._venue
        if ask is None:
            why = "no second opinion in this run"
            self._found.append(checks.unknown("filters", why, needed=False))
            return
        try:
            views = await self._offload(lambda: ask(venue.venue, venue.base_url), lane=_LANE)
        except VenueError as error:
            self._found.append(checks.unknown("filters", error, needed=False))
            return
        self._found.extend(checks.check_filters(instruments, views))

    async def _marks(self, instruments: Sequence[Instrument]) -> dict[InstrumentId, Decimal]:
        marks = {}
        for each in instruments:
            instrument_id = each.instrument_id
            try:
                marks[instrument_id] = await self._gateway.mark_price(instrument_id)
            except VenueError as error:
                name = f"mark price {instrument_id.symbol}"
                self._found.append(checks.unknown(name, error))
        return marks

    def _money(
        self,
        instruments: Sequence[Instrument],
        snapshot: VenueSnapshot,
        marks: Mapping[InstrumentId, Decimal],
    ) -> None:
        costs = {
            each.instrument_id.symbol: checks.smallest_qty(each, mark) * mark
            for each in instruments
            if (mark := marks.get(each.instrument_id)) is not None
        }
        self._found.append(
            checks.check_free_margin(snapshot.balance, costs, self._plan.config.leverage)
        )

    # --- streams and the stop --------------------------------------------------------------------

    async def _streams(self, instruments: Sequence[Instrument]) -> bool:
        """Open the streams; say whether the user stream is open."""
        name, ear, patience_s = "user stream", self._ear, self._plan.patience_s
        symbols = [each.instrument_id.symbol for each in instruments]
        began_s = _loop_s()
        try:
            await self._gateway.start_streams(instruments, ear)
        except VenueThrottled as error:
            self._found.append(checks.unknown(name, error))
            self._found.append(checks.unknown("market stream", _FIRST, follows=True))
            return False
        except VenueError as error:
            heard_why = f"; {ear.closures[-1]}" if ear.closures else ""
            self._found.append(
                checks.fail(
                    name,
                    f"it did not open: {error}{heard_why}",
                    "fills would go unnoticed: look whether a proxy or firewall cuts WebSockets, "
                    "and at the stream address of the settings",
                )
            )
            self._found.append(checks.unknown("market stream", _FIRST, follows=True))
            return False
        opened_s = _loop_s()
        took_ms = 1000 * (opened_s - began_s)
        self._found.append(checks.ok(name, f"open and authenticated after {took_ms:.0f} ms"))
        await heard(lambda: set(symbols) <= set(ear.quoted_s), patience_s)
        seen_ms = {
            symbol: max(0.0, 1000 * (at_s - opened_s)) for symbol, at_s in ear.quoted_s.items()
        }
        self._found.append(checks.check_quotes(symbols, seen_ms, patience_s))
        return True

    async def _stop_path(self, market: _Market, *, user_stream: bool) -> None:
        held = {each.instrument_id for each in market.snapshot.positions if each.qty_signed != 0}
        flat = [
            each
            for each in market.instruments
            if each.tradable
            and each.instrument_id not in held
            and each.instrument_id in market.marks
        ]
        if not flat:
            why = "every configured symbol has a position, is not tradable, or has no mark price"
            self._found.append(
                checks.unknown(
                    "stop: place",
                    why,
                    fix="name a symbol without a position",
                    follows=not market.marks,
                )
            )
            return
        await self._wait_for_order_socket()
        path = StopPath(
            self._gateway,
            self._questions,
            self._ear,
            self._plan.clock,
            flat[0],
            market.marks[flat[0].instrument_id],
            user_stream=user_stream,
            patience_s=self._plan.patience_s,
        )
        try:
            self._found.extend(await path.try_stop())
            self._order_entry()
            await self._capabilities(path)
        finally:
            self._found.append(await path.clean_up())

    def _socket_wanted(self) -> bool:
        return bool(self._venue.order_ws_url) and self._plan.config.order_entry == "ws"

    async def _wait_for_order_socket(self) -> None:
        if self._socket_wanted():
            await heard(lambda: ORDER_STREAM in self._ear.streams, self._plan.patience_s)

    def _order_entry(self) -> None:
        """Say by which way the stop went out."""
        name = "order socket"
        if not self._socket_wanted():
            self._found.append(checks.ok(name, "not used: orders go by REST"))
            return
        went = [call for call in self._ear.calls if call.operation.startswith(_SOCKET_PREFIX)]
        # A refusal is an answer too: the way is open, whatever became of the order.
        answered = [call for call in went if call.ok or call.error_class == VenueRefused.__name__]
        if answered:
            best_ms = min(call.duration_ms for call in answered)
            word = "takes" if any(call.ok for call in went) else "answers"
            self._found.append(checks.ok(name, f"it {word} orders, {best_ms:.0f} ms"))
            return
        why = went[-1].error if went else "it did not open"
        if not went and ORDER_STREAM in self._ear.streams:
            why = "it opened, and was not used"
        self._found.append(
            checks.warn(
                name,
                f"orders do not go by WebSocket: {why}; REST is used instead, which is slower",
                "look at the order_ws_url of the settings, or set order_entry to rest",
            )
        )

    async def _capabilities(self, path: StopPath) -> None:
        """Answer the open questions of the capability table by what was tried."""
        table = self._gateway.capabilities
        if path.rests_flat is None:
            why = "no stop was taken"
            self._found.append(checks.unknown("stop before the entry", why, fix="", needed=False))
        else:
            self._found.append(
                checks.check_capability(
                    "stop before the entry",
                    rests=path.rests_flat,
                    table=table.stop_rests_before_entry,
                )
            )
        if table.close_position_orders and path.rests_flat is not None:
            rests = await path.try_close_position()
            name = "closePosition while flat"
            if rests is None:
                why = "the answer told nothing about positions"
                self._found.append(checks.unknown(name, why, fix="", needed=False))
            else:
                self._found.append(checks.check_capability(name, rests=rests, table=False))
        if table.position_protection:
            why = (
                "trading-stop, and the stop beside rungs, need a position: the bot's first entry "
                "shows it"
            )
            self._found.append(checks.unknown("stop of the position", why, fix="", needed=False))


def _loop_s() -> float:
    return asyncio.get_running_loop().time()
