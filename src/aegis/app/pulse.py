"""
The pulse of a running bot: looked at once a second, and told to the service manager (R87).

While the bot is well its watchdog is fed; unwell, the dog is left to starve and the manager starts
the bot anew. The native stops hold meanwhile.
"""

import asyncio
from typing import Final

from aegis.app.bot import Bot
from aegis.core.clock import NS_PER_S
from aegis.core.log import room_logger
from aegis.ops.health import ExitState, Health, HealthFacts, HealthJudge
from aegis.ops.systemd import READY, STOPPING, WATCHDOG, ServiceManager

LOOK_EVERY_S: Final = 1.0

log = room_logger("app")


class Pulse:
    """Look at *bot* once a second of loop time, and feed the watchdog while it is well."""

    def __init__(self, bot: Bot, manager: ServiceManager, feed_every_s: float | None) -> None:
        """*feed_every_s*: how often the manager wants to hear of us, None when it does not."""
        self._bot = bot
        self._clock = bot.around.clock
        self._manager = manager
        self._feed_every_s = feed_every_s
        self._judge = HealthJudge()
        self._fed_ns: int | None = None
        self._due_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self.health = Health(problems=("it has not been looked at yet",))

    def start(self) -> None:
        """Tell the manager that the bot is up, and begin to look."""
        _ = self._manager.tell(READY)
        self._look(0)

    def stop(self) -> None:
        """Stop looking; an end takes its time, and the manager is told that it has begun."""
        if self._timer is not None:
            self._timer.cancel()
            _ = self._manager.tell(STOPPING)

    def _tick(self) -> None:
        self._look(max(0, self._clock.mono_ns() - self._due_ns))

    def _look(self, lag_ns: int) -> None:
        now = self._clock.mono_ns()
        before = self.health
        self.health = self._judge.look(self._facts(lag_ns, now), now)
        if self.health.problems != before.problems and not self.health.ok:
            log.critical(f"UNWELL: {'; '.join(self.health.problems)}")
        elif self.health.ok and not before.ok:
            log.info("WELL: the loop turns and the way out works")
        self._feed(now)
        self._due_ns = now + round(LOOK_EVERY_S * NS_PER_S)
        self._timer = self._bot.around.loop.call_later(LOOK_EVERY_S, self._tick)

    def _feed(self, now: int) -> None:
        every_s, fed_ns = self._feed_every_s, self._fed_ns
        if every_s is None or not self.health.ok:
            return
        # One look early rather than one look late.
        if fed_ns is not None and now - fed_ns < (every_s - LOOK_EVERY_S) * NS_PER_S:
            return
        if self._manager.tell(WATCHDOG, f"STATUS={len(self._bot.exit.guarded())} positions"):
            self._fed_ns = now

    def _facts(self, lag_ns: int, now: int) -> HealthFacts:
        exits = [
            ExitState(
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                naked_ns=None if guarded.naked_since_ns is None else now - guarded.naked_since_ns,
                closing=guarded.closing is not None,
            )
            for guarded, _ in self._bot.exit.guarded()
        ]
        lanes = [(v.value, e.depths[0]) for v, e in self._bot.trade.executors.items()]
        return HealthFacts(lag_ns=lag_ns, exits=exits, protect_depths=lanes)
