"""
The command line: ``python -m aegis`` runs the bot, ``... twin`` an exchange to trade on.

Exit codes: 0 a clean end; 1 the bot stopped because of a fault of its own; 2 settings, flags, a
tape or the journal cannot be used; 3 no venue could be brought up, or it did not give the history
asked for; 4 another process holds the state directory; 130 a download was interrupted.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console

from aegis.app.entry import leave_operator_request, run_bot_process, run_twin_process
from aegis.app.history import HistoryPlan, run_history
from aegis.app.operator import Request
from aegis.app.plan import RunPlan
from aegis.core.clock import NS_PER_S, parse_utc
from aegis.core.errors import AlreadyRunning, ConfigError, Problem, TapeError
from aegis.journal.errors import JournalError

EXIT_USAGE: Final = 2
EXIT_LOCKED: Final = 4
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

T = TypeVar("T")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    # Typer's own traceback is long and may show values of variables (R84).
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Aegis: trade USDT perpetuals; no position without a native stop on the exchange.",
)


def parse_duration(text: str) -> int:
    """
    Return nanoseconds of ``90s``, ``30m``, ``2h``, ``1d`` or ``1h30m``.

    Raises:
        ValueError: when the text is not a duration above zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"duration was {text!r}, must be like 90s, 30m, 2h, 1d or 1h30m")
    total = round(sum(float(n) * _UNITS[u] for n, u in parts) * NS_PER_S)
    if total <= 0:
        raise ValueError(f"duration was {text!r}, must be above zero")
    return total


