"""
Requests of a person to a running bot, left in the state directory: kill switch and its reset (R73).

A request waits there until a bot takes it, also across a restart; the journal is the record of what
was done. Exits are never part of it: they always flow.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from aegis.app.bot import Bot
from aegis.app.modes import Mode, state_dir_of
from aegis.core.errors import ConfigError, Problem
from aegis.core.log import room_logger
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.events import KillSwitchPulled

REQUEST_FILE: Final = "operator-request.json"
LOOK_EVERY_S: Final = 0.5

log = room_logger("app")


@attrs.frozen(slots=True, kw_only=True)
class Request:
    """What a person asks: *action* kill or resume, who, and why."""

    action: str
    operator: str
    reason: str


def request_dirs(base: Path, asked: Sequence[Mode], action: str) -> list[Path]:
    """
    Return the state directories a request is for: those of *asked*, else what *action* reaches.

    A kill without a mode reaches every mode that ever ran here; a resume must say which it means
    where there are several.

    Raises:
        ConfigError: a resume that could mean several.

    """
    if asked:
        return [state_dir_of(base, mode) for mode in asked]
    ran = [mode for mode in Mode if (state_dir_of(base, mode) / "mode").exists()]
    if action == "kill" or len(ran) == 1:
        return [state_dir_of(base, mode) for mode in ran] or [base]
    if not ran:
        return [base]
    raise ConfigError(
        [
            Problem(
                name="mode",
                value=", ".join(ran),
                allowed="one of them",
                fix="say which: " + ", ".join(f"--{mode.value}" for mode in ran),
            )
        ]
    )


def leave_request(state_dir: Path, request: Request) -> Path:
    """
    Leave *request* for the bot that holds *state_dir*, or for the next one.

    Raises:
        ConfigError: when there is no such directory, or the request does not say who and why.
    """
    for name in ("operator", "reason"):
        if not getattr(request, name).strip():
            raise ConfigError(
                [Problem(name=f"--{name}", value="", allowed="a text", fix=f"say --{name} ...")]
            )
    if not state_dir.is_dir():
        raise ConfigError(
            [
                Problem(
                    name="state_dir",
                    value=str(state_dir),
                    allowed="the state directory of a bot",
                    fix="name it with --state-dir",
                )
            ]
        )
    path = state_dir / REQUEST_FILE
    temporary = path.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(attrs.asdict(request)))
    temporary.replace(path)
    return path


class OperatorRequests:
    """Take requests for *bot* from *state_dir*: once at start, then twice a second of loop time."""

    def __init__(self, bot: Bot, state_dir: Path) -> None:
        self._bot = bot
        self._path = state_dir / REQUEST_FILE
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now, and from now on; in virtual time nobody is there to ask."""
        self.look()
        loop = self._bot.around.loop
        if not isinstance(loop, VirtualTimeLoop):
            self._timer = loop.call_later(LOOK_EVERY_S, self.start)

    def stop(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Take the request that waits, if any."""
        if not self._path.exists():
            return
        try:
            told: dict[str, Any] = orjson.loads(self._path.read_bytes())
            request = Request(
                action=str(told["action"]),
                operator=str(told["operator"]),
                reason=str(told["reason"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            # An unreadable request may have been a kill: the safe reading stops entries.
            request = Request(
                action="kill", operator="unknown", reason=f"unreadable request: {error}"
            )
        self._path.unlink(missing_ok=True)
        self._carry_out(request)

    def _carry_out(self, request: Request) -> None:
        now = self._bot.around.clock.now_ns()
        if request.action == "resume":
            log.warning(f"entries resumed by {request.operator}: {request.reason}")
            self._bot.safety.reset_kill_switch(f"{request.operator}: {request.reason}")
            return
        self._bot.bus.publish(
            KillSwitchPulled(
                ts_event=now, ts_recv=now, operator=request.operator, reason=request.reason
            )
        )
