"""Every kind of fault strikes at least once in a plan written for it, and the log says so (R88)."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from aegis.core.clock import NS_PER_S
from aegis.model.events import (
    AlertRaised,
    EntriesHalted,
    EntriesResumed,
    PositionClosed,
    PositionOpened,
    VenueProtected,
    VenueUnavailable,
)
from aegis.sim.bounds import bound_of
from aegis.sim.checkers import check
from aegis.sim.draw import ORDER_SOCKETS
from aegis.sim.evidence import Evidence
from aegis.sim.faults import Log, Strike
from aegis.sim.kinds import Fault, Kind
from aegis.sim.market_faults import crossed, out_of_order, poisoned
from aegis.sim.plan import FaultPlan, SignalWish
from aegis.sim.run import play_plan

HOURS = 0.15
BEGIN_S = 50.0
SYMBOL = "BTCUSDT"


def trades(venue: str) -> tuple[SignalWish, ...]:
    """Return a long, a short and a long, each with stop and target near."""
    wishes = ((60.0, "LONG"), (200.0, "SHORT"), (340.0, "LONG"))
    return tuple(
        SignalWish(at_s=at_s, venue=venue, symbol=SYMBOL, side=side, stop_pct=0.15, target_pct=0.15)
        for at_s, side in wishes
    )


def plan_of(*faults: Fault, venue: str = "binance") -> FaultPlan:
    """Return nine minutes of one symbol with three signals and these faults, written out."""
    return FaultPlan(
        seed=3,
        hours=HOURS,
        profile="heavy",
        start_hour=8,
        settings=(("daily_drawdown_max_pct", Decimal(30)), ("symbols", (SYMBOL,))),
        signals=trades(venue),
        faults=faults,
    )


def played(plan: FaultPlan, folder: Path) -> Evidence:
    """Play *plan* in *folder*."""
    return play_plan(plan, folder)[0]


BINANCE: dict[Kind, dict[str, Any]] = {
    Kind.ANSWER_LOST: {"target": "entry"},
    Kind.REQUEST_LOST: {"target": "stop"},
    Kind.ANSWER_LATE: {"target": "stop", "seconds": 1.0},
    Kind.ANSWER_TWICE: {"target": "answers"},
    Kind.EVENT_FIRST: {"target": "entry", "seconds": 0.2},
    Kind.ERROR_AFTER: {"target": "entry"},
    Kind.UNKNOWN_AFTER: {"target": "entry"},
    Kind.CONNECT_REFUSED: {"target": "positions"},
    Kind.RESET_BEFORE: {"target": "stop"},
    Kind.RESET_AFTER: {"target": "entry"},
    Kind.NAME_UNRESOLVED: {"for_s": 100.0},
    Kind.STREAM_CUT: {"target": "/private", "for_s": 0.0},
    Kind.STREAM_REFUSED: {"target": "/private", "for_s": 20.0},
    Kind.STREAM_SILENT: {"target": "/market"},
    Kind.STREAM_HALF_OPEN: {"target": ORDER_SOCKETS["binance"], "for_s": 0.0, "at_s": 59.0},
    Kind.DAY_CLOSE: {"for_s": 0.0},
    Kind.FRAMES_LOST: {"target": "account", "share": 0.5},
    Kind.FRAMES_TWICE: {"target": "account"},
    Kind.FRAMES_LATE: {"target": "account", "seconds": 0.5},
    Kind.FRAMES_REORDERED: {"target": "account", "seconds": 0.5},
    Kind.FRAMES_REPLAYED: {"target": "/private", "for_s": 0.0, "at_s": 90.0},
    Kind.KEY_EXPIRED: {"for_s": 0.0},
    Kind.REFUSED: {"target": "stop -2021"},
    Kind.TOO_MANY: {"share": 0.5},
    Kind.BANNED: {"for_s": 80.0, "at_s": 65.0},
    Kind.WARNED_THEN_BANNED: {"for_s": 80.0, "size": 1.0, "at_s": 65.0},
    Kind.WEIGHT_USED: {},
    Kind.QUERY_EMPTY: {"target": "balance"},
    Kind.QUERY_FAILED: {"target": "balance"},
    Kind.ORDERS_UNSEEN: {"seconds": 5.0},
    Kind.POSITION_UNSEEN: {"seconds": 0.5},
    Kind.STOPS_FORGOTTEN: {"size": 1.0},
    Kind.STOPS_REFUSED: {"size": 2.0},
    Kind.STOPS_OUT_OF_BAND: {"size": 0.001},
    Kind.TRIGGER_STUCK: {"for_s": 600.0},
    Kind.FILL_STALLED: {"share": 0.5, "seconds": 20.0, "size": 2.0},
    Kind.BOOK_THIN: {"size": 0.002},
    Kind.OUTAGE: {"for_s": 20.0},
    Kind.MAINTENANCE: {"for_s": 20.0},
    Kind.CLOSED_BY_HAND: {"target": SYMBOL, "for_s": 0.0, "at_s": 62.0},
    Kind.STOP_REMOVED: {"target": SYMBOL, "for_s": 0.0, "at_s": 62.0},
    Kind.FOREIGN_ORDER: {"target": SYMBOL, "for_s": 0.0},
    Kind.SECOND_INSTANCE: {"target": SYMBOL, "for_s": 120.0},
    Kind.LEVERAGE_CHANGED: {"target": SYMBOL, "for_s": 0.0, "size": 25.0},
    Kind.MODE_CHANGED: {"for_s": 60.0},
    Kind.LIQUIDATED: {"target": SYMBOL, "for_s": 0.0, "at_s": 62.0},
    Kind.DELEVERAGED: {"target": SYMBOL, "for_s": 0.0, "at_s": 62.0, "size": 0.5},
    Kind.CRASH: {"venue": "", "for_s": 0.0, "at_s": 61.0, "seconds": 3.0},
    Kind.CRASH_AT_REQUEST: {"target": "stop", "for_s": 0.0, "seconds": 3.0, "size": 1.0},
    Kind.CLOCK_STEP: {"venue": "", "seconds": 2.0},
    Kind.CLOCK_DRIFT: {"venue": "", "seconds": 2.0},
    Kind.DISK_FULL: {"venue": "", "for_s": 60.0},
    Kind.DISK_LOCKED: {"venue": "", "for_s": 60.0, "share": 0.5},
    Kind.DISK_SLOW: {"venue": "", "for_s": 60.0, "seconds": 3.0},
    Kind.PRICE_GAP: {"venue": "", "target": SYMBOL, "for_s": 0.0, "size": -0.02},
    Kind.FAST_MINUTE: {"venue": "", "target": SYMBOL, "for_s": 0.0, "size": -0.05},
    Kind.MARK_FROZEN: {"venue": "", "target": SYMBOL, "for_s": 120.0},
    Kind.VOLUME_ZERO: {"venue": "", "target": SYMBOL, "for_s": 120.0},
    Kind.BOOK_CROSSED: {"share": 0.1},
    Kind.POISON_TICKS: {"share": 0.1},
}
"""A fault of each kind that must strike within nine minutes, on Binance where it is of a venue."""
BYBIT: dict[Kind, dict[str, Any]] = {
    Kind.REQUEST_LOST: {"target": "protection"},
    Kind.ANSWER_LATE: {"target": "protection", "seconds": 1.0},
    Kind.ANSWER_TWICE: {"target": "answers"},
    Kind.UNKNOWN_AFTER: {"target": "entry"},
    Kind.RESET_AFTER: {"target": "entry"},
    Kind.STREAM_HALF_OPEN: {"target": ORDER_SOCKETS["bybit"], "for_s": 0.0, "at_s": 59.0},
    Kind.FRAMES_REPLAYED: {"target": "/v5/private", "for_s": 0.0, "at_s": 90.0},
    Kind.REFUSED: {"target": "protection 110003"},
    Kind.BANNED: {"for_s": 80.0, "at_s": 65.0},
    Kind.WARNED_THEN_BANNED: {"for_s": 80.0, "size": 1.0, "at_s": 65.0},
    Kind.WEIGHT_USED: {},
    Kind.QUERY_EMPTY: {"target": "balance"},
    Kind.ORDERS_UNSEEN: {"seconds": 5.0},
    Kind.POSITION_UNSEEN: {"seconds": 0.5},
    Kind.STOPS_OUT_OF_BAND: {"size": 0.0005},
    Kind.TRIGGER_STUCK: {"for_s": 600.0},
    Kind.FILL_STALLED: {"share": 0.5, "seconds": 20.0, "size": 2.0},
    Kind.MAINTENANCE: {"for_s": 20.0},
    Kind.SECOND_INSTANCE: {"target": SYMBOL, "for_s": 120.0},
    Kind.LIQUIDATED: {"target": SYMBOL, "for_s": 0.0, "at_s": 62.0},
    Kind.BOOK_CROSSED: {"share": 0.1},
    Kind.POISON_TICKS: {"share": 0.1},
}
"""Those that Bybit's face, texts or ways give another shape."""
CASES = [*(("binance", kind) for kind in Kind), *(("bybit", kind) for kind in BYBIT)]
LOOKED_AFTER = {
    "binance": (Fault(kind=Kind.STREAM_CUT, at_s=61.0, venue="binance", target="/private"),),
    "bybit": (
        Fault(kind=Kind.ANSWER_LOST, at_s=BEGIN_S, for_s=60.0, venue="bybit", target="entry"),
        Fault(kind=Kind.FRAMES_LOST, at_s=BEGIN_S, for_s=60.0, venue="bybit", target="account"),
    ),
}
"""Let the bot ask for its orders while they are new."""


