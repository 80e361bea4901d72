"""Which running bot a command is for: the options all such commands have, read in one place."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, get_type_hints

import attrs
import typer

from aegis.app.modes import Mode
from aegis.cli.flags import (
    DryRunOption,
    LiveOption,
    PaperOption,
    StateDirOption,
    TestnetOption,
    asked_modes,
    guarded,
)


@attrs.frozen(slots=True)
class WhichBot:
    """*flags*: settings from the command line; *modes* named, () for the bot of every one."""

    flags: dict[str, object]
    modes: tuple[Mode, ...]


def _which(
    state_dir: StateDirOption = None,
    paper: PaperOption = False,
    dry_run: DryRunOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
) -> WhichBot:
    modes = asked_modes(paper=paper, dry_run=dry_run, testnet=testnet, live=live)
    return WhichBot({} if state_dir is None else {"state_dir": state_dir}, modes)


_SHARED: Final = inspect.signature(_which).parameters
_SHARED_HINTS: Final = get_type_hints(_which, include_extras=True)


def for_a_bot(command: Callable[..., int]) -> Callable[..., None]:
    """
    Make a command of *command*, whose first parameter is the bot it is for, and end by its code.

    The options of `_which` follow its own; typer reads options from the signature.
    """
    signature = inspect.signature(command)
    bot, *own = signature.parameters.values()

    @functools.wraps(command)
    def run(**given: Any) -> None:
        which = _which(**{name: given.pop(name) for name in _SHARED})
        raise typer.Exit(guarded(lambda: command(which, **given)))

    hints = get_type_hints(command, include_extras=True)
    del hints[bot.name], run.__dict__["__wrapped__"]
    run.__annotations__ = {**hints, **_SHARED_HINTS, "return": None}
    run.__dict__["__signature__"] = signature.replace(
        parameters=[*own, *_SHARED.values()], return_annotation=None
    )
    return run
