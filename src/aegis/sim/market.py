"""The market of a seed: generated tapes, livelier than the default ones, with gaps and fast minutes
where the plan wants them."""

from typing import Final

import attrs
import numpy as np

from aegis.core.clock import NS_PER_S
from aegis.sim.plan import HOUR_S, MARKET, FaultPlan, Kind
from aegis.twin.boot import GENERATED_START_NS, VENUE_NAMES, Market
from aegis.twin.tape.generate import START_PRICES, MarketHabits, generate_tape
from aegis.twin.tape.model import DAY_NS, HOUR_NS, MINUTE_NS, CandleTape

HISTORY_NS: Final = 2 * DAY_NS
SPARE_NS: Final = HOUR_NS
HABITS: Final = MarketHabits(volatility_day=0.04, jumps_per_day=8.0)


def make_market(plan: FaultPlan) -> Market:
    """Return the market *plan*'s seed makes, from its start to an hour after its end."""
    start_ns = GENERATED_START_NS + plan.start_hour * HOUR_NS
    hours_ns = round(plan.hours * HOUR_S) * NS_PER_S
    days = (HISTORY_NS + hours_ns + SPARE_NS) / DAY_NS
    tapes = tuple(
        _moved(
            generate_tape(
                symbol,
                seed=plan.seed,
                start_ns=start_ns - HISTORY_NS,
                days=days,
                start_price=price,
                history_ns=HISTORY_NS,
                habits=HABITS,
            ),
            plan,
            start_ns,
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


def _moved(tape: CandleTape, plan: FaultPlan, start_ns: int) -> CandleTape:
    """Let the price move as the plan's market faults say; it stays where they brought it."""
    moves = [f for f in plan.faults if f.kind in MARKET and f.target == tape.symbol]
    if not moves:
        return tape
    factor_open, factor_close = np.ones(len(tape.close)), np.ones(len(tape.close))
    for fault in moves:
        bar = int((start_ns + fault.at_s * NS_PER_S - int(tape.open_ns[0])) // MINUTE_NS)
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
