"""
The commands that run something: the bot, a twin, a download, the doctor.

What they run is imported when they do: a health check every minute must not load two exchanges.
"""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from aegis.app.plan import RunPlan
from aegis.cli.flags import (
    BotStateDirOption,
    ConfigOption,
    DryRunOption,
    FlattenOption,
    ForOption,
    FreshOption,
    FromOption,
    HeartbeatOption,
    LiveOption,
    LogLevelOption,
    PaperSpeedOption,
    SeedOption,
    SpeedOption,
    SymbolsOption,
    TapeOption,
    TestnetOption,
    ToOption,
    TwinBinanceOption,
    TwinBybitOption,
    VenuesOption,
    asked_modes,
    flag,
    given_flags,
    guarded,
    needed,
    parse_duration,
    parse_speed,
    refuse_lost_flags,
)
from aegis.core.clock import parse_utc
from aegis.core.errors import ConfigError, Problem

PAPER_SPEED: Final = 60.0

PAPER_FLAGS: Final = frozenset(
    {"tape", "speed", "from_", "to", "seed", "fresh", "twin_binance", "twin_bybit"}
)
"""Parameters that say which market the twin plays, and so mean nothing on a market of now."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    # Typer's own traceback is long and may show values of variables (R84).
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Aegis: trade USDT perpetuals; no position without a native stop on the exchange.",
)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    dry_run: DryRunOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
    tape: TapeOption = None,
    speed: PaperSpeedOption = None,
    run_for: ForOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    config: ConfigOption = None,
    state_dir: BotStateDirOption = None,
    seed: SeedOption = None,
    symbol: SymbolsOption = None,
    venue: VenuesOption = None,
    twin_binance: TwinBinanceOption = None,
    twin_bybit: TwinBybitOption = None,
    heartbeat_minutes: HeartbeatOption = None,
    log_level: LogLevelOption = None,
    fresh: FreshOption = False,
    flatten_on_exit: FlattenOption = False,
) -> None:
    """Run the bot: paper mode on the twin, no keys, no network; or --dry-run, --testnet, --live."""
    if context.invoked_subcommand is not None:
        refuse_lost_flags(context, context.invoked_subcommand)
        return

    def begin() -> int:
        from aegis.app.entry import run_bot_process

        plan = RunPlan(
            asked=asked_modes(dry_run=dry_run, testnet=testnet, live=live),
            given=given_flags(context, PAPER_FLAGS),
            twin_binance=twin_binance or "",
            twin_bybit=twin_bybit or "",
            tapes=tuple(tape or ()),
            speed=PAPER_SPEED if speed is None else needed("--speed", speed, parse_speed),
            run_for_ns=flag("--for", run_for, parse_duration),
            from_ns=flag("--from", from_, parse_utc),
            to_ns=flag("--to", to, parse_utc),
            fresh=fresh,
            flatten_on_exit=flatten_on_exit,
        )
        flags: dict[str, object] = {
            "state_dir": state_dir,
            "paper_seed": seed,
            "symbols": tuple(symbol) if symbol else None,
            "venues": tuple(venue) if venue else None,
            "heartbeat_minutes": heartbeat_minutes,
            "log_level": log_level,
        }
        return run_bot_process(plan, {k: v for k, v in flags.items() if v is not None}, config)

    raise typer.Exit(guarded(begin))


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
    now: Annotated[
        bool,
        typer.Option("--now", help="a generated market of now, at --speed 1: for the other modes"),
    ] = False,
) -> None:
    """Run an exchange in a box: Binance's and Bybit's faces on loopback, over one market."""

    def begin() -> int:
        from aegis.app.entry import run_twin_process

        plan = RunPlan(
            tapes=tuple(tape or ()),
            speed=1.0 if now else needed("--speed", speed, parse_speed),
            from_ns=flag("--from", from_, parse_utc),
            to_ns=flag("--to", to, parse_utc),
        )
        if now and (tape or from_ or to):
            raise ConfigError(
                [
                    Problem(
                        name="--now",
                        value="with --tape, --from or --to",
                        allowed="a generated market",
                        fix="leave --now out, or the others",
                    )
                ]
            )
        flags: dict[str, object] = {} if seed is None else {"paper_seed": seed}
        ports = (binance_port, bybit_port)
        return run_twin_process(plan, flags, config, ports, from_now=now)

    raise typer.Exit(guarded(begin))


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
        from aegis.app.history import HistoryPlan, run_history

        plan = HistoryPlan(
            symbol=symbol,
            venue=venue,
            timeframe=timeframe,
            since_ns=needed("--since", since, parse_utc),
            until_ns=flag("--until", until, parse_utc),
            folder=folder,
            base_url=base_url,
            series=tuple(only or ("candles", "mark", "funding")),
        )
        return run_history(plan, Console(stderr=True))

    raise typer.Exit(guarded(begin))


@app.command()
def doctor(
    testnet: Annotated[
        bool, typer.Option("--testnet", help="examine the test environments (the default)")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="examine the real accounts, for a --live start")
    ] = False,
    venue: Annotated[
        list[str] | None, typer.Option("--venue", help="only this one (again for more)")
    ] = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", help="what is to be traded (again for more)")
    ] = None,
    config: ConfigOption = None,
    state_dir: Annotated[
        str | None, typer.Option("--state-dir", help="where the verdict is kept, the bot's")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="TRACE to ERROR")] = "ERROR",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Ask each venue whether it can be traded, with a reason and a fix where it cannot."""

    def begin() -> int:
        from aegis.app.entry import run_doctor_process

        flags: dict[str, object] = {
            "state_dir": state_dir,
            "symbols": tuple(symbol) if symbol else None,
            "venues": tuple(venue) if venue else None,
            "log_level": log_level,
        }
        given = {name: value for name, value in flags.items() if value is not None}
        asked = asked_modes(testnet=testnet, live=live)
        return run_doctor_process(asked, given, config, as_json=as_json)

    raise typer.Exit(guarded(begin))
