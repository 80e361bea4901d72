"""
The market of a plan: generated tapes, livelier than the default ones, or recorded ones; with the
gaps, fast minutes, frozen marks and silent hours that the plan wants.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import numpy as np

from aegis.core.clock import NS_PER_S, parse_utc
from aegis.sim.draw import HOUR_S, SYMBOLS
from aegis.sim.kinds import MARKET, Fault, Kind
from aegis.sim.plan import FaultPlan
from aegis.twin.boot import GENERATED_START_NS, VENUE_NAMES, Market, recorded_market
from aegis.twin.tape.generate import START_PRICES, MarketHabits, generate_tape
from aegis.twin.tape.model import DAY_NS, HOUR_NS, CandleTape, MarkSeries
from aegis.twin.tape.path import bar_path, bar_times

HISTORY_NS: Final = 2 * DAY_NS
SPARE_NS: Final = HOUR_NS
HABITS: Final = MarketHabits(volatility_day=0.04, jumps_per_day=8.0)
DATA_VARIABLE: Final = "AEGIS_TEST_DATA"
_BYBIT_5M: Final = "market/bybit_linear/2025-2026_5m"
RECORDED: Final = {
    "fil-2023-08-17": (
        "market/binance_usdm/vision_csv_1m/FILUSDT-1m-2023-08.csv.gz@2023-08-17T21:00"
    ),
    "cascade-2025-10-10": (
        f"{_BYBIT_5M}/BTCUSDT-5m-futures.feather,{_BYBIT_5M}/ETHUSDT-5m-futures.feather"
        "@2025-10-10T20:00"
    ),
}
"""Recorded days by name: the minute of -8.7 % at 21:43, and the fall that begins at 20:50."""


def make_market(plan: FaultPlan) -> Market:
    """
    Return the market of *plan*, from its start to an hour after its end.

    Raises:
        TapeError: a recorded tape cannot be read, or does not last as long.
        ValueError: `tapes` of the plan does not say where play begins.
    """
    market = _recorded(plan) if plan.tapes else _generated(plan)
    moved = {
        venue: tuple(_changed(tape, plan.faults, market.start_ns) for tape in tapes)
        for venue, tapes in market.tapes.items()
    }
    return attrs.evolve(market, tapes=moved)


def on_market(plan: FaultPlan, symbols: Sequence[str]) -> FaultPlan:
    """Return *plan* with its signals and faults on the *symbols* that are played."""
    here = {name: symbols[n % len(symbols)] for n, name in enumerate(SYMBOLS)}
    return attrs.evolve(
        plan,
        signals=tuple(
            attrs.evolve(wish, symbol=here.get(wish.symbol, wish.symbol)) for wish in plan.signals
        ),
        faults=tuple(
            attrs.evolve(fault, target=here.get(fault.target, fault.target))
            for fault in plan.faults
        ),
    )


def _generated(plan: FaultPlan) -> Market:
    start_ns = GENERATED_START_NS + plan.start_hour * HOUR_NS
    # A shortened plan is played on the market it was drawn with: another length is another one.
    hours_ns = round((plan.market_hours or plan.hours) * HOUR_S) * NS_PER_S
    days = (HISTORY_NS + hours_ns + SPARE_NS) / DAY_NS
    tapes = tuple(
        generate_tape(
            symbol,
            seed=plan.seed,
            start_ns=start_ns - HISTORY_NS,
            days=days,
            start_price=price,
            history_ns=HISTORY_NS,
            habits=HABITS,
        )
        for symbol, price in START_PRICES.items()
    )
    return Market(
        tapes=dict.fromkeys(VENUE_NAMES, tapes),
        start_ns=start_ns,
        end_ns=min(tape.end_ns for tape in tapes),
        label=f"GENERATED seed {plan.seed}",
        generated=True,
        market_id=f"sim-{plan.seed}",
        lines=(),
    )


def _recorded(plan: FaultPlan) -> Market:
    """
    Read the tapes a plan names: a name of RECORDED, or `FILE[,FILE]@TIME`.

    Files are found from here, or in the folder that AEGIS_TEST_DATA names.
    """
    files, _, begins = RECORDED.get(plan.tapes, plan.tapes).rpartition("@")
    if not files:
        raise ValueError(f"tapes were {plan.tapes!r}, must be FILE[,FILE]@TIME or a recorded day")
    start_ns = parse_utc(begins)
    folder = Path(os.environ.get(DATA_VARIABLE, "."))
    return recorded_market(
        [str(folder / name) for name in files.split(",")],
        from_ns=start_ns,
        to_ns=start_ns + round(plan.hours * HOUR_S) * NS_PER_S + SPARE_NS,
        seed=plan.seed,
        venues=VENUE_NAMES,
    )


# --- what the plan's market faults make of a tape ------------------------------------------------


def _changed(tape: CandleTape, faults: Sequence[Fault], start_ns: int) -> CandleTape:
    mine = [each for each in faults if each.kind in MARKET and each.target == tape.symbol]
    for fault in mine:
        if fault.kind in {Kind.PRICE_GAP, Kind.FAST_MINUTE}:
            tape = _moved(tape, fault, start_ns)
    silent = [each for each in mine if each.kind is Kind.VOLUME_ZERO]
    frozen = [each for each in mine if each.kind is Kind.MARK_FROZEN]
    for fault in silent:
        volume = tape.volume.copy()
        volume[slice(*_bars(tape, fault, start_ns))] = 0.0
        tape = attrs.evolve(tape, volume=volume)
    return _frozen(tape, [_bars(tape, fault, start_ns) for fault in frozen]) if frozen else tape


def _bars(tape: CandleTape, fault: Fault, start_ns: int) -> tuple[int, int]:
    """Return the first bar a fault holds and the one after its last, at least one between."""
    from_ns = start_ns + round(fault.at_s * NS_PER_S)
    to_ns = from_ns + round(fault.for_s * NS_PER_S)
    first = max(1, int(np.searchsorted(tape.open_ns, from_ns, side="right")) - 1)
    last = int(np.searchsorted(tape.open_ns, to_ns, side="left"))
    return first, min(max(last, first + 1), len(tape.open_ns) - 1)


def _moved(tape: CandleTape, fault: Fault, start_ns: int) -> CandleTape:
    """Let the price move as a fault says; it stays where that brought it."""
    bar = _bars(tape, fault, start_ns)[0]
    factor_open, factor_close = np.ones(len(tape.close)), np.ones(len(tape.close))
    # A gap lies between two bars, a fast minute within one.
    factor_open[bar + 1 :] *= 1 + fault.size
    factor_close[(bar + 1 if fault.kind is Kind.PRICE_GAP else bar) :] *= 1 + fault.size
    places = len(repr(float(tape.close[0])).partition(".")[2])
    opens = np.round(tape.open * factor_open, places)
    closes = np.round(tape.close * factor_close, places)
    highs = np.round(tape.high * np.maximum(factor_open, factor_close), places)
    lows = np.round(tape.low * np.minimum(factor_open, factor_close), places)
    return attrs.evolve(
        tape,
        open=opens,
        close=closes,
        high=np.maximum(highs, np.maximum(opens, closes)),
        low=np.minimum(lows, np.minimum(opens, closes)),
    )


def _frozen(tape: CandleTape, windows: Sequence[tuple[int, int]]) -> CandleTape:
    """Hold the mark price where it stands at the first bar of each window, till its last."""
    basis: dict[int, float] = {}
    for first, last in sorted(windows):
        held = float(tape.open[first])
        begun_ns, over_ns = int(tape.open_ns[first]), int(tape.open_ns[last])
        if basis and begun_ns <= max(basis):
            # It is frozen already: two windows that touch are one, at the first one's price.
            continue
        basis[begun_ns - 1] = 0.0
        for bar in range(first, last):
            opened_ns = int(tape.open_ns[bar])
            path = bar_path(
                float(tape.open[bar]),
                float(tape.high[bar]),
                float(tape.low[bar]),
                float(tape.close[bar]),
            )
            times = bar_times(opened_ns, tape.timeframe_ns)
            basis.update(zip(times, (held - price for price in path), strict=True))
            # The close holds until the next bar opens, and jumps there.
            basis[int(tape.open_ns[bar + 1]) - 1] = held - path[-1]
        basis[over_ns] = 0.0
    times_ns = np.array(sorted(basis), dtype=np.int64)
    values = np.array([basis[int(at)] for at in times_ns], dtype=np.float64)
    return attrs.evolve(tape, mark=MarkSeries(times_ns=times_ns, basis=values))
