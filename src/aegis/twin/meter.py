"""
The protection meter: how long positions stood without an effective stop, on the venue's timeline.

Written from the venue's facts alone, apart from the bot and from the engine's own bookkeeping: it
hears orders and positions as a listener and works coverage out by itself.

Covering, for a position that is not flat: conditional orders on its closing side that fire on the
loss side, UNTRIGGERED; the same while TRIGGERING or TRIGGERED, for at most 2 s; the market order
such a trigger made, while it works. closePosition and position-bound stops cover everything,
reduce-only and partial ones their quantity, a trailing stop once it follows the price. Whatever
else is there covers nothing.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.money import ZERO
from aegis.model.order import OrderType, PositionSide
from aegis.twin.engine.api import (
    Bar,
    Bound,
    EngineFill,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    IncomeRow,
    Leg,
    OrderSpec,
    Quote,
)

TRIGGERED_COVERS_NS: Final = 2_000_000_000

_WHOLE = frozenset({Bound.STOP, Bound.TRAILING})
_ON_THE_WAY = frozenset({EngineStatus.TRIGGERING, EngineStatus.TRIGGERED})
_WORKING = frozenset({EngineStatus.NEW, EngineStatus.PARTIALLY_FILLED})
_LIVE = _ON_THE_WAY | _WORKING | {EngineStatus.UNTRIGGERED}


@attrs.frozen(slots=True, kw_only=True)
class Episode:
    """
    One position from not flat to flat; times are integer ns UTC on the tape's clock.

    *first_protected_after_ns*: from opening to the first moment wholly covered, None: never.
    *gaps*: uncovered spans (from, to) of more than 0 ns; an open one ends at the asked-for now.
    """

    symbol: str
    side: PositionSide
    opened_ns: int
    closed_ns: int | None
    qty_max: Decimal
    unprotected_ns_total: int
    first_protected_after_ns: int | None
    longest_gap_ns: int
    gaps: tuple[tuple[int, int], ...]


@attrs.frozen(slots=True, kw_only=True)
class MeterSummary:
    """
    All episodes in a line; p50, p99 (nearest rank) and max are of the unprotected time of each.

    *protected_count*: episodes that were wholly covered at some moment. *currently_unprotected*:
    symbols with a position that is not covered now, in hedge mode with its side.
    """

    count: int
    protected_count: int
    p50_ns: int
    p99_ns: int
    max_ns: int
    currently_unprotected: tuple[str, ...]


@attrs.define(slots=True, kw_only=True)
class _Running:
    """An episode under way. *naked_since_ns* None while covered."""

    side: PositionSide
    opened_ns: int
    qty_max: Decimal
    naked_since_ns: int | None = None
    first_protected_after_ns: int | None = None
    gaps: list[tuple[int, int]] = attrs.field(factory=list)


@attrs.frozen(slots=True, kw_only=True)
class _Cover:
    """
    A stop, or the market order one made, as it was last heard of.

    A copy: the engine's order may have moved on before the next word about it. *conditional* is
    the spec that says which position it closes, the order's own or its parent's.
    """

    conditional: OrderSpec
    status: EngineStatus
    bound: Bound
    left: Decimal
    triggered_ns: int
    is_child: bool


@attrs.define(slots=True, kw_only=True)
class _Market:
    """What is known of one position: its size and what may cover it, by order id."""

    qty: Decimal = ZERO
    reckoned_ns: int = 0
    covers: dict[int, _Cover] = attrs.field(factory=dict)
    running: _Running | None = None


class ProtectionMeter:
    """An `EngineListener` that measures the unprotected time of every position episode."""

    def __init__(self) -> None:
        self._markets: dict[tuple[str, Leg], _Market] = {}
        self._ended: list[Episode] = []

    def on_order(self, order: EngineOrder) -> None:
        """Take in a change of an order that may cover."""
        market = self._markets.setdefault((order.spec.symbol, order.spec.leg), _Market())
        cover = _cover(order)
        if cover is None:
            return
        self._lapse(market, order.updated_ns)
        if order.status in _LIVE:
            market.covers[order.order_id] = cover
        else:
            market.covers.pop(order.order_id, None)
        self._reckon(market, order.updated_ns)

    def on_position(self, position: EnginePosition, cause: str) -> None:  # noqa: ARG002 - protocol
        """Take in a change of the position's size."""
        market = self._markets.setdefault((position.symbol, position.leg), _Market())
        now_ns = position.updated_ns
        self._lapse(market, now_ns)
        running = market.running
        side = PositionSide.LONG if position.qty > 0 else PositionSide.SHORT
        if running is not None and (position.qty == 0 or side is not running.side):
            self._close_gap(running, now_ns)
            self._ended.append(_episode(position.symbol, running, closed_ns=now_ns, now_ns=now_ns))
            running = market.running = None
        market.qty = position.qty
        if position.qty == 0:
            return
        if running is None:
            running = market.running = _Running(side=side, opened_ns=now_ns, qty_max=ZERO)
        running.qty_max = max(running.qty_max, abs(position.qty))
        self._reckon(market, now_ns)

    def on_fill(self, fill: EngineFill) -> None:
        """Fills are heard through the position they change."""

    def on_balance(self, cause: str) -> None:
        """Say nothing about protection."""

    def on_income(self, row: IncomeRow) -> None:
        """Say nothing about protection."""

    def on_quote(self, quote: Quote) -> None:
        """Say nothing about protection."""

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Say nothing about protection."""

    def episodes(self, now_ns: int) -> list[Episode]:
        """Return every episode, ended ones first, those under way as of *now_ns*."""
        made = list(self._ended)
        for (symbol, _), market in self._markets.items():
            if market.running is not None:
                self._lapse(market, now_ns)
                made.append(_episode(symbol, market.running, closed_ns=None, now_ns=now_ns))
        return made

    def summary(self, now_ns: int) -> MeterSummary:
        """Return the episodes in a line as of *now_ns*."""
        episodes = self.episodes(now_ns)
        naked = sorted(episode.unprotected_ns_total for episode in episodes)
        return MeterSummary(
            count=len(episodes),
            protected_count=sum(e.first_protected_after_ns is not None for e in episodes),
            p50_ns=_rank(naked, 0.50),
            p99_ns=_rank(naked, 0.99),
            max_ns=naked[-1] if naked else 0,
            currently_unprotected=tuple(
                symbol if leg is Leg.BOTH else f"{symbol} {leg.value}"
                for (symbol, leg), market in self._markets.items()
                if market.running is not None and market.running.naked_since_ns is not None
            ),
        )

    def _lapse(self, market: _Market, now_ns: int) -> None:
        """Let covers that ended by themselves since the last word end when they did."""
        while market.running is not None and market.running.naked_since_ns is None:
            ends = [
                cover.triggered_ns + TRIGGERED_COVERS_NS
                for cover in market.covers.values()
                if cover.status in _ON_THE_WAY
            ]
            ended = [end_ns for end_ns in ends if market.reckoned_ns < end_ns < now_ns]
            if not ended:
                return
            self._reckon(market, min(ended))

    def _reckon(self, market: _Market, now_ns: int) -> None:
        """Compare cover and position at *now_ns*; open or close the gap."""
        market.reckoned_ns = max(market.reckoned_ns, now_ns)
        running = market.running
        if running is None:
            return
        if _is_covered(market, running.side, now_ns):
            self._close_gap(running, now_ns)
            if running.first_protected_after_ns is None:
                running.first_protected_after_ns = now_ns - running.opened_ns
        elif running.naked_since_ns is None:
            running.naked_since_ns = now_ns

    def _close_gap(self, running: _Running, now_ns: int) -> None:
        since_ns = running.naked_since_ns
        running.naked_since_ns = None
        if since_ns is not None and now_ns > since_ns:
            running.gaps.append((since_ns, now_ns))


def _cover(order: EngineOrder) -> _Cover | None:
    """Copy what counts of an order, None when it can never cover."""
    is_child = not order.conditional
    if order.spec.trail is not None and not order.trail_active:
        return None
    conditional = order.spec
    if is_child:
        if order.parent is None:
            return None
        conditional = order.parent.spec
    qty = order.spec.qty if order.spec.qty is not None else ZERO
    return _Cover(
        conditional=conditional,
        status=order.status,
        bound=order.bound,
        left=qty - order.filled_qty,
        triggered_ns=order.triggered_ns,
        is_child=is_child,
    )


def _is_covered(market: _Market, side: PositionSide, now_ns: int) -> bool:
    covered = ZERO
    for cover in market.covers.values():
        spec = cover.conditional
        if not _is_stop_of(spec, side) or not _still_covers(cover, now_ns):
            continue
        if cover.is_child:
            covered += cover.left
        elif spec.close_position or cover.bound in _WHOLE:
            return True
        elif spec.reduce_only:
            covered += cover.left
    return covered >= abs(market.qty)


def _is_stop_of(spec: OrderSpec, side: PositionSide) -> bool:
    """Say whether the conditional closes a position of *side* and fires where that one loses."""
    if spec.trigger_price is None or spec.side is not side.exit_side:
        return False
    if spec.trigger_direction is None:
        return spec.order_type is OrderType.STOP_MARKET
    return spec.trigger_direction == -side.sign


def _still_covers(cover: _Cover, now_ns: int) -> bool:
    if cover.status in _ON_THE_WAY:
        return now_ns < cover.triggered_ns + TRIGGERED_COVERS_NS
    return True


def _episode(symbol: str, running: _Running, *, closed_ns: int | None, now_ns: int) -> Episode:
    gaps = list(running.gaps)
    if running.naked_since_ns is not None and now_ns > running.naked_since_ns:
        gaps.append((running.naked_since_ns, now_ns))
    lengths = [to_ns - from_ns for from_ns, to_ns in gaps]
    return Episode(
        symbol=symbol,
        side=running.side,
        opened_ns=running.opened_ns,
        closed_ns=closed_ns,
        qty_max=running.qty_max,
        unprotected_ns_total=sum(lengths),
        first_protected_after_ns=running.first_protected_after_ns,
        longest_gap_ns=max(lengths, default=0),
        gaps=tuple(gaps),
    )


def _rank(ordered: Sequence[int], share: float) -> int:
    if not ordered:
        return 0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
