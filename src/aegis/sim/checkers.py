"""
The laws a run must keep, judged by the venues' record and the journal alone.

Each checker takes the evidence and returns what was broken, in words; nothing is a pass. None of
them shares code with what it judges. A new one is added to `CHECKERS`, with a test that shows it
fail.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from aegis.core.clock import NS_PER_S, format_ns
from aegis.core.event import Event, HandlerFailed
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    EntriesHalted,
    EntriesResumed,
    GuardChecked,
    IntentApproved,
    IntentCompleted,
    IntentDenied,
    IntentProposed,
    KillSwitchPulled,
    OrderSubmitted,
    TaskFailed,
)
from aegis.model.instrument import Venue
from aegis.model.order import Purpose
from aegis.sim.books import broken_books, false_causes, unequal_ends, unequal_money
from aegis.sim.bounds import LOST, UNSENT, spans_of
from aegis.sim.evidence import Evidence, Life, name_of, overlap_ns
from aegis.sim.rivals import rivals_ignored
from aegis.sim.stops import (
    denied_exits,
    false_ends,
    misfitting_stops,
    needless_closes,
    own_tag,
    stops_taken_away,
)
from aegis.sim.witness import FillSeen, OrderSeen

Checker = Callable[[Evidence], Iterator[str]]
OUTLIVES_NS_MAX: Final = 120 * NS_PER_S
FLATNESS: Final = frozenset({"positions", "orders", "cancel"})
"""Requests without which no leftover can be taken away."""
STUCK: Final = frozenset({"TRIGGERING"})
EXPOSURE_SLACK: Final = Decimal("1.05")
"""Between the decision and the fill the mark moves, and orders pay the spread."""


def check(evidence: Evidence) -> tuple[str, ...]:
    """Return every violation as `law: what`."""
    return tuple(
        f"{law}: {problem}" for law, checker in CHECKERS.items() for problem in checker(evidence)
    )


def unprotected(evidence: Evidence) -> Iterator[str]:
    """Each fill's unprotected time is within the bound of docs/protection.md."""
    for span in spans_of(evidence):
        if span.counted_s > span.bound.seconds:
            yield (
                f"{span.venue} {span.symbol} at {format_ns(span.from_ns)}: {span.counted_s:.2f} s "
                f"counted of {span.length_s:.2f} s, bound {span.bound}"
            )


def doubled_orders(evidence: Evidence) -> Iterator[str]:
    """No client id is used twice, and no position gets two entries."""
    sent = [o for o in evidence.orders if o.by_user and not o.is_child and o.client_id]
    ids = Counter((order.venue, order.client_id) for order in sent)
    for (venue, client_id), times in ids.items():
        if times > 1:
            yield f"{venue} {client_id} x{times}"
    entries: Counter[str] = Counter()
    for order in sent:
        tag = own_tag(evidence, order.client_id)
        if tag is not None and tag.purpose is Purpose.ENTRY:
            entries[tag.position_id] += 1
    for position_id, times in entries.items():
        if times > 1:
            yield f"{position_id} was entered {times} times"


def flipped_signs(evidence: Evidence) -> Iterator[str]:
    """No fill turns a long into a short or back."""
    for fill in evidence.fills:
        if 0 < fill.closed_qty < fill.qty:
            yield (
                f"{fill.venue} {fill.symbol} at {format_ns(fill.ts_ns)}: {fill.client_id} closed "
                f"{fill.closed_qty} and opened {fill.qty - fill.closed_qty}"
            )


def opened_by_exits(evidence: Evidence) -> Iterator[str]:
    """Nothing but an entry can open or grow a position, and each grows its own alone."""
    for order in evidence.orders:
        tag = own_tag(evidence, order.client_id)
        is_exit = tag is not None and tag.purpose is not Purpose.ENTRY and not order.is_child
        if is_exit and not order.reduces:
            yield f"{order.venue} {order.symbol}: {order.client_id} was sent as one that opens"
    builders: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fill in evidence.fills:
        tag = own_tag(evidence, fill.client_id)
        at = (fill.venue, fill.symbol)
        if fill.qty > fill.closed_qty and tag is not None:
            if tag.purpose is not Purpose.ENTRY:
                yield f"{fill.venue} {fill.symbol}: {fill.client_id} opened {fill.qty}"
            builders[at].add(tag.position_id)
            if len(builders[at]) > 1:
                yield f"{fill.venue} {fill.symbol}: built by {', '.join(sorted(builders[at]))}"
        if fill.qty_after == 0:
            builders[at].clear()