def case_fault(venue: str, kind: Kind) -> Fault:
    """Return the fault of *kind* that the table has."""
    fields = {
        "at_s": BEGIN_S,
        "for_s": 250.0,
        "venue": venue,
        **(BINANCE if venue == "binance" else BYBIT)[kind],
    }
    return Fault(kind=kind, **fields)


@pytest.mark.parametrize(("venue", "kind"), CASES, ids=lambda each: str(each).replace(" ", "-"))
def test_every_kind_strikes_and_is_logged(venue: str, kind: Kind, tmp_path: Path) -> None:
    """Its strike is in the log, at its time, on its venue; only a crash ends a process."""
    fault = case_fault(venue, kind)
    looking = LOOKED_AFTER[venue] if kind is Kind.ORDERS_UNSEEN else ()
    evidence = played(plan_of(fault, *looking, venue=venue), tmp_path)

    struck = [strike for strike in evidence.log.strikes if strike.kind is kind]
    assert struck, f"{fault} struck nothing"
    assert {fault.venue} == {strike.venue for strike in struck}
    assert all(strike.what for strike in struck)
    assert not any("not done" in strike.what for strike in struck)
    assert [0] == list(evidence.codes)
    assert evidence.events(PositionOpened)


def test_every_kind_has_a_case() -> None:
    """Whoever adds a kind shows that it strikes."""
    assert set(BINANCE) == set(Kind)


