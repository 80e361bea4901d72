"""
The whole bot on virtual time over a generated tape: bars and ticks per second of wall time.

The run is its own process (``python -m bench.tape OUT MINUTES [PROFILE]``) through the same entry
as ``python -m aegis --speed max``, in an empty folder so that no settings of the operator's mix in.
Bars are the tape's, times the venues that play them; ticks are what data delivered to the bus.
"""

import cProfile
import io
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import attrs

from aegis.app import entry, session
from aegis.app.bot import Bot
from aegis.app.paper import open_market
from aegis.app.plan import RunPlan
from aegis.core.clock import NS_PER_S
from aegis.settings import ENV_PREFIX, AegisConfig
from aegis.twin.boot import Market
from bench.measure import now_ns, ratio

TIMEOUT_S: Final = 600.0
PROFILE_LINES: Final = 25
_MINUTES_PER_DAY: Final = 24 * 60


@attrs.frozen(kw_only=True)
class TapeFigures:
    """
    One run. *wall_s* and *cpu_s* from the bot's start to its end; what comes before (imports,
    making the tape) is *ahead_s*. Rates are per wall second, *times_real*: market over wall time.
    """

    minutes: int
    symbols: int
    venues: int
    bars: int
    ticks: int
    frames: int
    balanced: bool
    exit_code: int
    ahead_s: float
    wall_s: float
    cpu_s: float
    bars_per_s: float | None
    ticks_per_s: float | None
    times_real: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON-able data."""
        return attrs.asdict(self)


def measure(*, quick: bool) -> TapeFigures:
    """Measure one market day, or with *quick* half an hour of it."""
    minutes = 30 if quick else _MINUTES_PER_DAY
    repository = Path(__file__).resolve().parent.parent
    environ = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    path = os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), str(repository))))
    with tempfile.TemporaryDirectory(prefix="aegis-bench-") as folder:
        out = Path(folder) / "tape.json"
        done = subprocess.run(
            [sys.executable, "-m", "bench.tape", str(out), str(minutes)],
            check=False,
            cwd=folder,
            env=environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if done.returncode != 0 or not out.exists():
            raise RuntimeError(f"the tape run ended with {done.returncode}: {done.stderr[-2000:]}")
        return TapeFigures(**json.loads(out.read_text()))


class _Watched(Bot):
    """The bot; notes itself and when it starts and closes."""

    last: "_Watched | None" = None
    started_ns = 0
    ended_ns = 0
    started_cpu_s = 0.0
    ended_cpu_s = 0.0

    def start(self) -> None:
        """Start, noting the time."""
        _Watched.last = self
        self.started_ns, self.started_cpu_s = now_ns(), time.process_time()
        super().start()

    async def close(self) -> None:
        """Close, noting the time."""
        await super().close()
        self.ended_ns, self.ended_cpu_s = now_ns(), time.process_time()


def _play(minutes: int, folder: Path) -> TapeFigures:
    markets: list[Market] = []

    def opened(config: AegisConfig, plan: RunPlan) -> Market:
        markets.append(open_market(config, plan))
        return markets[-1]

    plan = RunPlan(speed=None, run_for_ns=minutes * 60 * NS_PER_S, fresh=True)
    flags: Mapping[str, object] = {
        "state_dir": str(folder / "state"),
        "log_level": "ERROR",
        "paper_days": max(1, minutes // _MINUTES_PER_DAY),
    }
    began_ns = now_ns()
    with (
        patch.object(entry, "open_market", opened),
        patch.object(session, "Bot", _Watched),
        redirect_stdout(io.StringIO()),
    ):
        code = entry.run_bot_process(plan, flags, None)
    bot = _Watched.last
    if code != 0 or bot is None:
        raise RuntimeError(f"the run ended with exit code {code}, its figures would mean nothing")
    return _figures(bot, markets[0], minutes, code, began_ns)


def _figures(bot: _Watched, market: Market, minutes: int, code: int, began_ns: int) -> TapeFigures:
    accounts = bot.data.accounts()
    end_ns = market.start_ns + minutes * 60 * NS_PER_S
    bars = sum(
        int(((tape.open_ns >= market.start_ns) & (tape.open_ns < end_ns)).sum())
        for tapes in market.tapes.values()
        for tape in tapes
    )
    wall_s = (bot.ended_ns - bot.started_ns) / 1e9
    streams = list(accounts.streams.values())
    return TapeFigures(
        minutes=minutes,
        symbols=len(market.symbols),
        venues=len(market.tapes),
        bars=bars,
        ticks=accounts.ticks,
        frames=sum(s.produced for s in streams) + accounts.candles.produced,
        balanced=all(
            s.produced == s.delivered + s.merged + s.rejected + s.pending for s in streams
        ),
        exit_code=code,
        ahead_s=(bot.started_ns - began_ns) / 1e9,
        wall_s=wall_s,
        cpu_s=bot.ended_cpu_s - bot.started_cpu_s,
        bars_per_s=ratio(bars, wall_s),
        ticks_per_s=ratio(accounts.ticks, wall_s),
        times_real=ratio(minutes * 60, wall_s),
    )


def main(argv: list[str]) -> None:
    """Play one tape in this process and write the figures, and the profile where one is asked."""
    out, minutes = Path(argv[0]), int(argv[1])
    profile = cProfile.Profile() if len(argv) > 2 else None
    with tempfile.TemporaryDirectory(prefix="aegis-bench-") as folder:
        if profile is not None:
            profile.enable()
        figures = _play(minutes, Path(folder))
        if profile is not None:
            profile.disable()
            with Path(argv[2]).open("w") as text:
                for order in ("tottime", "cumulative"):
                    pstats.Stats(profile, stream=text).sort_stats(order).print_stats(PROFILE_LINES)
    out.write_text(json.dumps(figures.as_json()))


if __name__ == "__main__":
    main(sys.argv[1:])
