"""
The engine's time: what the market does to the account between two requests, in order.

At one instant: each symbol in its order (bar ends, quote, orders reached, liquidation, funding),
then what was on its way to matching.
"""

import heapq

from aegis.twin.engine.api import EngineStatus
from aegis.twin.engine.clock import NEVER_NS, SymbolClock
from aegis.twin.engine.cross import reckon_cross, reckon_liquidation
from aegis.twin.engine.execution import Execution
from aegis.twin.engine.liquidation import LiquidationDesk
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.relatives import finish_parent
from aegis.twin.engine.trigger_desk import TriggerDesk
from aegis.twin.engine.watches import watches_of


class EngineTime:
    """Advances one engine; `refresh` must follow every change of orders or positions."""

    def __init__(
        self,
        parts: EngineParts,
        execution: Execution,
        triggers: TriggerDesk,
        liquidation: LiquidationDesk,
        *,
        quote_interval_ns: int | None,
        open_kline_updates: bool,
    ) -> None:
        self._parts = parts
        self._execution = execution
        self._triggers = triggers
        self._liquidation = liquidation
        self._clocks = {symbol: SymbolClock(market) for symbol, market in parts.markets.items()}
        self._quote_interval_ns = quote_interval_ns
        self._open_kline_updates = open_kline_updates
        self._next_ns = NEVER_NS
        self.restart()

    def restart(self) -> None:
        """Work out every coming time anew, after the present or the orders were replaced."""
        self._parts.touched.update(dict.fromkeys(self._clocks))
        for clock in self._clocks.values():
            clock.start(self._parts.now_ns, self._quote_interval_ns)
        self.refresh()

    def next_event_ns(self) -> int | None:
        """Return when something happens next by itself, None when the tapes have ended."""
        return None if self._next_ns == NEVER_NS else self._next_ns

    def advance(self, to_ns: int) -> None:
        """Let everything up to *to_ns* happen, in order of time; no-op when in the past."""
        while self._next_ns <= to_ns and self._next_ns != NEVER_NS:
            self._happen(self._next_ns)
        self._parts.now_ns = max(self._parts.now_ns, to_ns)

    def market_moved(self, symbol: str) -> None:
        """Look again at a path that grew by itself: its coming vertex and what that reaches."""
        clock = self._clocks[symbol]
        clock.pass_vertex(self._parts.now_ns)
        clock.look(self._parts.now_ns)
        clock.reckon()
        self._find_next()

    def set_quote_interval(self, interval_ns: int | None) -> None:
        """Repeat quotes at the multiples of *interval_ns* from now on; None: not at all."""
        self._quote_interval_ns = interval_ns
        for clock in self._clocks.values():
            clock.pass_repeat(self._parts.now_ns, interval_ns)
            clock.reckon()
        self._find_next()

    def watch(self, symbol: str, timeframe_ns: int) -> None:
        """Follow a timeframe's bars from now on."""
        clock = self._clocks[symbol]
        clock.watch_bars(timeframe_ns, self._parts.now_ns)
        clock.reckon()
        self._find_next()

    def unwatch(self, symbol: str, timeframe_ns: int) -> None:
        """Follow them no longer."""
        clock = self._clocks[symbol]
        clock.unwatch_bars(timeframe_ns)
        clock.reckon()
        self._find_next()

    def watched(self) -> tuple[tuple[str, int], ...]:
        """Return (symbol, timeframe) of every bar followed."""
        clocks = self._clocks.items()
        return tuple((symbol, tf) for symbol, clock in clocks for tf in clock.bar_ends)

    def _happen(self, now_ns: int) -> None:
        """Let everything due at *now_ns* happen: symbols in their order, then what is due."""
        parts = self._parts
        parts.now_ns = now_ns
        for clock in self._clocks.values():
            if clock.next_ns == now_ns:
                self._tick(clock, now_ns)
        while parts.due and parts.due[0][0] <= now_ns:
            _, order_id = heapq.heappop(parts.due)
            order = parts.store.by_id(order_id)
            if order is not None:
                self._triggers.arrive(order)
        if parts.touched:
            self.refresh()
        else:
            self._find_next()

    def _tick(self, clock: SymbolClock, now_ns: int) -> None:
        """Bar ends, then the quote, then what its price reaches, then funding."""
        if clock.close_ns == now_ns:
            self._close_bars(clock, now_ns)
        quoted = turned = False
        if now_ns in (clock.vertex_ns, clock.repeat_ns):
            self._tell_quote(clock)
            quoted = True
            if clock.repeat_ns == now_ns:
                clock.pass_repeat(now_ns, self._quote_interval_ns)
            if clock.vertex_ns == now_ns:
                clock.pass_vertex(now_ns)
                turned = True
                if clock.watches:
                    clock.look(now_ns - 1)
        if clock.crossing_ns == now_ns:
            if not quoted:
                self._tell_quote(clock)
            self._act_on_crossing(clock)
            self._look_again(clock)
        if clock.funding_ns == now_ns:
            self._fund(clock, now_ns)
        if turned:
            self._look_after_turn(clock)
        clock.reckon()

    def _look_after_turn(self, clock: SymbolClock) -> None:
        """Let what follows the price see that it turned here."""
        if self._parts.followed:
            self._triggers.follow(clock.market)
        if self._parts.several_cross:
            self._liquidation.look_at_cross()
            reckon_cross(self._parts)

    def _tell_quote(self, clock: SymbolClock) -> None:
        parts = self._parts
        if not parts.voice.listeners:
            return
        market = clock.market
        factor = parts.faults.depth_factor(market.symbol)
        parts.voice.on_quote(market.quote(parts.now_ns, factor))
        if not self._open_kline_updates:
            return
        for timeframe_ns in clock.bar_ends:
            running = market.open_bar(timeframe_ns, parts.now_ns)
            if running is not None:
                open_ns, bar = running
                parts.voice.on_kline(market.symbol, timeframe_ns, open_ns, bar, closed=False)

    def _close_bars(self, clock: SymbolClock, now_ns: int) -> None:
        market = clock.market
        for timeframe_ns in clock.take_bar_ends(now_ns):
            open_ns = now_ns - timeframe_ns
            bar = market.closed_bar(timeframe_ns, open_ns)
            if bar is not None:
                self._parts.voice.on_kline(market.symbol, timeframe_ns, open_ns, bar, closed=True)

    def _act_on_crossing(self, clock: SymbolClock) -> None:
        for watch in clock.reached(self._parts.now_ns):
            order = watch.order
            if order is None:
                self._liquidation.look_at(clock.market)
            elif order.status is EngineStatus.UNTRIGGERED:
                self._triggers.reach(order)
            else:
                self._execution.fill_resting(order)
                finish_parent(self._parts, order)

    def _fund(self, clock: SymbolClock, now_ns: int) -> None:
        parts = self._parts
        symbol = clock.market.symbol
        rate, _ = clock.market.funding_after(now_ns - 1)
        clock.pass_funding(now_ns)
        mark = clock.market.mark_price(now_ns)
        for position in parts.ledger.legs[symbol].values():
            row = parts.ledger.book_funding(position, rate, mark, now_ns)
            if row is None:
                continue
            reckon_liquidation(parts, symbol)
            parts.touch(symbol)
            parts.voice.on_income(row)
            parts.voice.on_position(position, "FUNDING_FEE")
            parts.voice.on_balance("FUNDING_FEE")

    def _look_again(self, clock: SymbolClock) -> None:
        self._parts.touched.pop(clock.market.symbol, None)
        clock.set_watches(watches_of(self._parts, clock.market.symbol))
        clock.look(self._parts.now_ns)

    def refresh(self) -> None:
        """Bring the watches of touched symbols up to date."""
        for symbol in list(self._parts.touched):
            clock = self._clocks[symbol]
            self._look_again(clock)
            clock.reckon()
        self._find_next()

    def _find_next(self) -> None:
        following = min(clock.next_ns for clock in self._clocks.values())
        if self._parts.due:
            following = min(following, max(self._parts.due[0][0], self._parts.now_ns))
        self._next_ns = following
