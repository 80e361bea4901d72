"""
The words of the heartbeat: what the probes and the tally show, as lines. Pure.

Every value is real and of the moment the first line names; an unknown says so (R81, R80).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.core.clock import NS_PER_MS, NS_PER_S, format_ns
from aegis.model.instrument import Venue
from aegis.model.money import plain
from aegis.ops.probes import (
    DataRow,
    FeedRow,
    FunnelRow,
    GuardRow,
    JournalRow,
    PositionRow,
    Probes,
    StreamRow,
    TwinMeter,
)
from aegis.ops.tally import Tally
from aegis.ops.words import (
    NOT_RECORDED,
    duration,
    plural,
    price_text,
    short_id,
    signed_usdt,
    usdt,
    who,
)

SLOW_DISK_NS: Final = NS_PER_S
"""A batch takes some milliseconds; from here on the disk is told."""


@attrs.frozen(slots=True, kw_only=True)
class LoopLag:
    """How late the loop ran its timers; nanoseconds. *is_virtual*: a simulated loop has no lag."""

    count: int
    mean_ns: int | None
    max_ns: int | None
    is_virtual: bool


@attrs.frozen(slots=True, kw_only=True)
class Beat:
    """What only the heartbeat's shell knows; times in market ns."""

    mode: str
    label: str
    now_ns: int
    started_ns: int
    speed: float
    is_final: bool
    lag: LoopLag


def head_line(beat: Beat) -> str:
    """Return who speaks and when."""
    label = f"[{beat.label}] " if beat.label else ""
    name = "LAST HEARTBEAT" if beat.is_final else "HEARTBEAT"
    pace = "" if beat.speed == 1 else f" at {beat.speed:g}x"
    up = duration(beat.now_ns - beat.started_ns)
    return f"{label}{name} {format_ns(beat.now_ns)} {beat.mode}, up {up}{pace}"


def feed_lines(feeds: Sequence[FeedRow], streams: Sequence[StreamRow]) -> list[str]:
    """Return one line per venue: streams, then the age of each instrument's newest data."""
    venues = dict.fromkeys([*(row.venue for row in streams), *(row.venue for row in feeds)])
    return [_feed_line(venue, feeds, streams) for venue in venues] or ["feeds    none"]


def _feed_line(venue: Venue, feeds: Sequence[FeedRow], streams: Sequence[StreamRow]) -> str:
    here = [row for row in streams if row.venue is venue]
    down = [row.stream for row in here if not row.is_connected]
    connected = f"{len(here) - len(down)}/{len(here)} streams connected"
    if down:
        connected += f" (DOWN: {', '.join(down)})"
    ages = ", ".join(_age(row) for row in feeds if row.venue is venue)
    return f"feeds    {venue.value}: {connected}; newest data {ages or NOT_RECORDED}"


def _age(row: FeedRow) -> str:
    age = "none yet" if row.age_ns is None else f"{duration(row.age_ns)} old"
    return f"{row.symbol} {age}{' STALE' if row.is_stale else ''}"


def position_lines(rows: Sequence[PositionRow]) -> list[str]:
    """Return the count, then one line per open position with stop and target."""
    covered = sum(1 for row in rows if row.is_covered)
    if not rows:
        return ["open     no position"]
    head = f"open     {plural(len(rows), 'position')}, protected {covered}/{len(rows)}"
    return [head, *(f"  {_position(row)}" for row in rows)]


def _position(row: PositionRow) -> str:
    cover = "" if row.is_covered else "  NOT PROTECTED"
    return (
        f"{who(row.instrument_id)} {row.side.value.lower()} {plain(row.qty)} "
        f"@ {price_text(row.entry_px, row.tick_size)} "
        f"mark {price_text(row.mark_price, row.tick_size)} "
        f"upnl {signed_usdt(row.upnl)}  stop {_level(row.stop_price, row.stop_id)} "
        f"target {_level(row.target_price, row.target_id)}{cover}"
    )


def _level(price: Decimal | None, key: str) -> str:
    if price is None:
        return "NONE"
    return f"{plain(price)} [{short_id(key)}]" if key else plain(price)


def protection_line(tally: Tally) -> str:
    """Return how many positions were ever confirmed, and how long they stood without a stop."""
    if tally.ever_open == 0:
        return "naked    no position yet"
    naked = tally.naked_times()
    times = (
        f"unprotected p99 {duration(naked.p99_ns)}, max {duration(naked.max_ns)}"
        if naked.count
        else f"unprotected time {NOT_RECORDED}"
    )
    line = f"naked    protected so far {tally.confirmed}/{tally.ever_open}; {times}"
    extras = [
        (tally.deadlines_soft_missed, "soft deadline missed"),
        (tally.protection_failed, "closed for want of a stop"),
        (tally.protection_lost, "stop lost"),
        (tally.closed_unconfirmed, "closed before its stop was confirmed"),
        (tally.mismatches.total(), "difference from the venue"),
    ]
    return line + "".join(f"; {count} {what}" for count, what in extras if count)


def twin_line(meter: TwinMeter) -> str:
    """Return the twin's own measurement, which is not the bot's."""
    head = "twin     twin's own meter, venue time:"
    if meter.count == 0:
        return f"{head} no position yet"
    return (
        f"{head} protected {meter.protected}/{meter.count}; unprotected p50 "
        f"{duration(meter.p50_ns)}, p99 {duration(meter.p99_ns)}, max {duration(meter.max_ns)}"
        f"{scaled_note(meter)}"
    )


