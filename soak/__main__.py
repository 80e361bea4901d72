"""``python -m soak``: the soak; ``python -m soak kill``: kill -9 runs. Exit code 0 is a pass."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from soak import tables
from soak.endure import Soak, SoakPlan
from soak.kill import KillPlan, KillRun, print_kills


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, run, print, and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["kill"]:
        return _kill(arguments[1:])
    return _soak(arguments)


def _soak(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time (30)")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between strikes (20)")
    _common(parser)
    flags = parser.parse_args(arguments)
    console = Console(width=120)
    folder = _folder(flags.dir)
    plan = SoakPlan(
        minutes=flags.minutes,
        every_s=flags.every,
        seed=flags.seed,
        speed=flags.speed,
        folder=folder,
        tapes=tuple(str(Path(tape).resolve()) for tape in flags.tape),
        busy=not flags.calm,
    )
    console.print(f"soak of {plan.minutes:g} min, seed {plan.seed}, files in {folder}")
    verdict = asyncio.run(Soak(plan, console).run())
    tables.print_soak(console, verdict, plan.speed)
    return 0 if verdict.ok else 1


def _kill(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m soak kill", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how often the bot is killed (20)")
    parser.add_argument("--live-max", type=float, default=20.0, help="most seconds of a life (20)")
    parser.add_argument("--dead-max", type=float, default=6.0, help="most seconds of a death (6)")
    _common(parser)
    flags = parser.parse_args(arguments)
    console = Console(width=150)
    folder = _folder(flags.dir)
    plan = KillPlan(
        times=flags.times,
        live_s_max=flags.live_max,
        dead_s_max=flags.dead_max,
        seed=flags.seed,
        speed=flags.speed,
        folder=folder,
        tapes=tuple(str(Path(tape).resolve()) for tape in flags.tape),
        busy=not flags.calm,
    )
    console.print(f"{plan.times} kills, seed {plan.seed}, files in {folder}")
    verdict = asyncio.run(KillRun(plan, console).run())
    print_kills(console, verdict, plan.speed)
    return 0 if verdict.ok else 1


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=3, help="of market and moments (3)")
    parser.add_argument("--speed", type=float, default=60.0, help="of the market (60)")
    parser.add_argument("--tape", action="append", default=[], help="play this instead; repeat it")
    parser.add_argument("--calm", action="store_true", help="trade with the default settings")
    parser.add_argument("--dir", type=Path, default=None, help="keep journal and logs here")


def _folder(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="aegis-soak-"))
    if wanted.exists():
        shutil.rmtree(wanted)
    wanted.mkdir(parents=True)
    return wanted.resolve()


if __name__ == "__main__":
    sys.exit(main())
