"""Questions about the account: absence needs three noes, and nothing missing reads as none."""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from urllib.parse import parse_qs

import attrs
import pytest

from aegis.core.clock import NS_PER_S, ManualClock
from aegis.core.errors import VenueError, VenueProtocolError
from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.core.virtual_loop import run_virtual
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide, OrderStatus
from aegis.venue.binance.account import AccountQueries, FillReplay
from aegis.venue.binance.errors import classify
from aegis.venue.binance.rest import BinanceRest
from aegis.venue.calls import CallRunner

NOW_NS = 1_600_000_000_000_000_000
UNKNOWN_ORDER = (400, {"code": -2013, "msg": "Order does not exist."})
STOP = {
    "algoId": 7,
    "clientAlgoId": "ours",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "orderType": "STOP_MARKET",
    "algoStatus": "NEW",
    "quantity": "2",
    "triggerPrice": "5",
    "reduceOnly": True,
    "updateTime": 1,
}
ORDER = {
    "orderId": 9,
    "clientOrderId": "ours",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "MARKET",
    "status": "FILLED",
    "origQty": "2",
    "executedQty": "2",
    "avgPrice": "4",
    "updateTime": 1,
}
BTC = instrument_id("BTCUSDT", Venue.BINANCE)
A_FILL = Fill(
    instrument_id=BTC,
    fill_id="1",
    client_order_id="ours",
    venue_order_id="9",
    side=OrderSide.BUY,
    last_qty=Decimal(1),
    last_px=Decimal(4),
    fee=Decimal(0),
    liquidity=Liquidity.TAKER,
    origin=FillOrigin.ORDER,
    ts_event=NOW_NS,
)

Answer = tuple[int, object]


class TableVenue:
    """Answer each path from a table; remember what was asked."""

    def __init__(self, answers: dict[str, Answer | Callable[[HttpRequest], Answer]]) -> None:
        self.answers = answers
        self.asked: list[HttpRequest] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        self.asked.append(request)
        answer = self.answers[request.path.rpartition("/")[2]]
        status, body = answer(request) if callable(answer) else answer
        return HttpResponse(status=status, body=json.dumps(body).encode())

    @property
    def paths(self) -> list[str]:
        """Return the last elements of the paths asked."""
        return [request.path.rpartition("/")[2] for request in self.asked]


def asking(venue: TableVenue, test: Callable[[AccountQueries], Awaitable[None]]) -> None:
    """Run *test* on queries that *venue* answers."""

    async def main() -> None:
        clock = ManualClock(NOW_NS)
        calls = CallRunner(
            venue=Venue.BINANCE, publish=lambda event: None, clock=clock, classify=classify
        )
        rest = BinanceRest(
            base_url="http://twin",
            api_key="the-key",
            api_secret="the-secret",
            http=venue,
            offload=InlineOffload(),
            calls=calls,
            clock=clock,
            recv_window_ms=5000,
            request_timeout_s=5,
        )
        await test(AccountQueries(rest, clock))

    run_virtual(main())


@pytest.mark.parametrize("place", ["openAlgoOrders", "allAlgoOrders"])
def test_a_stop_is_found_wherever_the_venue_still_lists_it(place: str) -> None:
    """-2013 alone is never absence: either list overrules it (venues.md 5.1)."""
    lists: dict[str, Answer | Callable[[HttpRequest], Answer]] = {
        "openAlgoOrders": (200, []),
        "allAlgoOrders": (200, []),
        place: (200, [{**STOP, "clientAlgoId": "other"}, STOP]),
    }
    venue = TableVenue({"algoOrder": UNKNOWN_ORDER, **lists})

    async def test(queries: AccountQueries) -> None:
        found = await queries.algo_order("BTCUSDT", "ours")
        assert found is not None
        assert ("ours", OrderStatus.ACCEPTED) == (found.client_order_id, found.status)

    asking(venue, test)


