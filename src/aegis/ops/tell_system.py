"""The lines about everything but trading: the run, venues, feeds, faults, alerts. Pure."""

from typing import Final

from aegis.core.clock import NS_PER_S
from aegis.core.event import HandlerFailed
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    AlertRaised,
    ApiCalled,
    CandleGapFound,
    ClockMeasured,
    FeedFresh,
    FeedStale,
    FrameRejected,
    JournalOverflowed,
    RequestsPaused,
    RequestsResumed,
    RunStarted,
    RunStopped,
    SecondLegFound,
    SecondLegGone,
    SnapshotReported,
    SnapshotWanted,
    StreamClosed,
    StreamOpened,
    SymbolLeftOut,
    TaskFailed,
    VenueConnected,
    VenueUnavailable,
    WarmupFinished,
)
from aegis.model.market import TIMEFRAME_NAMES
from aegis.ops.telling import Line, Memory, Mute, Tellers
from aegis.ops.words import duration, plural, usdt

UNAVAILABLE_QUIET_NS: Final = 15 * 60 * NS_PER_S
"""A venue that stays away for the same reason gets one line in so much market time."""
API_QUIET_NS: Final = 60 * NS_PER_S
"""A failing operation gets one line in so much market time; the others are counted."""


def _run_started(event: RunStarted, _: Memory) -> Line:
    label = f" on {event.label}" if event.label else ""
    changed = ", ".join(
        f"{name}={value} ({origin})" for name, value, origin in event.config if origin != "default"
    )
    text = f"RUN {event.run} started: {event.mode}{label}; settings {changed or 'all at default'}"
    return Line("INFO", None, text)


def _run_stopped(event: RunStopped, _: Memory) -> Line:
    return Line("INFO", None, f"RUN stopped: {event.reason}")


def _task_failed(event: TaskFailed, _: Memory) -> Line:
    after = "the run ends" if event.fatal else f"restarted, {event.restarts} before"
    text = f"TASK {event.task} failed, {after}: {event.error_type}: {event.error}"
    return Line("CRITICAL" if event.fatal else "ERROR", None, f"{text}\n{event.traceback}".rstrip())


def _handler_failed(event: HandlerFailed, _: Memory) -> Line:
    text = (
        f"HANDLER {event.handler} failed on {event.event_type}: "
        f"{event.error_type}: {event.error}\n{event.event_repr}\n{event.traceback}"
    )
    return Line("CRITICAL" if event.critical else "ERROR", None, text.rstrip())


def _connected(event: VenueConnected, memory: Memory) -> Line:
    for instrument in event.instruments:
        memory.tick_sizes[instrument.instrument_id] = instrument.tick_size
    how = (
        "stop and target travel with the entry"
        if event.capabilities.attached_protection
        else "a stop rests before each entry (stop_before_entry), a target follows the first fill"
        if event.capabilities.stop_rests_before_entry
        else "stop and target are placed at the first fill"
    )
    return Line(
        "INFO", event.venue, f"CONNECTED {plural(len(event.instruments), 'instrument')}; {how}"
    )


def _unavailable(event: VenueUnavailable, memory: Memory) -> Line | None:
    # A venue in maintenance is asked again and again: one line, and now and then another one.
    key = (event.venue, f"unavailable {event.error}")
    mute = memory.muted.get(key)
    if mute is not None and event.ts_recv - mute.told_ns < UNAVAILABLE_QUIET_NS:
        mute.held_back += 1
        return None
    memory.muted[key] = Mute(event.ts_recv)
    text = f"NOT TRADED, {event.stage} failed: {event.error}"
    return Line("CRITICAL", event.venue, text)


def _left_out(event: SymbolLeftOut, _: Memory) -> Line:
    text = f"NOT TRADED {event.symbol}, its status is {event.status}: {event.fix}"
    return Line("ERROR", event.venue, text)


def _paused(event: RequestsPaused, _: Memory) -> Line:
    if event.banned:
        return Line("CRITICAL", event.venue, f"REQUESTS {event.reason}")
    wait = "" if event.wait_s is None else f" for {event.wait_s:.1f} s"
    text = f"REQUESTS paused{wait}, no entries here, ways out go on: {event.reason}"
    return Line("WARNING", event.venue, text)


def _resumed(event: RequestsResumed, _: Memory) -> Line:
    return Line("INFO", event.venue, "REQUESTS flow again, entries allowed")


def _clock(event: ClockMeasured, _: Memory) -> Line:
    if event.warning:
        return Line("WARNING", event.venue, f"CLOCK {event.warning}")
    text = f"CLOCK {event.ahead_ms:+.0f} ms, asked within {event.round_trip_ms:.0f} ms"
    return Line("DEBUG", event.venue, text)


def _stream_opened(event: StreamOpened, memory: Memory) -> Line:
    key = (event.venue, event.stream)
    if key not in memory.streams:
        memory.streams[key] = None
        return Line("INFO", event.venue, f"FEED {event.stream} connected")
    text = f"FEED {event.stream} connected again after {duration(event.downtime_ns)}"
    return Line("INFO", event.venue, f"{text}, attempt {event.attempt}")


def _stream_closed(event: StreamClosed, _: Memory) -> Line:
    return Line("WARNING", event.venue, f"FEED {event.stream} broke: {event.reason}")


