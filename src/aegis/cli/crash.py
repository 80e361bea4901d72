"""The command that kills the bot at every step of a scenario and judges how it went on."""

from typing import Annotated

import typer

from aegis.cli.flags import guarded


def sim_crash(
    scenarios: Annotated[
        str,
        typer.Option("--scenarios", help="all, or names like entry, entry@bybit, @bybit"),
    ] = "all",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="processes")] = 2,
    every: Annotated[int, typer.Option("--every", min=1, help="every so many points alone")] = 1,
    point: Annotated[
        str | None,
        typer.Option("--point", help="kill one scenario at this one: 37, 37+sent, none"),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="with --point: everything that happened, in order")
    ] = False,
) -> None:
    """Kill the bot at every step of what it does; exit code 1 when a law was broken."""

    def begin() -> int:
        from aegis.sim.crash_entry import crash, replay

        if point is not None:
            return replay(scenarios, point, trace=trace)
        return crash(scenarios, jobs=jobs, every=every)

    raise typer.Exit(guarded(begin))


def add_crash_command(app: typer.Typer) -> None:
    """Make it a command of *app*."""
    _ = app.command("sim-crash")(sim_crash)
