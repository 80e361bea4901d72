"""The command that simulates: the whole bot under drawn faults, judged from the venue's side."""

from pathlib import Path
from typing import Annotated, Final

import typer

from aegis.cli.flags import guarded

KEPT_PLANS: Final = "tests/simulation/seeds"

SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", help="A..B, both included, or a count from 1 (default: 1..20)"),
]
OneSeedOption = Annotated[int | None, typer.Option("--seed", help="replay this one alone")]
PlanOption = Annotated[Path | None, typer.Option("--plan", help="replay the plan in this file")]
HoursOption = Annotated[
    float | None, typer.Option("--hours", help="simulated, of each (default: 2)")
]
FaultsOption = Annotated[
    str | None, typer.Option("--faults", help="none, light or heavy (the default)")
]
TapesOption = Annotated[
    str | None,
    typer.Option("--tapes", help="recorded market: a name, or FILE[,FILE]@TIME (default: made)"),
]
JobsOption = Annotated[int | None, typer.Option("--jobs", help="processes (default: 2)")]
HangOption = Annotated[
    float | None,
    typer.Option("--hang-seconds", help="wall seconds after which a run counts as hanging"),
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="append each seed's result to this new file")
]
ResumeOption = Annotated[
    Path | None, typer.Option("--resume", help="go on with the seeds this file has not")
]
ReportOption = Annotated[
    list[Path] | None,
    typer.Option("--report", help="print the table of this file (again for more), run nothing"),
]
TraceOption = Annotated[
    bool, typer.Option("--trace", help="one run: everything that happened, in order")
]
AroundOption = Annotated[
    str | None, typer.Option("--around", help="with --trace: two minutes before and after")
]
SymbolOption = Annotated[
    str | None, typer.Option("--symbol", help="with --trace: nothing of the other symbols")
]
ShrinkOption = Annotated[
    bool, typer.Option("--shrink", help="one run that fails: find a smaller one that does")
]
LawOption = Annotated[
    str | None, typer.Option("--law", help="the law to keep broken (default: the first)")
]
BudgetOption = Annotated[
    int | None, typer.Option("--budget", help="at most so many runs to shrink (default: 120)")
]
WriteTestOption = Annotated[
    bool, typer.Option("--write-test", help="shrink, and keep the plan as a test")
]
TestDirOption = Annotated[
    Path | None, typer.Option("--test-dir", help=f"where it is kept (default: {KEPT_PLANS})")
]


def sim(
    seeds: SeedsOption = None,
    seed: OneSeedOption = None,
    plan: PlanOption = None,
    hours: HoursOption = None,
    faults: FaultsOption = None,
    tapes: TapesOption = None,
    jobs: JobsOption = None,
    hang_s: HangOption = None,
    json: JsonOption = None,
    resume: ResumeOption = None,
    report: ReportOption = None,
    trace: TraceOption = False,
    around: AroundOption = None,
    symbol: SymbolOption = None,
    shrink: ShrinkOption = False,
    law: LawOption = None,
    budget: BudgetOption = None,
    write_test: WriteTestOption = False,
    test_dir: TestDirOption = None,
) -> None:
    """Simulate the bot with faults drawn from seeds; exit code 1 when a law was broken."""

    def begin() -> int:
        from aegis.sim.asked import Asked
        from aegis.sim.entry import run_simulation

        asked = Asked(
            seeds=seeds,
            seed=seed,
            plan=plan,
            hours=hours,
            faults=faults,
            tapes=tapes,
            jobs=jobs,
            hang_s=hang_s,
            json=json,
            resume=resume,
            report=tuple(report or ()),
            trace=trace,
            around=around,
            symbol=symbol,
            shrink=shrink,
            law=law,
            budget=budget,
            write_test=write_test,
            test_dir=test_dir,
        )
        return run_simulation(asked)

    raise typer.Exit(guarded(begin))


def add_simulation_command(app: typer.Typer) -> None:
    """Make it a command of *app*."""
    _ = app.command()(sim)
