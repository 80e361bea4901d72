"""A person and a service manager talk to a bot that runs: close, kill, health, watchdog."""

import itertools
import os
import re
import signal
import socket
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

from aegis.app import ask
from aegis.core.clock import NS_PER_S, LiveClock
from aegis.journal.store import FILE_NAME, open_journal
from aegis.model.events import CloseRequested, PositionClosed
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.acceptance_cli.conftest import Cli, Ended

TOKEN: Final = "a-token-of-a-test-0815"
ENABLED: Final = {"AEGIS_CONTROL_TOKEN": TOKEN, "AEGIS_MANUAL_CLOSE_ENABLED": "true"}
VENUES: Final = ("binance", "bybit")
LISTENS: Final = r"control API on http://127\.0\.0\.1:\d+"
PROTECTED: Final = r"(BINANCE|BYBIT) +(\w+USDT) +PROTECTED stop"


def close(cli: "Cli", symbol: str, venue: str, *more: str, token: str = TOKEN) -> "Ended":
    """Run `aegis close` with a token."""
    args = ("close", symbol, "--venue", venue, "--operator", "ann", "--reason", "on holiday", *more)
    return cli.run_here(*args, env={"AEGIS_CONTROL_TOKEN": token})


def untold(ended: "Ended") -> bool:
    """Say whether the token stayed secret."""
    return TOKEN not in ended.out + ended.err


def test_a_close_by_hand_under_a_kill_switch(cli: "Cli") -> None:
    """Entries stopped, a person's close goes on, MANUAL, audited with who and why (R58, R63)."""
    bot = cli.start("--speed", "300", env=ENABLED)
    found = bot.wait_for(PROTECTED)
    venue, symbol = found.group(1), found.group(2)
    killed = cli.run_here("kill", "--operator", "ann", "--reason", "news")
    assert "kill; it runs and takes it at once" in killed.out
    assert 0 == killed.code, killed.err
    _ = bot.wait_for("KILL SWITCH pulled by ann")
    closed = close(cli, symbol, venue.lower())
    assert 0 == closed.code, closed.err
    assert f"{symbol}-PERP.{venue}; it is closed when the venue says flat" in closed.out
    _ = bot.wait_for(rf"WARNING +ops +{venue} +{symbol} +MANUAL CLOSE asked by ann: on holiday")
    _ = bot.wait_for(rf"{venue} +{symbol} +EXIT MANUAL")
    ended = bot.end(signal.SIGINT)
    assert 0 == ended.code, ended.err
    assert untold(ended)
    assert "the paper account is saved, positions and stops too" in ended.err
    store = open_journal(cli.folder / "state")
    events = [event for _, event in store.iter_events(types=[CloseRequested, PositionClosed])]
    store.close()
    (asked,) = [event for event in events if isinstance(event, CloseRequested)]
    assert ("ann", "on holiday", False) == (asked.operator, asked.reason, asked.force)
    assert CloseCause.MANUAL in {
        event.cause
        for event in events
        if isinstance(event, PositionClosed) and event.position.instrument_id == asked.instrument_id
    }
    database = cli.folder / "state" / FILE_NAME
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select severity from events where type = 'CloseRequested'")
        assert [("WARNING",)] == rows.fetchall()
    connection.close()
    assert TOKEN.encode() not in database.read_bytes()


def test_a_second_ask_is_a_conflict_unless_forced(cli: "Cli") -> None:
    """While the venue owes its answer the same close is refused; force asks again (R63)."""
    twin = cli.start("twin", "--speed", "300")
    faces = [twin.wait_for(rf"{name} face at (http://\S+)").group(1) for name in VENUES]
    bot = cli.start("--twin-binance", faces[0], "--twin-bybit", faces[1], env=ENABLED)
    found = bot.wait_for(PROTECTED)
    venue, symbol = found.group(1).lower(), found.group(2)
    os.kill(twin.pid, signal.SIGSTOP)
    try:
        first = close(cli, symbol, venue)
        second = close(cli, symbol, venue)
        forced = close(cli, symbol, venue, "--force")
    finally:
        os.kill(twin.pid, signal.SIGCONT)
    assert [0, 1, 0] == [ended.code for ended in (first, second, forced)], second.err
    assert re.search(r"aegis: not closed: the same was asked \d\.\d s ago; force", second.err)
    _ = bot.wait_for(rf"{symbol} +EXIT MANUAL")
    ended = bot.end(signal.SIGINT)
    assert 0 == ended.code, ended.err
    assert "positions that are open stay on the twin, and so do their stops" in ended.err
    _ = twin.end(signal.SIGINT)


