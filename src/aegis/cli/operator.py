"""What a person asks of a running bot: kill switch, a close by hand, and whether it is well."""

import getpass
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from aegis.app.ask import CloseAsk, ask_close, ask_health
from aegis.cli.flags import OperatorOption, ReasonOption
from aegis.cli.which_bot import WhichBot, for_a_bot
from aegis.core.errors import ConfigError, Problem


@for_a_bot
def kill(bot: WhichBot, reason: ReasonOption = None, operator: OperatorOption = None) -> int:
    """Stop all entries until `resume`, of the modes named or of every one; exits flow."""
    return _request("kill", operator, reason, bot)


@for_a_bot
def resume(bot: WhichBot, reason: ReasonOption = None, operator: OperatorOption = None) -> int:
    """Lift the kill switch and every other halt that waits for a person."""
    return _request("resume", operator, reason, bot)


@for_a_bot
def close(
    bot: WhichBot,
    symbol: Annotated[str, typer.Argument(help="a USDT perpetual, like BTCUSDT")],
    venue: Annotated[str | None, typer.Option("--venue", help="binance or bybit [needed]")] = None,
    reason: ReasonOption = None,
    operator: OperatorOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="ask again for what was asked a moment ago")
    ] = False,
) -> int:
    """Close a position of a running bot at market; needs manual_close_enabled and the token."""
    said = _said({"--venue": venue, "--reason": reason}, f"close {symbol}")
    ask = CloseAsk(
        symbol=symbol,
        venue=said["--venue"],
        operator=_user_name() if operator is None else operator,
        reason=said["--reason"],
        force=force,
    )
    return ask_close(ask, bot.flags, bot.modes)


@for_a_bot
def health(bot: WhichBot) -> int:
    """Ask a running bot whether it is well: 0 it is, 1 it is not, 2 there is none."""
    return ask_health(bot.flags, bot.modes)


def add_operator_commands(app: typer.Typer) -> None:
    """Give *app* the commands of this file."""
    for command in (kill, resume, close, health):
        app.command()(command)


_EXAMPLES: Final = {"--venue": "binance", "--reason": '"news at 14:00"'}


def _said(given: Mapping[str, str | None], command: str) -> dict[str, str]:
    """Return the flags a command cannot do without; every one that is missing is told at once."""
    missing = [flag for flag, value in given.items() if value is None]
    if not missing:
        return {flag: value for flag, value in given.items() if value is not None}
    example = " ".join(f"{flag} {_EXAMPLES[flag]}" for flag in given)
    allowed = {"--venue": "binance or bybit", "--reason": "a text, which is kept in the journal"}
    raise ConfigError(
        [
            Problem(
                name=flag,
                value="",
                allowed=allowed[flag],
                fix=f"say it, like: python -m aegis {command} {example}",
            )
            for flag in missing
        ]
    )


def _request(action: str, operator: str | None, reason: str | None, bot: WhichBot) -> int:
    from aegis.app.entry import leave_operator_request
    from aegis.app.operator import Request

    said = _said({"--reason": reason}, action)
    who = _user_name() if operator is None else operator
    request = Request(action=action, operator=who, reason=said["--reason"])
    return leave_operator_request(request, bot.flags, bot.modes)


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
