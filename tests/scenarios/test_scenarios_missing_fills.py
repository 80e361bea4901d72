"""Fills and funding that no stream told: looked up until the venue answers, booked once."""

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from aegis.core.clock import NS_PER_S
from aegis.model.events import (
    FillBooked,
    FundingReported,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
)
from aegis.model.order import OrderSide, OrderType
from aegis.model.position import CloseCause, MismatchKind
from aegis.twin.boot import VENUE_NAMES, VenueName
from aegis.twin.engine.api import OrderSpec
from aegis.twin.fault_rules import Asked

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

both_venues = pytest.mark.parametrize("venue", VENUE_NAMES)
FALL: Final = {"BTCUSDT": (60_000.0, 60_000.0, 58_800.0)}
"""The stop at 1 % is hit in the second minute."""
BOOKED: Final = frozenset({"/fapi/v1/userTrades", "/fapi/v1/income", "/v5/execution/list"})
HOUR_S: Final = 3600


def is_booked_query(asked: Asked) -> bool:
    """Say whether a request asks for fills or funding."""
    return asked.path in BOOKED


def sold_by_hand(world: "World", venue: VenueName, qty: Decimal) -> None:
    """Sell *qty* at the venue as a person does."""
    world.catch_up()
    _ = world.engine(venue).place(
        OrderSpec(
            symbol="BTCUSDT",
            client_id="",
            side=OrderSide.SELL,
            order_type=OrderType.MARKET,
            qty=qty,
        )
    )


def held_here(world: "World") -> list[Decimal]:
    """Return the signed quantities of the bot's open positions."""
    return [each.qty_signed for each in world.bot.trade.book.positions.values()]


def booked_wrong(world: "World", venue: VenueName) -> list[str]:
    """Return what is wrong with the books: fills missing or doubled, money, code."""
    made = {fill.fill_id: fill.qty for fill in world.engine(venue).fills()}
    booked = Counter(e.fill.fill_id for e in world.of(FillBooked))
    wrong = [f"fill {key} was booked {n} times" for key, n in booked.items() if n > 1]
    if len(booked) != len(made):
        wrong.append(f"{len(made)} fills were made, {len(booked)} booked")
    return [*wrong, *world.conservation().violations, *world.faults_of_code()]


@both_venues
def test_a_fill_lost_before_one_that_came_is_booked(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R12, R77: nobody answers while a fill is lost; the next one, told, hides it no more."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        opened = world.qty(venue)
        step = world.engine(venue).instruments["BTCUSDT"].qty_step
        part = opened / 4 // step * step
        mute = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
        deaf = world.wire[venue].lose_request(lambda asked: asked.kind in {"positions", "other"})
        sold_by_hand(world, venue, part)
        await asyncio.sleep(90)
        mute.end()
        sold_by_hand(world, venue, part)
        await asyncio.sleep(1)
        deaf.end()
        await world.until(lambda: [opened - 2 * part] == held_here(world), within_s=60, every_s=0.1)
        await asyncio.sleep(10)

    world = play(tmp_path, scenario)

    assert 1 == len(world.of(PositionOpened))
    assert [] == world.of(PositionClosed)
    assert [world.qty(venue)] == held_here(world)
    assert [] == booked_wrong(world, venue)


@both_venues
def test_a_position_its_stop_closed_in_silence_ends_with_its_fill(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R79, R88: the venue says flat for 80 s before it tells the fills: SL, once, all money."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        mute = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
        deaf = world.wire[venue].fail(is_booked_query, 502)
        await world.until(lambda: world.qty(venue) == 0, within_s=180, every_s=0.1)
        await asyncio.sleep(80)
        assert [] == world.of(PositionClosed)
        deaf.end()
        await world.until(lambda: world.of(PositionClosed), within_s=70, every_s=0.1)
        mute.end()
        await asyncio.sleep(10)
        assert deaf.hits > 3

    world = play(tmp_path, scenario, prices=FALL)

    (closed,) = world.of(PositionClosed)
    assert CloseCause.SL is closed.cause
    assert Decimal(0) == closed.position.qty
    assert MismatchKind.PHANTOM in [e.kind for e in world.of(PositionMismatchFound)]
    assert [] == booked_wrong(world, venue)


@both_venues
def test_an_end_without_its_fills_is_booked_late(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R77, R88: unanswered for minutes the slot is freed; what is found then is booked once."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        mute = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
        deaf = world.wire[venue].fail(is_booked_query, 502)
        await world.until(lambda: world.of(PositionClosed), within_s=400, every_s=0.1)
        assert [] == held_here(world)
        deaf.end()
        await asyncio.sleep(70)
        mute.end()
        await asyncio.sleep(60)

    world = play(tmp_path, scenario, prices=FALL)

    (closed,) = world.of(PositionClosed)
    assert CloseCause.EXTERNAL is closed.cause
    assert closed.position.qty > 0
    late = world.of(FillBooked)[-1]
    assert ("SL", Decimal(0)) == (late.purpose, late.position.qty)
    assert closed.position.position_id == late.position.position_id
    assert [] == list(world.conservation().unexplained)
    assert [] == booked_wrong(world, venue)
    income, total = world.income(venue), late.position
    assert income == total.realized_pnl - total.fees + total.funding


def pay_funding(world: "World", venue: VenueName) -> None:
    """Have the venue book funding for the position now, as at a funding time."""
    world.catch_up()
    parts = world.engine(venue).time._parts
    (leg,) = [one for one in parts.ledger.legs["BTCUSDT"].values() if one.qty != 0]
    mark = Decimal(repr(world.engine(venue).quote("BTCUSDT").mark))
    row = parts.ledger.book_funding(leg, Decimal("0.0001"), mark, parts.now_ns)
    assert row is not None
    parts.voice.on_income(row)
    parts.voice.on_position(leg, "FUNDING_FEE")
    parts.voice.on_balance("FUNDING_FEE")


@both_venues
def test_funding_whose_frame_is_lost_is_looked_up_and_booked_once(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R77: the list is looked at once after an hour turned; a payment that was told comes once."""

    def questions(world: "World") -> int:
        income = ("/fapi/v1/income", "/v5/execution/list")
        return sum(asked.path in income for asked in world.wire[venue].asked)

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        for is_lost in (True, False):
            now_s = world.bot.around.clock.now_ns() / NS_PER_S
            await asyncio.sleep(HOUR_S - now_s % HOUR_S)
            before = questions(world)
            mute = world.frames[venue].drop(*(world.frames[venue].ACCOUNT if is_lost else ()))
            pay_funding(world, venue)
            await asyncio.sleep(300)
            mute.end()
            assert 1 == questions(world) - before

    world = play(tmp_path, scenario, venues=(venue,))

    told = world.of(FundingReported)
    assert 2 == len(told)
    assert 2 == len({event.funding_id for event in told})
    (position,) = world.bot.trade.book.positions.values()
    assert sum(event.amount for event in told) == position.funding < 0
    assert [] == world.faults_of_code()