@pytest.mark.parametrize("place", ["openOrders", "allOrders"])
def test_an_order_is_found_wherever_the_venue_still_lists_it(place: str) -> None:
    """The same holds for orders of the matching engine."""
    lists: dict[str, Answer | Callable[[HttpRequest], Answer]] = {
        "openOrders": (200, []),
        "allOrders": (200, []),
        place: (200, [ORDER]),
    }
    venue = TableVenue({"order": UNKNOWN_ORDER, **lists})

    async def test(queries: AccountQueries) -> None:
        found = await queries.order("BTCUSDT", "ours")
        assert found is not None
        assert OrderStatus.FILLED is found.status

    asking(venue, test)


def test_three_noes_are_absence_and_a_failed_list_is_not() -> None:
    """None only after three answers; a list that fails or is no list raises (R43, R88)."""
    venue = TableVenue(
        {"algoOrder": UNKNOWN_ORDER, "openAlgoOrders": (200, []), "allAlgoOrders": (200, [])}
    )

    async def test(queries: AccountQueries) -> None:
        assert await queries.algo_order("BTCUSDT", "ours") is None
        assert ["algoOrder", "openAlgoOrders", "allAlgoOrders"] == venue.paths
        venue.answers["allAlgoOrders"] = (503, {"msg": "Service Unavailable."})
        with pytest.raises(VenueError):
            await queries.algo_order("BTCUSDT", "ours")
        venue.answers["allAlgoOrders"] = (200, {"rows": []})
        with pytest.raises(VenueProtocolError, match="no array"):
            await queries.algo_order("BTCUSDT", "ours")

    asking(venue, test)


def test_a_finished_stop_is_settled_by_its_child() -> None:
    """FINISHED without a quantity asks the order it became: filled or canceled."""
    finished = {**STOP, "algoStatus": "FINISHED", "actualOrderId": "9"}
    venue = TableVenue({"algoOrder": (200, finished), "order": (200, ORDER)})

    async def test(queries: AccountQueries) -> None:
        filled = await queries.algo_order("BTCUSDT", "ours")
        assert filled is not None
        assert (OrderStatus.FILLED, Decimal(2), True) == (
            filled.status,
            filled.filled_qty,
            filled.conditional,
        )
        venue.answers["order"] = (200, {**ORDER, "status": "CANCELED", "executedQty": "0"})
        canceled = await queries.algo_order("BTCUSDT", "ours")
        assert canceled is not None
        assert OrderStatus.CANCELED is canceled.status

    asking(venue, test)


SNAPSHOT: dict[str, Answer | Callable[[HttpRequest], Answer]] = {
    "openOrders": (200, []),
    "openAlgoOrders": (200, [STOP]),
    "symbolConfig": (200, [{"symbol": "BTCUSDT", "marginType": "ISOLATED", "leverage": 7}]),
    "positionRisk": (
        200,
        [
            {
                "symbol": "BTCUSDT",
                "positionSide": "BOTH",
                "positionAmt": "-2",
                "entryPrice": "4",
                "markPrice": "5",
                "unRealizedProfit": "-2",
                "liquidationPrice": "0",
                "updateTime": 3,
            }
        ],
    ),
    "balance": (200, [{"asset": "USDT", "balance": "100", "availableBalance": "90"}]),
}


def test_a_snapshot_holds_everything() -> None:
    """Equity counts the unrealized loss; the position knows its leverage and margin."""

    async def test(queries: AccountQueries) -> None:
        snapshot = await queries.snapshot()
        (position,) = snapshot.positions
        assert (Decimal(-2), 7, True, None) == (
            position.qty_signed,
            position.leverage,
            position.isolated,
            position.liquidation_price,
        )
        assert (Decimal(98), Decimal(90)) == (snapshot.balance.equity, snapshot.balance.available)
        assert ["ours"] == [order.client_order_id for order in snapshot.orders]

    asking(TableVenue(dict(SNAPSHOT)), test)


