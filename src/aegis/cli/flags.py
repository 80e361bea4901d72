"""What the commands share: flags and how they are read, exit codes, plain lines for what fails."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console

from aegis.app.modes import Mode
from aegis.core.clock import NS_PER_S
from aegis.core.errors import AlreadyRunning, ConfigError, Problem, TapeError
from aegis.journal.errors import JournalError

EXIT_USAGE: Final = 2
EXIT_LOCKED: Final = 4
EXIT_INTERRUPTED: Final = 130
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

T = TypeVar("T")


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


def flag(name: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    return None if text is None else needed(name, text, parse)


def needed(name: str, text: str, parse: Callable[[str], T]) -> T:
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
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="live prices, orders to a twin here; no keys")
]
TestnetOption = Annotated[
    bool, typer.Option("--testnet", help="the venues' test environments; needs their keys")
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="real money; needs keys, a clean doctor and AEGIS_LIVE")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="seed of the generated market")]


PaperSpeedOption = Annotated[
    str | None,
    typer.Option("--speed", help="paper: market seconds per second, or max (default: 60)"),
]
ForOption = Annotated[
    str | None, typer.Option("--for", help="stop after so much market time, like 30m")
]
BotStateDirOption = Annotated[
    str | None, typer.Option("--state-dir", help="lock, journal and paper account")
]
SymbolsOption = Annotated[
    list[str] | None, typer.Option("--symbol", help="trade only this (again for more)")
]
VenuesOption = Annotated[
    list[str] | None, typer.Option("--venue", help="trade only there (again for more)")
]
TwinBinanceOption = Annotated[
    str | None, typer.Option("--twin-binance", help="URL of a twin's Binance face")
]
TwinBybitOption = Annotated[
    str | None, typer.Option("--twin-bybit", help="URL of a twin's Bybit face")
]
HeartbeatOption = Annotated[
    float | None, typer.Option("--heartbeat-minutes", help="market minutes between heartbeats")
]
LogLevelOption = Annotated[str | None, typer.Option("--log-level", help="TRACE to ERROR")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="begin a new paper account")]
FlattenOption = Annotated[
    bool, typer.Option("--flatten-on-exit", help="close positions when the run ends")
]

PaperOption = Annotated[bool, typer.Option("--paper", help="the bot in paper mode")]
StateDirOption = Annotated[
    str | None, typer.Option("--state-dir", help="the bot's state directory")
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="why; kept in the journal [needed]")
]
OperatorOption = Annotated[
    str | None,
    typer.Option("--operator", help="who asks; kept in the journal (default: your user name)"),
]


def asked_modes(
    *, paper: bool = False, dry_run: bool = False, testnet: bool = False, live: bool = False
) -> tuple[Mode, ...]:
    flags = {Mode.PAPER: paper, Mode.DRY_RUN: dry_run, Mode.TESTNET: testnet, Mode.LIVE: live}
    return tuple(mode for mode, is_asked in flags.items() if is_asked)


def given_flags(context: typer.Context, names: Collection[str]) -> tuple[tuple[str, object], ...]:
    """Return those of *names*' flags that stand on the command line, with their values."""
    return tuple(
        (flag, context.params[name])
        for name, flag in _on_command_line(context).items()
        if name in names
    )


def _on_command_line(context: typer.Context) -> dict[str, str]:
    """Return parameter names and flags given on the command line."""
    return {
        parameter.name or "": parameter.opts[0]
        for parameter in context.command.params
        if (source := context.get_parameter_source(parameter.name or "")) is not None
        and source.name == "COMMANDLINE"
    }


def refuse_lost_flags(context: typer.Context, command: str) -> None:
    """Exit when flags stand before *command*, which would not see them."""
    given = list(_on_command_line(context).values())

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
        raise typer.Exit(guarded(refuse))


def guarded(begin: Callable[[], int]) -> int:
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
    except KeyboardInterrupt:
        errors.print("aegis: interrupted before anything was traded", markup=False)
        return EXIT_INTERRUPTED