def leftovers(evidence: Evidence) -> Iterator[str]:
    """No reduce-only order of ours outlives its position by more than 120 s."""
    for order in evidence.orders:
        if not order.reduces or order.is_child or own_tag(evidence, order.client_id) is None:
            continue
        if order.status in STUCK:
            # Its trigger never reached matching: the venue takes no cancel of it (-4117).
            continue
        excuses = [*evidence.windows(order.venue), *_unasked(evidence, order.venue)]
        until_ns = order.ended_ns if order.ended_ns is not None else evidence.end_ns
        for from_ns, to_ns in _flat(evidence, order):
            from_ns, to_ns = max(from_ns, order.created_ns), min(to_ns, until_ns)
            counted_ns = to_ns - from_ns - overlap_ns(from_ns, to_ns, excuses)
            if counted_ns > OUTLIVES_NS_MAX:
                yield (
                    f"{order.venue} {order.symbol} {order.client_id} rested "
                    f"{counted_ns / NS_PER_S:.0f} s beside no position from {format_ns(from_ns)}"
                )


def _unasked(evidence: Evidence, venue: str) -> Iterator[tuple[int, int]]:
    """
    Yield when the venue did not tell whether a position is flat, or took no cancel.

    Nothing is canceled on an unknown; the next look comes within the steady pace.
    """
    wait_ns = round(evidence.config.reconcile_interval_s * NS_PER_S)
    for strike in evidence.log.strikes:
        what = strike.what.partition(" ")[0]
        if strike.venue == venue and strike.kind in LOST | UNSENT and what in FLATNESS:
            yield strike.ts_ns, strike.ts_ns + wait_ns


def _flat(evidence: Evidence, order: OrderSeen) -> Iterator[tuple[int, int]]:
    """Yield when there was no position where *order* rests, or one it cannot close."""
    since_ns: int | None = order.created_ns
    for size in evidence.sizes:
        if (size.venue, size.symbol) != (order.venue, order.symbol):
            continue
        serves = size.qty * order.side_sign < 0
        if serves and since_ns is not None:
            yield since_ns, size.ts_ns
            since_ns = None
        elif not serves and since_ns is None:
            since_ns = size.ts_ns
    if since_ns is not None:
        yield since_ns, evidence.end_ns


def limits(evidence: Evidence) -> Iterator[str]:
    """After every entry's fill slots, exposure and size are within the settings."""
    config = evidence.config
    held: dict[str, int] = {}
    sizes = sorted(evidence.fills, key=lambda fill: fill.ts_ns)
    for fill in sizes:
        held[fill.venue] = fill.open_after
        if fill.qty == fill.closed_qty or own_tag(evidence, fill.client_id) is None:
            continue
        yield from _limits_of(evidence, fill, sum(held.values()))
        notional = abs(fill.qty_after) * fill.price
        if notional > config.position_notional_max * EXPOSURE_SLACK:
            yield f"{_at(fill)}: {notional:.0f} USDT, limit {config.position_notional_max}"


def _limits_of(evidence: Evidence, fill: FillSeen, total: int) -> Iterator[str]:
    config = evidence.config
    if fill.open_after > config.positions_max_per_venue:
        yield f"{_at(fill)}: {fill.open_after} open there, limit {config.positions_max_per_venue}"
    if total > config.positions_max:
        yield f"{_at(fill)}: {total} open, limit {config.positions_max}"
    allowed = fill.equity_after * config.exposure_max_pct / 100 * EXPOSURE_SLACK
    if fill.exposure_after > allowed:
        yield f"{_at(fill)}: exposure {fill.exposure_after:.0f} USDT, limit {allowed:.0f}"


def _at(fill: FillSeen) -> str:
    return f"{fill.venue} {fill.symbol} {fill.client_id} at {format_ns(fill.ts_ns)}"


def intents(evidence: Evidence) -> Iterator[str]:
    """Every intent ends exactly once; only a process that died may leave some without an end."""
    for life in evidence.lives:
        ends: Counter[str] = Counter()
        proposed: Counter[str] = Counter(e.intent.intent_id for e in life.of(IntentProposed))
        ends.update(e.intent.intent_id for e in life.of(IntentDenied))
        ends.update(e.intent_id for e in life.of(IntentCompleted))
        for intent_id, times in proposed.items():
            if times > 1:
                yield f"run {life.run}: {intent_id} was proposed {times} times"
            if ends[intent_id] > 1 or (life.is_clean and ends[intent_id] == 0):
                yield f"run {life.run}: {intent_id} ended {ends[intent_id]} times"
        for intent_id in ends:
            if intent_id not in proposed:
                yield f"run {life.run}: {intent_id} ended and was never proposed"