def test_each_refusal_of_a_close_is_one_plain_line(
    cli: "Cli", monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bot, no token, a wrong one, flag off: code 2, one line, the token never shown (R85)."""
    nobody = close(cli, "BTCUSDT", "binance")
    bot = cli.start("--speed", "60", env={"AEGIS_CONTROL_TOKEN": TOKEN})
    _ = bot.wait_for(LISTENS)
    answers = {
        "none runs there": nobody,
        "AEGIS_CONTROL_TOKEN was ''": close(cli, "BTCUSDT", "binance", token=""),
        "the token is missing or wrong": close(cli, "BTCUSDT", "binance", token="x" + TOKEN),
        "manual_close_enabled is false": close(cli, "BTCUSDT", "binance"),
    }
    for told, ended in answers.items():
        (line,) = ended.problems
        assert told in line
        assert 2 == ended.code
        assert untold(ended)
    # A bot that hangs is not absent.
    monkeypatch.setattr(ask, "TIMEOUT_S", 0.3)
    os.kill(bot.pid, signal.SIGSTOP)
    try:
        hung, asked = cli.run_here("health"), close(cli, "BTCUSDT", "binance")
    finally:
        os.kill(bot.pid, signal.SIGCONT)
    assert (1, 1) == (hung.code, asked.code)
    assert "does not answer" in hung.out
    assert "whether it closes is not known" in asked.err
    killed = bot.end(signal.SIGKILL)
    assert untold(killed)
    assert 2 == cli.run_here("health").code


def test_a_kill_that_no_bot_takes_now_says_so(cli: "Cli") -> None:
    """It waits for the next start; whoever asked in a hurry must know that none runs (R73)."""
    (cli.folder / "state").mkdir()
    ended = cli.run_here("kill", "--reason", "news")
    assert 0 == ended.code, ended.err
    assert "kill; none is seen running there, the next start takes it" in ended.out


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        (("kill",), ["--reason"]),
        (("resume",), ["--reason"]),
        (("close", "BTCUSDT"), ["--venue", "--reason"]),
        (("close", "BTCUSDT", "--venue", "bybit"), ["--reason"]),
    ],
    ids=" ".join,
)
def test_a_flag_that_is_missing_is_named_with_an_example(
    cli: "Cli", args: tuple[str, ...], missing: list[str]
) -> None:
    """In a hurry a line to copy is worth more than a box of usage; all at once (R83)."""
    ended = cli.run_here(*args)
    assert 2 == ended.code
    assert missing == [line.split()[1] for line in ended.problems]
    for line in ended.problems:
        assert f"python -m aegis {' '.join(args[:2])} " in line
        assert line.endswith('--reason "news at 14:00"')


def test_a_close_that_the_bot_cannot_do_says_why(cli: "Cli") -> None:
    """No position there: code 1; an unknown venue or an empty reason: code 2 (R63)."""
    bot = cli.start("--speed", "60", env=ENABLED)
    _ = bot.wait_for(LISTENS)
    empty = close(cli, "btcusdt", "bybit")
    assert 1 == empty.code
    assert ["aegis: not closed: no open position in BTCUSDT-PERP.BYBIT"] == empty.problems
    stranger = close(cli, "BTCUSDT", "kraken")
    assert 2 == stranger.code
    assert "venue was 'kraken', must be one of binance, bybit" in stranger.err
    speechless = close(cli, "BTCUSDT", "bybit", "--reason", " ")
    assert 2 == speechless.code
    assert "reason was ' '" in speechless.err
    assert 0 == bot.end(signal.SIGTERM).code


def test_health_of_a_running_bot(cli: "Cli") -> None:
    """Well is 0 and told with run, positions and venues; afterwards there is none: 2 (R87)."""
    bot = cli.start("--speed", "60")
    _ = bot.wait_for(LISTENS)
    well = cli.run_here("health")
    assert 0 == well.code, well.out + well.err
    assert well.out.startswith("well: ")
    assert re.search(r"run \w{4}-1: \d+ positions, \d+ of them protected", well.out)
    _ = bot.wait_for(r"BINANCE +FEED market connected")
    _ = bot.wait_for(r"HEARTBEAT")
    now = cli.run_here("health").out
    assert re.search(r"^BINANCE connected, 4 streams; last frame \d\.\d s ago$", now, re.MULTILINE)
    assert 2 == cli.run_here("health", "--live").code
    assert 0 == bot.end(signal.SIGTERM).code
    gone = cli.run_here("health")
    assert 2 == gone.code
    assert "none runs there" in gone.err


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """Return a service manager's socket, in the abstract name space."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0aegis-test-{os.getpid()}")
        listener.settimeout(20)
        yield listener


def test_the_service_manager_hears_ready_heartbeats_and_the_end(
    cli: "Cli", manager: socket.socket
) -> None:
    """READY once up, WATCHDOG at half of WATCHDOG_USEC at the latest, STOPPING at the end (R87)."""
    watchdog_us = 4_000_000
    address = f"@aegis-test-{os.getpid()}"
    env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(watchdog_us)}
    bot = cli.start("--speed", "60", "--log-level", "ERROR", env=env)
    clock = LiveClock()
    assert b"READY=1" == manager.recv(200)
    fed_ns = []
    for _ in range(4):
        assert manager.recv(200).startswith(b"WATCHDOG=1\n")
        fed_ns.append(clock.mono_ns())
    gaps_s = [(b - a) / NS_PER_S for a, b in itertools.pairwise(fed_ns)]
    assert max(gaps_s) <= watchdog_us / 2_000_000 + 0.5
    os.kill(bot.pid, signal.SIGTERM)
    said = [manager.recv(200)]
    while said[-1] != b"STOPPING=1":
        said.append(manager.recv(200))
    assert 0 == bot.end().code