def scaled_note(meter: TwinMeter) -> str:
    """Say what the longest time was on the wall where the market runs faster, "" else."""
    if meter.speed == 1 or meter.max_ns is None:
        return ""
    wall = duration(round(meter.max_ns / meter.speed))
    return f" ({wall} on the wall: the market runs {meter.speed:g}x)"


def guard_lines(rows: Sequence[GuardRow]) -> list[str]:
    """Return one line per venue: equity, the day's PnL, what keeps entries out."""
    return [
        f"account  {row.venue.value}: equity {usdt(row.equity)}, "
        f"day PnL {signed_usdt(row.day_pnl)}, {_guards(row)}"
        for row in rows
    ] or [f"account  {NOT_RECORDED}"]


def _guards(row: GuardRow) -> str:
    shut = [*row.halt_reasons, *([row.day_locked] if row.day_locked else [])]
    return f"ENTRIES HALTED: {'; '.join(shut)}" if shut else "entries allowed"


def pause_lines(tally: Tally) -> list[str]:
    """Return one line per venue that wants fewer requests or must not get entries; [] for none."""
    return [
        f"limits   {venue.value}: ENTRIES WAIT: {reason}" for venue, reason in tally.paused.items()
    ]


def close_line(last_close_ns: int | None, now_ns: int) -> str:
    """Return when a position was last closed."""
    if last_close_ns is None:
        return "closed   no position closed yet"
    return f"closed   last {duration(now_ns - last_close_ns)} ago ({format_ns(last_close_ns)})"


def data_lines(rows: Sequence[DataRow]) -> list[str]:
    """Return where the frames went; frames that nobody can account for stand out."""
    return [_data(row) for row in rows]


def _data(row: DataRow) -> str:
    off = f"; UNACCOUNTED {row.missing}" if row.missing else ""
    return (
        f"frames   {row.kind}: {row.produced} = {row.delivered} delivered + {row.merged} merged "
        f"+ {row.rejected} rejected + {row.pending} pending{off}"
    )


def funnel_lines(rows: Sequence[FunnelRow]) -> list[str]:
    """Return how far bars came on the way to a signal, one line per venue (R20)."""
    lines = []
    for venue in sorted({row.instrument_id.venue for row in rows}):
        here = [row for row in rows if row.instrument_id.venue is venue]
        totals: dict[str, int] = {}
        for row in here:
            for stage, count in row.stages:
                totals[stage] = totals.get(stage, 0) + count
        told = ", ".join(f"{count} {stage}" for stage, count in totals.items())
        lines.append(f"funnel   {venue.value}: {plural(len(here), 'instrument')}, {told}")
    return lines


def journal_line(journal: JournalRow | None) -> str:
    """Return the journal's state with the head of its chain."""
    if journal is None:
        return f"journal  {NOT_RECORDED}"
    dropped = f", DROPPED {journal.dropped}" if journal.dropped else ", none dropped"
    return (
        f"journal  {journal.written} rows written, {journal.queued} queued{dropped}, "
        f"{_slowness(journal)}chain head {journal.chain_head[:16] or NOT_RECORDED}"
    )


def _slowness(journal: JournalRow) -> str:
    """Return what a person must know of the disk, "" while it keeps up."""
    told = ""
    if journal.failing_ns is not None:
        told += f"NOT WRITING for {duration(journal.failing_ns)}, "
    if journal.oldest_ns is not None and journal.oldest_ns >= SLOW_DISK_NS:
        told += f"the oldest waits {duration(journal.oldest_ns)}, "
    if journal.write_ns_max is not None and journal.write_ns_max >= SLOW_DISK_NS:
        told += f"slowest write {duration(journal.write_ns_max)}, "
    return told


def queue_line(probes: Probes) -> str:
    """Return every queue's depth."""
    depths = ", ".join(f"{name} {depth}" for name, depth in probes.queues().items())
    return f"queues   {depths or NOT_RECORDED}"


def lag_line(lag: LoopLag) -> str:
    """Return how late the loop was since the last heartbeat."""
    if lag.is_virtual:
        return "loop     lag virtual"
    if lag.mean_ns is None or lag.max_ns is None:
        return f"loop     lag {NOT_RECORDED}"
    return f"loop     lag mean {_ms(lag.mean_ns)} ms, max {_ms(lag.max_ns)} ms"


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:.1f}"


def fault_line(tally: Tally, now_ns: int) -> str:
    """Return what went wrong so far; reconnects within the last hour of market time apart."""
    lately = tally.reconnects_last_hour(now_ns)
    faults = [
        (tally.handler_failures, "handler failure"),
        (tally.task_failures, "task failure"),
        (tally.api_errors.total(), "failed request"),
        (tally.entries_failed, "failed entry"),
        (tally.reconnects.total(), "reconnect"),
        (tally.account_doubts.total(), "account doubt"),
        (tally.gaps, "candle gap"),
    ]
    told = ", ".join(plural(count, noun) for count, noun in faults if count)
    told += f"; {plural(lately, 'reconnect')} within the last hour" if lately else ""
    return f"faults   {told or 'none'}"