def unguarded_entries(evidence: Evidence) -> Iterator[str]:
    """An entry leaves only when every guard allowed it, nothing is halted, no account doubted."""
    for life in evidence.lives:
        yield from _unguarded(life)


class _Gate:
    """What stood in an entry's way, as the journal told it up to a moment."""

    def __init__(self) -> None:
        self.halted: dict[str, str] = {}
        self.doubted: set[Venue] = set()
        self.allowed: dict[str, bool] = {}
        self.approved: set[str] = set()

    def hear(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case EntriesHalted(scope=scope, reason=reason):
                self.halted[scope] = reason
            case KillSwitchPulled(reason=reason):
                self.halted["all"] = reason
            case EntriesResumed(scope=scope):
                self.halted.pop(scope, None)
            case AccountDoubted(venue=venue):
                self.doubted.add(venue)
            case AccountConfirmed(venue=venue):
                self.doubted.discard(venue)
            case GuardChecked(intent_id=intent_id, checks=checks):
                self.allowed[intent_id] = all(verdict for _, verdict, _ in checks)
            case IntentApproved(approved=let) if self.allowed.get(let.intent.intent_id):
                self.approved.add(let.intent.trace_id)
            case _:
                pass

    def refuses(self, venue: Venue, trace_id: str) -> Iterator[str]:
        """Yield why an entry should not have left."""
        if trace_id not in self.approved:
            yield "without the guards' word"
        if venue in self.doubted:
            yield f"while {venue.value} was doubted"
        for scope in ("all", venue.value):
            if scope in self.halted:
                yield f"while halted ({scope}): {self.halted[scope]}"


def _unguarded(life: Life) -> Iterator[str]:
    gate = _Gate()
    for event in life.events:
        gate.hear(event)
        if isinstance(event, OrderSubmitted) and event.request.purpose is Purpose.ENTRY:
            name = f"{event.request.client_order_id} left at {format_ns(event.ts_event)}"
            for why in gate.refuses(event.request.instrument_id.venue, event.trace_id):
                yield f"run {life.run}: {name} {why}"


def streams(evidence: Evidence) -> Iterator[str]:
    """Every frame was delivered, merged, rejected or is pending."""
    for life in evidence.lives:
        yield from (f"run {life.run}: {problem}" for problem in life.unaccounted)


def code_faults(evidence: Evidence) -> Iterator[str]:
    """No handler fails, no task fails but by the venue's answer, every process ends with 0."""
    for life in evidence.lives:
        for failed in life.of(HandlerFailed):
            yield f"run {life.run}: {failed.handler} on {failed.event_type}: {failed.error}"
        for task in life.of(TaskFailed):
            if not task.error_type.startswith("Venue"):
                yield f"run {life.run}: task {task.task}: {task.error_type} {task.error}"
    for code in evidence.codes:
        if code:
            yield f"a process ended with code {code}"
    if evidence.chain_broken:
        yield evidence.chain_broken


def uncounted(evidence: Evidence) -> Iterator[str]:
    """Tell of venues that a run ended on without ever having looked at them; none is usual."""
    names = {name_of(e.request.instrument_id.venue) for e in evidence.events(OrderSubmitted)}
    for venue in evidence.episodes:
        if venue not in names and any(f.venue == venue for f in evidence.fills):
            yield f"{venue}: fills and no order submitted"


CHECKERS: Final[dict[str, Checker]] = {
    "unprotected": unprotected,
    "order twice": doubled_orders,
    "sign": flipped_signs,
    "opened by an exit": opened_by_exits,
    "leftover": leftovers,
    "stop taken away": stops_taken_away,
    "stop of another size": misfitting_stops,
    "denied exit": denied_exits,
    "false end": false_ends,
    "needless close": needless_closes,
    "limits": limits,
    "intents": intents,
    "unguarded entry": unguarded_entries,
    "second instance": rivals_ignored,
    "frames": streams,
    "code": code_faults,
    "not submitted": uncounted,
    "positions": broken_books,
    "quiet": unequal_ends,
    "money": unequal_money,
    "cause": false_causes,
}
