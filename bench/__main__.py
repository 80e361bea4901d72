"""``python -m bench``: all figures of one run, as tables and on request as JSON."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from bench import burst, bus, frame_to_order
from bench.frame_to_order import OrderFigures
from bench.measure import machine

if TYPE_CHECKING:
    from aegis.model.instrument import Venue
    from bench.protect import VenueFigures
    from bench.tape import TapeFigures

PARTS: Final = ("order", "protect", "burst", "bus", "tape")
_SIDE_NAMES: Final = {
    "order_ws": "frame to order, order socket",
    "order_rest": "frame to order, REST",
    "c": "C echo",
    "uvloop": "bare protocol echo, uvloop",
    "asyncio": "bare protocol echo, asyncio",
}


def run(parts: Sequence[str], *, quick: bool, console: Console) -> dict[str, Any]:
    """Measure *parts*, print each as it is done, and return everything as JSON-able data."""
    result: dict[str, Any] = {"machine_before": machine(), "quick": quick}
    if "order" in parts:
        orders = frame_to_order.run(quick=quick)
        _print_orders(console, orders)
        result["order"] = orders.as_json()
    if "protect" in parts:
        # It brings the twin with it, as the tape does.
        from bench import protect

        protected = protect.run(quick=quick)
        _print_protect(console, protected)
        result["protect"] = {v.value.lower(): each.as_json() for v, each in protected.items()}
    if "burst" in parts:
        bursts = burst.run(quick=quick)
        _print_bursts(console, bursts)
        result["burst"] = {name: figures.as_json() for name, figures in bursts.items()}
    if "bus" in parts:
        events = bus.run(quick=quick)
        _print_bus(console, events)
        result["bus"] = events.as_json()
    if "tape" in parts:
        # It brings the whole program with it, the others only the bot.
        from bench import tape

        played = tape.measure(quick=quick)
        _print_tape(console, played)
        result["tape"] = played.as_json()
    result["machine_after"] = after = machine()
    console.print(
        f"{after['cores']} cores, load {result['machine_before']['load_1m']} before and "
        f"{after['load_1m']} after: ratios stand, single figures move with the load"
    )
    return result


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _print_orders(console: Console, figures: OrderFigures) -> None:
    table = _table(
        "Frame in, order out (us, loopback)",
        "",
        "p50",
        "p99",
        "p50/C",
        "p99/C",
        "p50/uvloop",
        "p99/uvloop",
    )
    for name, side in figures.sides.items():
        spread = side.round_trip_us
        ratios = (
            side.p50_ratio_c,
            side.p99_ratio_c,
            side.p50_ratio_uvloop,
            side.p99_ratio_uvloop,
        )
        table.add_row(
            _SIDE_NAMES[name],
            f"{spread.p50:.0f}",
            f"{spread.p99:.0f}",
            *(_times(value) for value in ratios),
        )
    console.print(table)
    for bot, stages in figures.stages.items():
        table = _table(f"Where the time goes: {_SIDE_NAMES[bot]} (us)", "", "p50", "p99")
        for name, spread in stages.items():
            table.add_row(name, f"{spread.p50:.0f}", f"{spread.p99:.0f}")
        console.print(table)
    told = f"{figures.orders} orders in {figures.rounds} rounds, {figures.dropped} signals dropped"
    told += f", streams by {figures.client}"
    console.print(f"{told}; rounds of the uvloop echo lay {figures.unrest:.0%} apart")
    if not figures.has_c:
        console.print("no C compiler here: ratios against the uvloop echo only")


def _print_protect(console: Console, figures: "Mapping[Venue, VenueFigures]") -> None:
    columns = ("p50 us", "p99 us", "p50/WS", "p99/WS", "p50/REST", "p99/REST")
    for venue, each in figures.items():
        table = _table(f"Fill to stop, {venue.value} (loopback)", "", *columns)
        table.add_row("round trip, WS", *_two(each.socket))
        table.add_row("round trip, REST", *_two(each.rest))
        for name, spread, of_socket, of_rest in (
            ("naked, bot", each.bot, each.bot_of_socket, each.bot_of_rest),
            ("naked, twin", each.meter, each.meter_of_socket, each.meter_of_rest),
        ):
            ratios = (_times(value) for value in (*of_socket, *of_rest))
            table.add_row(name, *_two(spread), *ratios)
        for name, spread in each.stages.items():
            table.add_row(f"  {name}", *_two(spread))
        console.print(table)
        console.print(
            f"{each.positions} positions, protected {each.protected}/{each.positions}, "
            f"{each.late} beyond the soft deadline"
        )


def _two(spread: Any) -> tuple[str, str]:
    return f"{spread.p50:.0f}", f"{spread.p99:.0f}"


def _print_bursts(console: Console, bursts: dict[str, burst.BurstFigures]) -> None:
    table = _table("Burst of quotes", "", *bursts)
    rows: dict[str, Callable[[burst.BurstFigures], str]] = {
        "frames / symbols": lambda f: f"{f.frames} / {f.symbols}",
        "produced": lambda f: str(f.produced),
        "delivered + merged + rejected + pending": lambda f: (
            f"{f.delivered} + {f.merged} + {f.rejected} + {f.pending}"
        ),
        "adds up": lambda f: "yes" if f.balanced else "NO",
        "age of the newest price, ms p50 / p99 / max": lambda f: _three(f.age_ms),
        "one drain, ms p50 / p99 / max": lambda f: _three(f.drain_ms),
        "first frame to end of drain, ms": lambda f: _three(f.turn_ms),
        "drains": lambda f: str(f.drains),
        "frames per second": lambda f: f"{f.frames_per_s:,.0f}",
    }
    for name, show in rows.items():
        table.add_row(name, *(show(figures) for figures in bursts.values()))
    console.print(table)


def _three(spread: Any) -> str:
    return f"{spread.p50:.2f} / {spread.p99:.2f} / {spread.max:.2f}"


def _print_bus(console: Console, figures: bus.BusFigures) -> None:
    table = _table("Bus (ns an event)", "", "p50", "p99", "ratio")
    for name, spread, value in (
        ("create a MarketTick", figures.create, None),
        (f"dict of tuples, {bus.HANDLERS} handlers", figures.bare_dispatch, None),
        (f"bus, {bus.HANDLERS} handlers", figures.bus_dispatch, figures.dispatch_ratio),
        ("create + dict of tuples", figures.create_and_bare, None),
        ("create + bus", figures.create_and_bus, figures.whole_ratio),
    ):
        table.add_row(name, f"{spread.p50:.0f}", f"{spread.p99:.0f}", _times(value))
    console.print(table)
    console.print(f"{figures.rounds} rounds, which lay {figures.unrest:.0%} apart")


def _print_tape(console: Console, figures: "TapeFigures") -> None:
    table = _table("Tape at --speed max", "", "")
    size = f"{figures.minutes} min, {figures.symbols} symbols x {figures.venues} venues"
    table.add_row("played", size)
    table.add_row("bars / ticks / frames", f"{figures.bars} / {figures.ticks} / {figures.frames}")
    table.add_row("wall / cpu s", f"{figures.wall_s:.1f} / {figures.cpu_s:.1f}")
    table.add_row("bars per second", f"{figures.bars_per_s or 0:,.0f}")
    table.add_row("ticks per second", f"{figures.ticks_per_s or 0:,.0f}")
    table.add_row("market time over wall time", _times(figures.times_real))
    console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run that only shows it works")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("parts", nargs="*", help=f"which of {', '.join(PARTS)}; all when none")
    flags = parser.parse_args(argv)
    for part in flags.parts:
        if part not in PARTS:
            parser.error(f"part was {part}, must be one of {', '.join(PARTS)}")
    result = run(flags.parts or PARTS, quick=flags.quick, console=Console())
    if flags.json is not None:
        flags.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
