"""Rounding and text of owned numbers."""

from decimal import Decimal

import pytest

from aegis.model.money import Rounding, floor_to_step, plain, price_from_float, round_to_grid


@pytest.mark.parametrize(
    ("value", "grid", "rounding", "expected"),
    [
        ("1.27", "0.1", Rounding.DOWN, "1.2"),
        ("1.21", "0.1", Rounding.UP, "1.3"),
        ("1.25", "0.1", Rounding.NEAREST, "1.2"),
        ("1.35", "0.1", Rounding.NEAREST, "1.4"),
        ("-1.21", "0.1", Rounding.DOWN, "-1.3"),
        ("-1.29", "0.1", Rounding.UP, "-1.2"),
        ("7", "2.5", Rounding.NEAREST, "7.5"),
        ("1234", "1E+2", Rounding.DOWN, "1200"),
        ("1.399999999999999999999999999999999", "0.7", Rounding.DOWN, "0.7"),
        ("0.3", "0.1", Rounding.UP, "0.3"),
    ],
)
def test_round_to_grid_takes_the_multiple_in_its_direction(
    value: str, grid: str, rounding: Rounding, expected: str
) -> None:
    """Exact multiples stay, all others move in the direction asked for, however many digits."""
    assert Decimal(expected) == round_to_grid(Decimal(value), Decimal(grid), rounding)


@pytest.mark.parametrize(
    ("value", "grid"),
    [("NaN", "1"), ("Infinity", "1"), ("1", "0"), ("1", "-1"), ("1", "Infinity")],
)
def test_round_to_grid_refuses_what_is_no_number_or_no_grid(value: str, grid: str) -> None:
    """NaN, infinity and a grid that is not above zero raise."""
    with pytest.raises(ValueError, match="cannot round"):
        round_to_grid(Decimal(value), Decimal(grid), Rounding.DOWN)


def test_price_from_float_reads_the_shortest_text_of_the_float() -> None:
    """0.1 + 0.2 is 0.30000000000000004 and not 0.3000000000000000444."""
    assert Decimal("0.3") == price_from_float(0.1 + 0.2, Decimal("0.1"), Rounding.DOWN)


def test_price_from_float_refuses_nan() -> None:
    """A price that is none raises."""
    with pytest.raises(ValueError, match="cannot round"):
        price_from_float(float("nan"), Decimal("0.1"), Rounding.DOWN)


@pytest.mark.parametrize(("qty", "expected"), [("0.0079", "0.007"), ("-0.0079", "-0.007")])
def test_floor_to_step_rounds_toward_zero(qty: str, expected: str) -> None:
    """R26: a quantity never grows by rounding, short or long."""
    assert Decimal(expected) == floor_to_step(Decimal(qty), Decimal("0.001"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.500", "1.5"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("1E-8", "0.00000001"),
        ("-0.00", "0"),
        ("0E-10", "0"),
        ("0E+5", "0"),
        ("12345678901234567890123456789012.5", "12345678901234567890123456789012.5"),
    ],
)
def test_plain_has_no_exponent_and_no_trailing_zeros(value: str, expected: str) -> None:
    """What a venue reads: digits and a point."""
    assert expected == plain(Decimal(value))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_plain_refuses_what_no_venue_may_be_sent(value: str) -> None:
    """NaN and infinity raise before they reach a socket."""
    with pytest.raises(ValueError, match="must be finite"):
        plain(Decimal(value))
