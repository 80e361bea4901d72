"""
What the doctor's facts mean: every function is pure, facts in, findings out.

A finding that is not OK says why and how to mend it. UNKNOWN means the venue could not be asked; it
is never a tick.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from statistics import median
from typing import Final

import attrs

from aegis.app.doctor.rights import KeyRights
from aegis.core.errors import VenueError, VenueThrottled
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionReport,
    ProtectionRole,
    VenueSnapshot,
)
from aegis.model.instrument import Instrument
from aegis.model.money import plain
from aegis.model.order_id import DOCTOR_INSTALLATION
from aegis.venue.second_opinion import MarketView

INSTALLATION: Final = DOCTOR_INSTALLATION
"""Marks the doctor's orders: foreign to every bot."""
CLOCK_WARN_MS: Final = 500
LATENCY_WARN_MS: Final = 1000.0
MARGIN_RESERVE: Final = Decimal("1.1")
"""Fees and slippage of the smallest entry, as a factor on its margin."""


class State(enum.StrEnum):
    """How a check came out; UNKNOWN is not OK: the venue could not be asked."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


@attrs.frozen(slots=True, kw_only=True)
class Finding:
    """
    One line of the doctor: what was found, and where it is not OK why, and how to mend it.

    *needed*: while it is UNKNOWN the venue does not pass. *throttled*: it could not be asked for
    the limit of requests alone, the venue's or our own budget; *retry_after_s*: when it may be, if
    that is known. *follows*: it could not be asked since something told before could not.
    """

    name: str
    state: State
    value: str = ""
    reason: str = ""
    fix: str = ""
    needed: bool = True
    throttled: bool = False
    retry_after_s: float | None = None
    follows: bool = False

    @property
    def passes(self) -> bool:
        """Say whether the venue may be traded as far as this goes."""
        if self.state is State.UNKNOWN:
            return not self.needed
        return self.state is not State.FAIL


def ok(name: str, value: str) -> Finding:
    """Return a tick."""
    return Finding(name=name, state=State.OK, value=value)


def fail(name: str, reason: str, fix: str, value: str = "") -> Finding:
    """Return a cross."""
    return Finding(name=name, state=State.FAIL, value=value, reason=reason, fix=fix)


def warn(name: str, reason: str, fix: str, value: str = "") -> Finding:
    """Return a warning, with which the venue passes."""
    return Finding(name=name, state=State.WARN, value=value, reason=reason, fix=fix)


def unknown(
    name: str,
    why: VenueError | str,
    *,
    fix: str = "run the doctor again",
    needed: bool = True,
    follows: bool = False,
) -> Finding:
    """
    Return what could not be asked.

    A request that was held back for its limit says nothing about the venue: only when to ask again.
    *follows*: what it hangs on could not be asked either, and was told before.
    """
    if isinstance(why, VenueThrottled):
        after_s = why.retry_after_s
        when = "later" if after_s is None else f"in {math.ceil(after_s)} s"
        return Finding(
            name=name,
            state=State.UNKNOWN,
            reason=f"could not be asked: {why.detail or 'the venue asked for fewer requests'}",
            fix=f"too many requests for now: try again {when}",
            needed=needed,
            throttled=True,
            retry_after_s=after_s,
        )
    return Finding(
        name=name,
        state=State.UNKNOWN,
        reason=f"could not be asked: {why}",
        fix=fix,
        needed=needed,
        follows=follows,
    )


# Network and clock


@attrs.frozen(slots=True, kw_only=True)
class TimeSample:
    """One question for the venue's time: how far it is ahead of ours, and how long it took, ms."""

    offset_ms: float
    round_trip_ms: float


def check_network(samples: Sequence[TimeSample]) -> Finding:
    """Judge the latency of a few requests."""
    p50_ms = median(sample.round_trip_ms for sample in samples)
    value = f"reachable, round trip {p50_ms:.0f} ms (p50 of {len(samples)})"
    if p50_ms <= LATENCY_WARN_MS:
        return ok("network", value)
    return warn(
        "network",
        f"the round trip was {p50_ms:.0f} ms, stops come late beyond {LATENCY_WARN_MS:.0f} ms",
        "run nearer to the venue, or on a better line",
        value,
    )


