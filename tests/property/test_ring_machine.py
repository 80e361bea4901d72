"""
The way from a socket to the bus as a state machine: the ring, the conflation slots, and the feed
that joins them with the firewall and publishes what is drained.

Next to each stands a model in plain lists, which never merges cleverly: it remembers everything.
At every step produced = delivered + merged + rejected + pending; what is delivered is the newest,
per key in the order of its own frames; a full ring costs the oldest frame a count and the producer
nothing: there is no loop here on which a push could wait, and every push returns.

Of the checkers of sim `streams` judges the accounts of the feed, `code_faults` what the handlers
did. The others judge trades, of which there are none.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.property.machine_evidence import assert_lawful, evidence_of, run_machine

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock
from aegis.core.event import Event
from aegis.core.ring import ConflationSlots, Gap, RingBuffer
from aegis.data.feed import MarketFeed
from aegis.data.firewall import MARK, QUOTE, Firewall
from aegis.model.events import MarketTick
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.market import MarkFrame, QuoteFrame
from aegis.sim.checkers import code_faults, streams

NAMES: Final = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
KEYS: Final = tuple(InstrumentId(name, Venue.BINANCE) for name in NAMES)
STRANGER: Final = InstrumentId("NOBODY", Venue.BINANCE)
PRICES: Final = st.sampled_from([100.0, 101.0, 102.0])
POISON: Final = st.sampled_from([float("nan"), float("inf"), 0.0, -1.0])


class Ring(RuleBasedStateMachine):
    """A ring beside a list of all that was pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.ring: RingBuffer[int] = RingBuffer(1)
        self.pushed = 0
        self.next = 0
        self.popped = 0
        self.lost = 0

    @initialize(capacity=st.integers(1, 6))
    def choose(self, capacity: int) -> None:
        """Rings of every small size."""
        self.ring = RingBuffer(capacity)

    @rule(count=st.integers(1, 12))
    def push(self, count: int) -> None:
        """Push a burst, which may overrun the ring."""
        for _ in range(count):
            self.ring.push(self.pushed)
            self.pushed += 1

    @rule(count=st.integers(1, 8))
    def pop(self, count: int) -> None:
        """Read some: every number comes once, in order, or is counted in a gap."""
        for _ in range(count):
            match self.ring.pop():
                case None:
                    assert self.next == self.pushed
                case Gap(dropped=dropped, first_seq=first):
                    assert self.next == first
                    assert dropped > 0
                    self.next += dropped
                    self.lost += dropped
                    # What was lost is the oldest: the newest always fit.
                    assert self.pushed - self.next == self.ring.capacity
                case item:
                    assert self.next == item
                    self.next += 1
                    self.popped += 1

    @invariant()
    def adds_up(self) -> None:
        """Produced = consumed + dropped + pending, and pending fits."""
        ring = self.ring
        assert self.pushed == ring.produced == ring.consumed + ring.dropped + ring.pending
        assert self.popped == ring.consumed
        assert min(self.pushed - self.next, ring.capacity) == ring.pending
        assert self.pushed - self.popped - ring.pending == ring.dropped >= self.lost


