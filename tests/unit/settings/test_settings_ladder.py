"""The ladder's setting: what stands, and what is refused in words (R53)."""

from decimal import Decimal

import pytest

from aegis.core.errors import ConfigError
from aegis.settings import AegisConfig, parse_ladder


def test_rungs_are_read_nearest_first() -> None:
    """Profit in R and fraction, as the operator wrote them."""
    assert parse_ladder(("0.5:0.25", "1: 0.5")) == (
        (Decimal("0.5"), Decimal("0.25")),
        (Decimal(1), Decimal("0.5")),
    )
    assert () == parse_ladder(())


@pytest.mark.parametrize(
    ("ladder", "told"),
    [
        (("0.5",), "rung '0.5' is not of the form r:fraction"),
        (("a:b",), "rung 'a:b' is not of the form r:fraction"),
        (("NaN:0.1",), "rung 'NaN:0.1' is not of the form r:fraction"),
        (("0:0.5",), "needs r > 0 and a fraction above 0 and at most 1"),
        (("0.5:0",), "needs r > 0 and a fraction above 0 and at most 1"),
        (("0.5:1.1",), "needs r > 0 and a fraction above 0 and at most 1"),
        (("1:0.2", "0.5:0.2"), "rung at 0.5 R does not lie beyond the one at 1 R"),
        (("0.5:0.6", "1:0.6"), "fractions add up to 1.2, at most 1"),
        (tuple(f"0.{n}:0.1" for n in range(1, 10)), "9 rungs, at most 8"),
        (("1.8:0.5",), "the rung at 1.8 R is not below target_r (1.8)"),
    ],
)
def test_wrong_ladders_are_refused_in_words(ladder: tuple[str, ...], told: str) -> None:
    """Before anything trades: more than the position has, or beyond its target, is no ladder."""
    with pytest.raises(ConfigError, match="ladder") as refused:
        AegisConfig(ladder=ladder)

    assert told in str(refused.value)
