"""
Ask a running bot on this machine through its control API: what `aegis close` and `health` do.

A health check runs every minute; nothing heavy is imported here.
"""

import http.client
import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import attrs
import orjson
from rich.console import Console

from aegis.app.load import load_settings
from aegis.app.modes import Mode, state_dir_of
from aegis.app.state import LOCK_FILE
from aegis.core.errors import ConfigError, Problem
from aegis.ops.control_at import CLOSE_PATH, HEALTH_PATH, HOST, PORT_FILE
from aegis.settings import state_path

TIMEOUT_S: Final = 10.0
EXIT_REFUSED: Final = 1
"""The bot refused what was asked, or it is not well."""
EXIT_USAGE: Final = 2


@attrs.frozen(slots=True, kw_only=True)
class CloseAsk:
    """Which position is to be closed, who wants it, and why."""

    symbol: str
    venue: str
    operator: str
    reason: str
    force: bool


def ask_close(ask: CloseAsk, flags: Mapping[str, object], asked: Sequence[Mode]) -> int:
    """
    Ask the running bot to close a position, show its answer and return the exit code.

    0: it closes; 1: it does not, because of how things stand; 2: a person must mend something.

    Raises:
        ConfigError: no bot runs there, several do, or the token is not known here.
    """
    resolved, keys = load_settings(None, flags)
    bot = running_bot(state_path(resolved.config), asked)
    if not keys.aegis_control_token:
        raise ConfigError(
            [
                Problem(
                    name="AEGIS_CONTROL_TOKEN",
                    value="",
                    allowed="the token the bot was started with",
                    fix="put it into .env, or into the environment",
                )
            ]
        )
    token = keys.aegis_control_token
    status, told = ask_bot(bot, "POST", CLOSE_PATH, attrs.asdict(ask), token=token)
    if status < HTTPStatus.MULTIPLE_CHOICES:
        Console(soft_wrap=True).print(told["message"], markup=False, highlight=False)
        return 0
    message = str(told.get("message", f"status {status}"))
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        message += "; whether it closes is not known: look at its log"
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    errors.print(f"aegis: not closed: {message}", markup=False)
    of_the_moment = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GATEWAY_TIMEOUT}
    return EXIT_REFUSED if status in of_the_moment else EXIT_USAGE


def ask_health(flags: Mapping[str, object], asked: Sequence[Mode]) -> int:
    """
    Ask the running bot how it is, show it and return the exit code: 0 well, 1 not.

    Raises:
        ConfigError: no bot runs there, or several do.
    """
    resolved, _ = load_settings(None, flags)
    bot = running_bot(state_path(resolved.config), asked)
    status, told = ask_bot(bot, "GET", HEALTH_PATH)
    output = Console(soft_wrap=True, highlight=False)
    for line in health_lines(told):
        output.print(line, markup=False)
    return 0 if status == HTTPStatus.OK else EXIT_REFUSED


@attrs.frozen(slots=True, kw_only=True)
class RunningBot:
    """A bot that runs on this machine: its state directory, and the port it can be asked on."""

    state_dir: Path
    port: int


def running_bot(base: Path, asked: Sequence[Mode]) -> RunningBot:
    """
    Return the one bot that runs below *base*, in one of the modes *asked* if any were.

    Raises:
        ConfigError: none runs there, or several do and it was not said which.
    """
    running = {
        mode: RunningBot(state_dir=directory, port=port)
        for mode in (asked or Mode)
        if (port := _port_of(directory := state_dir_of(base, mode))) is not None
    }
    if not running:
        of = "".join(f" {mode.value}" for mode in asked)
        raise ConfigError(
            [
                Problem(
                    name="--state-dir",
                    value=str(base),
                    allowed=f"the state directory of a running{of} bot; none runs there",
                    fix="start it, or name its directory with --state-dir",
                )
            ]
        )
    if len(running) > 1:
        raise ConfigError(
            [
                Problem(
                    name="mode",
                    value=", ".join(mode.value for mode in running),
                    allowed="one of them",
                    fix="say which: " + ", ".join(f"--{mode.value}" for mode in running),
                )
            ]
        )
    return next(iter(running.values()))


def bot_is_seen(state_dir: Path) -> bool:
    """Say whether a bot that can be asked runs on *state_dir*; one without its port is not seen."""
    return _port_of(state_dir) is not None


def ask_bot(
    bot: RunningBot, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = ""
) -> tuple[int, dict[str, Any]]:
    """
    Ask *bot* and return the HTTP status and the answer.

    No answer is a 504: what was asked may have been done or not.
    """
    connection = http.client.HTTPConnection(HOST, bot.port, timeout=TIMEOUT_S)
    # Bytes: a token may be any text, a header of text may not.
    headers: dict[str, bytes] = {"Content-Type": b"application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}".encode()
    try:
        connection.request(method, path, orjson.dumps(body or {}), headers)
        response = connection.getresponse()
        told = orjson.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        message = f"the bot of {bot.state_dir} does not answer ({type(error).__name__})"
        return HTTPStatus.GATEWAY_TIMEOUT, {"ok": False, "message": message}
    finally:
        connection.close()
    return response.status, told if isinstance(told, dict) else {"message": str(told)}


def health_lines(told: Mapping[str, Any]) -> list[str]:
    """Return what a bot *told* of its health as lines for a person."""
    if "problems" not in told:
        return [f"UNWELL: {told.get('message', 'it told nothing')}"]
    verdict = [f"UNWELL: {problem}" for problem in told["problems"]] or [
        "well: the loop turns and the way out works"
    ]
    halts = "; ".join(told["entries_halted"])
    return [
        *verdict,
        f"run {told['run']}: {told['positions']} positions, {told['protected']} of them protected",
        *(_venue_line(name, link) for name, link in told["venues"].items()),
        *_journal_lines(told["journal"]),
        f"ENTRIES HALTED: {halts}" if halts else "entries allowed",
    ]


def _venue_line(name: str, link: Mapping[str, Any]) -> str:
    age_s, down, streams = link["frame_age_s"], link["streams_down"], link["streams"]
    age = "no frame yet" if age_s is None else f"last frame {age_s:.1f} s ago"
    if not link["brought_up"]:
        return f"{name} NOT connected: {link['refused'] or 'it is being brought up'}; {age}"
    if down:
        return f"{name} NOT connected: {', '.join(down)} DOWN of {streams} streams; {age}"
    if not link["connected"]:
        return f"{name} NOT connected: its streams are being opened; {age}"
    return f"{name} connected, {streams} streams; {age}"


def _journal_lines(journal: Mapping[str, Any]) -> list[str]:
    if journal["failing_s"] is None:
        return []
    waiting = f"rows that wait in memory: {journal['queued']}"
    return [f"JOURNAL NOT WRITTEN for {journal['failing_s']:.0f} s, {waiting}"]


def _port_of(state_dir: Path) -> int | None:
    """
    Return the port of the bot that runs on *state_dir*, None when none does.

    A bot that was killed leaves its file behind, and its port may be another program's by now: the
    process must live and be the last to have taken the directory's lock.
    """
    try:
        told = orjson.loads((state_dir / PORT_FILE).read_bytes())
        port, pid = int(told["port"]), int(told["pid"])
        holder = (state_dir / LOCK_FILE).read_text().strip()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return port if holder == str(pid) and _lives(pid) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Of another user, and so alive.
        return True
    return True