class Slots(RuleBasedStateMachine):
    """Conflation slots beside lists of everything that was offered."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: ConflationSlots[str, int] = ConflationSlots()
        self.waiting: dict[str, list[int]] = {}
        self.shown: dict[str, int] = {}
        self.order: list[str] = []
        self.produced: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.merged: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    @rule(key=st.sampled_from("abc"), values=st.lists(st.integers(0, 3), min_size=1, max_size=5))
    def offer(self, key: str, values: list[int]) -> None:
        """Offer values; the first that is news dirties the slot."""
        for value in values:
            self.produced[key] += 1
            is_news = not self.waiting.get(key) and self.shown.get(key) != value
            assert is_news == self.slots.offer(key, value)
            if is_news:
                self.order.append(key)
            if is_news or self.waiting.get(key):
                self.waiting.setdefault(key, []).append(value)
            else:
                self.merged[key] += 1

    @rule(key=st.sampled_from("abc"))
    def reject(self, key: str) -> None:
        """Refuse a value before it gets in."""
        self.produced[key] += 1
        self.rejected[key] += 1
        self.slots.reject(key)

    @rule()
    def drain(self) -> None:
        """Deliver the newest of each key that is news still, first dirtied first."""
        expected = []
        for key in self.order:
            newest = self.waiting[key][-1]
            self.merged[key] += len(self.waiting[key]) - 1
            if self.shown.get(key) == newest:
                self.merged[key] += 1
                continue
            self.shown[key] = newest
            self.delivered[key] += 1
            expected.append((key, newest))
        drained = self.slots.drain()
        assert expected == [(key, value) for key, value, _ in drained]
        for key, _, merged in drained:
            self.told[key] += merged
            # All that was merged is told with the next delivery, none of it twice.
            assert self.merged[key] == self.told[key]
        self.order.clear()
        self.waiting.clear()

    @invariant()
    def adds_up(self) -> None:
        """Produced = delivered + merged + rejected + pending, per key and in sum."""
        for key, counts in self.slots.counts().items():
            waiting = len(self.waiting.get(key, ()))
            assert self.produced[key] == counts.produced
            assert self.delivered[key] == counts.delivered
            assert self.rejected[key] == counts.rejected
            assert self.merged[key] + max(0, waiting - 1) == counts.merged
            assert int(waiting > 0) == counts.pending
            whole = counts.delivered + counts.merged + counts.rejected + counts.pending
            assert counts.produced == whole
        slots = self.slots
        assert slots.produced == slots.delivered + slots.merged + slots.rejected + slots.pending
        assert self.produced.total() == slots.produced


class Feed(RuleBasedStateMachine):
    """The feed and the bus beside what each instrument was last told."""

    def __init__(self) -> None:
        super().__init__()
        firewall = Firewall(
            future_tolerance_ns=0, late_tolerance_ns=10**9, timeframes_ns=(60 * 10**9,)
        )
        for key in KEYS:
            firewall.admit(key)
        self.feed = MarketFeed(firewall, ring_capacity=4)
        self.bus = EventBus(ManualClock(1))
        self.heard: list[Event] = []
        self.ticks: dict[InstrumentId, list[MarketTick]] = {key: [] for key in KEYS}
        self.bus.listen_all(lambda _, event: self.heard.append(event))
        for key in KEYS:
            self.bus.subscribe(MarketTick, self.ticks[key].append, key=key)
        self.now = 1
        self.taken: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.newest: dict[tuple[InstrumentId, str], tuple[float, ...]] = {}
        self.last: dict[InstrumentId, float] = {}
        self.fresh: dict[InstrumentId, None] = {}

    @rule(key=st.sampled_from(KEYS), bid=PRICES, repeats=st.integers(1, 6))
    def quote(self, key: InstrumentId, bid: float, repeats: int) -> None:
        """Quotes arrive, more at once than the ring holds."""
        for number in range(repeats):
            self.now += 1
            self.push_quote(key, bid + number % 2, bid + 2)
            self.newest[key, QUOTE] = (bid + number % 2, bid + 2)
        self.fresh[key] = None

    def push_quote(self, key: InstrumentId, bid: float, ask: float) -> None:
        """Take one quote."""
        self.taken[QUOTE] += 1
        frame = QuoteFrame(
            instrument_id=key,
            ts_event=self.now,
            ts_recv=self.now,
            bid=bid,
            bid_qty=1.0,
            ask=ask,
            ask_qty=1.0,
        )
        self.feed.take_quote(frame)

    @rule(key=st.sampled_from(KEYS), mark=PRICES, last=st.none() | PRICES)
    def mark(self, key: InstrumentId, mark: float, last: float | None) -> None:
        """A mark price arrives, with a last price or without."""
        self.now += 1
        self.push_mark(key, mark, last)
        if last is not None:
            self.last[key] = last
        self.newest[key, MARK] = (mark,)
        self.fresh[key] = None

    def push_mark(self, key: InstrumentId, mark: float, last: float | None) -> None:
        """Take one mark price."""
        self.taken[MARK] += 1
        frame = MarkFrame(
            instrument_id=key, ts_event=self.now, ts_recv=self.now, mark=mark, last=last
        )
        self.feed.take_mark(frame)

    @rule(key=st.sampled_from(KEYS), poison=POISON, is_quote=st.booleans())
    def poison(self, key: InstrumentId, poison: float, *, is_quote: bool) -> None:
        """A frame that is no price arrives: it is refused and counted."""
        self.now += 1
        self.bad[QUOTE if is_quote else MARK] += 1
        if is_quote:
            self.push_quote(key, poison, 100.0)
        else:
            self.push_mark(key, poison, None)

    @rule(is_quote=st.booleans())
    def stranger(self, *, is_quote: bool) -> None:
        """A frame of an instrument nobody asked for arrives."""
        self.now += 1
        self.bad[QUOTE if is_quote else MARK] += 1
        if is_quote:
            self.push_quote(STRANGER, 100.0, 101.0)
        else:
            self.push_mark(STRANGER, 100.0, None)

    @rule()
    def drain(self) -> None:
        """What is news reaches the bus: the newest of each instrument, at most once each."""
        ticks = self.feed.drain()
        assert len(ticks) == len({tick.instrument_id for tick in ticks})
        for tick in ticks:
            assert tick.instrument_id in self.fresh
            self.bus.publish(tick)
        for key in self.fresh:
            self.check_newest(key)
        self.fresh.clear()

    def check_newest(self, key: InstrumentId) -> None:
        """What the subscribers of *key* know is the newest that arrived."""
        known = self.ticks[key][-1]
        quote, mark = self.newest.get((key, QUOTE)), self.newest.get((key, MARK))
        assert quote is None or quote == (known.bid, known.ask)
        assert mark is None or mark == (known.mark,)
        assert self.last.get(key) == known.last

    @invariant()
    def adds_up(self) -> None:
        """Produced = delivered + merged + rejected + pending, for quotes and for marks."""
        for kind, account in self.feed.accounts().items():
            assert self.taken[kind] == account.produced
            whole = account.delivered + account.merged + account.rejected + account.pending
            assert account.produced == whole
            assert 0 <= account.rejected <= self.bad[kind]
            assert account.pending >= 0
        assert self.feed.ring_pending <= 4

    @invariant()
    def keeps_the_order(self) -> None:
        """Each instrument is told in the order of its own frames, and by its own key alone."""
        for key, ticks in self.ticks.items():
            assert all(tick.instrument_id == key for tick in ticks)
            times = [tick.ts_recv for tick in ticks]
            assert sorted(times) == times
        assert len(self.heard) == sum(len(ticks) for ticks in self.ticks.values())

    def teardown(self) -> None:
        """Drain the rest: nothing is pending, every bad frame was refused, sim finds no fault."""
        self.drain()
        unaccounted = []
        for kind, account in self.feed.accounts().items():
            assert 0 == account.pending
            assert self.bad[kind] == account.rejected
            whole = account.delivered + account.merged + account.rejected + account.pending
            if account.produced != whole:
                unaccounted.append(f"frames {kind}: {account.produced} produced, {whole} accounted")
        evidence = evidence_of(self.heard, end_ns=self.now, unaccounted=unaccounted)
        assert_lawful(evidence, streams, code_faults)


QUICK: Final = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRing = Ring.TestCase
TestRing.settings = QUICK
TestSlots = Slots.TestCase
TestSlots.settings = QUICK
TestFeed = Feed.TestCase
TestFeed.settings = QUICK


def _overwrite_uncounted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RingBuffer, "dropped", property(lambda self: self._dropped))


def _read_what_was_overwritten(patch: pytest.MonkeyPatch) -> None:
    def pop(self: RingBuffer[int]) -> int | None:
        if self._read_seq == self._write_seq:
            return None
        slot = self._slots[self._read_seq % self.capacity]
        assert slot is not None
        self._read_seq += 1
        self._consumed += 1
        return slot[1]

    patch.setattr(RingBuffer, "pop", pop)


def _keep_the_oldest(patch: pytest.MonkeyPatch) -> None:
    offer = ConflationSlots.offer

    def first_wins(self: ConflationSlots[str, int], key: str, value: int) -> bool:
        slot = self._slots.get(key)
        return offer(self, key, slot.newest if slot is not None and slot.is_dirty else value)

    patch.setattr(ConflationSlots, "offer", first_wins)


def _merge_uncounted(patch: pytest.MonkeyPatch) -> None:
    offer = ConflationSlots.offer

    def silent(self: ConflationSlots[str, int], key: str, value: int) -> bool:
        slot = self._slots.get(key)
        if slot is not None and slot.is_dirty:
            slot.newest = value
            return False
        return offer(self, key, value)

    patch.setattr(ConflationSlots, "offer", silent)


def _deliver_last_first(patch: pytest.MonkeyPatch) -> None:
    drain = ConflationSlots.drain
    patch.setattr(ConflationSlots, "drain", lambda self: drain(self)[::-1])


def _drop_when_full(patch: pytest.MonkeyPatch) -> None:
    take = MarketFeed.take_quote

    def full_is_full(self: MarketFeed, frame: QuoteFrame) -> None:
        if self._room:
            take(self, frame)

    patch.setattr(MarketFeed, "take_quote", full_is_full)


@pytest.mark.parametrize(
    ("machine", "plant"),
    [
        (Ring, _overwrite_uncounted),
        (Ring, _read_what_was_overwritten),
        (Slots, _keep_the_oldest),
        (Slots, _merge_uncounted),
        (Slots, _deliver_last_first),
        (Feed, _keep_the_oldest),
        (Feed, _merge_uncounted),
        (Feed, _drop_when_full),
    ],
)
def test_a_leak_is_caught(
    machine: type[RuleBasedStateMachine],
    plant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machines fail when frames vanish, go uncounted, come out of order or old (R2, R4)."""
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run_machine(machine, examples=100, steps=30)
