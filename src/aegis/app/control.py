"""
The operator's desk of a running bot: what its control API carries out (R63, R73, R85).

The port it listens on stands in the state directory, so that `aegis close` finds the bot. In
virtual time there is nobody to ask, and none of this runs.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from aegis.app.bot import Bot
from aegis.app.pulse import Pulse
from aegis.core.clock import NS_PER_S
from aegis.core.log import room_logger
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.events import CloseRequested, KillSwitchPulled
from aegis.model.instrument import InstrumentId, Venue
from aegis.ops.control import Answer, CloseCommand, ControlApi, EntriesCommand
from aegis.ops.control_at import HOST, PORT_FILE
from aegis.ops.health import VenueLink

SAME_CLOSE_NS: Final = 10 * NS_PER_S
"""The same close asked again within so long is taken for a double click, unless forced."""

log = room_logger("app")


class OperatorDesk:
    """Carry out what the control API was asked."""

    def __init__(
        self,
        bot: Bot,
        state_dir: Path,
        pulse: Pulse,
        *,
        token: str,
        links: Callable[[], Sequence[VenueLink]],
    ) -> None:
        """*token*: who acts must show it; "" lets nobody act. *links*: the venues now."""
        self._links = links
        self._bot = bot
        self._pulse = pulse
        self._clock = bot.around.clock
        self._port_file = state_dir / PORT_FILE
        self._api = ControlApi(self, token=token, close_enabled=bot.config.manual_close_enabled)
        self._closes_ns: dict[InstrumentId, int] = {}
        self._runs_live = not isinstance(bot.around.loop, VirtualTimeLoop)

    async def start(self) -> None:
        """Listen; a port that is taken costs the API and not the bot."""
        if not self._runs_live:
            return
        self._port_file.unlink(missing_ok=True)
        wanted = self._bot.config.control_port
        try:
            port = await self._api.start(wanted)
        except OSError as error:
            log.log(
                "ERROR",
                f"the control API is off, port {wanted} cannot be had: {error}; "
                "set control_port to another one, or 0 for any",
            )
            return
        log.info(f"control API on http://{HOST}:{port}")
        try:
            self._port_file.write_bytes(orjson.dumps({"port": port, "pid": os.getpid()}))
        except OSError as error:
            log.log(
                "ERROR",
                f"{self._port_file} was not written: {error.strerror}; aegis close and health do "
                "not find this bot, the address above answers",
            )

    async def stop(self) -> None:
        """Stop listening."""
        if self._runs_live:
            self._port_file.unlink(missing_ok=True)
            await self._api.stop()

    # --- the desk --------------------------------------------------------------------------------

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the bot is well, and what there is to tell."""
        guarded = self._bot.exit.guarded()
        return self._pulse.health.ok, {
            "run": self._bot.around.run_id,
            "problems": list(self._pulse.health.problems),
            "positions": len(guarded),
            "protected": sum(
                self._bot.exit.is_covered(g.position.instrument_id) for g, _ in guarded
            ),
            "venues": {
                link.venue.value: {
                    "connected": link.connected,
                    "brought_up": link.brought_up,
                    "refused": self._bot.refused.get(link.venue, ""),
                    "streams": len(link.streams),
                    "streams_down": list(link.down),
                    "frame_age_s": link.frame_age_s,
                }
                for link in self._links()
            },
            "entries_halted": list(self._bot.latch.view().reasons),
            "journal": self._journal(),
        }

    def _journal(self) -> dict[str, Any]:
        stats = self._bot.journal.stats
        failing_ns = stats.failing_for_ns
        return {
            "queued": stats.queued_priority + stats.queued_ordinary,
            "failing_s": None if failing_ns is None else failing_ns / NS_PER_S,
        }

    def close(self, command: CloseCommand) -> Answer:
        """Begin to close a position at market, through the path of every other exit (R63)."""
        try:
            instrument = InstrumentId(venue=Venue(command.venue.upper()), symbol=command.symbol)
        except ValueError:
            names = ", ".join(v.value.lower() for v in self._bot.gateways)
            raise ValueError(f"venue was {command.venue!r}, must be one of {names}") from None
        found = next(
            (g for g, _ in self._bot.exit.guarded() if g.position.instrument_id == instrument), None
        )
        if found is None:
            return Answer(status=404, message=f"no open position in {instrument}")
        now = self._clock.mono_ns()
        asked_ns = self._closes_ns.get(instrument)
        if not command.force and asked_ns is not None and now - asked_ns < SAME_CLOSE_NS:
            ago_s = (now - asked_ns) / NS_PER_S
            return Answer(
                status=409, message=f"the same was asked {ago_s:.1f} s ago; force asks again"
            )
        under_way = found.closing
        if under_way is not None and not command.force:
            return Answer(
                status=409, message=f"{instrument} is being closed already: {under_way.reason}"
            )
        self._closes_ns[instrument] = now
        self._tell_close(instrument, command)
        return Answer(
            status=202,
            message=f"closing {found.position.side.value} {found.position.qty} {instrument}; "
            "it is closed when the venue says flat",
        )

    def _tell_close(self, instrument: InstrumentId, command: CloseCommand) -> None:
        now = self._clock.now_ns()
        self._bot.bus.publish(
            CloseRequested(
                ts_event=now,
                ts_recv=now,
                instrument_id=instrument,
                operator=command.operator,
                reason=command.reason,
                force=command.force,
            )
        )

    def entries(self, command: EntriesCommand) -> Answer:
        """Pull the kill switch, or lift every halt that waits for a person (R73)."""
        if command.action == "resume":
            log.warning(f"entries resumed by {command.operator}: {command.reason}")
            self._bot.safety.reset_kill_switch(f"{command.operator}: {command.reason}")
            return Answer(status=200, message="entries may begin where nothing else holds them")
        now = self._clock.now_ns()
        self._bot.bus.publish(
            KillSwitchPulled(
                ts_event=now, ts_recv=now, operator=command.operator, reason=command.reason
            )
        )
        return Answer(status=200, message="no entries from now on; exits flow")
