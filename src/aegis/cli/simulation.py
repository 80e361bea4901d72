"""The command that simulates: the whole bot under drawn faults, judged from the venue's side."""

from typing import Annotated

import typer

from aegis.cli.flags import guarded


def sim(
    seeds: Annotated[
        str, typer.Option("--seeds", help="A..B, both included, or a count from 1")
    ] = "1..20",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="replay this one alone")] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.15, help="simulated, of each")] = 2.0,
    faults: Annotated[str, typer.Option("--faults", help="none, light or heavy")] = "heavy",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="processes")] = 2,
    trace: Annotated[
        bool, typer.Option("--trace", help="with --seed: everything that happened, in order")
    ] = False,
) -> None:
    """Simulate the bot with faults drawn from seeds; exit code 1 when a law was broken."""

    def begin() -> int:
        from aegis.sim.entry import parse_seeds, replay, simulate

        if seed is not None:
            return replay(seed, hours=hours, faults=faults, trace=trace)
        return simulate(parse_seeds(seeds), hours=hours, faults=faults, jobs=jobs)

    raise typer.Exit(guarded(begin))


def add_simulation_command(app: typer.Typer) -> None:
    """Make it a command of *app*."""
    _ = app.command()(sim)
