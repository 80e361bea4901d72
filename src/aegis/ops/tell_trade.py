"""The lines about trading: signal, intent, verdict, entry, protection, exit. Pure."""

from decimal import Decimal
from typing import Final

from aegis.model.events import (
    CloseRequested,
    DayStarted,
    EntriesHalted,
    EntriesResumed,
    EntryCompleted,
    EntryFailed,
    FillBooked,
    ForeignOrderFound,
    FundingReported,
    GuardChecked,
    IntentApproved,
    IntentCompleted,
    IntentDenied,
    IntentProposed,
    KillSwitchPulled,
    OrderAdvanced,
    OrderReported,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    ProtectionWanted,
    SignalDropped,
    SignalRaised,
    VenueProtected,
)
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import ClosePosition, EnterPosition, TradeIntent
from aegis.model.money import plain
from aegis.model.order import OrderStatus
from aegis.model.position import CloseCause, MismatchKind
from aegis.ops.tally import net_pnl_of
from aegis.ops.telling import Line, Memory, Tellers
from aegis.ops.words import (
    NOT_RECORDED,
    duration,
    plural,
    price_text,
    short_id,
    signed_price_text,
    signed_usdt,
    usdt,
)

_CAUSE_LEVEL: Final = {
    CloseCause.LIQ: "CRITICAL",
    CloseCause.ADL: "CRITICAL",
    CloseCause.UNPROTECTED: "WARNING",
    CloseCause.WATCHDOG: "WARNING",
    CloseCause.EXTERNAL: "WARNING",
    CloseCause.KILL: "WARNING",
}


def _price(memory: Memory, instrument: InstrumentId, price: Decimal | None) -> str:
    return price_text(price, memory.tick_sizes.get(instrument))


def _signal(event: SignalRaised, memory: Memory) -> Line:
    signal = event.signal
    instrument = signal.instrument_id
    reasons = "; ".join(signal.reasons) or "no reason given"
    return Line(
        "INFO",
        instrument,
        f"SIGNAL {signal.side.value.lower()} confidence {signal.confidence:.2f}: {reasons}; "
        f"stop {_price(memory, instrument, signal.stop_distance)} away, "
        f"target {_price(memory, instrument, signal.target_distance)}",
    )


def _signal_dropped(event: SignalDropped, _: Memory) -> Line:
    return Line("INFO", event.instrument_id, f"SIGNAL dropped: {event.reason}")


def _intent(event: IntentProposed, _: Memory) -> Line:
    intent = event.intent
    match intent.command:
        case EnterPosition(request=request, plan=plan, leverage=leverage):
            assert request.qty is not None, request
            return Line(
                "INFO",
                intent.instrument_id,
                f"INTENT {request.side.value.lower()} {plain(request.qty)} at "
                f"{_how(request.limit_price)}, risk {usdt(request.qty * plan.stop_distance)} "
                f"at the stop, leverage {leverage}x",
            )
        case ClosePosition(request=request):
            qty = "all" if request.qty is None else plain(request.qty)
            return Line("INFO", intent.instrument_id, f"INTENT close {qty}: {intent.reason}")
        case _:
            return Line("DEBUG", intent.instrument_id, f"INTENT {_kind(intent)}: {intent.reason}")


def _how(limit_price: Decimal | None) -> str:
    return "market" if limit_price is None else f"{plain(limit_price)} or better"


def _kind(intent: TradeIntent) -> str:
    return type(intent.command).__name__


def _guards(event: GuardChecked, memory: Memory) -> Line:
    memory.guards_passed[event.intent_id] = sum(1 for _, passed, _ in event.checks if passed)
    seen = "; ".join(
        f"{guard} {'yes' if passed else 'NO'} ({what})" for guard, passed, what in event.checks
    )
    return Line("DEBUG", event.instrument_id, f"GUARDS {seen}")


def _approved(event: IntentApproved, memory: Memory) -> Line:
    intent = event.approved.intent
    asked = memory.guards_passed.pop(intent.intent_id, None)
    if not intent.is_entry:
        text = f"GATE passed {_kind(intent)}: it reduces risk"
        return Line("DEBUG", intent.instrument_id, text)
    said = NOT_RECORDED if asked is None else f"{plural(asked, 'guard')} said yes"
    return Line("INFO", intent.instrument_id, f"GATE approved: {said}")


def _denied(event: IntentDenied, memory: Memory) -> Line:
    memory.guards_passed.pop(event.intent.intent_id, None)
    text = f"GATE denied by {event.guard}: {event.reason}"
    return Line("INFO", event.intent.instrument_id, text)


def _completed(event: IntentCompleted, _: Memory) -> Line:
    if event.ok:
        text = f"INTENT done {event.command}: {event.outcome}"
        return Line("DEBUG", event.instrument_id, text)
    kind = f" ({event.refusal})" if event.refusal else ""
    text = f"INTENT failed {event.command}: {event.outcome}{kind}"
    return Line("WARNING", event.instrument_id, text)


