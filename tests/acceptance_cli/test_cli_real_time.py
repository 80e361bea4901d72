"""Real time over loopback sockets: the way the bot is started, watched and ended by a person."""

import re
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs
import pytest

from aegis.journal.store import open_journal
from aegis.model.events import PositionOpened, ProtectionConfirmed, VenueUnavailable

if TYPE_CHECKING:
    from tests.acceptance_cli.conftest import Cli, Ended, Running


def test_an_hour_at_600x_ends_by_itself(cli: "Cli") -> None:
    """Six seconds on the wall, exit code 0, a summary whose books balance, nothing failed."""
    ended = cli.run("--speed", "600", "--for", "60m")
    assert 0 == ended.code, ended.err
    assert "stopped: the asked time is over" in ended.out
    assert re.search(r"conservation +\| .*: holds", ended.out)
    assert re.search(r"handler failures +\| 0, on the way out 0", ended.out)
    assert re.search(r"task failures +\| 0 ", ended.out)
    assert not re.search(r"ERROR|CRITICAL", ended.err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_cleanly(cli: "Cli", number: signal.Signals) -> None:
    """Code 0, the summary, the account saved, and the next start goes on from there (R87)."""
    running = cli.start("--speed", "600")
    _ = running.wait_for("HEARTBEAT")
    ended = running.end(number)
    assert 0 == ended.code, ended.err
    assert f"stopped: {number.name} received" in ended.out
    assert 1 == len(list((cli.folder / "state" / "paper").glob("*.json")))
    again = cli.run("--speed", "max", "--for", "5m")
    assert "goes on; --fresh begins a new one" in again.err


@attrs.frozen(slots=True)
class TwinProcess:
    """A twin with both faces."""

    process: "Running"
    binance: str
    bybit: str

    def bot_args(self) -> tuple[str, ...]:
        """Return the flags that point a bot here."""
        return ("--twin-binance", self.binance, "--twin-bybit", self.bybit)


@pytest.fixture
def twin(cli: "Cli") -> Iterator[TwinProcess]:
    """Start a twin at 600x on free ports and end it with Ctrl-C."""
    process = cli.start("twin", "--speed", "600")
    binance = process.wait_for(r"binance face at (http://\S+)").group(1)
    bybit = process.wait_for(r"bybit face at (http://\S+)").group(1)
    yield TwinProcess(process, binance, bybit)
    _ = process.end(signal.SIGINT)


def trade_on(cli: "Cli", twin: TwinProcess) -> "Ended":
    """
    Run a bot against *twin* until a position was protected, and a heartbeat longer.

    Not for a fixed time: how far the twin's market is when a bot comes depends on the machine, and
    hours can pass there without a signal.
    """
    bot = cli.start(*twin.bot_args())
    _ = bot.wait_for("PROTECTED stop")
    _ = bot.wait_for("HEARTBEAT")
    return bot.end(signal.SIGINT)


def test_a_bot_trades_on_a_twin_of_another_process(cli: "Cli", twin: TwinProcess) -> None:
    """It takes over the twin's clock and market, opens positions, and each is protected."""
    ended = trade_on(cli, twin)
    assert 0 == ended.code, ended.err
    store = open_journal(cli.folder / "state")
    opened = {
        event.position.position_id
        for _, event in store.iter_events(types=[PositionOpened])
        if isinstance(event, PositionOpened)
    }
    confirmed = {
        event.position_id
        for _, event in store.iter_events(types=[ProtectionConfirmed])
        if isinstance(event, ProtectionConfirmed)
    }
    store.close()
    assert opened
    assert opened == confirmed
    told = twin.process.end(signal.SIGINT)
    assert 0 == told.code, told.err
    rows = re.findall(r"(binance|bybit) +[|│] +(\d+) +[|│] +(\d+)", told.out)
    assert {"binance", "bybit"} == {name for name, _, _ in rows}
    assert all(count == protected for _, count, protected in rows)
    # Nobody's ledger is at hand here: the venue's own lists are asked (R77).
    assert ["BINANCE", "BYBIT"] == re.findall(r"income (BINANCE|BYBIT) +[|│] ours ", ended.out)
    assert 2 == ended.out.count("the venue lists")
    assert 2 == ended.out.count("agree")


def test_a_twin_that_dies_is_told_and_the_bot_goes_on(cli: "Cli", twin: TwinProcess) -> None:
    """An unreachable venue is said and tried again; Ctrl-C still ends with code 0."""
    bot = cli.start(*twin.bot_args())
    _ = bot.wait_for(r"BINANCE +FEED \w+ connected")
    _ = bot.wait_for(r"BYBIT +FEED \w+ connected")
    _ = twin.process.end(signal.SIGKILL)
    _ = bot.wait_for(r"FEED \w+ broke")
    _ = bot.wait_for(r"HEARTBEAT")
    told = cli.run_here("health").out
    for venue in ("BINANCE", "BYBIT"):
        # Once connected is not connected; the order socket may be all that was open by then.
        assert re.search(rf"{venue} NOT connected: .* DOWN of \d streams; (last|no) frame", told)
    ended = bot.end(signal.SIGINT)
    assert 0 == ended.code, ended.err
    assert "Traceback" not in ended.err
    assert "stopped: SIGINT received" in ended.out


def test_a_taken_port_is_told(cli: "Cli") -> None:
    """Exit code 2 and one line, as for any setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = cli.run("twin", "--speed", "60", "--bybit-port", str(port))
    assert 2 == ended.code
    (line,) = ended.problems
    assert str(port) in line
    assert "Traceback" not in ended.err


def test_a_bot_that_waits_for_a_dead_twin_says_which_setting(cli: "Cli") -> None:
    """One venue of two that does not answer is told before anything starts."""
    ended = cli.run("--twin-binance", "http://127.0.0.1:1", "--for", "1m")
    assert (2, 1) == (ended.code, len(ended.problems))
    assert VenueUnavailable.__name__ not in ended.err