STEADY_LOOK: Final = "steady look"
"""The snapshots taken at a steady pace tell nothing new to a person."""


def _snapshot(event: SnapshotReported, _: Memory) -> Line:
    snapshot = event.snapshot
    open_count = sum(1 for report in snapshot.positions if report.qty_signed != 0)
    text = (
        f"ACCOUNT wallet {usdt(snapshot.balance.wallet)}, {plural(open_count, 'position')}, "
        f"{plural(len(snapshot.orders), 'resting order')} ({event.reason})"
    )
    return Line("DEBUG" if event.reason == STEADY_LOOK else "INFO", snapshot.venue, text)


def _account_doubted(event: AccountDoubted, _: Memory) -> Line:
    return Line("WARNING", event.venue, f"ACCOUNT in doubt, no entries here: {event.reason}")


def _account_confirmed(event: AccountConfirmed, _: Memory) -> Line:
    kept = f"{plural(event.held, 'message')} kept back, {event.repeated} of them known already"
    text = f"ACCOUNT known again after {duration(event.doubted_ns)}, {kept}"
    return Line("INFO", event.venue, text)


def _second_leg(event: SecondLegFound, _: Memory) -> Line:
    return Line("CRITICAL", event.instrument_id.venue, f"NO ENTRIES here: {event.text}")


def _second_leg_gone(event: SecondLegGone, _: Memory) -> Line:
    text = f"SECOND LEG gone, only one leg of {event.instrument_id} is open"
    return Line("INFO", event.instrument_id.venue, text)


def _snapshot_wanted(event: SnapshotWanted, _: Memory) -> Line:
    return Line("INFO", event.venue, f"ASKING the venue for everything: {event.reason}")


def _api_called(event: ApiCalled, memory: Memory) -> Line | None:
    if event.ok:
        return None
    key = (event.venue, event.operation)
    mute = memory.muted.get(key)
    if mute is not None and event.ts_recv - mute.told_ns < API_QUIET_NS:
        mute.held_back += 1
        return None
    more = f" ({mute.held_back} more since the last line)" if mute and mute.held_back else ""
    memory.muted[key] = Mute(event.ts_recv)
    text = f"REQUEST {event.operation} failed after {event.duration_ms:.0f} ms: {event.error}{more}"
    return Line("WARNING", event.venue, text)


def _gap(event: CandleGapFound, _: Memory) -> Line:
    name = TIMEFRAME_NAMES.get(event.timeframe_ns, duration(event.timeframe_ns))
    text = f"GAP {plural(event.missing, 'candle')} of {name} missing: asked from history"
    # One bar at the seam of history and stream is ordinary; more are worth a look.
    return Line("WARNING" if event.missing > 1 else "INFO", event.instrument_id, text)


def _warmed_up(event: WarmupFinished, _: Memory) -> Line:
    bars = ", ".join(f"{count} of {name}" for name, count in event.bars)
    return Line("INFO", event.instrument_id, f"WARMED UP candles {bars or 'none'}")


def _stale(event: FeedStale, _: Memory) -> Line:
    text = f"FEED stale, newest data {duration(event.age_ns)} old: no entries here"
    return Line("WARNING", event.instrument_id, text)


def _fresh(event: FeedFresh, _: Memory) -> Line:
    text = f"FEED flows again after {duration(event.stale_for_ns)}"
    return Line("INFO", event.instrument_id, text)


def _rejected(event: FrameRejected, _: Memory) -> Line:
    # Told by its producer for the first one and at doubling counts: no flood here.
    text = f"FIREWALL refused {plural(event.count, event.frame + ' frame')}: {event.reason}"
    return Line("WARNING" if event.count == 1 else "INFO", event.instrument_id, text)


def _alert(event: AlertRaised, _: Memory) -> Line:
    level = event.level if event.level in {"WARNING", "CRITICAL"} else "ERROR"
    return Line(level, None, f"ALERT {event.rule}: {event.message}")


def _overflow(event: JournalOverflowed, _: Memory) -> Line:
    text = f"JOURNAL dropped {plural(event.dropped, 'low-priority row')}, queue full"
    return Line("WARNING", None, text)


SYSTEM_TELLERS: Final[Tellers] = {
    RunStarted: _run_started,
    RunStopped: _run_stopped,
    TaskFailed: _task_failed,
    HandlerFailed: _handler_failed,
    VenueConnected: _connected,
    VenueUnavailable: _unavailable,
    SymbolLeftOut: _left_out,
    RequestsPaused: _paused,
    RequestsResumed: _resumed,
    ClockMeasured: _clock,
    StreamOpened: _stream_opened,
    StreamClosed: _stream_closed,
    AccountDoubted: _account_doubted,
    AccountConfirmed: _account_confirmed,
    SecondLegFound: _second_leg,
    SecondLegGone: _second_leg_gone,
    SnapshotReported: _snapshot,
    SnapshotWanted: _snapshot_wanted,
    ApiCalled: _api_called,
    CandleGapFound: _gap,
    WarmupFinished: _warmed_up,
    FeedStale: _stale,
    FeedFresh: _fresh,
    FrameRejected: _rejected,
    AlertRaised: _alert,
    JournalOverflowed: _overflow,
}
"""What is told of each event; one that is missing here and in tell_trade has no line."""
