"""The command line as a user runs it: `python -m aegis` in a process and a folder of its own."""

import gzip
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import pyarrow as pa
import pytest
from pyarrow import feather
from typer.testing import CliRunner

from aegis.cli import app

END_S: Final = 90.0
"""Wall seconds after which a process that should have ended is killed, which fails its test."""
PROGRAM: Final = "python -m aegis"
START_MS: Final = 1_767_225_600_000
MINUTE_MS: Final = 60_000
ROWS: Final = 240

Row = list[float]


@attrs.frozen(slots=True, kw_only=True)
class Ended:
    """A process that has ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def problems(self) -> list[str]:
        """Return the lines on stderr that begin with the program's name."""
        return [line for line in self.err.splitlines() if line.startswith("aegis: ")]


class Running:
    """A process under way; its stderr is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Take over *process*; it is killed when it lives too long."""
        self._process = process
        self._lines: list[str] = []
        self._watchdog = threading.Timer(END_S, process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """Read stderr up to a line that *pattern* is found in; fail when there is none."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line)
            found = re.search(pattern, line)
            if found is not None:
                return found
        raise AssertionError(f"{pattern!r} never came:\n{''.join(self._lines)[-3000:]}")

    def end(self, number: signal.Signals | None = None) -> Ended:
        """Send *number* if told, and wait for the end."""
        if number is not None:
            self._process.send_signal(number)
        out, err = self._process.communicate()
        self._watchdog.cancel()
        return Ended(code=self._process.returncode, out=out, err="".join(self._lines) + err)


class Cli:
    """Starts the program in *folder*, where no config.py and no .env of another user lies."""

    def __init__(self, folder: Path) -> None:
        """Give every run this folder to stand in."""
        self.folder: Final = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None) -> Running:
        """Start ``python -m aegis`` with *args*; *env* is added to a bare environment."""
        bare = {k: os.environ[k] for k in ("PATH", "HOME", "PYTHONPATH") if k in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-m", "aegis", *map(str, args)],
            cwd=self.folder,
            env={**bare, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return Running(process)

    def run(self, *args: str | Path, env: Mapping[str, str] | None = None) -> Ended:
        """Run ``python -m aegis`` with *args* to its end."""
        return self.start(*args, env=env).end()

    def run_here(self, *args: str | Path, env: Mapping[str, str] | None = None) -> Ended:
        """Run the command in this process: the same text and code, without a start of Python."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            result = CliRunner().invoke(app, list(map(str, args)), env=env, prog_name=PROGRAM)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(code=result.exit_code, out=result.stdout, err=result.stderr)

    def close(self) -> None:
        """Kill what a failed test left behind."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                _ = process.communicate()


def candles(rows: int = ROWS) -> list[Row]:
    """Return sound 1m candles around 100, in the order of the file layouts."""
    made = []
    for at in range(rows):
        price = round(100 + 3 * math.sin(at / 17), 3)
        made.append([START_MS + at * MINUTE_MS, price, price + 0.5, price - 0.5, price, 10.0])
    return made


@attrs.frozen(slots=True)
class Files:
    """Makes files a user may hand over by mistake."""

    folder: Path

    def json(self, rows: Sequence[Row], name: str = "BTCUSDT-1m-futures.json") -> Path:
        """Write *rows* in freqtrade's json layout."""
        path = self.folder / name
        path.write_text(json.dumps(rows))
        return path

    def feather(self, rows: Sequence[Row], name: str = "BTCUSDT-1m-futures.feather") -> Path:
        """Write *rows* in freqtrade's feather layout."""
        path = self.folder / name
        columns = list(zip(*rows, strict=True))
        table = {"date": pa.array([int(t) for t in columns[0]], pa.timestamp("ms", tz="UTC"))}
        for column, values in zip(
            ("open", "high", "low", "close", "volume"), columns[1:], strict=True
        ):
            table[column] = pa.array(values, pa.float64())
        feather.write_feather(pa.table(table), str(path))
        return path

    def gz(self, rows: Sequence[Row], name: str = "BTCUSDT-1m-futures.json.gz") -> Path:
        """Write *rows* in freqtrade's json layout, compressed."""
        path = self.folder / name
        path.write_bytes(gzip.compress(json.dumps(rows).encode()))
        return path

    def cut(self, path: Path) -> Path:
        """Keep only the first half of *path*."""
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path

    def text(self, name: str, text: str) -> Path:
        """Write *text*."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """Return the way to start the program; whatever still runs afterwards is killed."""
    made = Cli(tmp_path)
    yield made
    made.close()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return the maker of files."""
    return Files(tmp_path)


@pytest.fixture
def rows() -> Callable[..., list[Row]]:
    """Return the maker of sound candles."""
    return candles