def _submitted(event: OrderSubmitted, _: Memory) -> Line:
    request = event.request
    text = (
        f"ORDER sent {request.purpose.name.lower()} {request.order_type.value} "
        f"[{short_id(request.client_order_id)}]"
    )
    return Line("DEBUG", request.instrument_id, text)


def _advanced(event: OrderAdvanced, _: Memory) -> Line:
    name = f"{event.purpose.lower().replace('_', ' ')} [{short_id(event.client_order_id)}]"
    match event.status:
        case OrderStatus.REJECTED:
            why = " ".join(part for part in (event.code, event.message) if part) or "no reason told"
            return Line("WARNING", event.instrument_id, f"ORDER rejected: {name}: {why}")
        case OrderStatus.UNKNOWN:
            text = f"ORDER outcome unknown: {name}: asking the venue, never sending it again"
            return Line("WARNING", event.instrument_id, text)
        case OrderStatus.TRIGGERING:
            return Line("INFO", event.instrument_id, f"ORDER triggered: {name}")
        case _:
            text = f"ORDER {event.status.value.lower()}: {name}"
            return Line("DEBUG", event.instrument_id, text)


def _reported(event: OrderReported, _: Memory) -> Line:
    report = event.report
    name = short_id(report.client_order_id or report.venue_order_id)
    text = f"REPORT {report.order_type.value} {report.status.value} [{name}]"
    return Line("DEBUG", report.instrument_id, text)


def _opened(event: PositionOpened, memory: Memory) -> Line:
    position = event.position
    instrument = position.instrument_id
    entry = _price(memory, instrument, position.entry_px_avg)
    what = f"{position.side.value.lower()} {plain(position.qty)} @ {entry}"
    if position.restored:
        # Before adopted: one that an earlier run adopted is known by now.
        memory.adopted[position.position_id] = None
        text = f"RESTORED {position.position_id} {what}: it goes on from an earlier run"
        return Line("INFO", instrument, text)
    if position.adopted:
        memory.adopted[position.position_id] = None
        text = f"ADOPTED {what}: found on the venue, it gets its stop and target now"
        return Line("WARNING", instrument, text)
    return Line("DEBUG", instrument, f"ENTRY first fill {what}")


def _booked(event: FillBooked, _: Memory) -> Line:
    fill = event.fill
    text = (
        f"FILL {fill.side.value.lower()} {plain(fill.last_qty)} @ {plain(fill.last_px)} "
        f"fee {usdt(fill.fee)} ({event.purpose.lower()})"
    )
    return Line("DEBUG", fill.instrument_id, text)


def _entered(event: EntryCompleted, memory: Memory) -> Line:
    position = event.position
    instrument = position.instrument_id
    slippage = (
        NOT_RECORDED
        if event.slippage is None
        else signed_price_text(event.slippage, memory.tick_sizes.get(instrument))
    )
    entry = _price(memory, instrument, position.entry_px_avg)
    text = f"ENTRY filled {plain(position.qty_opened)} @ {entry} (slippage {slippage})"
    return Line("INFO", instrument, text)


def _entry_failed(event: EntryFailed, _: Memory) -> Line:
    return Line("WARNING", event.instrument_id, f"ENTRY failed, nothing filled: {event.reason}")


def _closed(event: PositionClosed, memory: Memory) -> Line:
    position = event.position
    memory.adopted.pop(position.position_id, None)
    exit_px = _price(memory, position.instrument_id, event.exit_px_avg)
    net = net_pnl_of(event)
    told = (
        signed_usdt(net)
        if net is not None
        else f"{NOT_RECORDED} (fills of {plain(position.qty or position.qty_opened)} not seen)"
    )
    text = (
        f"EXIT {event.cause.value} {plain(position.qty_opened)} @ {exit_px} net {told} "
        f"after {duration(event.hold_ns)}"
    )
    return Line(_CAUSE_LEVEL.get(event.cause, "INFO"), position.instrument_id, text)


def _mismatch(event: PositionMismatchFound, memory: Memory) -> Line:
    instrument, kind = event.instrument_id, event.kind
    if kind is MismatchKind.ENTRY_PRICE:
        ours, theirs = (_price(memory, instrument, px) for px in (event.ours, event.theirs))
        ours = f"entry price ours {ours}"
    else:
        ours, theirs = f"ours {plain(event.ours)}", plain(event.theirs)
    told = "MISMATCH" if kind is None else f"MISMATCH {kind.value}"
    return Line("WARNING", instrument, f"{told} {ours}, venue {theirs}: {event.action}")


def _stray(event: ProtectionMismatchFound, _: Memory) -> Line:
    text = f"MISMATCH {event.kind.value} order {event.client_order_id}: {event.action}"
    return Line("WARNING", event.instrument_id, text)


