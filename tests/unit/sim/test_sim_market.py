"""A plan's market holds what its faults ask for, and moves it to the symbols that are played."""

from pathlib import Path

import numpy as np
import pytest

from aegis.core.errors import TapeError
from aegis.sim.draw import SYMBOLS
from aegis.sim.kinds import Fault, Kind
from aegis.sim.market import make_market, on_market
from aegis.sim.plan import FaultPlan, make_plan
from aegis.twin.tape.model import CandleTape
from aegis.twin.tape.path import PricePath

SYMBOL = "SOLUSDT"
S = 1_000_000_000


def plan_of(*faults: Fault, tapes: str = "") -> FaultPlan:
    """Return half an hour with these faults and no signals."""
    return FaultPlan(
        seed=5,
        hours=0.5,
        profile="heavy",
        start_hour=6,
        settings=(),
        signals=(),
        faults=faults,
        tapes=tapes,
    )


def tape_of(plan: FaultPlan) -> tuple[CandleTape, int]:
    """Return the tape of the symbol and when play begins."""
    market = make_market(plan)
    return next(t for t in market.tapes["binance"] if t.symbol == SYMBOL), market.start_ns


def test_a_frozen_mark_stands_still_while_the_price_moves() -> None:
    """From the bar of its beginning to that of its end, and is the price before and after."""
    fault = Fault(kind=Kind.MARK_FROZEN, at_s=300.0, for_s=240.0, target=SYMBOL)
    tape, start_ns = tape_of(plan_of(fault))
    path = PricePath(tape)
    during = [start_ns + second * S for second in range(301, 539)]
    outside = [start_ns + second * S for second in (10, 299, 541, 900)]

    held = path.mark_at(during[0])
    assert all(path.mark_at(at) == pytest.approx(held, abs=1e-9) for at in during)
    assert len({path.price_at(at) for at in during}) > 100
    assert all(path.mark_at(at) == pytest.approx(path.price_at(at), abs=1e-9) for at in outside)


def test_a_silent_market_has_no_volume() -> None:
    """Within the fault's bars, and nowhere else of the played time."""
    fault = Fault(kind=Kind.VOLUME_ZERO, at_s=300.0, for_s=120.0, target=SYMBOL)
    tape, start_ns = tape_of(plan_of(fault))
    from_start = (tape.open_ns - start_ns) // (60 * S)

    silent = set(from_start[tape.volume == 0].tolist())
    assert {5, 6} == silent


def test_a_gap_lies_between_bars_and_a_fast_minute_within_one() -> None:
    """Both leave the price where they brought it."""
    plain, start_ns = tape_of(plan_of())
    bar = int(np.searchsorted(plain.open_ns, start_ns + 300 * S))
    for kind, moved_at_close in ((Kind.PRICE_GAP, False), (Kind.FAST_MINUTE, True)):
        fault = Fault(kind=kind, at_s=300.0, target=SYMBOL, size=-0.05)
        tape, _ = tape_of(plan_of(fault))
        assert tape.close[bar - 1] == plain.close[bar - 1]
        assert (tape.close[bar] < plain.close[bar] * 0.96) is np.bool_(moved_at_close)
        assert tape.open[bar + 1] == pytest.approx(plain.open[bar + 1] * 0.95, rel=1e-3)


def test_another_market_takes_signals_and_faults_over() -> None:
    """Each drawn symbol becomes one that is played, always the same."""
    plan = on_market(make_plan(4, hours=2, profile="heavy"), ("FILUSDT",))
    assert {"FILUSDT"} == {wish.symbol for wish in plan.signals}
    assert not {fault.target for fault in plan.faults} & set(SYMBOLS)


def test_a_recorded_market_must_say_where_it_begins_and_be_there(tmp_path: Path) -> None:
    """Both refusals come before anything runs."""
    with pytest.raises(ValueError, match="FILE"):
        make_market(plan_of(tapes="nothing"))
    with pytest.raises(TapeError):
        make_market(plan_of(tapes=f"{tmp_path / 'none.feather'}@2025-10-10"))
