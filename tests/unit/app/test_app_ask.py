"""Finding the bot that runs, and asking it: never another program, never the wrong bot."""

import os
import socket
from pathlib import Path

import orjson
import pytest

from aegis.app.ask import health_lines, running_bot
from aegis.app.modes import Mode, state_dir_of
from aegis.app.state import StateLock
from aegis.core.errors import ConfigError
from aegis.ops.control_at import PORT_FILE

PID_OF_NOBODY = 2**22 + 1
"""Above the highest process id of Linux."""


def tell_port(state_dir: Path, port: int, pid: int) -> None:
    """Leave what a bot leaves that listens."""
    _ = (state_dir / PORT_FILE).write_bytes(orjson.dumps({"port": port, "pid": pid}))


def test_the_bot_that_runs_is_found_whatever_its_mode(tmp_path: Path) -> None:
    """One bot needs no name; its state directory and port are told."""
    directory = state_dir_of(tmp_path, Mode.TESTNET)
    directory.mkdir()
    with StateLock(directory):
        tell_port(directory, 4711, os.getpid())
        found = running_bot(tmp_path, ())
    assert (directory, 4711) == (found.state_dir, found.port)


@pytest.mark.parametrize("asked", [(), (Mode.PAPER,)])
def test_a_killed_bot_is_not_asked(tmp_path: Path, asked: tuple[Mode, ...]) -> None:
    """Its port may be another program's by now, and the token goes to nobody else (R84)."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        tell_port(tmp_path, stranger.getsockname()[1], PID_OF_NOBODY)
        _ = (tmp_path / "aegis.lock").write_text(str(PID_OF_NOBODY))
        with pytest.raises(ConfigError) as caught:
            _ = running_bot(tmp_path, asked)
    (problem,) = caught.value.problems
    assert "none runs there" in problem.allowed


def test_a_process_without_the_lock_is_no_bot(tmp_path: Path) -> None:
    """A process id is given to the next process sooner or later; the lock's holder is the bot."""
    tell_port(tmp_path, 4711, os.getpid())
    _ = (tmp_path / "aegis.lock").write_text(str(PID_OF_NOBODY))
    with pytest.raises(ConfigError):
        _ = running_bot(tmp_path, ())


@pytest.mark.parametrize("text", [b"", b"[]", b'{"port": "x", "pid": 1}', b'{"port": 1}'])
def test_a_damaged_port_file_is_no_bot(tmp_path: Path, text: bytes) -> None:
    """Half a file is as good as none."""
    _ = (tmp_path / PORT_FILE).write_bytes(text)
    with pytest.raises(ConfigError):
        _ = running_bot(tmp_path, ())


def test_of_several_bots_a_person_says_which(tmp_path: Path) -> None:
    """A close in the wrong account is worse than a question; a mode answers it."""
    dry = state_dir_of(tmp_path, Mode.DRY_RUN)
    dry.mkdir()
    with StateLock(tmp_path), StateLock(dry):
        tell_port(tmp_path, 4711, os.getpid())
        tell_port(dry, 4712, os.getpid())
        with pytest.raises(ConfigError) as caught:
            _ = running_bot(tmp_path, ())
        found = running_bot(tmp_path, (Mode.DRY_RUN,))
    (problem,) = caught.value.problems
    assert "say which: --paper, --dry-run" == problem.fix
    assert 4712 == found.port


def link(**changed: object) -> dict[str, object]:
    """Return what a bot tells of a venue that is connected, but for what is *changed*."""
    healthy: dict[str, object] = {
        "connected": True,
        "brought_up": True,
        "refused": "",
        "streams": 4,
        "streams_down": [],
        "frame_age_s": 0.23,
    }
    return healthy | changed


def test_every_problem_of_an_unwell_bot_is_a_line() -> None:
    """Then the run, its positions, its venues and what holds entries (R87)."""
    told = {
        "ok": False,
        "problems": ["the loop was 6.0 s late", "BTCUSDT-PERP.BYBIT is without a stop for 61 s"],
        "run": "abcd-1",
        "positions": 2,
        "protected": 1,
        "venues": {
            "BINANCE": link(),
            "BYBIT": link(connected=False, streams_down=["market", "user"], frame_age_s=45.04),
        },
        "entries_halted": ["news", "the day's loss"],
        "journal": {"queued": 12, "failing_s": 40.2},
    }
    assert [
        "UNWELL: the loop was 6.0 s late",
        "UNWELL: BTCUSDT-PERP.BYBIT is without a stop for 61 s",
        "run abcd-1: 2 positions, 1 of them protected",
        "BINANCE connected, 4 streams; last frame 0.2 s ago",
        "BYBIT NOT connected: market, user DOWN of 4 streams; last frame 45.0 s ago",
        "JOURNAL NOT WRITTEN for 40 s, rows that wait in memory: 12",
        "ENTRIES HALTED: news; the day's loss",
    ] == health_lines(told)


def test_an_answer_that_is_none_is_not_well() -> None:
    """A bot that hangs has told nothing, and that is what is said."""
    assert ["UNWELL: it does not answer"] == health_lines({"message": "it does not answer"})