def check_clock(samples: Sequence[TimeSample], recv_window_ms: int) -> Finding:
    """Judge our clock against the venue's by the sample that took the shortest time."""
    best = min(samples, key=lambda sample: sample.round_trip_ms)
    off_ms = abs(best.offset_ms)
    side = "behind" if best.offset_ms > 0 else "ahead of"
    value = f"{off_ms:.0f} ms {side} the venue, within {best.round_trip_ms / 2:.0f} ms"
    fix = "let NTP set the clock of this machine (timedatectl set-ntp true)"
    if off_ms > recv_window_ms:
        reason = f"the clock was {off_ms:.0f} ms {side} the venue's, limit {recv_window_ms} ms"
        return fail("clock", reason, fix, value)
    if off_ms > CLOCK_WARN_MS:
        reason = f"the clock was {off_ms:.0f} ms {side} the venue's, good is {CLOCK_WARN_MS} ms"
        return warn("clock", reason, fix, value)
    return ok("clock", value)


# Key


def check_rights(rights: KeyRights, *, live: bool) -> list[Finding]:
    """Judge what the key may do; on *live* an unknown right to withdraw does not pass."""
    why = rights.why_unknown or "the venue did not tell"
    found = [ok("key", "accepted")]
    if rights.can_trade is None:
        found.append(unknown("key may trade", why, fix="look at the key's page", needed=False))
    elif rights.can_trade:
        found.append(ok("key may trade", "yes"))
    else:
        found.append(
            fail("key may trade", "the key may not trade futures", "grant it futures trading")
        )
    if rights.can_withdraw is None:
        found.append(
            unknown("key may not withdraw", why, fix="look at the key's page", needed=live)
        )
    elif rights.can_withdraw:
        found.append(
            fail(
                "key may not withdraw",
                "the key may withdraw: whoever steals it empties the account",
                "take the right to withdraw from the key, or make a new key without it",
            )
        )
    else:
        found.append(ok("key may not withdraw", "it may not"))
    if rights.ip_restricted is None:
        found.append(unknown("key bound to addresses", why, fix="look at its page", needed=False))
    elif rights.ip_restricted:
        found.append(ok("key bound to addresses", "yes"))
    else:
        found.append(
            warn(
                "key bound to addresses",
                "the key works from every address",
                "bind it to the address of this machine",
            )
        )
    return found


# Account


def check_position_mode(hedged: Sequence[str]) -> Finding:
    """Tell the position mode (R41); *hedged* names what is in hedge mode."""
    mode = f"hedge mode: {', '.join(hedged)}" if hedged else "one-way"
    return ok("position mode", mode)


def check_second_legs(second: Sequence[PositionReport]) -> list[Finding]:
    """Cross both legs of a symbol open at once: the bot holds one, nobody protects the other."""
    return [
        fail(
            "second leg",
            f"both legs of {each.instrument_id.symbol} are open, the bot would not see the one of "
            f"{plain(each.qty_signed)}",
            "close one of them, or trade by hand on an account of its own",
        )
        for each in second
    ]


@attrs.frozen(slots=True, kw_only=True)
class MarginFact:
    """How the account keeps margin: *mode* as the venue calls it; *good* for isolated trading."""

    mode: str
    good: bool
    settable: bool = False
    """The bot sets it by itself at its start, while nothing is open."""
    fix: str = ""


def check_margin(fact: MarginFact) -> Finding:
    """Judge the margin mode."""
    if fact.good:
        return ok("margin mode", fact.mode)
    if fact.settable:
        return warn(
            "margin mode",
            f"it was {fact.mode}; the bot sets isolated margin when it starts",
            fact.fix,
        )
    return fail("margin mode", f"it was {fact.mode}", fact.fix)


def check_leverage(leverage: int, instruments: Sequence[Instrument]) -> Finding:
    """Judge the configured leverage against the lowest bracket of every symbol."""
    over = [each for each in instruments if leverage > each.leverage_max]
    if not over:
        most = min(each.leverage_max for each in instruments)
        return ok("leverage", f"{leverage}x, brackets allow {most}x and more")
    told = ", ".join(f"{each.instrument_id.symbol} {each.leverage_max}x" for each in over)
    return fail(
        "leverage",
        f"leverage was {leverage}x, the brackets allow {told}",
        "lower the setting leverage, or take the symbols out",
    )


def check_filters(
    instruments: Sequence[Instrument], views: Mapping[str, MarketView]
) -> list[Finding]:
    """Compare our trading rules with the second opinion, symbol by symbol."""
    found, agreed = [], []
    for ours in instruments:
        symbol = ours.instrument_id.symbol
        view = views.get(symbol)
        if view is None:
            found.append(
                warn("filters", f"ccxt lists no {symbol}", "ask whether it is still traded")
            )
            continue
        wrong = _mismatches(ours, view)
        if wrong:
            found.append(
                fail(
                    "filters",
                    f"{symbol}: {', '.join(wrong)}",
                    "orders would be refused: do not trade it, update ccxt, and report it",
                )
            )
        else:
            agreed.append(symbol)
    if agreed:
        found.insert(0, ok("filters", f"ccxt agrees: {', '.join(agreed)}"))
    return found