UNMOVED = (
    *(Kind.EVENT_FIRST, Kind.ANSWER_TWICE, Kind.FRAMES_TWICE, Kind.WEIGHT_USED, Kind.BOOK_CROSSED),
    *(Kind.STOPS_REFUSED, Kind.STOPS_OUT_OF_BAND, Kind.ORDERS_UNSEEN, Kind.FILL_STALLED),
    *(Kind.FOREIGN_ORDER, Kind.SECOND_INSTANCE, Kind.LEVERAGE_CHANGED, Kind.MODE_CHANGED),
    *(Kind.LIQUIDATED, Kind.DELEVERAGED, Kind.POISON_TICKS, Kind.MARK_FROZEN, Kind.VOLUME_ZERO),
    *(Kind.DISK_FULL, Kind.DISK_LOCKED, Kind.DISK_SLOW, Kind.PRICE_GAP, Kind.FAST_MINUTE),
)
"""Kinds that must not delay protection at all: they have no term in the bound."""


def test_what_may_not_delay_protection_widens_no_bound(tmp_path: Path) -> None:
    """However often it struck around a span, the bound is that of a span without faults."""
    evidence = played(plan_of(), tmp_path)
    span = (evidence.end_ns - 60 * NS_PER_S, evidence.end_ns - 50 * NS_PER_S)
    strikes = [
        Strike(ts_ns=span[0] + number, kind=kind, venue=venue, what="struck")
        for number, kind in enumerate(UNMOVED)
        for venue in ("", "binance")
    ]
    struck = attrs.evolve(evidence, log=Log(strikes=strikes))

    assert bound_of(evidence, "binance", span) == bound_of(struck, "binance", span)
    lost = Strike(ts_ns=span[0], kind=Kind.RESET_AFTER, venue="binance", what="stop")
    wider = attrs.evolve(evidence, log=Log(strikes=[lost]))
    assert bound_of(evidence, "binance", span).seconds < bound_of(wider, "binance", span).seconds


