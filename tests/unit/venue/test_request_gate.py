"""The gate before a venue's requests: who waits, who is refused, who is told (R31)."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.errors import ThrottleScope, VenueError, VenueThrottled
from aegis.core.event import Event
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import ApiCalled, RequestsPaused, RequestsResumed
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.venue.binance import limits as binance
from aegis.venue.bybit import limits as bybit
from aegis.venue.calls import CallRunner
from aegis.venue.gate import RequestGate
from aegis.venue.weights import WeightLedger

START_NS = 1_700_000_040 * NS_PER_S
"""The first second of a minute."""


class Rig:
    """A runner with a gate in virtual time, and what it published and sent."""

    def __init__(self, ledger: WeightLedger, venue: Venue) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.loop = loop
        self.told: list[Event] = []
        self.sent: list[str] = []
        self.answer: VenueError | None = None
        clock = VirtualClock(START_NS, loop)
        self.gate = RequestGate(venue=venue, ledger=ledger, clock=clock, publish=self.told.append)
        self.runner = CallRunner(
            venue=venue,
            publish=self.told.append,
            clock=clock,
            classify=lambda error, _operation, _order: VenueError(
                str(error), venue=venue.value, operation="x"
            ),
            gate=self.gate,
        )

    async def send(
        self, operation: str, *, order: str | None = None, protective: bool = False
    ) -> float:
        """Send, answered with what stands in *answer*; return the loop time of sending."""

        async def call() -> float:
            self.sent.append(operation)
            if self.answer is not None:
                answer, self.answer = self.answer, None
                raise answer
            return self.loop.time()

        return await self.runner.run(
            operation, call, timeout_s=10.0, client_order_id=order, protective=protective
        )

    def pauses(self) -> list[Event]:
        """Return what was told of pauses."""
        return [e for e in self.told if isinstance(e, RequestsPaused | RequestsResumed)]


def virtual(
    test: Callable[[Rig], Awaitable[None]],
    ledger: WeightLedger | None = None,
    venue: Venue = Venue.BINANCE,
) -> None:
    """Run *test* in virtual time."""

    async def main() -> None:
        rig = Rig(ledger or binance.new_ledger(25), venue)
        try:
            await test(rig)
        finally:
            rig.gate.stop()

    run_virtual(main())


def throttled(wait_s: float | None, scope: ThrottleScope = ThrottleScope.VENUE) -> VenueThrottled:
    """Return a venue's word for too many requests."""
    return VenueThrottled(wait_s, venue="BINANCE", operation="x", detail="too many", scope=scope)


def test_after_429_only_what_protects_leaves_until_retry_after() -> None:
    """R31: entries are refused unsent, a stop leaves, and all is told with its end."""

    async def test(rig: Rig) -> None:
        rig.answer = throttled(30.0)
        with pytest.raises(VenueThrottled):
            await rig.send("positions")
        with pytest.raises(VenueThrottled) as refused:
            await rig.send("place_order", order="A-EN0")
        assert 30.0 == refused.value.retry_after_s
        await rig.send("place_algo_order", order="A-SF0", protective=True)
        assert ["positions", "place_algo_order"] == rig.sent
        (paused,) = rig.pauses()
        assert isinstance(paused, RequestsPaused)
        assert (False, 30.0) == (paused.banned, paused.wait_s)
        await asyncio.sleep(30.0)
        await rig.send("place_order", order="B-EN0")
        assert [RequestsPaused, RequestsResumed] == [type(event) for event in rig.pauses()]

    virtual(test)


def test_during_a_ban_nothing_leaves_and_people_are_told_what_that_means() -> None:
    """R31: sending makes a ban longer; positions stand on their resting native stops."""

    async def test(rig: Rig) -> None:
        rig.answer = throttled(180.0, ThrottleScope.BAN)
        with pytest.raises(VenueThrottled):
            await rig.send("positions")
        for protective in (False, True):
            with pytest.raises(VenueThrottled) as refused:
                await rig.send("place_order", order="A", protective=protective)
            assert ThrottleScope.BAN is refused.value.scope
        assert ["positions"] == rig.sent
        # The protective one was refused after its own patience: no busy loop for the whole ban.
        assert 10.0 == rig.loop.time()
        (paused,) = rig.pauses()
        assert isinstance(paused, RequestsPaused)
        assert paused.banned
        assert "protection depends on resting native stops until 22:17:00 UTC" in paused.reason
        await asyncio.sleep(170.0)
        await rig.send("place_order", order="B", protective=True)
        assert ["positions", "place_order"] == rig.sent

    virtual(test)


def test_ordinary_reads_wait_for_room_and_entries_do_not() -> None:
    """With the ordinary share used up a read waits for the window, an entry is refused at once."""

    async def test(rig: Rig) -> None:
        for _ in range(7):
            await rig.send("place_order", order="A", protective=False)
        with pytest.raises(VenueThrottled) as refused:
            await rig.send("place_order", order="A")
        assert (1.0, 0.0) == (refused.value.retry_after_s, rig.loop.time())
        for number in range(3):
            await rig.send("place_order", order=f"stop {number}", protective=True)
        # The pool is full to the venue's own limit: even protection waits for the next second.
        assert 1.0 == await rig.send("place_order", order="stop 3", protective=True)
        for _ in range(5):
            await rig.send("get_fee_rates")
        assert 2.0 == await rig.send("get_fee_rates")
        # Waits below a moment are nobody's news.
        assert [] == rig.pauses()

    virtual(test, bybit.new_ledger(25), Venue.BYBIT)