def _wanted(event: ProtectionWanted, _: Memory) -> Line:
    text = (
        f"PROTECTION wanted: stop {plain(event.stop_price)} target {plain(event.target_price)} "
        f"from the {event.basis}"
    )
    return Line("DEBUG", event.instrument_id, text)


def _protected(event: ProtectionConfirmed, memory: Memory) -> Line:
    stop = f"stop {plain(event.stop_price)} [{short_id(event.stop_order)}]"
    since = "it was found" if event.position_id in memory.adopted else "the fill"
    after = f"{duration(event.naked_ns)} after {since}"
    if event.target_price is None:
        text = f"PROTECTED {stop}, {after}; NO TARGET reported yet"
        return Line("WARNING", event.instrument_id, text)
    target = f"target {plain(event.target_price)} [{short_id(event.target_order)}]"
    return Line("INFO", event.instrument_id, f"PROTECTED {stop} {target}, {after}")


def _protection_changed(event: ProtectionChanged, _: Memory) -> Line:
    target = "none" if event.target_price is None else plain(event.target_price)
    reason = f" ({event.reason})" if event.reason else ""
    text = f"PROTECTED now stop {plain(event.stop_price)} target {target}{reason}"
    return Line("INFO", event.instrument_id, text)


def _delayed(event: ProtectionDelayed, _: Memory) -> Line:
    text = f"UNPROTECTED for {duration(event.naked_ns)}: the venue reports no stop yet"
    return Line("WARNING", event.instrument_id, text)


def _protection_failed(event: ProtectionFailed, _: Memory) -> Line:
    text = f"UNPROTECTED, closing at market: {event.reason}"
    return Line("CRITICAL", event.instrument_id, text)


def _lost(event: ProtectionLost, _: Memory) -> Line:
    return Line("CRITICAL", event.instrument_id, f"STOP LOST, restoring it: {event.reason}")


def _funding(event: FundingReported, _: Memory) -> Line:
    verb = "received" if event.amount > 0 else "paid"
    text = f"FUNDING {verb} {usdt(abs(event.amount))}"
    return Line("INFO", event.instrument_id or event.venue, text)


def _scope(scope: str) -> Venue | None:
    return Venue(scope) if scope in Venue.__members__ else None


def _halted(event: EntriesHalted, _: Memory) -> Line:
    text = f"HALT no new entries ({event.scope}), exits flow: {event.reason}"
    return Line("WARNING", _scope(event.scope), text)


def _resumed(event: EntriesResumed, _: Memory) -> Line:
    return Line("INFO", _scope(event.scope), f"HALT ended ({event.scope}): {event.reason}")


def _killed(event: KillSwitchPulled, _: Memory) -> Line:
    return Line("CRITICAL", None, f"KILL SWITCH pulled by {event.operator}: {event.reason}")


def _foreign_order(event: ForeignOrderFound, _: Memory) -> Line:
    kind = "reduce-only " if event.reduce_only else ""
    text = f"FOREIGN {kind}order {event.client_order_id} {event.status}: sent by {event.whose}"
    return Line("WARNING", event.instrument_id, text)


def _close_requested(event: CloseRequested, _: Memory) -> Line:
    again = ", once more" if event.force else ""
    text = f"MANUAL CLOSE asked by {event.operator}{again}: {event.reason}"
    return Line("WARNING", event.instrument_id, text)


def _day(event: DayStarted, _: Memory) -> Line:
    return Line("INFO", event.venue, f"DAY {event.day} begins with equity {usdt(event.equity)}")


def _ready(event: VenueProtected, _: Memory) -> Line:
    if event.positions:
        found = f"{plural(event.positions, 'position')} found, every stop in place"
    else:
        found = "no position found"
    return Line("INFO", event.venue, f"READY {found}: entries may begin")


TRADE_TELLERS: Final[Tellers] = {
    SignalRaised: _signal,
    SignalDropped: _signal_dropped,
    IntentProposed: _intent,
    GuardChecked: _guards,
    IntentApproved: _approved,
    IntentDenied: _denied,
    IntentCompleted: _completed,
    OrderSubmitted: _submitted,
    OrderAdvanced: _advanced,
    OrderReported: _reported,
    PositionOpened: _opened,
    FillBooked: _booked,
    EntryCompleted: _entered,
    EntryFailed: _entry_failed,
    PositionClosed: _closed,
    PositionMismatchFound: _mismatch,
    ProtectionWanted: _wanted,
    ProtectionConfirmed: _protected,
    ProtectionChanged: _protection_changed,
    ProtectionDelayed: _delayed,
    ProtectionFailed: _protection_failed,
    ProtectionLost: _lost,
    ProtectionMismatchFound: _stray,
    FundingReported: _funding,
    EntriesHalted: _halted,
    EntriesResumed: _resumed,
    KillSwitchPulled: _killed,
    CloseRequested: _close_requested,
    ForeignOrderFound: _foreign_order,
    DayStarted: _day,
    VenueProtected: _ready,
}
"""What is told of each event; one that is missing here and in tell_system has no line."""