def test_a_second_instance_halts_entries_until_it_is_stopped(tmp_path: Path) -> None:
    """Another Aegis's order halts every entry; a person resumes when it is gone (R86)."""
    fault = case_fault("binance", Kind.SECOND_INSTANCE)
    evidence = played(plan_of(fault), tmp_path)

    (halted,) = [e for e in evidence.events(EntriesHalted) if e.scope == "all"][:1]
    resumed = [e for e in evidence.events(EntriesResumed) if "second instance" in e.reason]
    assert resumed
    assert halted.ts_recv < resumed[0].ts_recv


def test_a_start_with_a_wrong_clock_goes_on_trying_until_it_is_right(tmp_path: Path) -> None:
    """No venue is traded 8 s off; the position keeps its native stops and is taken up then."""
    off = Fault(kind=Kind.CLOCK_STEP, at_s=61.0, for_s=120.0, seconds=-8.0)
    crash = Fault(kind=Kind.CRASH, at_s=62.0, seconds=2.0)
    evidence = played(plan_of(off, crash), tmp_path)

    assert [0] == list(evidence.codes)
    assert 1 == len(evidence.log.dead)
    refused = [e for e in evidence.events(VenueUnavailable) if "clock" in e.error]
    assert refused
    assert [e for e in evidence.events(VenueProtected) if e.ts_recv > refused[-1].ts_recv]
    assert () == check(evidence)


def test_a_full_disk_is_told_and_loses_no_row(tmp_path: Path) -> None:
    """Rows wait in memory while the disk is full, and the chain is whole after it (R74, R75)."""
    evidence = played(plan_of(case_fault("binance", Kind.DISK_FULL)), tmp_path)

    alerts = [e.message for e in evidence.events(AlertRaised) if e.rule == "journal_writes"]
    assert "disk is full" in alerts[0]
    assert "writes again" in alerts[1]
    assert "" == evidence.chain_broken


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_single_mark_of_a_trillion_closes_nothing(venue: str, tmp_path: Path) -> None:
    """One poisoned mark had moved a trailing stop to 1e12, which closed the position (R5, R33)."""
    poison = Fault(
        kind=Kind.POISON_TICKS,
        at_s=62.0,
        for_s=60.0,
        venue=venue,
        share=0.5,
        target="1000000000000",
    )
    plan = plan_of(poison, venue=venue)
    trailing = (("trail_start_r", 0.3), ("trail_distance_r", 0.4))
    wish = attrs.evolve(plan.signals[0], stop_pct=0.6, target_pct=1.0)
    plan = attrs.evolve(plan, settings=(*plan.settings, *trailing), signals=(wish,))
    evidence = played(plan, tmp_path)

    assert evidence.log.strikes
    assert 1 == len(evidence.events(PositionOpened))
    assert [] == evidence.events(PositionClosed)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b'{"e":"bookTicker","b":"1.5","B":"2","a":"1.6","A":"3"}',
         b'{"e":"bookTicker","b":"1.6","B":"2","a":"1.5","A":"3"}'),
        (b'{"topic":"orderbook.1.X","data":{"b":[["1.5","2"]],"a":[["1.6","3"]]}}',
         b'{"topic":"orderbook.1.X","data":{"b":[["1.6","2"]],"a":[["1.5","3"]]}}'),
    ],
)  # fmt: skip
def test_a_crossed_book_has_its_sides_exchanged(frame: bytes, expected: bytes) -> None:
    """On either venue, and nothing else of the frame changes."""
    assert expected == crossed(frame)


def test_poison_replaces_a_price_and_old_frames_are_an_hour_older() -> None:
    """What arrives is the venue's frame but for the poison."""
    frame = b'{"e":"markPriceUpdate","E":1700000000000,"s":"X","p":"1.5","r":"0.1"}'
    assert frame.replace(b'"1.5"', b'"NaN"') == poisoned(frame, b"NaN")
    assert frame.replace(b"1700000000000", b"1699996400000") == out_of_order(frame)
