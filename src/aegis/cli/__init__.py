"""
The command line: ``python -m aegis`` runs the bot, ``... twin`` an exchange to trade on.

Exit codes: 0 a clean end; 1 the bot stopped because of a fault of its own, the doctor found one,
``health`` found the bot unwell, or a running bot refused what was asked; 2 settings, flags, keys, a
tape or the journal cannot be used, a live start is refused, or no bot runs where one was asked; 3
no venue could be brought up, or it did not give the history asked for; 4 another process holds the
state directory; 130 interrupted before anything was traded, or in a download.
"""

import sys

from aegis.cli.commands import app
from aegis.cli.crash import add_crash_command
from aegis.cli.operator import add_operator_commands
from aegis.cli.simulation import add_simulation_command

__all__ = ["app", "main"]

add_operator_commands(app)
add_simulation_command(app)
add_crash_command(app)


def main() -> None:
    """Run the command line."""
    app(prog_name="aegis" if not sys.argv[0].endswith("__main__.py") else "python -m aegis")