@pytest.mark.parametrize("path", sorted(SNAPSHOT))
@pytest.mark.parametrize(
    "answer", [(500, {"msg": "oops"}), (200, {}), (200, [{}]), (200, [{"asset": "BNB"}])]
)
def test_no_part_of_a_snapshot_may_be_missing(path: str, answer: Answer) -> None:
    """Any failed or unreadable part fails the whole: unknown is not empty (R43, R88)."""

    async def test(queries: AccountQueries) -> None:
        with pytest.raises(VenueError):
            await queries.snapshot()

    asking(TableVenue({**SNAPSHOT, path: answer}), test)


def test_a_balance_without_usdt_is_not_zero() -> None:
    """No USDT row is not understood (R43)."""

    async def test(queries: AccountQueries) -> None:
        with pytest.raises(VenueProtocolError, match="no USDT balance"):
            await queries.snapshot()

    asking(TableVenue({**SNAPSHOT, "balance": (200, [])}), test)


def test_trades_are_paged_forward_and_named_by_their_orders() -> None:
    """The venue gives the oldest rows first; every page comes, each order is asked for once."""

    def trades(request: HttpRequest) -> Answer:
        asked = parse_qs(request.query)
        first = int(asked["fromId"][0]) if "fromId" in asked else 1
        assert ("startTime" in asked) == ("fromId" not in asked)
        return 200, [
            {
                "id": number,
                "orderId": 9,
                "symbol": "BTCUSDT",
                "side": "BUY",
                "price": "4",
                "qty": "1",
                "commission": "0.002",
                "commissionAsset": "USDT",
                "maker": False,
                "time": NOW_NS // 1_000_000,
            }
            for number in range(first, min(first + 1000, 1502))
        ]

    venue = TableVenue({"userTrades": trades, "order": (200, ORDER)})

    async def test(queries: AccountQueries) -> None:
        replay = FillReplay(queries, ManualClock(NOW_NS))
        fills: list[Fill] = []
        await replay.replay(fills.append)
        assert [] == fills
        assert [] == venue.paths
        replay.follow(instrument_id("BTCUSDT", Venue.BINANCE))
        await replay.replay(fills.append)
        assert [str(number) for number in range(1, 1502)] == [fill.fill_id for fill in fills]
        assert {"ours"} == {fill.client_order_id for fill in fills}
        assert ["userTrades", "userTrades", "order"] == venue.paths
        since_ms = int(parse_qs(venue.asked[0].query)["startTime"][0])
        assert NOW_NS // 1_000_000 - 30_000 == since_ms

    asking(venue, test)


def test_fills_are_asked_for_from_the_last_answer_on_not_from_the_last_fill() -> None:
    """R12: what was lost lies before a fill that came; a failure moves nothing."""
    clock = ManualClock(NOW_NS)
    answers: list[Answer] = [(502, {}), (200, []), (200, []), (200, [])]
    venue = TableVenue({"userTrades": lambda _: answers.pop(0)})

    async def test(queries: AccountQueries) -> None:
        replay = FillReplay(queries, clock)
        replay.follow(BTC)
        clock.advance_ns(600 * NS_PER_S)
        replay.saw_fill(attrs.evolve(A_FILL, ts_event=clock.now_ns()))
        with pytest.raises(VenueError):
            await replay.replay(lambda _: None)
        await replay.replay(lambda _: None)
        clock.advance_ns(100 * NS_PER_S)
        replay.answered(NOW_NS + 580 * NS_PER_S, clock.now_ns())
        await replay.replay(lambda _: None)
        replay.answered(NOW_NS, clock.now_ns() + 50 * NS_PER_S)
        await replay.replay(lambda _: None)
        assert ("BTCUSDT",) == replay.followed
        since = [int(parse_qs(r.query)["startTime"][0]) - NOW_NS // 10**6 for r in venue.asked]
        # So much earlier it is asked: 30 s. An answer that leaves a hole behind moves nothing.
        assert [-30_000, -30_000, 570_000, 720_000] == since

    asking(venue, test)