def parse_speed(text: str) -> float | None:
    """
    Return market seconds per second, None for ``max``.

    Raises:
        ValueError: when the text is neither ``max`` nor a number from 0.1 to 3600.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.1 <= speed <= 3600:
        raise ValueError(f"speed was {text!r}, must be max or a number from 0.1 to 3600")
    return speed


def _flag(name: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    return None if text is None else _needed(name, text, parse)


def _needed(name: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(
            [
                Problem(
                    name=name,
                    value=text,
                    allowed=str(error).partition("must be ")[2],
                    fix="mend the flag",
                )
            ]
        ) from None


TapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tape", help="play this file (again for more); binance:FILE or bybit:FILE for one venue"
    ),
]
SpeedOption = Annotated[
    str, typer.Option("--speed", help="market seconds per second, or max for virtual time")
]
FromOption = Annotated[
    str | None, typer.Option("--from", help="start of play, UTC, like 2025-10-10")
]
ToOption = Annotated[str | None, typer.Option("--to", help="end of play, UTC, exclusive")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="settings file (default: config.py where you are)")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="seed of the generated market")]


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    tape: TapeOption = None,
    speed: SpeedOption = "60",
    run_for: Annotated[
        str | None, typer.Option("--for", help="stop after so much market time, like 30m")
    ] = None,
    from_: FromOption = None,
    to: ToOption = None,
    config: ConfigOption = None,
    state_dir: Annotated[
        str | None, typer.Option("--state-dir", help="lock, journal and paper account")
    ] = None,
    seed: SeedOption = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", help="trade only this (again for more)")
    ] = None,
    venue: Annotated[
        list[str] | None, typer.Option("--venue", help="trade only there (again for more)")
    ] = None,
    twin_binance: Annotated[
        str | None, typer.Option("--twin-binance", help="URL of a twin's Binance face")
    ] = None,
    twin_bybit: Annotated[
        str | None, typer.Option("--twin-bybit", help="URL of a twin's Bybit face")
    ] = None,
    heartbeat_minutes: Annotated[
        float | None, typer.Option("--heartbeat-minutes", help="market minutes between heartbeats")
    ] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="TRACE to ERROR")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="begin a new paper account")] = False,
    flatten_on_exit: Annotated[
        bool, typer.Option("--flatten-on-exit", help="close positions when the run ends")
    ] = False,
) -> None:
    """Run the bot: paper mode on the twin, no keys, no network."""
    if context.invoked_subcommand is not None:
        _refuse_lost_flags(context, context.invoked_subcommand)
        return

    def begin() -> int:
        plan = RunPlan(
            tapes=tuple(tape or ()),
            speed=_flag("--speed", speed, parse_speed),
            run_for_ns=_flag("--for", run_for, parse_duration),
            from_ns=_flag("--from", from_, parse_utc),
            to_ns=_flag("--to", to, parse_utc),
            fresh=fresh,
            flatten_on_exit=flatten_on_exit,
        )
        flags: dict[str, object] = {
            "state_dir": state_dir,
            "paper_seed": seed,
            "symbols": tuple(symbol) if symbol else None,
            "venues": tuple(venue) if venue else None,
            "binance_url": twin_binance,
            "bybit_url": twin_bybit,
            "heartbeat_minutes": heartbeat_minutes,
            "log_level": log_level,
        }
        return run_bot_process(plan, {k: v for k, v in flags.items() if v is not None}, config)

    raise typer.Exit(_guarded(begin))


@app.command()
def twin(
    tape: TapeOption = None,
    speed: SpeedOption = "60",
    from_: FromOption = None,
    to: ToOption = None,
    config: ConfigOption = None,
    seed: SeedOption = None,
    binance_port: Annotated[
        int, typer.Option("--binance-port", min=0, max=65_535, help="0 takes a free one")
    ] = 0,
    bybit_port: Annotated[
        int, typer.Option("--bybit-port", min=0, max=65_535, help="0 takes a free one")
    ] = 0,
) -> None:
    """Run an exchange in a box: Binance's and Bybit's faces on loopback, over one market."""

    def begin() -> int:
        plan = RunPlan(
            tapes=tuple(tape or ()),
            speed=_flag("--speed", speed, parse_speed),
            from_ns=_flag("--from", from_, parse_utc),
            to_ns=_flag("--to", to, parse_utc),
        )
        flags: dict[str, object] = {} if seed is None else {"paper_seed": seed}
        return run_twin_process(plan, flags, config, (binance_port, bybit_port))

    raise typer.Exit(_guarded(begin))


@app.command()
def history(
    symbol: Annotated[str, typer.Argument(help="a USDT perpetual, like BTCUSDT")],
    venue: Annotated[str, typer.Option("--venue", help="binance or bybit")],
    since: Annotated[str, typer.Option("--since", help="first bar, UTC, like 2025-10-01")],
    until: Annotated[
        str | None, typer.Option("--until", help="end, UTC, exclusive (default: now)")
    ] = None,
    timeframe: Annotated[str, typer.Option("--timeframe", help="1m to 1d")] = "1m",
    folder: Annotated[
        Path, typer.Option("--dir", help="the files go in a folder of the venue's name in here")
    ] = Path("data"),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="candles, mark or funding (again for more; default: all)"),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="ask this server, a twin, not the venue's own")
    ] = None,
) -> None:
    """Download candles, mark prices and funding rates as a tape; goes on where it stopped."""

    def begin() -> int:
        plan = HistoryPlan(
            symbol=symbol,
            venue=venue,
            timeframe=timeframe,
            since_ns=_needed("--since", since, parse_utc),
            until_ns=_flag("--until", until, parse_utc),
            folder=folder,
            base_url=base_url,
            series=tuple(only or ("candles", "mark", "funding")),
        )
        return run_history(plan, Console(stderr=True))

    raise typer.Exit(_guarded(begin))


StateDirOption = Annotated[
    str | None, typer.Option("--state-dir", help="the bot's state directory")
]
OperatorOption = Annotated[str, typer.Option("--operator", help="who asks; kept in the journal")]


@app.command()
def kill(
    reason: Annotated[str, typer.Option("--reason", help="why; kept in the journal")],
    operator: OperatorOption,
    state_dir: StateDirOption = None,
) -> None:
    """Stop all entries of the running bot, or of the next one, until `resume`; exits flow."""
    raise typer.Exit(_guarded(lambda: _request("kill", operator, reason, state_dir)))


@app.command()
def resume(
    reason: Annotated[str, typer.Option("--reason", help="why; kept in the journal")],
    operator: OperatorOption,
    state_dir: StateDirOption = None,
) -> None:
    """Lift the kill switch and every other halt that waits for a person."""
    raise typer.Exit(_guarded(lambda: _request("resume", operator, reason, state_dir)))


def _request(action: str, operator: str, reason: str, state_dir: str | None) -> int:
    flags: dict[str, object] = {} if state_dir is None else {"state_dir": state_dir}
    return leave_operator_request(Request(action=action, operator=operator, reason=reason), flags)


def _refuse_lost_flags(context: typer.Context, command: str) -> None:
    """Exit when flags stand before *command*, which would not see them."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if (source := context.get_parameter_source(parameter.name or "")) is not None
        and source.name == "COMMANDLINE"
    ]

    def refuse() -> int:
        # Left out silently, `--state-dir X kill` would leave its request in another directory.
        raise ConfigError(
            [
                Problem(
                    name=flag,
                    value=f"before {command}",
                    allowed=f"flags of {command} after its name",
                    fix=f"write it after {command}, if {command} has it",
                )
                for flag in given
            ]
        )

    if given:
        raise typer.Exit(_guarded(refuse))


def _guarded(begin: Callable[[], int]) -> int:
    """Turn what a user can mend into plain lines and an exit code."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return begin()
    except ConfigError as error:
        for problem in error.problems:
            errors.print(f"aegis: {problem}", markup=False)
        return EXIT_USAGE
    except (TapeError, JournalError) as error:
        errors.print(f"aegis: {error}", markup=False)
        return EXIT_USAGE
    except AlreadyRunning as error:
        errors.print(f"aegis: {error}", markup=False)
        return EXIT_LOCKED


def main() -> None:
    """Run the command line."""
    app(prog_name="aegis" if not sys.argv[0].endswith("__main__.py") else "python -m aegis")
