"""What a venue lists of a run: added up, asked twice where it differs, never in an end's way."""

import asyncio
from decimal import Decimal

import attrs

from aegis.app.income import PATIENCE_S, RUN_NS_MAX, ask_income
from aegis.core.errors import VenueError, VenueUnreachable
from aegis.core.virtual_loop import run_virtual
from aegis.model.booked import BookedSince
from aegis.model.events import FundingReported
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide
from aegis.ops.probes import VenueBooks

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
OTHER = instrument_id("DOGEUSDT", Venue.BINANCE)
BEGAN_NS = 1_000


def fill(
    side: OrderSide, qty: str, px: str, *, ts_event: int = BEGAN_NS, other: bool = False
) -> Fill:
    """Return a fill with a fee of 0.05."""
    return Fill(
        instrument_id=OTHER if other else BTC,
        fill_id=f"{side}{ts_event}{px}",
        client_order_id="AAAA-1-1-EN0",
        venue_order_id="7",
        side=side,
        last_qty=Decimal(qty),
        last_px=Decimal(px),
        fee=Decimal("0.05"),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=ts_event,
    )


def booked(*fills: Fill, funding: str = "0") -> BookedSince:
    """Return a venue's list."""
    paid = FundingReported(
        ts_event=BEGAN_NS,
        ts_recv=BEGAN_NS,
        venue=Venue.BINANCE,
        instrument_id=BTC,
        amount=Decimal(funding),
        funding_id="1",
    )
    return BookedSince(fills=fills, fundings=(paid,))


@attrs.define
class Lists:
    """A gateway that knows one question: the answers in their order, None: none ever comes."""

    answers: list[BookedSince | VenueError | None]
    asked: int = 0

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Return or raise the next answer."""
        assert BEGAN_NS == since_ns
        answer = self.answers[self.asked]
        self.asked += 1
        if answer is None:
            await asyncio.sleep(10 * PATIENCE_S)
        if isinstance(answer, VenueError):
            raise answer
        assert answer is not None
        return answer


def ask(lists: Lists, *, cash: str = "0", now_ns: int = 2_000, up: bool = True) -> VenueBooks | str:
    """Ask *lists* for the run that made *cash*."""
    return run_virtual(
        ask_income(
            {Venue.BINANCE: lists},
            {Venue.BINANCE: [BTC]} if up else {},
            BEGAN_NS,
            now_ns,
            lambda _venue, books: books.cash == Decimal(cash),
        )
    )[Venue.BINANCE]


def test_what_is_listed_is_added_up_within_the_run_and_what_is_followed() -> None:
    """Sold - bought - fees + funding; earlier fills and symbols of others are not ours (R77)."""
    lists = Lists(
        [
            booked(
                fill(OrderSide.BUY, "2", "100"),
                fill(OrderSide.SELL, "2", "110"),
                fill(OrderSide.SELL, "1", "90", ts_event=BEGAN_NS - 1),
                fill(OrderSide.BUY, "5", "7", other=True),
                funding="-0.2",
            )
        ]
    )
    found = ask(lists, cash="19.7")
    assert VenueBooks(fills=2, cash=Decimal("19.70"), fills_elsewhere=1) == found
    assert 1 == lists.asked


def test_where_they_differ_it_is_asked_once_more() -> None:
    """A fill of the last moment may reach one side first; what stays differs and is told."""
    late = Lists([booked(), booked(fill(OrderSide.BUY, "1", "10"))])
    assert VenueBooks(fills=1, cash=Decimal("-10.05")) == ask(late, cash="-10.05")
    never = Lists([booked(), booked()])
    assert VenueBooks(fills=0, cash=Decimal(0)) == ask(never, cash="1")
    assert (2, 2) == (late.asked, never.asked)


def test_why_it_is_not_known_is_told() -> None:
    """Refused, silent, never connected, too long ago: a reason, never a zero (R80)."""
    away = VenueUnreachable("reset", venue="BINANCE", operation="income")
    assert "BINANCE income: reset" == ask(Lists([away]))
    assert "the venue did not answer within 10 s" == ask(Lists([None]))
    assert "the venue was never connected" == ask(Lists([]), up=False)
    longer_ns = BEGAN_NS + RUN_NS_MAX + 1
    told = "the run was longer than the venue's lists go back"
    assert told == ask(Lists([]), now_ns=longer_ns)
