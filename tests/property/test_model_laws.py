"""Laws of rounding, client order ids, and the money of a position."""

import random
import re
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import Rounding, floor_to_step, plain, round_to_grid
from aegis.model.order import PositionSide, Purpose
from aegis.model.order_id import client_order_id, parse_client_order_id, position_id_of
from aegis.model.position import Position

GRIDS = st.sampled_from(
    [Decimal(t) for t in ("0.00001", "0.001", "0.1", "0.5", "0.7", "1", "2.5", "1E+1", "100")]
)
VALUES = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=30) | (
    st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False)
)
VENUE_ALPHABETS = (
    re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}"),  # Binance
    re.compile(r"[A-Za-z0-9_-]{1,36}"),  # Bybit
)


@settings(deadline=None)
@given(value=VALUES, grid=GRIDS, rounding=st.sampled_from(Rounding))
def test_rounding_lands_on_the_grid_within_one_step(
    value: Decimal, grid: Decimal, rounding: Rounding
) -> None:
    """A multiple of the grid, less than a step away, on the side asked for; and it stays there."""
    rounded = round_to_grid(value, grid, rounding)

    assert 0 == rounded % grid
    low = round_to_grid(value, grid, Rounding.DOWN)
    high = round_to_grid(value, grid, Rounding.UP)
    assert low <= value <= high
    assert high - low in {0, grid}
    assert rounded in {low, high}
    assert rounded == round_to_grid(rounded, grid, rounding)


@settings(deadline=None)
@given(qty=VALUES, step=GRIDS)
def test_flooring_a_quantity_never_adds_risk(qty: Decimal, step: Decimal) -> None:
    """R26: the size never grows, the sign never changes."""
    floored = floor_to_step(qty, step)

    assert abs(floored) <= abs(qty)
    assert floored * qty >= 0


@settings(deadline=None)
@given(value=VALUES)
def test_plain_text_means_the_same_number(value: Decimal) -> None:
    """No digit is lost on the way to a venue, and no exponent appears."""
    text = plain(value)

    assert Decimal(text) == value
    assert "E" not in text
    assert "-0" != text


@settings(deadline=None)
@given(
    installation=st.from_regex(r"[A-Za-z0-9]{4}", fullmatch=True),
    run=st.integers(0, 36**7),
    position=st.integers(0, 36**7),
    purpose=st.sampled_from(Purpose),
    attempt=st.integers(0, 36**4),
)
def test_client_order_ids_go_round_and_fit_both_venues(
    installation: str, run: int, position: int, purpose: Purpose, attempt: int
) -> None:
    """R30: deterministic, at most 36 characters, readable, and accepted by both alphabets."""
    position_id = position_id_of(installation, run, position)
    text = client_order_id(position_id, purpose, attempt)
    tag = parse_client_order_id(text)

    assert text == client_order_id(position_id, purpose, attempt)
    assert all(pattern.fullmatch(text) for pattern in VENUE_ALPHABETS)
    assert tag is not None
    assert (position_id, purpose, attempt) == (tag.position_id, tag.purpose, tag.attempt)


@settings(deadline=None)
@given(
    side=st.sampled_from(PositionSide),
    opens=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 999)), min_size=1, max_size=6),
    close_px=st.integers(1, 999),
    scale=st.sampled_from([Decimal("0.001"), Decimal(1000)]),
    order=st.randoms(use_true_random=False),
)
def test_profit_scales_with_quantity_and_ignores_the_order_of_fills(
    side: PositionSide,
    opens: list[tuple[int, int]],
    close_px: int,
    scale: Decimal,
    order: random.Random,
) -> None:
    """R77, scenario 6: shuffled, repeated, or 1000 times the size: the same profit per unit."""

    def closed(rows: list[tuple[str, int, int]], factor: Decimal) -> Position:
        held = Position(
            position_id="p",
            instrument_id=InstrumentId("BTCUSDT", Venue.BYBIT),
            side=side,
            plan=None,
            trace_id="t",
            opened_ns=0,
        )
        for key, qty, px in rows:
            held.apply(_fill(key, side, Decimal(qty) * factor, px, closing=False))
        held.apply(_fill("out", side, held.qty, close_px, closing=True))
        return held

    rows = [(str(i), qty, px) for i, (qty, px) in enumerate(opens)]
    shuffled = rows + rows[:2]
    order.shuffle(shuffled)
    plain_one, other = closed(rows, Decimal(1)), closed(shuffled, scale)

    assert plain_one.net_pnl * scale == other.net_pnl
    assert 0 == plain_one.qty == other.qty


def _fill(key: str, side: PositionSide, qty: Decimal, px: int, *, closing: bool) -> Fill:
    return Fill(
        instrument_id=InstrumentId("BTCUSDT", Venue.BYBIT),
        fill_id=key,
        client_order_id="",
        venue_order_id="1",
        side=side.exit_side if closing else side.entry_side,
        last_qty=qty,
        last_px=Decimal(px),
        fee=Decimal(0),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=0,
    )
