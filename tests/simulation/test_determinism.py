"""Same tape, settings and seed from an empty state directory: the same journal, byte for byte."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from aegis.journal.export import export_lines
from aegis.journal.store import open_journal

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
PATIENCE_S = 600.0
"""Real seconds, on a machine that does much else beside."""


@attrs.frozen(slots=True)
class _Process:
    """One process of the app; two have different hash seeds, so that order of sets would show."""

    process: "subprocess.Popen[str]"
    folder: Path

    def export(self) -> list[bytes]:
        """Wait for its end and return its canonical journal."""
        _, err = self.process.communicate(timeout=PATIENCE_S)
        assert 0 == self.process.returncode, err
        store = open_journal(self.folder / "state")
        (run,) = store.runs()
        lines = list(export_lines(store, run.run))
        store.close()
        return lines


def start(folder: Path, hash_seed: int, args: Sequence[str]) -> _Process:
    """Start the app at full speed in *folder*."""
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "aegis", "--speed", "max", "--log-level", "ERROR", *args],
        cwd=folder,
        env={**_bare(), "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return _Process(process, folder)


def _bare() -> dict[str, str]:
    return {k: os.environ[k] for k in ("PATH", "HOME", "PYTHONPATH") if k in os.environ}


def exports(tmp_path: Path, *runs: Sequence[str]) -> list[list[bytes]]:
    """Run the app once for each of *runs*, side by side, and return the journals."""
    started = [start(tmp_path / f"run{at}", at, args) for at, args in enumerate(runs)]
    try:
        return [one.export() for one in started]
    finally:
        # One that is left behind would fail whichever test runs when its pipes are collected.
        for one in started:
            with one.process as process:
                process.kill()


def assert_same(one: list[bytes], other: list[bytes]) -> None:
    """Compare two journals and show the first line that differs."""
    differing = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
    assert [] == differing[:1]
    assert len(one) == len(other)


def test_a_generated_day_is_the_same_twice(tmp_path: Path) -> None:
    """One integer reproduces a day of trading in another process (R75)."""
    day = ("--for", "24h")
    one, other = exports(tmp_path, day, day)
    assert any(b"PositionClosed" in line for line in one)
    assert_same(one, other)


def test_six_recorded_hours_are_the_same_twice(shared_data: Path, tmp_path: Path) -> None:
    """Three real markets on both venues leave no room for chance either."""
    folder = shared_data / "market" / "binance_usdm" / "2025-05_1m"
    tapes = [arg for s in SYMBOLS for arg in ("--tape", str(folder / f"{s}-1m-futures.feather"))]
    hours = (*tapes, "--from", "2025-05-12T12:00", "--to", "2025-05-12T18:00")
    one, other = exports(tmp_path, hours, hours)
    assert any(b"PositionOpened" in line for line in one)
    assert_same(one, other)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    """The seed is what the market is made of, not a label."""
    one, other = exports(tmp_path, ("--for", "1h"), ("--for", "1h", "--seed", "8"))
    market = [
        [line for line in run if b"MarketTick" in line or b"Signal" in line] for run in (one, other)
    ]
    assert one != other
    assert market[0] != market[1]
