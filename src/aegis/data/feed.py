"""
From socket readers to bus events: the ring, the firewall, the conflation slots, one account.

Without loop and bus. A reader only pushes its wire frame into the ring, numbered in order of
arrival; the frame carries venue and symbol, event and receive time (R1). The pump moves frames
through the firewall into the slots, where the newest value per instrument wins (R4); draining
builds one tick per instrument. Frames stay what they are until then: no event per frame.

The ring bounds what a burst may pile up between two turns of the loop. An overrun would lose the
oldest frame, which may be the only one of a quiet instrument; therefore a full ring is pumped
before the next push, and what a burst costs is merging, never a loss. Candles do not come here.

Always, per kind: produced == delivered + merged + rejected + pending.
"""

from typing import Final

import attrs

from aegis.core.errors import InvariantError
from aegis.core.ring import ConflationSlots, RingBuffer
from aegis.data.firewall import MARK, QUOTE, Firewall, Reason, Rejection
from aegis.model.events import MarketTick
from aegis.model.instrument import InstrumentId
from aegis.model.market import MarkFrame, QuoteFrame

RING_CAPACITY: Final = 8_192


@attrs.frozen(kw_only=True)
class StreamAccount:
    """
    Where the frames of one kind went: produced == delivered + merged + rejected + pending.

    merged: a newer value stood in, or the value was the one delivered before.
    """

    produced: int
    delivered: int
    merged: int
    rejected: int
    pending: int


@attrs.define
class _Prices:
    """What was last delivered of one instrument; None while never told."""

    bid: float | None = None
    ask: float | None = None
    mark: float | None = None
    last: float | None = None


def _same_quote(new: QuoteFrame, old: QuoteFrame) -> bool:
    return new.bid == old.bid and new.ask == old.ask


def _same_mark(new: MarkFrame, old: MarkFrame) -> bool:
    return new.mark == old.mark and new.last == old.last


class MarketFeed:
    """Conflate quotes and marks between two drains."""

    def __init__(self, firewall: Firewall, *, ring_capacity: int = RING_CAPACITY) -> None:
        self.ticks = 0
        self._firewall = firewall
        self._ring: RingBuffer[QuoteFrame | MarkFrame] = RingBuffer(ring_capacity)
        self._room = ring_capacity
        self._quotes: ConflationSlots[InstrumentId, QuoteFrame] = ConflationSlots(_same_quote)
        self._marks: ConflationSlots[InstrumentId, MarkFrame] = ConflationSlots(_same_mark)
        self._last_prices: dict[InstrumentId, float] = {}
        self._doubted: dict[InstrumentId, None] = {}
        """Where the newest mark told is far from the one before: neither is known to hold."""
        self._prices: dict[InstrumentId, _Prices] = {}
        self._quotes_taken = 0
        self._marks_taken = 0
        self._rejections: list[Rejection] = []

    def take_quote(self, frame: QuoteFrame) -> None:
        """Take a quote as the socket reader brought it."""
        if not self._room:
            self.pump()
        self._room -= 1
        self._quotes_taken += 1
        self._ring.push(frame)

    def take_mark(self, frame: MarkFrame) -> None:
        """Take a mark price as the socket reader brought it."""
        if not self._room:
            self.pump()
        self._room -= 1
        self._marks_taken += 1
        self._ring.push(frame)

    def pump(self) -> None:
        """Move everything in the ring through the firewall into the slots."""
        pop, check_quote, offer_quote = (
            self._ring.pop,
            self._firewall.check_quote,
            self._quotes.offer,
        )
        while (frame := pop()) is not None:
            if type(frame) is QuoteFrame:
                reason = check_quote(frame)
                if reason is None:
                    offer_quote(frame.instrument_id, frame)
                else:
                    self._reject(frame, QUOTE, reason)
            elif isinstance(frame, MarkFrame):
                self._pump_mark(frame)
            else:
                raise InvariantError(f"the ring gave {frame!r}, a full ring is pumped first")
        self._room = self._ring.capacity

    def drain(self) -> list[MarketTick]:
        """Return one tick per instrument with news, first changed first, quotes before marks."""
        self.pump()
        news: dict[InstrumentId, tuple[int, int, int]] = {}
        all_prices = self._prices
        for instrument_id, quote, merged in self._quotes.drain():
            prices = all_prices.get(instrument_id)
            if prices is None:
                prices = all_prices[instrument_id] = _Prices()
            prices.bid, prices.ask = quote.bid, quote.ask
            news[instrument_id] = (quote.ts_event, quote.ts_recv, merged)
        for instrument_id, mark, merged in self._marks.drain():
            prices = all_prices.get(instrument_id)
            if prices is None:
                prices = all_prices[instrument_id] = _Prices()
            prices.mark, prices.last = mark.mark, mark.last
            event_ns, recv_ns, before = news.get(instrument_id, (0, 0, 0))
            news[instrument_id] = (
                max(event_ns, mark.ts_event),
                max(recv_ns, mark.ts_recv),
                before + merged,
            )
        self.ticks += len(news)
        ticks = []
        for instrument_id, (event_ns, recv_ns, merged) in news.items():
            prices = all_prices[instrument_id]
            ticks.append(
                MarketTick(
                    ts_event=event_ns,
                    ts_recv=recv_ns,
                    instrument_id=instrument_id,
                    bid=prices.bid,
                    ask=prices.ask,
                    mark=None if instrument_id in self._doubted else prices.mark,
                    last=prices.last,
                    merged=merged,
                )
            )
        return ticks

    @property
    def has_rejections(self) -> bool:
        """Return whether refusals wait to be told."""
        return bool(self._rejections)

    def take_rejections(self) -> list[Rejection]:
        """Return the refusals to be told since the last call."""
        told, self._rejections = self._rejections, []
        return told

    def accounts(self) -> dict[str, StreamAccount]:
        """Return the account per kind; what is still in the ring is pending."""
        accounts = {}
        for kind, taken, slots in (
            (QUOTE, self._quotes_taken, self._quotes),
            (MARK, self._marks_taken, self._marks),
        ):
            rejected = self._firewall.rejected(kind)
            in_ring = taken - slots.produced - rejected
            accounts[kind] = StreamAccount(
                produced=taken,
                delivered=slots.delivered,
                merged=slots.merged,
                rejected=rejected,
                pending=slots.pending + in_ring,
            )
        return accounts

    @property
    def ring_pending(self) -> int:
        """Return how many frames wait in the ring, by the ring's own count."""
        return self._ring.pending

    def _pump_mark(self, frame: MarkFrame) -> None:
        reason = self._firewall.check_mark(frame)
        if reason is not None:
            if reason is Reason.JUMPED and frame.instrument_id is not None:
                self._doubted[frame.instrument_id] = None
            self._reject(frame, MARK, reason)
            return
        instrument_id = frame.instrument_id
        self._doubted.pop(instrument_id, None)
        if frame.last is not None:
            self._last_prices[instrument_id] = frame.last
        elif instrument_id in self._last_prices:
            # A frame without a last price must not merge away the one told just before it.
            frame = attrs.evolve(frame, last=self._last_prices[instrument_id])
        self._marks.offer(instrument_id, frame)

    def _reject(self, frame: QuoteFrame | MarkFrame, kind: str, reason: Reason) -> None:
        rejection = self._firewall.count(frame.instrument_id, kind, reason)
        if rejection is not None:
            self._rejections.append(rejection)
