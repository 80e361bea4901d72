"""The bot and the twin as processes of their own, with what they say kept in files."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from aegis.twin.report import REPORT_PATH

START_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.05

BUSY: Final[Mapping[str, str]] = {
    "AEGIS_COOLDOWN_BARS": "0",
    "AEGIS_ADX_MIN": "5",
    "AEGIS_SPREAD_MIN_ATR": "0.02",
    "AEGIS_RSI_MIN": "30",
    "AEGIS_RSI_MAX": "90",
    "AEGIS_CONFIDENCE_MIN": "0.01",
    "AEGIS_ATR_RATIO_MIN": "0.05",
    "AEGIS_ATR_RATIO_MAX": "20",
    "AEGIS_PULLBACK_BARS": "30",
    "AEGIS_CHANNEL_PERIOD": "3",
    "AEGIS_TARGET_R": "0.8",
    "AEGIS_STOP_ATR_MULT": "1.0",
    "AEGIS_MIN_STOP_PCT": "0.1",
    "AEGIS_RISK_PER_TRADE_PCT": "0.02",
    "AEGIS_DAILY_DRAWDOWN_MAX_PCT": "50",
    "AEGIS_FAILED_ENTRY_COOLDOWN_S": "0",
}
"""Settings that trade as often as possible: poor trades, many moments for something to go wrong."""


class ProcessError(Exception):
    """A process did not start, or did not do what was waited for."""


@attrs.define(eq=False)
class Process:
    """A running ``python -m aegis``; *out* and *err* are the files it writes to."""

    running: asyncio.subprocess.Process
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.running.pid

    @property
    def code(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self.running.returncode

    def said(self) -> str:
        """Return everything written to stderr so far."""
        return self.err.read_text(errors="replace")

    async def wait_for(
        self, pattern: str, *, timeout_s: float = START_TIMEOUT_S
    ) -> "re.Match[str]":
        """
        Return the first match of *pattern* in what it said.

        Raises:
            ProcessError: it ended, or *timeout_s* passed, without one.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            found = re.search(pattern, self.said())
            if found is not None:
                return found
            if self.code is not None or loop.time() > until:
                state = f"exit code {self.code}" if self.code is not None else "still running"
                tail = self.said()[-2000:]
                raise ProcessError(f"{pattern!r} never came ({state}), last words:\n{tail}")
            await asyncio.sleep(POLL_S)

    async def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send *number* and return the exit code; one that does not end in time is killed."""
        if self.code is None:
            self.running.send_signal(number)
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                return await self.running.wait()
        except TimeoutError:
            self.running.kill()
            return await self.running.wait()


async def start(folder: Path, name: str, args: Sequence[str], env: Mapping[str, str]) -> Process:
    """Start ``python -m aegis`` with *args* in *folder*; its words go to files called *name*."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    bare = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ}
    with out.open("ab") as out_file, err.open("wb") as err_file:
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "aegis",
            *args,
            cwd=folder,
            env={**bare, "PYTHONUNBUFFERED": "1", **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
        )
    return Process(running, out, err)


@attrs.define(eq=False)
class TwinProcess:
    """A twin with both faces, and its books on request."""

    process: Process
    ports: dict[str, int]

    async def report(self) -> dict[str, Any]:
        """
        Return what the twin has on record now (twin/report.py).

        Raises:
            ProcessError: it does not answer.
        """
        port = next(iter(self.ports.values()))
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=30)) as session,
                session.get(f"http://127.0.0.1:{port}{REPORT_PATH}") as response,
            ):
                response.raise_for_status()
                return dict(orjson.loads(await response.read()))
        except (ClientError, TimeoutError, OSError) as error:
            raise ProcessError(f"the twin gave no report: {error!r}") from error


async def start_twin(folder: Path, args: Sequence[str], env: Mapping[str, str]) -> TwinProcess:
    """Start a twin and wait until both faces listen."""
    process = await start(folder, "twin", ("twin", *args), env)
    ports = {}
    for venue in ("binance", "bybit"):
        found = await process.wait_for(rf"{venue} face at http://[\d.]+:(\d+)")
        ports[venue.upper()] = int(found.group(1))
    return TwinProcess(process, ports)
