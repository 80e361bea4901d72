"""What a person asks of a running bot: kill switch, a close by hand, and whether it is well."""

import getpass
from typing import Annotated

import typer

from aegis.app.ask import CloseAsk, ask_close, ask_health
from aegis.app.modes import Mode
from aegis.cli.flags import (
    DryRunOption,
    LiveOption,
    OperatorOption,
    PaperOption,
    ReasonOption,
    StateDirOption,
    TestnetOption,
    asked_modes,
    guarded,
)
from aegis.core.errors import ConfigError, Problem


def kill(
    reason: ReasonOption,
    operator: OperatorOption,
    state_dir: StateDirOption = None,
    paper: PaperOption = False,
    dry_run: DryRunOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
) -> None:
    """Stop all entries until `resume`, of the modes named or of every one; exits flow."""
    asked = asked_modes(paper=paper, dry_run=dry_run, testnet=testnet, live=live)
    raise typer.Exit(guarded(lambda: _request("kill", operator, reason, state_dir, asked)))


def resume(
    reason: ReasonOption,
    operator: OperatorOption,
    state_dir: StateDirOption = None,
    paper: PaperOption = False,
    dry_run: DryRunOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
) -> None:
    """Lift the kill switch and every other halt that waits for a person."""
    asked = asked_modes(paper=paper, dry_run=dry_run, testnet=testnet, live=live)
    raise typer.Exit(guarded(lambda: _request("resume", operator, reason, state_dir, asked)))


def close(
    symbol: Annotated[str, typer.Argument(help="a USDT perpetual, like BTCUSDT")],
    venue: Annotated[str, typer.Option("--venue", help="binance or bybit")],
    reason: ReasonOption,
    operator: Annotated[
        str | None,
        typer.Option("--operator", help="who asks; kept in the journal (default: your user name)"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="ask again for what was asked a moment ago")
    ] = False,
    state_dir: StateDirOption = None,
    paper: PaperOption = False,
    dry_run: DryRunOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
) -> None:
    """Close a position of a running bot at market; needs manual_close_enabled and the token."""
    asked = asked_modes(paper=paper, dry_run=dry_run, testnet=testnet, live=live)

    def begin() -> int:
        who = _user_name() if operator is None else operator
        ask = CloseAsk(symbol=symbol, venue=venue, operator=who, reason=reason, force=force)
        return ask_close(ask, _flags(state_dir), asked)

    raise typer.Exit(guarded(begin))


def health(
    state_dir: StateDirOption = None,
    paper: PaperOption = False,
    dry_run: DryRunOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
) -> None:
    """Ask a running bot whether it is well: 0 it is, 1 it is not, 2 there is none."""
    asked = asked_modes(paper=paper, dry_run=dry_run, testnet=testnet, live=live)
    raise typer.Exit(guarded(lambda: ask_health(_flags(state_dir), asked)))


def add_operator_commands(app: typer.Typer) -> None:
    """Give *app* the commands of this file."""
    for command in (kill, resume, close, health):
        app.command()(command)


def _request(
    action: str, operator: str, reason: str, state_dir: str | None, asked: tuple[Mode, ...]
) -> int:
    from aegis.app.entry import leave_operator_request
    from aegis.app.operator import Request

    request = Request(action=action, operator=operator, reason=reason)
    return leave_operator_request(request, _flags(state_dir), asked)


def _flags(state_dir: str | None) -> dict[str, object]:
    return {} if state_dir is None else {"state_dir": state_dir}


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        problem = Problem(
            name="--operator",
            value="",
            allowed="who asks; this user has no name",
            fix="say --operator ...",
        )
        raise ConfigError([problem]) from None
