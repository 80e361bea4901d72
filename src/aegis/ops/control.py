"""
The control API: what a person may ask a running bot over HTTP on this machine (R63, R85).

It listens on 127.0.0.1 only. Asking how the bot is needs no token; whatever acts does, compared in
constant time, and without a configured token nothing acts. It decides nothing itself: a `Desk`
carries the commands out.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import attrs
import orjson
from aiohttp import web

from aegis.core.errors import bounded_text
from aegis.ops.control_at import CLOSE_PATH, HEALTH_PATH, HOST, KILL_PATH, RESUME_PATH

BODY_BYTES_MAX: Final = 16 * 1024
TEXT_CHARS_MAX: Final = 500


@attrs.frozen(slots=True, kw_only=True)
class CloseCommand:
    """A person wants one position closed. *force* asks again for what was asked a moment ago."""

    venue: str
    symbol: str
    operator: str
    reason: str
    force: bool


@attrs.frozen(slots=True, kw_only=True)
class EntriesCommand:
    """A person stops all entries (*action* kill) or lifts that (resume)."""

    action: str
    operator: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class Answer:
    """What came of a command: an HTTP status and a line for the person."""

    status: int
    message: str


class Desk(Protocol):
    """Carries out what the API was asked, on the bot's loop."""

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the bot is well, and what there is to tell."""

    def close(self, command: CloseCommand) -> Answer:
        """Begin to close a position."""

    def entries(self, command: EntriesCommand) -> Answer:
        """Stop or resume entries."""


class ControlApi:
    """Serve *desk* on a port of this machine; *token* "" lets nothing act."""

    def __init__(self, desk: Desk, *, token: str, close_enabled: bool) -> None:
        self._desk = desk
        self._token = token
        self._close_enabled = close_enabled
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """
        Listen on *port*, 0 takes a free one; return the port.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_post(CLOSE_PATH, self._acting(self._close))
        app.router.add_post(KILL_PATH, self._acting(self._entries("kill")))
        app.router.add_post(RESUME_PATH, self._acting(self._entries("resume")))
        # No access log: it would hold headers' owners and adds nothing to the journal.
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    # --- requests --------------------------------------------------------------------------------

    async def _health(self, _: web.Request) -> web.Response:
        ok, told = self._desk.health()
        return _json(200 if ok else 503, {"ok": ok, **told})

    def _acting(
        self, act: Callable[[dict[str, Any]], Answer]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            refusal = self._refusal(request)
            if refusal is not None:
                return _told(refusal)
            try:
                told = orjson.loads(await request.read() or b"{}")
            except ValueError as error:
                return _told(Answer(status=400, message=f"the body is not JSON: {error}"))
            if not isinstance(told, dict):
                return _told(Answer(status=400, message="the body must be a JSON object"))
            try:
                return _told(act(told))
            except ValueError as error:
                return _told(Answer(status=400, message=str(error)))

        return handle

    def _refusal(self, request: web.Request) -> Answer | None:
        if not self._token:
            return Answer(
                status=403, message="no token is set: set AEGIS_CONTROL_TOKEN and start anew"
            )
        given = request.headers.get("Authorization", "")
        # Bytes: compare_digest refuses text beyond ASCII, and a header may hold what is no text.
        sent = given.encode(errors="surrogateescape")
        if not hmac.compare_digest(sent, f"Bearer {self._token}".encode()):
            return Answer(status=401, message="the token is missing or wrong")
        return None

    def _close(self, told: dict[str, Any]) -> Answer:
        if not self._close_enabled:
            return Answer(
                status=403, message="manual_close_enabled is false: set it to true and start anew"
            )
        _known_only(told, ("venue", "symbol", "operator", "reason", "force"))
        force = told.get("force", False)
        if force is not True and force is not False:
            raise ValueError(f"force was {force!r}, must be true or false")
        return self._desk.close(
            CloseCommand(
                venue=_text(told, "venue"),
                symbol=_text(told, "symbol").upper(),
                operator=_text(told, "operator"),
                reason=_text(told, "reason"),
                force=force,
            )
        )

    def _entries(self, action: str) -> Callable[[dict[str, Any]], Answer]:
        def act(told: dict[str, Any]) -> Answer:
            _known_only(told, ("operator", "reason"))
            return self._desk.entries(
                EntriesCommand(
                    action=action,
                    operator=_text(told, "operator"),
                    reason=_text(told, "reason"),
                )
            )

        return act


def _known_only(told: dict[str, Any], known: tuple[str, ...]) -> None:
    strangers = sorted(set(told) - set(known))
    if strangers:
        raise ValueError(f"unknown field {', '.join(strangers)}; allowed: {', '.join(known)}")


def _text(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} was {value!r}, must be a text that says something")
    return bounded_text(value.strip(), TEXT_CHARS_MAX)


def _told(answer: Answer) -> web.Response:
    return _json(answer.status, {"ok": answer.status < 300, "message": answer.message})


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