def test_a_used_up_minute_is_told_and_passes() -> None:
    """Polling ends at its share, cancels go on, and the heartbeat hears of both ends."""

    async def test(rig: Rig) -> None:
        for _ in range(45):
            await rig.send("open_orders")
        with pytest.raises(VenueThrottled, match="used up"):
            await rig.send("open_orders")
        assert 45 == len(rig.sent)
        for _ in range(600):
            await rig.send("cancel_algo_order", protective=True)
        with pytest.raises(VenueThrottled):
            await rig.send("cancel_algo_order", protective=True)
        await asyncio.sleep(60.0)
        await rig.send("open_orders")
        assert [RequestsPaused, RequestsResumed] == [type(event) for event in rig.pauses()]
        # What was not sent is no call that failed.
        assert all(event.ok for event in rig.told if isinstance(event, ApiCalled))

    virtual(test)


def test_a_held_entry_is_refused_and_everything_else_goes_on() -> None:
    """A clock that is too far off stops entries alone, and lets them go again."""

    async def test(rig: Rig) -> None:
        rig.gate.hold_entries("clock is 7.2 s ahead")
        rig.gate.hold_entries("clock is 7.3 s ahead")
        with pytest.raises(VenueThrottled, match=r"clock is 7\.3 s ahead"):
            await rig.send("place_order", order="A")
        assert not rig.runner.has_room("ws order.place", protective=False)
        assert rig.runner.has_room("ws order.place", protective=True)
        await rig.send("place_order", order="A", protective=True)
        await rig.send("positions")
        rig.gate.hold_entries("")
        await rig.send("place_order", order="A")
        paused, resumed = rig.pauses()
        assert isinstance(paused, RequestsPaused)
        assert isinstance(resumed, RequestsResumed)
        assert (None, None) == (paused.until_ns, paused.wait_s)

    virtual(test)


def test_a_refused_endpoint_does_not_stop_the_others() -> None:
    """10006 speaks of one endpoint; the wait is the venue's."""

    async def test(rig: Rig) -> None:
        rig.answer = throttled(0.5, ThrottleScope.ENDPOINT)
        with pytest.raises(VenueThrottled):
            await rig.send("set_leverage")
        await rig.send("get_positions")
        assert 1.0 == await rig.send("set_leverage")

    virtual(test, bybit.new_ledger(25), Venue.BYBIT)


@pytest.mark.parametrize(("percent", "expected"), [(0, 60), (25, 45), (80, 12)])
def test_the_protected_share_is_a_setting(percent: int, expected: int) -> None:
    """protective_weight_pct decides how much polling a minute carries."""

    async def test(rig: Rig) -> None:
        for _ in range(expected):
            await rig.send("open_orders")
        with pytest.raises(VenueThrottled):
            await rig.send("open_orders")
        assert expected == len(rig.sent)

    share = AegisConfig(protective_weight_pct=percent).protective_weight_pct
    virtual(test, binance.new_ledger(share))


def test_binance_headers_and_socket_answers_correct_the_ledger() -> None:
    """X-MBX headers and rateLimits rows count what others on the address spent too."""
    ledger = binance.new_ledger(25)
    now_ns = START_NS + 5 * NS_PER_S
    headers = {
        "X-MBX-USED-WEIGHT-1M": "1234",
        "x-mbx-order-count-10s": "17",
        "X-MBX-ORDER-COUNT-1M": "many",
    }
    binance.read_headers(ledger, headers, now_ns)
    rows = [
        {
            "rateLimitType": "ORDERS",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": 600,
            "count": 9,
        },
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 1},
        {"rateLimitType": None},
        "nonsense",
    ]
    binance.read_rate_limits(ledger, rows, now_ns)
    pools = (binance.WEIGHT_1M, binance.ORDERS_10S, binance.ORDERS_1M)
    assert [1234, 17, 9] == [ledger.used(pool, now_ns) for pool in pools]
    assert [6000, 300, 600] == [ledger.limits(pool)[1] for pool in pools]


def test_bybit_headers_correct_the_pool_of_their_endpoint() -> None:
    """X-Bapi-Limit and -Status tell what is left; answers without them say nothing."""
    ledger = bybit.new_ledger(25)
    headers = {"X-Bapi-Limit": "20", "X-Bapi-Limit-Status": "14"}
    bybit.read_headers(ledger, "place_order", headers, sent_ns=START_NS, now_ns=START_NS)
    bybit.read_headers(ledger, "get_kline", headers, sent_ns=START_NS, now_ns=START_NS)
    bybit.read_headers(ledger, "cancel_order", {}, sent_ns=START_NS, now_ns=START_NS)
    assert (6, (15, 20)) == (ledger.used("order/create", START_NS), ledger.limits("order/create"))
    assert (0, (7, 10)) == (ledger.used("order/cancel", START_NS), ledger.limits("order/cancel"))
    assert 0 == ledger.used(bybit.IP_5S, START_NS)
    assert 1_700_000_000_123 == bybit.reset_ms({"x-bapi-limit-reset-timestamp": "1700000000123"})


def test_weights_depend_on_whether_a_symbol_is_named() -> None:
    """All open orders cost 40, those of one symbol 1 (venues.md 2.2)."""
    assert "open_orders" == binance.cost_key("open_orders", None)
    named = binance.cost_key("open_orders", {"symbol": "BTCUSDT"})
    assert ((binance.WEIGHT_1M, 1),) == binance.COSTS[named]
    assert "positions" == binance.cost_key("positions", {"symbol": "BTCUSDT"})


@pytest.mark.parametrize(
    ("limit", "weight"),
    [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10), (None, 10)],
)
def test_a_page_of_klines_weighs_what_its_limit_says(limit: int | None, weight: int) -> None:
    """1, 2, 5 or 10 by the bars asked for; the dearest where it is not said (R31)."""
    key = binance.cost_key("klines", {"symbol": "BTCUSDT", "limit": limit})
    assert ((binance.WEIGHT_1M, weight),) == binance.COSTS[key]
