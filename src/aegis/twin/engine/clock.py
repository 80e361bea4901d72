"""
When something happens to one symbol by itself: vertices, crossings, bar ends, funding, repeats.

Pure bookkeeping of times; what then happens is the engine's business.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from aegis.twin.engine.api import EngineOrder
from aegis.twin.engine.market import SymbolMarket
from aegis.twin.engine.triggers import is_reached
from aegis.twin.tape.candles import bucket_open
from aegis.twin.tape.path import FOREVER_NS

NEVER_NS: Final = FOREVER_NS


class Watch(NamedTuple):
    """A level somebody waits for; *order* None: the position's liquidation."""

    level: float
    direction: int
    on_mark: bool
    order: EngineOrder | None


class SymbolClock:
    """
    The coming times of one symbol, each strictly after the present or NEVER_NS.

    Crossings are known for the current segment only and looked for again at every vertex, so that
    a vertex costs nothing more when nobody waits for a level.
    """

    __slots__ = (
        "_nearest",
        "bar_ends",
        "close_ns",
        "crossing_ns",
        "funding_ns",
        "market",
        "next_ns",
        "repeat_ns",
        "vertex_ns",
        "watches",
    )

    def __init__(self, market: SymbolMarket) -> None:
        self.market = market
        self.watches: list[Watch] = []
        self._nearest: list[Watch] = []
        self.bar_ends: dict[int, int] = {}
        """Timeframe -> end of its running bar, by timeframe ascending."""
        self.vertex_ns = self.crossing_ns = self.close_ns = NEVER_NS
        self.funding_ns = self.repeat_ns = self.next_ns = NEVER_NS

    def start(self, now_ns: int, repeat_every_ns: int | None) -> None:
        """Work out every coming time anew."""
        self.pass_vertex(now_ns)
        self.pass_funding(now_ns)
        self.pass_repeat(now_ns, repeat_every_ns)
        for timeframe_ns in self.bar_ends:
            self.bar_ends[timeframe_ns] = self._bar_end(timeframe_ns, now_ns)
        self.pass_bar_ends()
        self.look(now_ns)
        self.reckon()

    def reckon(self) -> None:
        """Find the earliest of the coming times."""
        self.next_ns = min(
            self.vertex_ns, self.crossing_ns, self.close_ns, self.funding_ns, self.repeat_ns
        )

    def pass_vertex(self, now_ns: int) -> None:
        """Move to the vertex after *now_ns*."""
        path = self.market.path
        following = path.next_point_after(now_ns, on_mark=path.has_own_mark)
        self.vertex_ns = NEVER_NS if following is None else following

    def pass_funding(self, now_ns: int) -> None:
        """Move to the funding instant after *now_ns*, none after the tape's end."""
        _, at_ns = self.market.funding_after(now_ns)
        self.funding_ns = at_ns if at_ns <= self.market.end_ns else NEVER_NS

    def pass_repeat(self, now_ns: int, every_ns: int | None) -> None:
        """Move to the next multiple of *every_ns*, none after the tape's end."""
        self.repeat_ns = NEVER_NS
        if every_ns is not None:
            at_ns = (now_ns // every_ns + 1) * every_ns
            self.repeat_ns = at_ns if at_ns <= self.market.end_ns else NEVER_NS

    def watch_bars(self, timeframe_ns: int, now_ns: int) -> None:
        """Follow the bars of a timeframe."""
        if timeframe_ns in self.bar_ends:
            return
        ends = {**self.bar_ends, timeframe_ns: self._bar_end(timeframe_ns, now_ns)}
        self.bar_ends = dict(sorted(ends.items()))
        self.pass_bar_ends()

    def unwatch_bars(self, timeframe_ns: int) -> None:
        """Follow them no longer."""
        self.bar_ends.pop(timeframe_ns, None)
        self.pass_bar_ends()

    def take_bar_ends(self, now_ns: int) -> list[int]:
        """Return the timeframes whose bar ends at *now_ns*, and move to their next ends."""
        ended = [timeframe for timeframe, end_ns in self.bar_ends.items() if end_ns <= now_ns]
        for timeframe_ns in ended:
            self.bar_ends[timeframe_ns] = self._bar_end(timeframe_ns, now_ns)
        self.pass_bar_ends()
        return ended

    def pass_bar_ends(self) -> None:
        """Find the earliest bar end."""
        self.close_ns = min(self.bar_ends.values(), default=NEVER_NS)

    def _bar_end(self, timeframe_ns: int, now_ns: int) -> int:
        end_ns = bucket_open(now_ns, timeframe_ns) + timeframe_ns
        return end_ns if end_ns <= self.market.end_ns else NEVER_NS

    def set_watches(self, watches: Iterable[Watch]) -> None:
        """Wait for these levels; of each price and direction only the nearest is looked for."""
        self.watches = list(watches)
        nearest: dict[tuple[bool, int], Watch] = {}
        for watch in self.watches:
            key = (watch.on_mark, watch.direction)
            best = nearest.get(key)
            if best is None or (watch.level - best.level) * watch.direction < 0:
                nearest[key] = watch
        self._nearest = list(nearest.values())

    def look(self, after_ns: int) -> None:
        """Find the first crossing after *after_ns* within the segment that holds it."""
        self.crossing_ns = NEVER_NS
        path = self.market.path
        for level, direction, on_mark, _ in self._nearest:
            _, begin, _, end = path.segment(after_ns + 1, on_mark=on_mark)
            if direction < 0:
                if level < begin and level < end:
                    continue
            elif level > begin and level > end:
                continue
            at_ns = path.next_crossing(after_ns, level, direction, on_mark=on_mark, segments=0)
            if at_ns is not None and at_ns < self.crossing_ns:
                self.crossing_ns = at_ns

    def reached(self, now_ns: int) -> list[Watch]:
        """Return what is reached now: orders by id, liquidation last."""
        path = self.market.path
        price = path.price_at(now_ns)
        mark = path.mark_at(now_ns)
        hit = [
            w
            for w in self.watches
            if is_reached(mark if w.on_mark else price, w.level, w.direction)
        ]
        return sorted(hit, key=lambda w: NEVER_NS if w.order is None else w.order.order_id)
