"""The request gate against twins that enforce their limits: nobody is ever told to slow down."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest
from tests.wire.twin_rig import KEY, SECRET, START_NS, engine_on, quiet_tape

from aegis.core.clock import NS_PER_MS, VirtualClock
from aegis.core.errors import VenueRefused, VenueThrottled
from aegis.core.event import Event
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import ApiCalled, ClockMeasured, RequestsPaused
from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.intent import CancelProtection
from aegis.model.market import MINUTE_NS
from aegis.model.order import OrderRequest, OrderSide, OrderType, Purpose
from aegis.twin.binance.face import BinanceFace
from aegis.twin.bybit.face import BybitFace
from aegis.twin.inproc import InprocTransport
from aegis.twin.world import TwinWorld
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit.gateway import BybitGateway
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks

# python-binance imports what websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class OffClock(VirtualClock):
    """Our machine's clock: *ahead_ns* ahead of the venue's."""

    ahead_ns = 0

    def wall_ns(self) -> int:
        """Return the wrong time."""
        return super().wall_ns() + self.ahead_ns


class Bench:
    """A gateway at a twin that enforces its limits; no streams."""

    def __init__(self, venue: Venue, key: str = KEY) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        name = "binance" if venue is Venue.BINANCE else "bybit"
        self.loop = loop
        self.clock = OffClock(START_NS, loop)
        venue_clock = VirtualClock(START_NS, loop)
        self.instrument: InstrumentId = instrument_id("BTCUSDT", venue)
        self.engine = engine_on(venue, quiet_tape())
        face_type = BinanceFace if venue is Venue.BINANCE else BybitFace
        self.face = face_type(
            self.engine,
            api_key=KEY,
            api_secret=SECRET,
            wall_ms=lambda: venue_clock.wall_ns() // NS_PER_MS,
            limits_enforced=True,
        )
        world = TwinWorld({name: self.engine})
        self.failures: list[TaskFailed] = []
        self.supervisor = Supervisor(self.clock, self.failures.append, rng=random.Random(1))
        transport = InprocTransport(
            self.face,
            loop,
            before_request=lambda: world.advance(self.clock.now_ns()),
            after_request=lambda: None,
        )
        self.statuses: list[int] = []

        def http(request: HttpRequest) -> HttpResponse:
            answer = transport(request)
            self.statuses.append(answer.status)
            return answer

        self.events: list[Event] = []
        around = VenueAround(
            api_key=key,
            api_secret=SECRET,
            http=http,
            connector=transport,
            offload=InlineOffload(0.002, 0.002),
            publish=self.events.append,
            clock=self.clock,
            supervisor=self.supervisor,
            rng=random.Random(2),
            timeframes_ns=(MINUTE_NS,),
            recv_window_ms=5000,
            request_timeout_s=5.0,
            order_timeout_s=2.0,
            base_url="http://twin",
            ws_url="ws://twin",
        )
        make = BinanceGateway if venue is Venue.BINANCE else BybitGateway
        self.gateway: BinanceGateway | BybitGateway = make(around)

    def throttled(self) -> list[str]:
        """Return which calls the venue itself answered with too many requests."""
        calls = [event for event in self.events if isinstance(event, ApiCalled)]
        return [event.operation for event in calls if event.error_class == "VenueThrottled"]

    def stop_order(self, number: int) -> OrderRequest:
        """Return a stop for a tenth of a bitcoin."""
        return OrderRequest(
            instrument_id=self.instrument,
            client_order_id=f"test-1-{number}-SF0",
            purpose=Purpose.STOP_FLOOR,
            side=OrderSide.SELL,
            order_type=OrderType.STOP_MARKET,
            qty=Decimal("0.100"),
            reduce_only=True,
            trigger_price=Decimal(50_000),
        )

    def entry(self, number: int) -> OrderRequest:
        """Return a market entry."""
        return OrderRequest(
            instrument_id=self.instrument,
            client_order_id=f"test-1-{number}-EN0",
            purpose=Purpose.ENTRY,
            side=OrderSide.BUY,
            order_type=OrderType.MARKET,
            qty=Decimal("0.001"),
            reduce_only=False,
        )

    def close_order(self, number: int) -> OrderRequest:
        """Return a market order that closes a little."""
        return OrderRequest(
            instrument_id=self.instrument,
            client_order_id=f"test-1-{number}-CM0",
            purpose=Purpose.CLOSE_MANUAL,
            side=OrderSide.SELL,
            order_type=OrderType.MARKET,
            qty=Decimal("0.001"),
            reduce_only=True,
        )


def on_bench(venue: Venue, test: Callable[[Bench], Awaitable[None]], key: str = KEY) -> None:
    """Run *test* in virtual time, with *key* on our side."""

    async def main() -> None:
        bench = Bench(venue, key)
        set_sdk_clocks(bench.clock.wall_ns)
        try:
            await test(bench)
            assert [] == bench.failures
        finally:
            await bench.gateway.close()
            await bench.supervisor.stop()
            restore_sdk_clocks()

    run_virtual(main())


def test_polling_at_binance_ends_at_its_share_and_protection_goes_on() -> None:
    """R31: with the ordinary weight of a minute used up, stops and cancels still leave."""

    async def test(bench: Bench) -> None:
        await bench.gateway.connect(["BTCUSDT"])
        await bench.gateway.place(bench.entry(1))
        looks = 0
        while looks < 100:
            try:
                await bench.gateway.snapshot(steady=True)
            except VenueThrottled:
                break
            looks += 1
        for number in range(20):
            stop = bench.stop_order(number)
            await bench.gateway.place(stop)
            found = await bench.gateway.query(
                bench.instrument, stop.client_order_id, conditional=True
            )
            assert found is not None
            await bench.gateway.cancel(
                CancelProtection(
                    instrument_id=bench.instrument,
                    client_order_id=stop.client_order_id,
                )
            )
        assert 10 < looks < 20
        assert [] == bench.throttled()
        assert {200} == set(bench.statuses)
        assert any(isinstance(event, RequestsPaused) for event in bench.events)

    on_bench(Venue.BINANCE, test)


def test_a_burst_at_bybit_keeps_orders_for_protection() -> None:
    """R31: seven entries fit into a second, three more orders are kept for ways out."""

    async def test(bench: Bench) -> None:
        await bench.gateway.connect(["BTCUSDT"])
        # The next second of the venue's clock begins with an empty pool.
        await asyncio.sleep(1.0 - bench.loop.time() % 1.0)
        for number in range(7):
            await bench.gateway.place(bench.entry(number))
        with pytest.raises(VenueThrottled):
            await bench.gateway.place(bench.entry(7))
        for number in range(12):
            is_stop = number < 8  # of ten that may rest
            way_out = bench.stop_order(number) if is_stop else bench.close_order(number)
            await bench.gateway.place(way_out)
        assert [] == bench.throttled()

    on_bench(Venue.BYBIT, test)


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
@pytest.mark.parametrize("ahead_ms", [-3000, 2500])
def test_a_clock_that_is_off_is_signed_away_and_warned_of(venue: Venue, ahead_ms: int) -> None:
    """Requests carry the venue's time: 2.5 s ahead would be refused without the offset."""

    async def test(bench: Bench) -> None:
        bench.clock.ahead_ns = ahead_ms * NS_PER_MS
        await bench.gateway.connect(["BTCUSDT"])
        (told,) = [event for event in bench.events if isinstance(event, ClockMeasured)]
        assert ahead_ms == pytest.approx(told.ahead_ms, abs=5.0)
        assert "chrony/ntp" in told.warning

    on_bench(venue, test)


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
def test_a_clock_beyond_recv_window_is_refused_with_the_fix(venue: Venue) -> None:
    """7.2 s ahead with a recvWindow of 5 s: not traded, and the message says what to do."""

    async def test(bench: Bench) -> None:
        bench.clock.ahead_ns = 7200 * NS_PER_MS
        with pytest.raises(VenueRefused, match=r"7\.2 s ahead of .*5000: synchronize"):
            await bench.gateway.connect(["BTCUSDT"])

    on_bench(venue, test)


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
def test_a_clock_that_steps_while_running_is_measured_anew(venue: Venue) -> None:
    """-1021 and 10002 mean: measure, and send once more."""

    async def test(bench: Bench) -> None:
        await bench.gateway.connect(["BTCUSDT"])
        bench.clock.ahead_ns = 4000 * NS_PER_MS
        report = await bench.gateway.place(bench.entry(1))
        assert report.venue_order_id
        clocks = [event for event in bench.events if isinstance(event, ClockMeasured)]
        assert 4000 == pytest.approx(clocks[-1].ahead_ms, abs=5.0)

    on_bench(venue, test)


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
def test_wrong_keys_are_one_line_with_the_fix(venue: Venue) -> None:
    """A key the venue does not know is told in one line, and is no reason to try again."""

    async def test(bench: Bench) -> None:
        with pytest.raises(VenueRefused) as caught:
            await bench.gateway.connect(["BTCUSDT"])
        assert "check the API key" in str(caught.value)
        assert "\n" not in str(caught.value)

    on_bench(venue, test, key="another-key")