def _mismatches(ours: Instrument, view: MarketView) -> list[str]:
    pairs = (
        ("tick", ours.tick_size, view.tick_size),
        ("step", ours.qty_step, view.qty_step),
        ("min qty", ours.qty_min, view.qty_min),
        ("min notional", ours.notional_min, view.notional_min),
    )
    return [
        f"{name} was {plain(mine)}, ccxt says {plain(other)}"
        for name, mine, other in pairs
        if mine is not None and other is not None and mine != other
    ]


def smallest_qty(instrument: Instrument, price: Decimal) -> Decimal:
    """Return the least quantity, on the grid, that the filters allow at *price* > 0."""
    least = max(instrument.qty_min, (instrument.notional_min or Decimal(0)) / price)
    steps = (least / instrument.qty_step).to_integral_value(ROUND_CEILING)
    return steps * instrument.qty_step


def check_free_margin(
    balance: BalanceReport, costs: Mapping[str, Decimal], leverage: int
) -> Finding:
    """Judge whether one smallest position is affordable; *costs*: its notional by symbol, USDT."""
    name = "free margin"
    if balance.available is None:
        return unknown(name, "the venue did not tell the available balance")
    if not costs:
        return unknown(name, "no mark price is known", follows=True)
    symbol = min(costs, key=lambda each: costs[each])
    needed = (costs[symbol] / leverage * MARGIN_RESERVE).quantize(Decimal("0.01"))
    value = f"{balance.available:.2f} USDT, {needed} needed for the smallest position ({symbol})"
    if balance.available >= needed:
        return ok(name, value)
    return fail(
        name,
        f"available were {balance.available:.2f} USDT, the smallest position needs {needed}",
        "transfer USDT into the futures account, or raise the leverage",
    )


def check_leftovers(snapshot: VenueSnapshot) -> list[Finding]:
    """Name the orders that an earlier visit of the doctor, killed in the middle, left behind."""
    left = [
        f"{order.client_order_id} on {order.instrument_id.symbol}"
        for order in snapshot.orders
        if order.client_order_id.startswith(f"{INSTALLATION}-")
    ]
    if not left:
        return []
    reason = f"an earlier visit left {', '.join(left)}"
    return [warn("leftovers", reason, "cancel it on the venue's site; it only reduces")]


def check_positions(snapshot: VenueSnapshot) -> list[Finding]:
    """Judge whether every open position has a native stop for all of its quantity."""
    held = [each for each in snapshot.positions if each.qty_signed != 0]
    if not held:
        return [ok("open positions", f"none; resting orders: {len(snapshot.orders)}")]
    return [_check_position(each, snapshot.orders) for each in held]


def _check_position(position: PositionReport, orders: Sequence[OrderReport]) -> Finding:
    size, symbol = abs(position.qty_signed), position.instrument_id.symbol
    stops = [each for each in orders if _guards(each, position)]
    whole = position.stop_price is not None or any(each.close_position for each in stops)
    covered = size if whole else sum((each.qty or Decimal(0) for each in stops), Decimal(0))
    value = f"{symbol} {plain(position.qty_signed)}"
    if covered >= size:
        return ok("open positions", f"{value}, protected by a stop")
    return fail(
        "open positions",
        f"{value} has stops for {plain(covered)} of {plain(size)}",
        "set a stop on the venue's site, or start the bot, which protects it before it trades",
    )


def _guards(order: OrderReport, position: PositionReport) -> bool:
    return (
        order.instrument_id == position.instrument_id
        and order.role is ProtectionRole.STOP
        and order.side.sign * position.qty_signed < 0
        and order.status.is_working
    )


def check_capability(name: str, *, rests: bool, table: bool) -> Finding:
    """Compare what was tried, whether an order may rest, with the adapter's capability table."""
    words = {True: "may rest", False: "may not rest"}
    if rests is table:
        return ok(name, words[rests])
    return warn(
        name,
        f"it {words[rests]}, the adapter's capability table says it {words[table]}",
        "report it: the bot trades by the table, which is the careful one",
        words[rests],
    )


# Streams


def check_quotes(
    symbols: Sequence[str], seen_ms: Mapping[str, float], patience_s: float
) -> Finding:
    """Judge whether every symbol brought a quote in time."""
    missing = [symbol for symbol in symbols if symbol not in seen_ms]
    if not missing:
        slowest = max(seen_ms.values())
        return ok("market stream", f"a quote of all {len(symbols)} symbols within {slowest:.0f} ms")
    return fail(
        "market stream",
        f"no quote of {', '.join(missing)} within {patience_s:g} s",
        "look whether the symbol is traded and whether a firewall cuts WebSockets",
    )
